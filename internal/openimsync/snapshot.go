package openimsync

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"readmark/internal/openim/client"
	"readmark/internal/readstate"
)

// groupPrefix begins the conversation ID of a group.
const groupPrefix = "sg_"

// fetchSnapshots asks OpenIM for a user's seqs in all groups (no GroupID) or in one, and
// gives them as events in the order of the group IDs. fetchedAt is the moment before the
// call. There are none when OpenIM does not know the user; groups whose IDs cannot be
// stored are left out.
func (s *Sync) fetchSnapshots(ctx context.Context, pair readstate.Pair) (
	snapshots []readstate.Event, fetchedAt time.Time, err error,
) {
	var ids []string
	if pair.GroupID != "" {
		ids = []string{groupPrefix + pair.GroupID}
	}
	fetchedAt = s.now()
	conversations, err := s.options.OpenIM.Conversations(ctx, pair.UserID, ids...)
	if client.IsUnknown(err) {
		return nil, fetchedAt, nil
	}
	if err != nil {
		return nil, fetchedAt, fmt.Errorf("fetch conversations: %w", err)
	}
	for _, conversationID := range slices.Sorted(maps.Keys(conversations)) {
		groupID, isGroup := strings.CutPrefix(conversationID, groupPrefix)
		if !isGroup || readstate.CheckID(groupID) != nil || pair.GroupID != "" && pair.GroupID != groupID {
			continue
		}
		event := newEvent(readstate.EventSnapshot, readstate.Pair{UserID: pair.UserID, GroupID: groupID}, fetchedAt)
		seqs := conversations[conversationID]
		if ids != nil && seqs == (client.Seqs{}) {
			continue // since v3.7 also the answer for a group that OpenIM does not know
		}
		event.MaxSeq, event.ReadSeq = seqs.MaxSeq, seqs.HasReadSeq
		if seqs.MaxSeqTime > 0 {
			event.SentAt = time.UnixMilli(seqs.MaxSeqTime).UTC()
		}
		snapshots = append(snapshots, event)
	}
	return snapshots, fetchedAt, nil
}

// trusted gives the snapshots of pairs about which OpenIM is trusted.
func (s *Sync) trusted(ctx context.Context, snapshots []readstate.Event) ([]readstate.Event, error) {
	pairs := make([]readstate.Pair, len(snapshots))
	for i := range snapshots {
		pairs[i] = snapshots[i].Pair()
	}
	pairs, err := s.options.Store.FilterTrusted(ctx, pairs)
	if err != nil {
		return nil, fmt.Errorf("filter trusted pairs: %w", err)
	}
	kept := make(map[readstate.Pair]bool, len(pairs))
	for _, pair := range pairs {
		kept[pair] = true
	}
	return slices.DeleteFunc(snapshots, func(e readstate.Event) bool { return !kept[e.Pair()] }), nil
}

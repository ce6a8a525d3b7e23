package openimsync

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"readmark/internal/openim/client"
	"readmark/internal/readstate"
)

// reuseMembers is how long a member list answers who is a member.
const reuseMembers = time.Minute

// memberList is OpenIM's answer to who is in a group.
type memberList struct {
	users     map[string]bool
	fetchedAt time.Time // the moment before the call
}

// Members asks OpenIM who is in a group, and gives the members whose IDs can be stored and
// about whom OpenIM is trusted. Unless the Sync only checks, it commits who is a member
// again and who is not one any more. The list is empty when OpenIM does not know the group.
func (s *Sync) Members(ctx context.Context, groupID string) ([]string, error) {
	members, _, err := s.syncMembers(ctx, groupID)
	return members, err
}

// syncMembers is Members; fetchedAt is the moment before OpenIM was called. A group of which
// OpenIM lists nobody, or that is known to be dismissed, is left as it is.
func (s *Sync) syncMembers(ctx context.Context, groupID string) (members []string, fetchedAt time.Time, err error) {
	fetchedAt = s.now()
	listed, err := s.fetchMembers(ctx, groupID)
	if err != nil {
		return nil, fetchedAt, err
	}
	if members, err = s.storable(ctx, groupID, listed); err != nil {
		return nil, fetchedAt, err
	}
	if len(members) > 0 && !s.options.CheckOnly {
		dismissed, err := s.options.Store.Dismissed(ctx, groupID)
		if err != nil {
			return nil, fetchedAt, fmt.Errorf("read dismissal: %w", err)
		}
		if !dismissed {
			// A member may have moved between two pages of the list while it was read.
			paged := len(listed) >= client.PageSize
			if err := s.commitMembers(ctx, groupID, members, fetchedAt, paged); err != nil {
				return nil, fetchedAt, err
			}
		}
	}
	s.keepMembers(groupID, members, fetchedAt)
	return members, fetchedAt, nil
}

// fetchMembers gives OpenIM's list, which is empty when it does not know the group.
func (s *Sync) fetchMembers(ctx context.Context, groupID string) ([]string, error) {
	listed, err := s.options.OpenIM.Members(ctx, groupID)
	if client.IsUnknown(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("fetch members: %w", err)
	}
	return listed, nil
}

// storable gives the listed users whose IDs can be stored and about whom OpenIM is
// trusted.
func (s *Sync) storable(ctx context.Context, groupID string, listed []string) ([]string, error) {
	pairs := make([]readstate.Pair, 0, len(listed))
	for _, userID := range listed {
		if readstate.CheckID(userID) == nil {
			pairs = append(pairs, readstate.Pair{UserID: userID, GroupID: groupID})
		}
	}
	if len(pairs) == 0 {
		return nil, nil
	}
	pairs, err := s.options.Store.FilterTrusted(ctx, pairs)
	if err != nil {
		return nil, fmt.Errorf("filter trusted pairs: %w", err)
	}
	members := make([]string, len(pairs))
	for i := range pairs {
		members[i] = pairs[i].UserID
	}
	return members, nil
}

// commitMembers commits where a member list differs from the states that are shown: members
// without a state are listed, users with a state who are not members are unlisted. After a
// paged list OpenIM is called again, and only users who are missing twice are unlisted.
func (s *Sync) commitMembers(ctx context.Context, groupID string, members []string, fetchedAt time.Time, paged bool) error {
	isMember, shown := set(members), map[string]bool{}
	var missing []string
	err := allStates(
		func(page readstate.Page) ([]readstate.State, error) {
			return s.options.Store.GroupStates(ctx, groupID, page)
		},
		func(state *readstate.State) string { return state.UserID },
		func(state *readstate.State) {
			shown[state.UserID] = true
			if !isMember[state.UserID] {
				missing = append(missing, state.UserID)
			}
		})
	if err != nil {
		return err
	}
	if len(missing) > 0 && paged {
		again, err := s.options.OpenIM.Members(ctx, groupID)
		if err != nil {
			return fmt.Errorf("fetch members again: %w", err)
		}
		missing = without(missing, set(again))
	}
	var events []readstate.Event
	add := func(kind readstate.EventKind, userIDs []string) {
		for _, userID := range userIDs {
			events = append(events, newEvent(kind, readstate.Pair{UserID: userID, GroupID: groupID}, fetchedAt))
		}
	}
	add(readstate.EventListed, without(members, shown))
	add(readstate.EventUnlisted, missing)
	return s.commit(ctx, events)
}

// keepMembers keeps a list for isMember, and drops those that are too old.
func (s *Sync) keepMembers(groupID string, members []string, fetchedAt time.Time) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.members, func(_ string, list memberList) bool { return now.Sub(list.fetchedAt) >= reuseMembers })
	s.members[groupID] = memberList{users: set(members), fetchedAt: fetchedAt}
}

// isMember reports whether OpenIM lists a user as a member, by a list of the last minute or
// a new one.
func (s *Sync) isMember(ctx context.Context, pair readstate.Pair) (bool, error) {
	s.mu.Lock()
	list, found := s.members[pair.GroupID]
	s.mu.Unlock()
	if found && s.now().Sub(list.fetchedAt) < reuseMembers {
		return list.users[pair.UserID], nil
	}
	listed, err := s.fetchMembers(ctx, pair.GroupID)
	return slices.Contains(listed, pair.UserID), err
}

// without gives the IDs that are not in the set.
func without(ids []string, excluded map[string]bool) (left []string) {
	for _, id := range ids {
		if !excluded[id] {
			left = append(left, id)
		}
	}
	return left
}

func set(ids []string) map[string]bool {
	all := make(map[string]bool, len(ids))
	for _, id := range ids {
		all[id] = true
	}
	return all
}

package openimsync

import (
	"context"
	"fmt"
	"maps"
	"time"

	"readmark/internal/openim/client"
	"readmark/internal/readstate"
)

// reuseMembers is how long a member list tells that somebody is a member.
const reuseMembers = time.Minute

// memberList is OpenIM's answer to who is in a group: all members, or the first ones.
type memberList struct {
	client.MemberList
	users     map[string]bool
	fetchedAt time.Time // the moment before the call
}

// Members asks OpenIM who is in a group, and gives the members whose IDs can be stored and
// about whom OpenIM is trusted. Unless the Sync only checks, it commits that the group was
// dismissed, who is a member again, and who is certainly not one any more. Where that is in
// doubt, the group is looked at again, see [Sync.Settle]. The list is empty when OpenIM does
// not know the group, or says that it was dismissed.
func (s *Sync) Members(ctx context.Context, groupID string) ([]string, error) {
	members, _, err := s.look(ctx, groupID, !s.options.CheckOnly)
	return members, err
}

// syncMembers is Members without asking for the status of a group that has members;
// fetchedAt is the moment before OpenIM was called.
func (s *Sync) syncMembers(ctx context.Context, groupID string) (members []string, fetchedAt time.Time, err error) {
	return s.look(ctx, groupID, false)
}

// look is one look at a group's members. The status of a group that has none is asked for in
// any case: OpenIM lists nobody in a group that was dismissed, and at times in one that was
// not.
func (s *Sync) look(ctx context.Context, groupID string, askStatus bool) (members []string, fetchedAt time.Time, err error) {
	fetchedAt = s.now()
	list, err := s.options.OpenIM.Members(ctx, groupID)
	switch {
	case err != nil && !client.IsUnknown(err):
		return nil, fetchedAt, fmt.Errorf("fetch members: %w", err)
	case len(list.Members) == 0:
		return nil, fetchedAt, s.nobody(ctx, groupID)
	case askStatus: // OpenIM may list the members of a dismissed group for ever
		if dismissed, err := s.askDismissed(ctx, groupID); dismissed || err != nil {
			return nil, fetchedAt, err
		}
	}
	listed := s.keepList(groupID, list, fetchedAt)
	if members, err = s.storable(ctx, groupID, list.Members); err != nil {
		return nil, fetchedAt, err
	}
	if !s.options.CheckOnly {
		position, err := s.position(ctx, groupID)
		if err != nil {
			return nil, fetchedAt, err
		}
		if !position.DismissedAt.IsZero() { // only a callback tells who is in it again
			s.decideAll(groupID)
		} else if err := s.commitMembers(ctx, groupID, members, listed, fetchedAt, list.Complete); err != nil {
			return nil, fetchedAt, err
		}
	}
	return members, fetchedAt, nil
}

// storable gives the listed users whose IDs can be stored and about whom OpenIM is
// trusted.
func (s *Sync) storable(ctx context.Context, groupID string, listed []client.Member) ([]string, error) {
	pairs := make([]readstate.Pair, 0, len(listed))
	for _, m := range listed {
		if readstate.CheckID(m.UserID) == nil {
			pairs = append(pairs, readstate.Pair{UserID: m.UserID, GroupID: groupID})
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
// without a state are listed, and users with a state who are certainly no members any more
// are unlisted.
func (s *Sync) commitMembers(
	ctx context.Context, groupID string, members []string, listed map[string]bool, fetchedAt time.Time, complete bool,
) error {
	shown := map[string]bool{}
	var missing []string
	err := allStates(
		func(page readstate.Page) ([]readstate.State, error) {
			return s.options.Store.GroupStates(ctx, groupID, page)
		},
		func(state *readstate.State) string { return state.UserID },
		func(state *readstate.State) {
			shown[state.UserID] = true
			if !listed[state.UserID] {
				missing = append(missing, state.UserID)
			}
		})
	if err != nil {
		return err
	}
	var events []readstate.Event
	add := func(kind readstate.EventKind, userIDs []string, at time.Time) {
		for _, userID := range userIDs {
			events = append(events, newEvent(kind, readstate.Pair{UserID: userID, GroupID: groupID}, at))
		}
	}
	add(readstate.EventListed, without(members, shown), fetchedAt)
	left, askedAt, err := s.whoLeft(ctx, groupID, missing, sight{from: fetchedAt, known: len(shown), complete: complete})
	if err != nil {
		return err
	}
	add(readstate.EventUnlisted, left, askedAt)
	if err := s.commit(ctx, events); err != nil {
		return err
	}
	s.decided(groupID, left)
	return nil
}

// keepList keeps a list for a while, drops those that are too old, and gives the listed users.
func (s *Sync) keepList(groupID string, list client.MemberList, fetchedAt time.Time) (listed map[string]bool) {
	listed = make(map[string]bool, len(list.Members))
	for _, m := range list.Members {
		listed[m.UserID] = true
	}
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.members, func(_ string, list memberList) bool { return readstate.Age(now, list.fetchedAt) >= reuseMembers })
	s.members[groupID] = memberList{list, listed, fetchedAt}
	return listed
}

// recentList gives a group's list of the last minute. Who is missing there may be a member.
func (s *Sync) recentList(groupID string) (list memberList, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list, found = s.members[groupID]
	return list, found && readstate.Age(s.now(), list.fetchedAt) < reuseMembers
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

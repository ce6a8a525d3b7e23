package openimsync

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"readmark/internal/openim/client"
	"readmark/internal/readstate"
)

const (
	// maxOutsiders is of how many pairs it is remembered that the user is no member.
	maxOutsiders = 100_000
	// reuseOutsider is how long that is believed while OpenIM says the same of the pair, and
	// retryOutsider how long in any case.
	reuseOutsider = time.Hour
	retryOutsider = 10 * time.Second
)

// outsider is what OpenIM said of a user in a group, when it said that the user is no member.
type outsider struct {
	maxSeq, readSeq int64
	askedAt         time.Time
}

// ofMembers gives the snapshots of groups that the user is a member of. OpenIM goes on
// answering conversations of groups that a user has left, and has some of admins who only
// sent a message. Where the membership is not known, or a user who has left may be back,
// OpenIM is asked: memberships has what it answered, as events.
func (s *Sync) ofMembers(
	ctx context.Context, snapshots []readstate.Event, k *known,
) (kept, memberships []readstate.Event, err error) {
	var unsure []readstate.Event
	for _, e := range snapshots {
		state, position := k.of(&e)
		switch {
		case state.KnownMember(&position):
			kept = append(kept, e)
		case s.isListed(e.Pair()) && !state.Gone(&position):
			kept = append(kept, e)
		case !s.isOutsider(&e, &state):
			unsure = append(unsure, e)
		}
	}
	if len(unsure) == 0 {
		return kept, nil, nil
	}
	askedAt := s.now()
	members, told, err := s.memberships(ctx, unsure, k)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range unsure {
		state, position := k.of(&e)
		gone := state.Gone(&position)
		back, err := s.comeback(ctx, &state, &position, members[e.GroupID] && gone, askedAt)
		if err != nil {
			return nil, nil, err
		}
		switch {
		case len(back) > 0:
			memberships = append(memberships, back...)
			kept = append(kept, e)
		case !gone && (members[e.GroupID] || !told):
			kept = append(kept, e)
		case told:
			s.outsiders.Add(e.Pair(), outsider{e.MaxSeq, e.ReadSeq, askedAt})
			if _, found := k.states[e.GroupID]; found && !gone {
				memberships = append(memberships, newEvent(readstate.EventUnlisted, e.Pair(), askedAt))
			}
		}
	}
	return kept, memberships, nil
}

// unanswered takes a user out of a group in which OpenIM knows no conversation of the user,
// and of which only own messages are known, if OpenIM says that the user is no member: an
// admin.
func (s *Sync) unanswered(ctx context.Context, pair readstate.Pair) error {
	asked := newEvent(readstate.EventUnlisted, pair, s.now())
	k, err := s.known(ctx, pair, []readstate.Event{asked})
	if err != nil {
		return err
	}
	state, position := k.of(&asked)
	if _, found := k.states[pair.GroupID]; !found || state.KnownMember(&position) || state.Gone(&position) {
		return nil
	}
	member, told, err := s.askMember(ctx, pair, true)
	if err != nil || member || !told {
		return err
	}
	return s.commit(ctx, []readstate.Event{asked})
}

// comeback gives the event that a user is a member again whom OpenIM calls a member. OpenIM
// does so of the members of a dismissed group, too: there it is asked whether the group is
// alive, since its ID may be in use again.
func (s *Sync) comeback(
	ctx context.Context, state *readstate.ReadState, position *readstate.GroupPosition, member bool, at time.Time,
) ([]readstate.Event, error) {
	kind := readstate.EventListed
	switch {
	case !member:
		return nil, nil
	case position.Dismissed(state):
		status, err := s.options.OpenIM.GroupStatus(ctx, state.GroupID)
		switch {
		case cannotSay(err):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("fetch group status: %w", err)
		case status != client.GroupAlive:
			return nil, nil
		}
		kind = readstate.EventJoined
	}
	return []readstate.Event{newEvent(kind, state.Pair, at)}, nil
}

// isOutsider reports whether OpenIM has said a while ago that the user is no member. Who has
// left may be back when the seqs move; who never was one is an admin, who goes on sending.
func (s *Sync) isOutsider(e *readstate.Event, state *readstate.ReadState) bool {
	known, found := s.outsiders.Get(e.Pair())
	age := readstate.Age(s.now(), known.askedAt)
	never := state.JoinedAt.IsZero() && state.ListedAt.IsZero() && state.Exact.SnapshotAt.IsZero()
	same := known.maxSeq == e.MaxSeq && known.readSeq == e.ReadSeq
	return found && (age < retryOutsider || age < reuseOutsider && (never || same))
}

// fewGroups is of up to how many groups a user's membership is asked group by group: many
// users of one group share its list.
const fewGroups = 2

// memberships asks OpenIM of which of the snapshots' groups a user is a member: group by
// group, or by the user's list of groups where they are many. told is false where OpenIM
// cannot say.
func (s *Sync) memberships(ctx context.Context, snapshots []readstate.Event, k *known) (
	members map[string]bool, told bool, err error,
) {
	members = map[string]bool{}
	if len(snapshots) <= fewGroups {
		all := true
		for i := range snapshots {
			state, position := k.of(&snapshots[i])
			if members[state.GroupID], told, err = s.askMember(ctx, state.Pair, !state.Gone(&position)); err != nil {
				return nil, false, err
			}
			all = all && told
		}
		return members, all, nil
	}
	joined, complete, err := s.options.OpenIM.JoinedGroups(ctx, k.pair.UserID)
	switch {
	case cannotSay(err):
		return members, false, nil
	case err != nil && !client.IsUnknown(err):
		return nil, false, fmt.Errorf("fetch joined groups: %w", err)
	}
	for _, groupID := range joined {
		members[groupID] = true
	}
	return members, complete, nil
}

// askMember asks whether a user is a member of a group: by the group's list, which may be a
// minute old, and by the user's own row where the list lacks it, or must not be used. told
// is false where OpenIM cannot say.
func (s *Sync) askMember(ctx context.Context, pair readstate.Pair, byList bool) (is, told bool, err error) {
	var list memberList
	if byList {
		if list, err = s.someMembers(ctx, pair.GroupID); err != nil || list.users[pair.UserID] {
			return err == nil, err == nil, err
		}
	}
	are, err := s.options.OpenIM.AreMembers(ctx, pair.GroupID, pair.UserID)
	switch {
	case cannotSay(err) && !byList:
		return s.askMember(ctx, pair, true)
	case cannotSay(err):
		return false, list.Complete && len(list.Members) > 0, nil
	case err != nil:
		return false, false, fmt.Errorf("ask for a member: %w", err)
	}
	return are[pair.UserID], true, nil
}

// isListed reports whether a list of the last minute has a user.
func (s *Sync) isListed(pair readstate.Pair) bool {
	list, found := s.recentList(pair.GroupID)
	return found && list.users[pair.UserID]
}

// someMembers gives the first members of a group, by a list of the last minute or a new one,
// which all that wait share. It is empty when OpenIM does not know the group, or cannot say.
func (s *Sync) someMembers(ctx context.Context, groupID string) (memberList, error) {
	if list, found := s.recentList(groupID); found {
		return list, nil
	}
	result := s.fetching.DoChan(groupID, func() (any, error) {
		fetchedAt := s.now()
		list, err := s.options.OpenIM.SomeMembers(context.WithoutCancel(ctx), groupID)
		if err != nil {
			return memberList{}, err
		}
		return memberList{list, s.keepList(groupID, list, fetchedAt), fetchedAt}, nil
	})
	select {
	case r := <-result:
		list, _ := r.Val.(memberList)
		if r.Err != nil && !client.IsUnknown(r.Err) && !cannotSay(r.Err) {
			return list, fmt.Errorf("fetch some members: %w", r.Err)
		}
		return list, nil
	case <-ctx.Done():
		return memberList{}, fmt.Errorf("fetch some members: %w", ctx.Err())
	}
}

// noSuchPath reports whether the server does not have what was called.
func noSuchPath(err error) bool {
	var refused *client.Error
	return errors.As(err, &refused) && refused.Code == http.StatusNotFound
}

// cannotSay reports whether OpenIM refused a call, for another reason than that it does not
// know the group or user: an older server, or one that lets the admin do less. Asking again
// would not help.
func cannotSay(err error) bool {
	var refused *client.Error
	return errors.As(err, &refused) && !client.IsUnknown(err) && !errors.Is(err, client.ErrTokenEnded) && !errors.Is(err, client.ErrUnavailable)
}

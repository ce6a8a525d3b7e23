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
		case !s.isOutsider(&e):
			unsure = append(unsure, e)
		}
	}
	if len(unsure) == 0 {
		return kept, nil, nil
	}
	askedAt := s.now()
	members, told, err := s.memberships(ctx, k.pair.UserID, unsure)
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
		status, _, err := s.status(ctx, state.GroupID)
		if err != nil || status != client.GroupAlive {
			return nil, err
		}
		kind = readstate.EventJoined
	}
	return []readstate.Event{newEvent(kind, state.Pair, at)}, nil
}

// isOutsider reports whether OpenIM has said a while ago that the user is no member.
func (s *Sync) isOutsider(e *readstate.Event) bool {
	known, found := s.outsiders.Get(e.Pair())
	age := s.now().Sub(known.askedAt)
	return found && (age < retryOutsider || age < reuseOutsider && known.maxSeq == e.MaxSeq && known.readSeq == e.ReadSeq)
}

// memberships asks OpenIM of which of the snapshots' groups a user is a member: of one
// directly, of more by the user's list of groups. told is false where OpenIM cannot say.
func (s *Sync) memberships(ctx context.Context, userID string, snapshots []readstate.Event) (
	members map[string]bool, told bool, err error,
) {
	members = map[string]bool{}
	if len(snapshots) == 1 {
		members[snapshots[0].GroupID], told, err = s.askMember(ctx, snapshots[0].Pair())
		return members, told, err
	}
	joined, complete, err := s.options.OpenIM.JoinedGroups(ctx, userID)
	switch {
	case noSuchPath(err):
		return members, false, nil
	case err != nil && !client.IsUnknown(err):
		return nil, false, fmt.Errorf("fetch joined groups: %w", err)
	}
	for _, groupID := range joined {
		members[groupID] = true
	}
	return members, complete, nil
}

// askMember asks whether a user is a member of a group; told is false where OpenIM cannot say.
func (s *Sync) askMember(ctx context.Context, pair readstate.Pair) (is, told bool, err error) {
	are, err := s.options.OpenIM.AreMembers(ctx, pair.GroupID, pair.UserID)
	if err == nil {
		return are[pair.UserID], true, nil
	}
	if !noSuchPath(err) {
		return false, false, fmt.Errorf("ask for a member: %w", err)
	}
	list, err := s.options.OpenIM.Members(ctx, pair.GroupID) // an older server
	if err != nil && !client.IsUnknown(err) {
		return false, false, fmt.Errorf("fetch members: %w", err)
	}
	for _, m := range list.Members {
		is = is || m.UserID == pair.UserID
	}
	return is, is || list.Complete && len(list.Members) > 0, nil
}

// noSuchPath reports whether the server does not have what was called.
func noSuchPath(err error) bool {
	var refused *client.Error
	return errors.As(err, &refused) && refused.Code == http.StatusNotFound
}

package openimsync

import (
	"context"
	"fmt"
	"time"

	"readmark/internal/openim/client"
	"readmark/internal/readstate"
)

// fewStates is how many of a group's states are read to tell whether there are any.
const fewStates = 3

// askDismissed asks whether a group was dismissed, and commits that it was.
func (s *Sync) askDismissed(ctx context.Context, groupID string) (bool, error) {
	status, askedAt, err := s.status(ctx, groupID)
	if err != nil || status != client.GroupDismissed {
		return false, err
	}
	dismissed, shown, err := s.knownGroup(ctx, groupID)
	if err != nil {
		return true, err
	}
	return true, s.dismiss(ctx, groupID, askedAt, dismissed && len(shown) == 0)
}

// nobody concludes what it can from a member list without members, or from OpenIM's not
// knowing the group. A group that OpenIM calls alive is left as it is. One that it does not
// know any more is gone when it says so twice, if it knew the group once and still answers
// for a user who was in it: a server that lost its groups, or another server, would say the
// same of every group.
func (s *Sync) nobody(ctx context.Context, groupID string) error {
	if s.options.CheckOnly {
		return nil
	}
	dismissed, shown, err := s.knownGroup(ctx, groupID)
	if err != nil || dismissed && len(shown) == 0 {
		return err
	}
	status, askedAt, err := s.status(ctx, groupID)
	if err != nil {
		return err
	}
	if status == client.GroupUnknown {
		gone, err := s.unknownGone(ctx, groupID, shown, askedAt)
		if err != nil || !gone {
			return err
		}
	}
	if status == client.GroupAlive {
		s.decideAll(groupID)
		return nil
	}
	return s.dismiss(ctx, groupID, askedAt, false)
}

// status asks for a group's status; askedAt is the moment before. A group is alive where
// OpenIM cannot say.
func (s *Sync) status(ctx context.Context, groupID string) (status client.GroupStatus, askedAt time.Time, err error) {
	askedAt = s.now()
	status, err = s.options.OpenIM.GroupStatus(ctx, groupID)
	switch {
	case cannotSay(err):
		return client.GroupAlive, askedAt, nil
	case err != nil:
		return status, askedAt, fmt.Errorf("fetch group status: %w", err)
	}
	return status, askedAt, nil
}

// knownGroup reads whether a group is known to have been dismissed, and some of its users who
// are shown: also after a dismissal, of who joined since.
func (s *Sync) knownGroup(ctx context.Context, groupID string) (dismissed bool, shown []readstate.State, err error) {
	position, err := s.position(ctx, groupID)
	if err != nil {
		return false, nil, err
	}
	if shown, err = s.options.Store.GroupStates(ctx, groupID, readstate.Page{Limit: fewStates}); err != nil {
		return false, nil, fmt.Errorf("read states: %w", err)
	}
	return !position.DismissedAt.IsZero(), shown, nil
}

// position reads a group's position, which is zero where nothing is known.
func (s *Sync) position(ctx context.Context, groupID string) (readstate.GroupPosition, error) {
	positions, err := s.options.Store.GroupPositions(ctx, []string{groupID})
	if err != nil {
		return readstate.GroupPosition{}, fmt.Errorf("read position: %w", err)
	}
	return positions[groupID], nil
}

// dismiss commits that a group was dismissed, unless that is known.
func (s *Sync) dismiss(ctx context.Context, groupID string, at time.Time, known bool) error {
	if !known {
		event := newEvent(readstate.EventDismissed, readstate.Pair{GroupID: groupID}, at)
		if err := s.commit(ctx, []readstate.Event{event}); err != nil {
			return err
		}
		s.options.Logger.InfoContext(ctx, "a group is gone at openim, and no callback told", "group_id", groupID)
	}
	s.decideAll(groupID)
	return nil
}

// unknownGone reports whether a group that OpenIM does not know is to be taken as dismissed.
func (s *Sync) unknownGone(ctx context.Context, groupID string, shown []readstate.State, askedAt time.Time) (bool, error) {
	position, err := s.position(ctx, groupID)
	if err != nil {
		return false, err
	}
	if !position.HasSeq || len(shown) == 0 {
		return false, nil
	}
	if !s.unknownTwice(groupID, askedAt) {
		return false, nil
	}
	for i := range shown {
		snapshots, _, err := s.fetchSnapshots(ctx, readstate.Pair{UserID: shown[i].UserID})
		if err != nil {
			return false, err
		}
		if len(snapshots) > 0 {
			return true, nil
		}
	}
	s.decideAll(groupID) // until the next check
	return false, nil
}

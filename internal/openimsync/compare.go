package openimsync

import (
	"context"
	"fmt"

	"readmark/internal/readstate"
)

// User compares all of a user's groups with OpenIM, and repairs what differs unless the Sync
// only checks.
func (s *Sync) User(ctx context.Context, userID string) (readstate.Difference, error) {
	return s.reconcile(ctx, readstate.Pair{UserID: userID})
}

// Group syncs the members of a group, see [Sync.Members], and compares each of them in that
// group.
func (s *Sync) Group(ctx context.Context, groupID string) (readstate.Difference, error) {
	var sum readstate.Difference
	members, err := s.Members(ctx, groupID)
	if err != nil {
		return sum, err
	}
	for _, userID := range members {
		d, err := s.reconcile(ctx, readstate.Pair{UserID: userID, GroupID: groupID})
		if err != nil {
			return sum, err
		}
		sum.Add(d)
	}
	return sum, nil
}

// reconcile compares a user in all groups (no GroupID) or in one, and repairs what differs.
// Callbacks go on meanwhile, so it counts and repairs only what still differs in a second
// comparison. A third one tells what was repaired.
func (s *Sync) reconcile(ctx context.Context, pair readstate.Pair) (readstate.Difference, error) {
	first, err := s.compare(ctx, pair)
	if err != nil || len(first.differing) == 0 {
		return first.Difference, err
	}
	second, err := s.compare(ctx, pair)
	if err != nil {
		return first.Difference, err
	}
	if s.options.CheckOnly || len(second.differing) == 0 {
		return second.Difference, nil
	}
	repairs, err := s.repairs(ctx, &first, &second)
	if err != nil || len(repairs) == 0 {
		return second.Difference, err
	}
	if err := s.commit(ctx, repairs); err != nil {
		return second.Difference, err
	}
	third, err := s.compare(ctx, pair)
	if err != nil {
		return second.Difference, err
	}
	second.Repaired = max(0, second.Off-third.Off)
	return second.Difference, nil
}

// repairs gives the snapshots of the second comparison that are to be committed. Seqs below
// the known ones are taken when OpenIM has said the same twice, and of a member only: who
// has left keeps the seq of that time.
func (s *Sync) repairs(ctx context.Context, first, second *comparison) (events []readstate.Event, err error) {
	for _, event := range second.differing {
		answer := second.answers[event.Pair()]
		if answer.lower && first.answers[event.Pair()].same(answer) {
			if event.AllowDecrease, err = s.isMember(ctx, event.Pair()); err != nil {
				return nil, err
			}
			if !event.AllowDecrease {
				continue
			}
		}
		events = append(events, event)
	}
	return events, nil
}

// comparison is one comparison of OpenIM's answer with what is stored.
type comparison struct {
	readstate.Difference
	// differing has the snapshots that would change something: a count, or only the group's
	// highest seq or whether the count is exact.
	differing []readstate.Event
	answers   map[readstate.Pair]answer // of all that was compared
}

// answer is what OpenIM said of a pair.
type answer struct {
	maxSeq, readSeq int64
	lower           bool // maxSeq is below the highest known seq of the group
}

func (a answer) same(o answer) bool { return a.maxSeq == o.maxSeq && a.readSeq == o.readSeq }

// compare asks OpenIM once and changes nothing. It leaves out groups that the user has left.
func (s *Sync) compare(ctx context.Context, pair readstate.Pair) (comparison, error) {
	c := comparison{answers: map[readstate.Pair]answer{}}
	snapshots, _, err := s.fetchSnapshots(ctx, pair)
	if err != nil || len(snapshots) == 0 {
		return c, err
	}
	if snapshots, err = s.trusted(ctx, snapshots); err != nil {
		return c, err
	}
	known, err := s.known(ctx, pair.UserID, snapshots)
	if err != nil {
		return c, err
	}
	for _, event := range snapshots {
		if known.left[event.GroupID] {
			continue
		}
		state, found := known.states[event.GroupID]
		if !found { // OpenIM goes on listing conversations of groups that a user has left
			member, err := s.isMember(ctx, event.Pair())
			if err != nil {
				return c, err
			}
			if !member {
				continue
			}
		}
		maxSeq, placed := known.maxSeqs[event.GroupID]
		c.add(event, state, found, maxSeq, placed)
	}
	return c, nil
}

// add compares one snapshot with the pair's state and the group's highest known seq, where
// these are known.
func (c *comparison) add(event readstate.Event, state readstate.State, found bool, maxSeq int64, placed bool) {
	c.Pairs++
	c.answers[event.Pair()] = answer{maxSeq: event.MaxSeq, readSeq: event.ReadSeq, lower: event.MaxSeq < maxSeq}
	want := max(0, event.MaxSeq-event.ReadSeq) // as OpenIM's own clients count
	equal := found && state.UnreadCount == want
	if !equal {
		c.Off++
		c.Largest = max(c.Largest, want-state.UnreadCount, state.UnreadCount-want) // neither is negative
	}
	if !equal || !state.Exact || !placed || maxSeq != event.MaxSeq {
		c.differing = append(c.differing, event)
	}
}

// known is what is stored of a user.
type known struct {
	states  map[string]readstate.State // by group ID
	left    map[string]bool            // groups that the user has left, or that are gone
	maxSeqs map[string]int64           // by group ID
}

// known reads what is stored of a user and of the groups of the snapshots.
func (s *Sync) known(ctx context.Context, userID string, snapshots []readstate.Event) (k known, err error) {
	k.states = map[string]readstate.State{}
	err = allStates(
		func(page readstate.Page) ([]readstate.State, error) {
			return s.options.Store.UserStates(ctx, userID, page)
		},
		func(state *readstate.State) string { return state.GroupID },
		func(state *readstate.State) { k.states[state.GroupID] = *state })
	if err != nil {
		return k, err
	}
	if k.left, err = s.options.Store.LeftGroups(ctx, userID); err != nil {
		return k, fmt.Errorf("read left groups: %w", err)
	}
	groupIDs := make([]string, len(snapshots))
	for i := range snapshots {
		groupIDs[i] = snapshots[i].GroupID
	}
	if k.maxSeqs, err = s.options.Store.MaxSeqs(ctx, groupIDs); err != nil {
		return k, fmt.Errorf("read highest seqs: %w", err)
	}
	return k, nil
}

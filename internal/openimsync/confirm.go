package openimsync

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"readmark/internal/openim/client"
	"readmark/internal/readstate"
)

// witnesses is how many other members are asked when a user's highest seq contradicts what
// is known of the group.
const witnesses = 2

// judge gives what is to be committed of a snapshot. One that contradicts what is known, and
// did so before, is confirmed: with other members where the highest seq does, by OpenIM's
// saying so twice where the read seq does. before is zero for a first answer.
func (s *Sync) judge(ctx context.Context, e readstate.Event, before readstate.Doubt, k *known) ([]readstate.Event, error) {
	state, position := k.of(&e)
	e.OwnMaxSeq = state.KnowsCap(e.MaxSeq, &position)
	maxSeq, readSeq := state.Doubts(&e, &position)
	e.AllowReadDecrease = readSeq && before.ReadSeq == e.ReadSeq && saidTwice(before, e.At)
	if !maxSeq || before.At.IsZero() {
		return []readstate.Event{e}, nil
	}
	return s.confirm(ctx, e, before, &position)
}

// saidTwice reports whether an answer comes long enough after a first one to count.
func saidTwice(before readstate.Doubt, at time.Time) bool {
	return !before.At.IsZero() && at.Sub(before.At) >= readstate.ReadConfirmation
}

// confirm asks other members, and then the user again, whether the group's highest seq is
// what the user's snapshot says. Where they agree, the position takes it. Where they
// disagree, it is the user's own. Where there is nobody else, OpenIM has to say it twice: it
// waits for that, for a second at most.
func (s *Sync) confirm(
	ctx context.Context, e readstate.Event, before readstate.Doubt, position *readstate.GroupPosition,
) ([]readstate.Event, error) {
	users, owner, err := s.witnesses(ctx, e.Pair())
	if err != nil {
		return nil, err
	}
	var answers []readstate.Event
	for _, userID := range users {
		answer, _, err := s.fetchSnapshots(ctx, readstate.Pair{UserID: userID, GroupID: e.GroupID})
		if err != nil {
			return nil, err
		}
		answers = append(answers, answer...)
	}
	if len(answers) == 0 {
		if err := sleep(ctx, before.At.Add(readstate.ReadConfirmation).Sub(s.now())); err != nil {
			return nil, err
		}
	}
	again, _, err := s.fetchSnapshots(ctx, e.Pair())
	if err != nil || len(again) == 0 {
		return answers, err
	}
	own := again[0]
	own.AllowReadDecrease = e.AllowReadDecrease && own.ReadSeq == e.ReadSeq
	side := position.Side(own.MaxSeq)
	switch {
	case side == 0: // it agrees now
	case len(answers) == 0 && before.MaxSeq == own.MaxSeq:
		take(&own, side)
	case len(answers) == 0: // it is doubted again
	case agree(answers, position, side, owner && answers[0].UserID == users[0]):
		take(&answers[0], side)
	default:
		own.OwnMaxSeq = true
	}
	return append(answers, own), nil
}

// agree reports whether the witnesses' highest seqs contradict the position as the user's
// does. The owner, who is never frozen, decides alone.
func agree(answers []readstate.Event, position *readstate.GroupPosition, side int, owner bool) bool {
	if owner {
		answers = answers[:1]
	}
	return !slices.ContainsFunc(answers, func(e readstate.Event) bool { return position.Side(e.MaxSeq) != side })
}

// take has the position take a snapshot that contradicts it.
func take(e *readstate.Event, side int) { e.Restarted, e.Confirmed = side < 0, side > 0 }

// witnesses gives other members of the pair's group, the owner first, if it is among them.
func (s *Sync) witnesses(ctx context.Context, pair readstate.Pair) (users []string, owner bool, err error) {
	members, err := s.options.OpenIM.SomeMembers(ctx, pair.GroupID)
	if err != nil && !client.IsUnknown(err) {
		return nil, false, fmt.Errorf("fetch some members: %w", err)
	}
	members = slices.DeleteFunc(members, func(m client.Member) bool { return m.UserID == pair.UserID })
	rand.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	slices.SortStableFunc(members, func(a, b client.Member) int {
		switch {
		case a.Owner == b.Owner:
			return 0
		case a.Owner:
			return -1
		default:
			return 1
		}
	})
	if users, err = s.storable(ctx, pair.GroupID, members); err != nil {
		return nil, false, err
	}
	owner = len(users) > 0 && members[0].Owner && users[0] == members[0].UserID
	return users[:min(len(users), witnesses)], owner, nil
}

// lookUpMembersOf queues lookups of all who have a state in a group: their read seqs are of
// another count since the group's seqs began anew.
func (s *Sync) lookUpMembersOf(ctx context.Context, groupID string) error {
	var pairs []readstate.Pair
	err := allStates(
		func(page readstate.Page) ([]readstate.State, error) {
			return s.options.Store.GroupStates(ctx, groupID, page)
		},
		func(state *readstate.State) string { return state.UserID },
		func(state *readstate.State) { pairs = append(pairs, state.Pair) })
	if err != nil {
		return err
	}
	for part := range slices.Chunk(pairs, commitEvents) {
		if err := s.options.Store.EnqueueLookups(ctx, part); err != nil {
			return fmt.Errorf("enqueue lookups: %w", err)
		}
	}
	return nil
}

// sleep waits for a while, or until the context ends.
func sleep(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait: %w", ctx.Err())
	}
}

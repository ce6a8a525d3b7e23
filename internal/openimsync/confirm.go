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

const (
	// witnesses is how many other members' answers are compared when a user's highest seq
	// contradicts what is known of the group, and maxAsked how many are asked for that at
	// most: who is known to be frozen is none.
	witnesses = 2
	maxAsked  = 6
)

// judge gives what is to be committed of a snapshot. One that contradicts what is known, and
// did so before, is confirmed: with other members where the highest seq does, by OpenIM's
// saying so twice where the read seq does. before is zero for a first answer, and pending
// says that its doubt has not been settled: it has only capped the user's count.
func (s *Sync) judge(ctx context.Context, e readstate.Event, before readstate.Doubt, pending bool, k *known) (
	[]readstate.Event, error,
) {
	state, position := k.of(&e)
	if !position.HasSeq && k.askOwners {
		return s.firstContact(ctx, e)
	}
	pending = pending && before.MaxSeq == e.MaxSeq && position.Side(e.MaxSeq) != 0
	e.OwnMaxSeq = state.KnowsCap(e.MaxSeq) && !pending
	maxSeq, readSeq := state.Doubts(&e, &position)
	e.AllowReadDecrease = readSeq && before.ReadSeq == e.ReadSeq && saidTwice(before, e.At)
	if before.At.IsZero() || !maxSeq && !pending {
		return []readstate.Event{e}, nil
	}
	return s.confirm(ctx, e, before, &position)
}

// firstContact gives the first snapshot of a group, after its owner's where that differs: a
// frozen member's would be taken for the group's.
func (s *Sync) firstContact(ctx context.Context, e readstate.Event) ([]readstate.Event, error) {
	if e.MaxSeq == 0 {
		return []readstate.Event{e}, nil
	}
	ownerID, err := s.owner(ctx, e.GroupID)
	if err != nil || ownerID == "" || ownerID == e.UserID {
		return []readstate.Event{e}, err
	}
	owners, _, err := s.fetchSnapshots(ctx, readstate.Pair{UserID: ownerID, GroupID: e.GroupID})
	if err != nil || len(owners) == 0 || owners[0].MaxSeq == e.MaxSeq {
		return []readstate.Event{e}, err
	}
	again, _, err := s.fetchSnapshots(ctx, e.Pair())
	return append(owners, again...), err
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
	j, err := s.hear(ctx, e.Pair())
	if err != nil {
		return nil, err
	}
	if len(j.answers) == 0 && j.listed {
		if err := sleep(ctx, readstate.ReadConfirmation-readstate.Age(s.now(), before.At)); err != nil {
			return nil, err
		}
	}
	again, _, err := s.fetchSnapshots(ctx, e.Pair())
	if err != nil || len(again) == 0 {
		return nil, err
	}
	own := again[0]
	own.AllowReadDecrease = e.AllowReadDecrease && own.ReadSeq == e.ReadSeq
	side := position.Side(own.MaxSeq)
	switch {
	case side == 0: // it agrees now
		return []readstate.Event{own}, nil
	case len(j.answers) == 0 && !j.listed: // nobody is: the group may be gone
		own.OwnMaxSeq = true
		_, _, err := s.look(ctx, e.GroupID, true)
		return []readstate.Event{own}, err
	case len(j.answers) == 0 && before.MaxSeq != own.MaxSeq: // it is doubted again
		return []readstate.Event{own}, nil
	case len(j.answers) == 0, j.owner && j.opposed(position, side) < witnesses:
		take(&own, side)
		return []readstate.Event{own}, nil
	}
	decided := j.decide(position, side)
	own.OwnMaxSeq = decided != side
	for i := range j.answers {
		answer := &j.answers[i]
		switch at := position.Side(answer.MaxSeq); {
		case i == 0 && decided != 0:
			take(answer, decided)
		case decided == 0 && at == side, decided != 0 && at == -decided: // whatever it is, it is not the group's
			answer.OwnMaxSeq = true
		}
	}
	return append(j.answers, own), nil
}

// hearing is what other members say when a user's highest seq contradicts that of the group.
type hearing struct {
	listed  bool              // OpenIM lists the user
	owner   bool              // the user owns the group
	answers []readstate.Event // the owner's first
	byOwner bool              // the first answer is the owner's
}

// decide gives the side to which the position moves with the first answer; 0: it stays. The
// owner, whom OpenIM never freezes, decides alone. Else all have to be on the user's side.
func (j *hearing) decide(position *readstate.GroupPosition, side int) int {
	switch {
	case j.byOwner:
		return position.Side(j.answers[0].MaxSeq)
	case j.opposed(position, side) > 0:
		return 0
	default:
		return side
	}
}

// opposed is how many answers are not on the user's side.
func (j *hearing) opposed(position *readstate.GroupPosition, side int) (n int) {
	for i := range j.answers {
		if position.Side(j.answers[i].MaxSeq) != side {
			n++
		}
	}
	return n
}

// take has the position take a snapshot that contradicts it.
func take(e *readstate.Event, side int) { e.Restarted, e.Confirmed = side < 0, side > 0 }

// hear asks other members of the pair's group, the owner first. It lists them anew: OpenIM
// answers with a frozen seq for who has left since.
func (s *Sync) hear(ctx context.Context, pair readstate.Pair) (j hearing, err error) {
	list, err := s.options.OpenIM.SomeMembers(ctx, pair.GroupID)
	if err != nil && !client.IsUnknown(err) && !cannotSay(err) {
		return j, fmt.Errorf("fetch some members: %w", err)
	}
	members := list.Members
	ownerID := ""
	for _, m := range members {
		j.listed = j.listed || m.UserID == pair.UserID
		if m.Owner {
			ownerID = m.UserID
		}
	}
	j.owner = ownerID == pair.UserID
	members = slices.DeleteFunc(members, func(m client.Member) bool { return m.UserID == pair.UserID })
	rand.Shuffle(len(members), func(i, k int) { members[i], members[k] = members[k], members[i] }) //nolint:gosec // no secret
	users, err := s.storable(ctx, pair.GroupID, members)
	if err != nil {
		return j, err
	}
	if i := slices.Index(users, ownerID); i > 0 {
		users[0], users[i] = users[i], users[0]
	}
	for _, userID := range users[:min(len(users), maxAsked)] {
		answer, _, err := s.fetchSnapshots(ctx, readstate.Pair{UserID: userID, GroupID: pair.GroupID})
		if err != nil {
			return j, err
		}
		for i := range answer {
			frozen, err := s.isFrozen(ctx, &answer[i])
			if err != nil {
				return j, err
			}
			if !frozen || userID == ownerID {
				j.answers = append(j.answers, answer[i])
				j.byOwner = j.byOwner || userID == ownerID
			}
		}
		if len(j.answers) == witnesses {
			break
		}
	}
	return j, nil
}

// isFrozen reports whether a user's highest seq is known to be the user's own.
func (s *Sync) isFrozen(ctx context.Context, e *readstate.Event) (bool, error) {
	k, err := s.known(ctx, e.Pair(), nil)
	if err != nil {
		return false, err
	}
	state, _ := k.of(e)
	return state.KnowsCap(e.MaxSeq), nil
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

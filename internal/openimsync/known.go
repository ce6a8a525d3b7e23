package openimsync

import (
	"context"
	"fmt"

	"readmark/internal/readstate"
)

// known is what is stored of one user.
type known struct {
	pair      readstate.Pair
	states    map[string]readstate.ReadState // by group ID
	positions map[string]readstate.GroupPosition
	askOwners bool // the owners of groups of which no seq is known are asked, too
}

// known reads what is stored of a user in all groups (no GroupID) or in one, and of the
// groups of the snapshots.
func (s *Sync) known(ctx context.Context, pair readstate.Pair, snapshots []readstate.Event) (known, error) {
	k := known{pair: pair, states: map[string]readstate.ReadState{}}
	states, err := s.options.Store.ReadStates(ctx, pair)
	if err != nil {
		return k, fmt.Errorf("read states: %w", err)
	}
	for i := range states {
		k.states[states[i].GroupID] = states[i]
	}
	groupIDs := make([]string, len(snapshots))
	for i := range snapshots {
		groupIDs[i] = snapshots[i].GroupID
	}
	if k.positions, err = s.options.Store.GroupPositions(ctx, groupIDs); err != nil {
		return k, fmt.Errorf("read positions: %w", err)
	}
	return k, nil
}

// newGroups is of how many groups no seq is known.
func (k *known) newGroups(snapshots []readstate.Event) (n int) {
	for i := range snapshots {
		if !k.positions[snapshots[i].GroupID].HasSeq {
			n++
		}
	}
	return n
}

// of gives the state and the position that an event is about; they are zero where nothing is
// stored.
func (k *known) of(e *readstate.Event) (readstate.ReadState, readstate.GroupPosition) {
	state, position := k.states[e.GroupID], k.positions[e.GroupID]
	state.Pair, position.GroupID = e.Pair(), e.GroupID
	return state, position
}

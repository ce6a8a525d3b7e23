package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"readmark/db"
	"readmark/internal/readstate"
)

// StateAt gives the state of one pair as it was at a moment, from the journal and
// what has not changed since, or [readstate.ErrUnknown] when nothing was known then.
// It is neither exact nor pending: these tell how far the newest count may be
// trusted. It gives [readstate.ErrGone] when what was known then has been dropped from
// the journal. The moment must lie within what the journal keeps.
func (r *Reader) StateAt(ctx context.Context, pair readstate.Pair, at time.Time) (readstate.State, error) {
	list, err := r.statesAt(ctx, pair, at)
	if err != nil {
		return readstate.State{}, fmt.Errorf("get state at a moment: %w", err)
	}
	return list[0], nil
}

// BadgeAt sums the states of one user as they were at a moment; see [Reader.StateAt].
func (r *Reader) BadgeAt(ctx context.Context, userID string, at time.Time) (readstate.Badge, error) {
	list, err := r.statesAt(ctx, readstate.Pair{UserID: userID}, at)
	if err != nil {
		return readstate.Badge{}, fmt.Errorf("sum states at a moment: %w", err)
	}
	badge := readstate.Badge{UserID: userID, Groups: int64(len(list))}
	for i := range list {
		unread := list[i].UnreadCount
		if unread > 0 {
			badge.UnreadGroups++
		}
		badge.UnreadCount += min(unread, math.MaxInt64-badge.UnreadCount)
		if !list[i].Muted {
			badge.UnreadCountUnmuted += min(unread, math.MaxInt64-badge.UnreadCountUnmuted)
		}
		if list[i].UpdatedAt.After(badge.UpdatedAt) {
			badge.UpdatedAt = list[i].UpdatedAt
		}
	}
	return badge, nil
}

// statesAt gives the states of one pair, or of all groups of a user where no group is
// named.
func (r *Reader) statesAt(ctx context.Context, of readstate.Pair, at time.Time) (list []readstate.State, err error) {
	var past *readstate.Past
	err = r.read(ctx, func(ctx context.Context, reads *pool) error {
		return pgx.BeginTxFunc(ctx, reads, snapshot, func(tx pgx.Tx) error {
			past, err = r.loadPast(ctx, tx, of, at)
			return err
		})
	})
	if err != nil {
		return nil, translate(err)
	}
	for _, pair := range past.Pairs() {
		state, err := past.Show(pair)
		switch {
		case errors.Is(err, readstate.ErrUnknown):
		case err != nil: // a sum without it would be wrong
			return nil, err
		default:
			list = append(list, state)
		}
	}
	if len(list) == 0 {
		return nil, readstate.ErrUnknown
	}
	return list, nil
}

func (r *Reader) loadPast(ctx context.Context, tx pgx.Tx, of readstate.Pair, at time.Time) (*readstate.Past, error) {
	dropped, err := r.queries.GetDroppedUntil(ctx, tx)
	if err != nil {
		return nil, err
	}
	past := readstate.NewPast(at, moment(dropped))
	group := optional(of.GroupID)
	states, err := r.queries.ListReadStatesOfUser(ctx, tx, db.ListReadStatesOfUserParams{UserID: of.UserID, OnlyGroupID: group})
	if err != nil {
		return nil, err
	}
	for i := range states {
		past.AddState(readState(&states[i]))
	}
	rows, err := r.queries.ListPairJournal(ctx, tx, db.ListPairJournalParams{UserID: of.UserID, OnlyGroupID: group, Moment: at})
	if err != nil {
		return nil, err
	}
	for i := range rows {
		past.AddEntry(entry(&rows[i]))
	}
	positions, err := r.queries.ListPositions(ctx, tx, past.Groups())
	if err != nil {
		return nil, err
	}
	for i := range positions {
		past.AddPosition(position(&positions[i]))
	}
	if moved := past.MovedGroups(); len(moved) > 0 {
		rows, err := r.queries.ListPositionsAt(ctx, tx, db.ListPositionsAtParams{GroupIDs: moved, Moments: slices.Repeat([]time.Time{at}, len(moved))})
		if err != nil {
			return nil, err
		}
		for i := range rows {
			past.AddMove(entry(&rows[i]))
		}
	}
	return past, nil
}

package store

import (
	"bytes"
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

// lastID is behind all others.
var lastID = readstate.ID(bytes.Repeat([]byte{0xff}, len(readstate.ID{}))) //nolint:gochecknoglobals // a constant

// firstMoves gives, for each of some groups and the moment beside it, the first row of the journal since that may have
// moved the position: it has the position of before. There is none for a group that nothing has moved since. They are
// in no particular order.
func (r *Reader) firstMoves(ctx context.Context, tx pgx.Tx, groupIDs []string, moments []time.Time) (moves []readstate.Entry, err error) {
	if citus, err := onCitus(ctx, tx); err != nil {
		return nil, err
	} else if !citus {
		rows, err := r.queries.ListPositionsAt(ctx, tx, db.ListPositionsAtParams{GroupIDs: groupIDs, Moments: moments})
		return entries(rows), err
	}
	var queue pipeline
	for i, groupID := range groupIDs {
		queue.ask(func(conn db.DBTX) error {
			row, err := r.queries.FirstMoveAfter(ctx, conn, db.FirstMoveAfterParams{GroupID: groupID, AfterAt: moments[i], AfterID: identity(lastID)})
			if errors.Is(err, pgx.ErrNoRows) {
				return nil
			}
			if err == nil {
				moves = append(moves, entry(&row))
			}
			return err
		})
	}
	return moves, queue.send(ctx, tx)
}

// movesOfGroup gives the first move of a group behind each of some moments; nil where there is none.
func (r *Reader) movesOfGroup(ctx context.Context, tx pgx.Tx, groupID string, moments []time.Time) ([]*readstate.Entry, error) {
	found, err := r.firstMoves(ctx, tx, slices.Repeat([]string{groupID}, len(moments)), moments)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b readstate.Entry) int { return a.Compare(&b.Event) })
	moves := make([]*readstate.Entry, len(moments))
	for i, at := range moments {
		if m := slices.IndexFunc(found, func(e readstate.Entry) bool { return e.At.After(at) }); m >= 0 { // found behind a later moment, it is the first behind this one, too, where none lies between
			moves[i] = &found[m]
		}
	}
	return moves, nil
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
		moves, err := r.firstMoves(ctx, tx, moved, slices.Repeat([]time.Time{at}, len(moved)))
		if err != nil {
			return nil, err
		}
		for i := range moves {
			past.AddMove(moves[i])
		}
	}
	return past, nil
}

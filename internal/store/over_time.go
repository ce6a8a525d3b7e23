package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"readmark/db"
	"readmark/internal/readstate"
)

// CountsAt gives the unread count of one pair at each of some moments, which come in order; nil where
// nothing was known, or what was known has been dropped from the journal. See [Reader.StateAt].
func (r *Reader) CountsAt(ctx context.Context, pair readstate.Pair, moments []time.Time) (counts []*int64, err error) {
	if len(moments) == 0 {
		return nil, nil
	}
	err = r.read(ctx, func(ctx context.Context, reads *pool) error {
		return pgx.BeginTxFunc(ctx, reads, snapshot, func(tx pgx.Tx) error {
			counts, err = r.countsAt(ctx, tx, pair, moments)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("count at some moments: %w", translate(err))
	}
	return counts, nil
}

func (r *Reader) countsAt(ctx context.Context, tx pgx.Tx, pair readstate.Pair, moments []time.Time) ([]*int64, error) {
	dropped, err := r.queries.GetDroppedUntil(ctx, tx)
	if err != nil {
		return nil, err
	}
	states, err := r.queries.ListReadStatesOfUser(ctx, tx, db.ListReadStatesOfUserParams{UserID: pair.UserID, OnlyGroupID: &pair.GroupID})
	if err != nil {
		return nil, err
	}
	journal, err := r.queries.ListPairJournal(ctx, tx, db.ListPairJournalParams{
		UserID: pair.UserID, OnlyGroupID: &pair.GroupID, Moment: moments[len(moments)-1],
	})
	if err != nil {
		return nil, err
	}
	positions, err := r.queries.ListPositions(ctx, tx, []string{pair.GroupID})
	if err != nil {
		return nil, err
	}
	moves, err := r.movesOfGroup(ctx, tx, pair.GroupID, moments)
	if err != nil {
		return nil, err
	}
	counts := make([]*int64, len(moments))
	for i, at := range moments {
		past := readstate.NewPast(at, moment(dropped))
		for s := range states {
			past.AddState(readState(&states[s]))
		}
		for e := range journal {
			if journal[e].ReceivedAt.After(at) {
				break
			}
			past.AddEntry(entry(&journal[e]))
		}
		for p := range positions {
			past.AddPosition(position(&positions[p]))
		}
		if moves[i] != nil {
			past.AddMove(*moves[i])
		}
		if state, err := past.Show(pair); err == nil { // else nothing was known, or is any more
			counts[i] = &state.UnreadCount
		}
	}
	return counts, nil
}

// PositionsAt gives the number of a group's last message at each of some moments, which come in order; nil
// where nothing was known, or what was known has been dropped from the journal.
func (r *Reader) PositionsAt(ctx context.Context, groupID string, moments []time.Time) (numbers []*int64, err error) {
	var moves []*readstate.Entry
	var now readstate.GroupPosition
	var dropped time.Time
	err = r.read(ctx, func(ctx context.Context, reads *pool) error {
		return pgx.BeginTxFunc(ctx, reads, snapshot, func(tx pgx.Tx) error {
			until, err := r.queries.GetDroppedUntil(ctx, tx)
			if err != nil {
				return err
			}
			dropped = moment(until)
			positions, err := r.queries.ListPositions(ctx, tx, []string{groupID})
			if err != nil {
				return err
			}
			if len(positions) > 0 {
				now = position(&positions[0])
			}
			moves, err = r.movesOfGroup(ctx, tx, groupID, moments)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list positions at some moments: %w", translate(err))
	}
	numbers = make([]*int64, len(moves))
	for i, move := range moves {
		number := now.Number()
		if move != nil {
			number = move.Checkpoint.Number()
		}
		if number > 0 && !moments[i].Before(dropped) {
			numbers[i] = &number
		}
	}
	return numbers, nil
}

// JournalRows lists rows of the journal of a user, a group or a pair, of all kinds, the newest first.
func (r *Reader) JournalRows(ctx context.Context, h readstate.History) (list []readstate.Entry, err error) {
	p := db.ListEventsByUserParams{
		UserID: h.UserID, OnlyGroupID: optional(h.GroupID), FromAt: bound(h.From), ToAt: bound(h.To), MaxRows: h.Limit,
	}
	if before := h.Before; !before.At.IsZero() {
		p.BeforeAt, p.BeforeID = &before.At, identity(before.ID)
		// Days are left out by a bound of received_at alone.
		if end := before.At.Add(time.Microsecond); h.To.IsZero() || end.Before(h.To) {
			p.ToAt = &end
		}
	}
	var rows []db.Journal
	err = r.read(ctx, func(ctx context.Context, reads *pool) error {
		if h.UserID != "" {
			rows, err = r.queries.ListEventsByUser(ctx, reads, p)
			return err
		}
		rows, err = r.queries.ListEventsByGroup(ctx, reads, db.ListEventsByGroupParams{
			GroupID: h.GroupID, FromAt: p.FromAt, ToAt: p.ToAt, BeforeAt: p.BeforeAt, BeforeID: p.BeforeID, MaxRows: p.MaxRows,
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list rows of the journal: %w", translate(err))
	}
	return entries(rows), nil
}

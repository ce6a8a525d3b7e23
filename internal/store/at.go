package store

import (
	"context"
	"fmt"
	"math"
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
		if list[i].UpdatedAt.After(badge.UpdatedAt) {
			badge.UpdatedAt = list[i].UpdatedAt
		}
	}
	return badge, nil
}

// pastSettings keeps the plan of a question about a moment, which names every day of
// the journal several times: making it takes longer than executing it.
const pastSettings = "SET LOCAL plan_cache_mode = force_generic_plan"

// statesAt gives the states of one pair, or of all groups of a user where no group is
// named.
func (r *Reader) statesAt(ctx context.Context, of readstate.Pair, at time.Time) (list []readstate.State, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	var rows []db.ListStatesAtRow
	err = pgx.BeginTxFunc(ctx, r.reads, options, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, pastSettings); err != nil {
			return err
		}
		rows, err = r.queries.ListStatesAt(ctx, tx, db.ListStatesAtParams{UserID: of.UserID, GroupID: of.GroupID, At: at})
		return err
	})
	switch {
	case err != nil:
		return nil, translate(err)
	case len(rows) == 0:
		return nil, readstate.ErrUnknown
	}
	list = make([]readstate.State, len(rows))
	for i, row := range rows {
		if row.Gone { // a sum without it would be wrong
			return nil, readstate.ErrGone
		}
		list[i] = readstate.State{
			Pair:        readstate.Pair{UserID: of.UserID, GroupID: row.GroupID},
			UnreadCount: row.UnreadCount, ContentType: row.ContentType, LastReadAt: row.LastReadAt.UTC(),
			Source: readstate.Source(row.Source), UpdatedAt: row.UpdatedAt.UTC(),
		}
	}
	return list, nil
}

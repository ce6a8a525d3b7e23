package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"readmark/db"
	"readmark/internal/readstate"
)

// SeedChecks has everybody and every group compared with OpenIM that is not yet,
// spread over the given time.
func (s *Store) SeedChecks(ctx context.Context, spread time.Duration) error {
	err := s.besideErasures(ctx, func(tx pgx.Tx) error {
		return s.queries.SeedChecks(ctx, tx, db.SeedChecksParams{Moment: s.now().UTC(), SpreadSeconds: spread.Seconds()})
	})
	if err != nil {
		return fmt.Errorf("seed checks: %w", translate(err))
	}
	return nil
}

// TakeChecks takes up to limit users and groups (pairs without the other ID) whose
// comparison is due; each is due again an interval later.
func (s *Store) TakeChecks(ctx context.Context, limit int32, interval time.Duration) ([]readstate.Pair, error) {
	now := s.now().UTC()
	rows, err := s.queries.TakeChecks(ctx, s.pool, db.TakeChecksParams{
		NextAt: now.Add(interval), Moment: now, MaxRows: limit,
	})
	if err != nil {
		return nil, fmt.Errorf("take checks: %w", translate(err))
	}
	pairs := make([]readstate.Pair, len(rows))
	for i, row := range rows {
		pairs[i] = readstate.Pair{UserID: row.UserID, GroupID: row.GroupID}
	}
	return pairs, nil
}

// SaveCheck keeps what a comparison of a user has found, unless nothing is known of the
// user any more.
func (s *Store) SaveCheck(ctx context.Context, subject readstate.Pair, d readstate.Difference, interval time.Duration) error {
	now := s.now().UTC()
	err := s.besideErasures(ctx, func(tx pgx.Tx) error {
		return s.queries.SaveCheck(ctx, tx, db.SaveCheckParams{
			UserID: subject.UserID, GroupID: subject.GroupID, DueAt: now.Add(interval), CheckedAt: now,
			Pairs: d.Pairs, PairsOff: d.Off, Repaired: d.Repaired, LargestDifference: d.Largest,
		})
	})
	if err != nil {
		return fmt.Errorf("save check: %w", translate(err))
	}
	return nil
}

// Drift sums the newest comparison of each user up.
func (r *Reader) Drift(ctx context.Context) (readstate.Drift, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	var row db.SumChecksRow
	err := pgx.BeginFunc(ctx, r.reads, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "SET LOCAL enable_seqscan = on") // it is about all rows
		if err == nil {
			row, err = r.queries.SumChecks(ctx, tx)
		}
		return err
	})
	if err != nil {
		return readstate.Drift{}, fmt.Errorf("sum checks: %w", translate(err))
	}
	return readstate.Drift{
		Difference: readstate.Difference{
			Pairs: row.Pairs, Off: row.PairsOff, Repaired: row.Repaired, Largest: row.LargestDifference,
		},
		Users: row.Users, UsersChecked: row.UsersChecked,
		OldestCheckAt: moment(row.OldestCheckAt), NewestCheckAt: moment(row.NewestCheckAt),
	}, nil
}

// KnownUsers lists up to limit users that something is known of, in key order after
// the given one.
func (s *Store) KnownUsers(ctx context.Context, after string, limit int32) ([]string, error) {
	users, err := s.queries.ListKnownUsers(ctx, s.pool, db.ListKnownUsersParams{AfterUserID: after, MaxRows: limit})
	if err != nil {
		return nil, fmt.Errorf("list known users: %w", translate(err))
	}
	return users, nil
}

// KnownGroups lists up to limit groups that something is known of, in key order
// after the given one.
func (s *Store) KnownGroups(ctx context.Context, after string, limit int32) ([]string, error) {
	groups, err := s.queries.ListKnownGroups(ctx, s.pool, db.ListKnownGroupsParams{AfterGroupID: after, MaxRows: limit})
	if err != nil {
		return nil, fmt.Errorf("list known groups: %w", translate(err))
	}
	return groups, nil
}

// ReadStates gives what is stored of a user in all groups (no GroupID) or in one.
func (s *Store) ReadStates(ctx context.Context, pair readstate.Pair) ([]readstate.ReadState, error) {
	rows, err := s.queries.ListReadStatesOfUser(ctx, s.pool, db.ListReadStatesOfUserParams{
		UserID: pair.UserID, OnlyGroupID: optional(pair.GroupID),
	})
	if err != nil {
		return nil, fmt.Errorf("list read states: %w", translate(err))
	}
	states := make([]readstate.ReadState, len(rows))
	for i := range rows {
		states[i] = readState(&rows[i])
	}
	return states, nil
}

// GroupPositions gives the positions of groups, by group ID, as far as they are known.
func (s *Store) GroupPositions(ctx context.Context, groupIDs []string) (map[string]readstate.GroupPosition, error) {
	rows, err := s.queries.ListPositions(ctx, s.pool, groupIDs)
	if err != nil {
		return nil, fmt.Errorf("list positions: %w", translate(err))
	}
	positions := make(map[string]readstate.GroupPosition, len(rows))
	for i := range rows {
		positions[rows[i].GroupID] = position(&rows[i])
	}
	return positions, nil
}

// Dismissed reports whether a group is known to have been dismissed.
func (s *Store) Dismissed(ctx context.Context, groupID string) (bool, error) {
	dismissed, err := s.queries.IsDismissed(ctx, s.pool, groupID)
	if err != nil {
		return false, fmt.Errorf("ask dismissal: %w", translate(err))
	}
	return dismissed, nil
}

// CallbackStat says how often a callback has been taken, by all processes.
type CallbackStat struct {
	Command, Dialect string
	Count            int64
	FirstAt, LastAt  time.Time
}

// AddCallbackStats adds what a process has counted.
func (s *Store) AddCallbackStats(ctx context.Context, list []CallbackStat) error {
	for _, h := range list {
		err := s.queries.AddCallbackStat(ctx, s.pool, db.AddCallbackStatParams{
			Command: h.Command, Dialect: h.Dialect, Callbacks: h.Count, FirstAt: h.FirstAt, LastAt: h.LastAt,
		})
		if err != nil {
			return fmt.Errorf("add callback stats: %w", translate(err))
		}
	}
	return nil
}

// CallbackStats lists what has been counted.
func (s *Store) CallbackStats(ctx context.Context) ([]CallbackStat, error) {
	rows, err := s.queries.ListCallbackStats(ctx, s.pool)
	if err != nil {
		return nil, fmt.Errorf("list callback stats: %w", translate(err))
	}
	list := make([]CallbackStat, len(rows))
	for i, row := range rows {
		list[i] = CallbackStat{row.Command, row.Dialect, row.Callbacks, row.FirstAt.UTC(), row.LastAt.UTC()}
	}
	return list, nil
}

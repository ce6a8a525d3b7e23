package store

import (
	"context"
	"fmt"
	"slices"
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
// comparison is due; each is due again an interval later, and at once where the answer of an
// earlier call was lost. It blocks for 2 s at most, also when the context ends.
func (s *Store) TakeChecks(ctx context.Context, limit int32, interval time.Duration) ([]readstate.Pair, error) {
	now := s.recordedAt()
	p := db.TakeChecksParams{NextAt: now.Add(interval), Moment: now, MaxRows: limit}
	var rows []db.TakeChecksRow
	err := s.untoldChecks.take(ctx, p.NextAt, func(ctx context.Context, marks []time.Time) error {
		return s.queries.ReleaseUntoldChecks(ctx, s.pool, db.ReleaseUntoldChecksParams{Moment: now, Marks: marks})
	}, func(ctx context.Context) (err error) {
		rows, err = s.queries.TakeChecks(ctx, s.pool, p)
		return err
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

// SaveCheck keeps what a comparison of a user has found, and in place of what was listed
// before, the first [readstate.MaxOff] pairs that stay off; nothing, when nothing is known of
// the user any more.
func (s *Store) SaveCheck(ctx context.Context, subject readstate.Pair, d readstate.Difference, interval time.Duration) error {
	now := s.now().UTC()
	err := s.besideErasures(ctx, func(tx pgx.Tx) error {
		// The row of the check has two comparisons of a user wait for each other.
		saved, err := s.queries.SaveCheck(ctx, tx, db.SaveCheckParams{
			UserID: subject.UserID, GroupID: subject.GroupID, DueAt: now.Add(interval), CheckedAt: now,
			Pairs: d.Pairs, PairsOff: d.Off, Repaired: d.Repaired, LargestDifference: d.Largest,
		})
		if err != nil || saved == 0 {
			return err
		}
		if err := s.queries.ClearDrifts(ctx, tx, subject.UserID); err != nil || len(d.Left) == 0 {
			return err
		}
		return s.saveDrifts(ctx, tx, subject.UserID, d.Left[:min(len(d.Left), readstate.MaxOff)])
	})
	if err != nil {
		return fmt.Errorf("save check: %w", translate(err))
	}
	return nil
}

// saveDrifts lists pairs of a user, but for those of groups that were erased meanwhile.
func (s *Store) saveDrifts(ctx context.Context, tx pgx.Tx, userID string, list []readstate.Off) error {
	pairs := make([]readstate.Pair, len(list))
	for i := range list {
		pairs[i] = list[i].Pair
	}
	trusted, err := s.filterTrusted(ctx, tx, pairs)
	if err != nil {
		return err
	}
	p := db.SaveDriftsParams{UserID: userID}
	for i := range list {
		off := &list[i]
		if !slices.Contains(trusted, off.Pair) {
			continue
		}
		p.GroupIDs = append(p.GroupIDs, off.GroupID)
		p.UnreadCounts = append(p.UnreadCounts, when(off.Known, off.UnreadCount))
		p.OpenimUnreadCounts = append(p.OpenimUnreadCounts, off.Want)
		p.Reasons = append(p.Reasons, string(off.Reason))
		p.CheckedAts = append(p.CheckedAts, off.At)
	}
	return s.queries.SaveDrifts(ctx, tx, p)
}

// Drift sums the newest comparison of each user up, and lists what stayed off: the first
// [readstate.MaxOff] pairs, the newest comparison first.
func (r *Reader) Drift(ctx context.Context) (readstate.Drift, error) {
	var sums db.SumChecksRow
	var rows []db.Drift
	err := r.read(ctx, func(ctx context.Context, reads *pool) error {
		return pgx.BeginTxFunc(ctx, reads, snapshot, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "SET LOCAL enable_seqscan = on") // it is about all rows
			if err != nil {
				return err
			}
			if sums, err = r.queries.SumChecks(ctx, tx); err != nil {
				return err
			}
			rows, err = r.queries.ListDrifts(ctx, tx, readstate.MaxOff)
			return err
		})
	})
	if err != nil {
		return readstate.Drift{}, fmt.Errorf("sum checks: %w", translate(err))
	}
	return readstate.Drift{
		Difference: readstate.Difference{
			Pairs: sums.Pairs, Off: sums.PairsOff, Repaired: sums.Repaired, Largest: sums.LargestDifference, Left: offPairs(rows),
		},
		Users: sums.Users, UsersChecked: sums.UsersChecked,
		OldestCheckAt: moment(sums.OldestCheckAt), NewestCheckAt: moment(sums.NewestCheckAt),
	}, nil
}

func offPairs(rows []db.Drift) []readstate.Off {
	list := make([]readstate.Off, len(rows))
	for i := range rows {
		row := &rows[i]
		list[i] = readstate.Off{
			Pair: readstate.Pair{UserID: row.UserID, GroupID: row.GroupID}, Known: row.UnreadCount != nil, UnreadCount: value(row.UnreadCount),
			Want: row.OpenimUnreadCount, Reason: readstate.OffReason(row.Reason), At: row.CheckedAt.UTC(),
		}
	}
	return list
}

// CountDrifts counts the pairs that stayed off in the newest comparison of each user, by the
// reason; not more than [readstate.MaxOff] of one user.
func (s *Store) CountDrifts(ctx context.Context) (map[readstate.OffReason]int64, error) {
	rows, err := s.queries.CountDrifts(ctx, s.pool)
	if err != nil {
		return nil, fmt.Errorf("count drifts: %w", translate(err))
	}
	counts := make(map[readstate.OffReason]int64, len(rows))
	for _, row := range rows {
		counts[readstate.OffReason(row.Reason)] = row.Pairs
	}
	return counts, nil
}

// KnownUsers lists up to limit users that something is known of, in key order after
// the given one.
func (s *Store) KnownUsers(ctx context.Context, after string, limit int32) ([]string, error) {
	users, err := s.listUserIDs(ctx, s.pool, db.ListUserIDsParams{AfterUserID: after, ToUserID: endOf(""), MaxRows: int64(limit)})
	if err != nil {
		return nil, fmt.Errorf("list known users: %w", translate(err))
	}
	return users, nil
}

// KnownGroups lists up to limit groups that something is known of, in key order
// after the given one.
func (s *Store) KnownGroups(ctx context.Context, after string, limit int32) ([]string, error) {
	groups, err := s.listGroupIDs(ctx, s.pool, after, int64(limit))
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

// CallbackStat says how often a callback has been taken, by all processes.
type CallbackStat struct {
	Command, Dialect string
	Count            int64
	FirstAt, LastAt  time.Time
}

// AddCallbackStats adds what a process has counted, by the machine's clock.
func (s *Store) AddCallbackStats(ctx context.Context, list []CallbackStat) error {
	offset := s.clock.Offset()
	for _, h := range list {
		err := s.queries.AddCallbackStat(ctx, s.pool, db.AddCallbackStatParams{
			Command: h.Command, Dialect: h.Dialect, Callbacks: h.Count, FirstAt: h.FirstAt.Add(offset), LastAt: h.LastAt.Add(offset),
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

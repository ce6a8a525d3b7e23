package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"readmark/db"
	"readmark/internal/readstate"
)

// addPositions queues adding rows to lock, for groups that have none yet. Like what follows, it does so group by group on Citus, in
// one order, see queries/position.sql.
func (s *Store) addPositions(ctx context.Context, queue db.DBTX, groups []string) error {
	onCitus, err := s.pool.onCitus(ctx)
	if err != nil {
		return err
	}
	if !onCitus {
		return s.queries.AddPositions(ctx, queue, groups)
	}
	for _, groupID := range slices.Sorted(slices.Values(groups)) {
		err = errors.Join(err, s.queries.AddPosition(ctx, queue, groupID))
	}
	return err
}

// lockPositions queues locking the positions of groups, all in one order, and passes them. Nothing is passed of a group that has none.
func (s *Store) lockPositions(ctx context.Context, queue *pipeline, groups []string, found func(readstate.GroupPosition)) error {
	pass := func(rows []db.Position, err error) error {
		for i := range rows {
			found(position(&rows[i]))
		}
		return err
	}
	onCitus, err := s.pool.onCitus(ctx)
	if err != nil {
		return err
	}
	if !onCitus {
		queue.ask(func(conn db.DBTX) error { return pass(s.queries.LockPositions(ctx, conn, groups)) })
		return nil
	}
	for _, groupID := range slices.Sorted(slices.Values(groups)) {
		queue.ask(func(conn db.DBTX) error { return pass(s.queries.LockPosition(ctx, conn, groupID)) })
	}
	return nil
}

// savePositions queues writing positions that are locked.
func (s *Store) savePositions(ctx context.Context, queue db.DBTX, positions []readstate.GroupPosition) error {
	if len(positions) == 0 {
		return nil
	}
	onCitus, err := s.pool.onCitus(ctx)
	if err != nil {
		return err
	}
	p := positionParams(positions)
	if !onCitus {
		return s.queries.SavePositions(ctx, queue, p)
	}
	for i, groupID := range p.GroupIDs {
		err = errors.Join(err, s.queries.SavePosition(ctx, queue, db.SavePositionParams{
			GroupID: groupID, MaxSeq: p.MaxSeqs[i], MaxSeqTime: p.MaxSeqTimes[i], Unsequenced: p.Unsequenced[i],
			UnsequencedSince: p.UnsequencedSinces[i], UnsequencedAt: p.UnsequencedAts[i], BaseSeq: p.BaseSeqs[i], SeqGapAt: p.SeqGapAts[i],
			DoubtedAt: p.DoubtedAts[i], RestartedAt: p.RestartedAts[i], RestartedFrom: p.RestartedFroms[i], DismissedAt: p.DismissedAts[i],
			MovedAt: p.MovedAts[i], UpdatedAt: p.UpdatedAts[i],
		}))
	}
	return err
}

// dismissal gives when a group was dismissed, nil where it was not: who has not joined since is no member.
func (r *Reader) dismissal(ctx context.Context, conn db.DBTX, groupID string) (*time.Time, error) {
	rows, err := r.queries.ListPositions(ctx, conn, []string{groupID})
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[0].DismissedAt, nil
}

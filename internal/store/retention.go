package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"readmark/db"
)

const (
	// retireAttempts is how often one step is tried when a lock is not given.
	retireAttempts = 3
	// changesMarkedFor is how long rows of changes are marked as dropped before they are.
	changesMarkedFor = time.Minute
	// rejectionBatch is how many rejected callbacks one statement deletes.
	rejectionBatch = 10_000
	// unlockTimeout bounds giving the lock back, also when the caller has ended.
	unlockTimeout = 5 * time.Second
)

// Retention is how long things are kept. What is not above zero sets no bound.
type Retention struct {
	Journal       time.Duration // age of a receipt; only whole days go
	Changes       time.Duration // age of a change; only whole days go
	Rejections    time.Duration // age of a rejected callback
	MaxRejections int64         // how many rejected callbacks are kept, the newest ones
}

// Retired is what a call of [Store.Retire] did.
type Retired struct {
	Ran        bool     // false: another replica is at it
	Days       []string // the partitions that were dropped
	Rejections int64    // how many rejected callbacks were deleted
}

// Retire drops the days of the journal and of changes that lie wholly before what is kept, and
// deletes rejected callbacks beyond their bounds. Ingest does not wait for it:
// every lock that could stand in its way is waited for for two seconds at most,
// and the next call goes on where this one gave up. What one partition refuses
// does not keep the others. One replica at a time works, the others return at
// once.
func (s *Store) Retire(ctx context.Context, keep Retention) (result Retired, err error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return Retired{}, fmt.Errorf("retire: %w", translate(err))
	}
	defer conn.Release()
	err = conn.QueryRow(ctx, fmt.Sprintf("SELECT pg_try_advisory_lock(%d)", int64(retentionLock))).Scan(&result.Ran)
	if err != nil {
		return result, fmt.Errorf("lock retention: %w", translate(err))
	}
	if !result.Ran {
		return result, nil
	}
	defer stopRetiring(ctx, conn)
	if _, err := conn.Exec(ctx, "SET lock_timeout = '"+lockTimeout+"'"); err != nil {
		return result, fmt.Errorf("set lock timeout: %w", translate(err))
	}
	now := s.now()
	var errs []error
	if keep.Journal > 0 {
		limit := now.Add(-keep.Journal)
		errs = append(errs, s.detachBefore(ctx, conn, journalTable, limit))
		result.Days, err = journalTable.dropBefore(ctx, conn, limit)
		errs = append(errs, err)
	}
	if err := s.queries.ForgetOtherServersChanges(ctx, conn); err != nil {
		errs = append(errs, fmt.Errorf("forget changes of another server: %w", translate(err)))
	}
	if keep.Changes > 0 {
		dropped, err := s.retireChanges(ctx, conn, now, now.Add(-keep.Changes))
		result.Days = append(result.Days, dropped...)
		errs = append(errs, err)
	}
	result.Rejections, err = s.trimRejections(ctx, conn, now, keep)
	return result, errors.Join(append(errs, err)...)
}

// stopRetiring gives the lock and the setting back; a connection that does not
// answer is closed, and its lock goes with it.
func stopRetiring(ctx context.Context, conn *pgxpool.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
	defer cancel()
	_, err := conn.Exec(ctx, fmt.Sprintf("RESET lock_timeout; SELECT pg_advisory_unlock(%d)", int64(retentionLock)))
	if err != nil {
		_ = conn.Conn().Close(ctx)
	}
}

// detachBefore takes the days that end before the limit, or at it, out of a table. A detach that was begun comes first: PostgreSQL begins no other one
// before it is ended.
func (s *Store) detachBefore(ctx context.Context, conn *pgxpool.Conn, t dayTable, limit time.Time) error {
	list, err := t.partitions(ctx, conn, "")
	if err != nil {
		return fmt.Errorf("list partitions: %w", translate(err))
	}
	var errs []error
	for _, p := range list {
		if p.state == detached || p.end().After(limit) {
			continue
		}
		err := retryOnLockTimeout(func() error {
			if t == journalTable { // first: whoever misses a row must know
				if err := s.queries.SetDroppedUntil(ctx, conn, p.end()); err != nil {
					return err
				}
			}
			return t.detach(ctx, conn, p.name)
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("detach partition %s: %w", p.name, translate(err)))
		}
		if hasState(err, stateLockNotAvailable) || conn.Conn().IsClosed() {
			break // all others would wait for the same transaction
		}
	}
	return errors.Join(errs...)
}

// retireChanges drops the days of changes that end before the limit. Readers compare the mark of
// what is dropped with what they have seen, so it is set some time before.
func (s *Store) retireChanges(ctx context.Context, conn *pgxpool.Conn, now, limit time.Time) (dropped []string, err error) {
	markedAt, err := s.queries.MarkChangesDropped(ctx, conn, db.MarkChangesDroppedParams{
		DroppedUntil: day(limit), MarkedAt: now,
	})
	switch {
	case errors.Is(err, pgx.ErrNoRows): // there are none
	case err != nil:
		return nil, fmt.Errorf("mark changes as dropped: %w", translate(err))
	case now.Sub(moment(markedAt)) < changesMarkedFor:
		return nil, nil // what is marked now is dropped by a later call
	}
	err = s.detachBefore(ctx, conn, changesTable, limit)
	dropped, dropErr := changesTable.dropBefore(ctx, conn, limit)
	return dropped, errors.Join(err, dropErr)
}

// detach goes on from where an attempt before has ended.
func (t dayTable) detach(ctx context.Context, conn *pgxpool.Conn, name string) error {
	state, err := t.stateOf(ctx, conn, name)
	if err != nil {
		return err
	}
	statement := "ALTER TABLE " + string(t) + " DETACH PARTITION " + pgx.Identifier{name}.Sanitize()
	switch state {
	case attached:
		_, err = conn.Exec(ctx, statement+" CONCURRENTLY")
	case detaching:
		_, err = conn.Exec(ctx, statement+" FINALIZE")
	default: // done
	}
	return err
}

// dropBefore drops the days that end before the limit, or at it, and are no
// part of their table any more: what detachBefore left, now or before a crash.
func (t dayTable) dropBefore(ctx context.Context, conn *pgxpool.Conn, limit time.Time) (dropped []string, err error) {
	list, err := t.partitions(ctx, conn, "")
	if err != nil {
		return nil, fmt.Errorf("list partitions: %w", translate(err))
	}
	var errs []error
	for _, p := range list {
		if p.state != detached || p.end().After(limit) {
			continue
		}
		var done bool
		err := retryOnLockTimeout(func() error {
			return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) (err error) {
				done, err = t.drop(ctx, tx, p.name)
				return err
			})
		})
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("drop partition %s: %w", p.name, translate(err)))
		case done:
			dropped = append(dropped, p.name)
		}
	}
	return dropped, errors.Join(errs...)
}

// drop leaves the table alone when a late receipt has made it a partition
// again.
func (t dayTable) drop(ctx context.Context, tx pgx.Tx, name string) (done bool, err error) {
	if err := lockPartitions(ctx, tx); err != nil {
		return false, err
	}
	state, err := t.stateOf(ctx, tx, name)
	if err != nil || state != detached {
		return false, err
	}
	_, err = tx.Exec(ctx, "DROP TABLE "+pgx.Identifier{name}.Sanitize())
	return err == nil, err
}

// retryOnLockTimeout tries again what did not get its lock in time.
func retryOnLockTimeout(step func() error) (err error) {
	for range retireAttempts {
		if err = step(); !hasState(err, stateLockNotAvailable) {
			break
		}
	}
	return err
}

// trimRejections deletes rejected callbacks up to the later of both bounds, the
// oldest first.
func (s *Store) trimRejections(ctx context.Context, tx db.DBTX, now time.Time, keep Retention) (deleted int64, err error) {
	var bound db.DeleteRejectionsParams
	raise := func(receivedAt time.Time, id pgtype.UUID, err error) error {
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		// The zero time lies before every row. Rows of one moment have one
		// bound each; the larger one includes the other.
		if err == nil && (receivedAt.After(bound.ReceivedAt) ||
			receivedAt.Equal(bound.ReceivedAt) && string(id.Bytes[:]) > string(bound.ID.Bytes[:])) {
			bound.ReceivedAt, bound.ID = receivedAt, id
		}
		return err
	}
	if keep.Rejections > 0 {
		row, err := s.queries.NewestRejectionBefore(ctx, tx, now.Add(-keep.Rejections))
		if err := raise(row.ReceivedAt, row.ID, err); err != nil {
			return 0, fmt.Errorf("find old rejections: %w", translate(err))
		}
	}
	if keep.MaxRejections > 0 {
		row, err := s.queries.NewestRejectionBeyond(ctx, tx, keep.MaxRejections)
		if err := raise(row.ReceivedAt, row.ID, err); err != nil {
			return 0, fmt.Errorf("find excess rejections: %w", translate(err))
		}
	}
	if bound.ReceivedAt.IsZero() {
		return 0, nil
	}
	bound.MaxRows = rejectionBatch
	for {
		n, err := s.queries.DeleteRejections(ctx, tx, bound)
		deleted += n
		if err != nil {
			return deleted, fmt.Errorf("delete rejections: %w", translate(err))
		}
		if n < rejectionBatch {
			return deleted, nil
		}
	}
}

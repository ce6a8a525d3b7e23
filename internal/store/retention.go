package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"readmark/db"
	"readmark/internal/readstate"
)

const (
	// longestLease is above any lease and what clocks may differ by: one that ends later was given by
	// a clock that was wrong, and counts no more.
	longestLease = time.Hour
	// retireAttempts is how often one step is tried when a lock is not given.
	retireAttempts = 3
	// changesMarkedFor is how long rows of changes are marked as dropped before they are.
	changesMarkedFor = time.Minute
	// rejectionBatch is how many rejected callbacks one statement deletes.
	rejectionBatch = 10_000
	// retirementLease is how long a process that has ended keeps others from going on, and more
	// than one step takes. releaseTimeout bounds giving the lease back, also when the caller has
	// ended.
	retirementLease = 5 * time.Minute
	releaseTimeout  = 5 * time.Second
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
// deletes rejected callbacks beyond their bounds. Ingest does not wait for it: every lock that
// could stand in its way is waited for for two seconds at most, and the next call goes on where
// this one gave up. What one partition refuses does not keep the others. One replica at a time
// works, the others return at once; should it end in the middle, another one may begin some
// minutes later.
func (s *Store) Retire(ctx context.Context, keep Retention) (result Retired, err error) {
	r := retirement{Store: s, holder: identity(readstate.ID(uuid.New()))}
	err = r.lease(ctx)
	if errors.Is(err, errLeased) {
		return result, nil
	} else if err != nil {
		return result, fmt.Errorf("lease retention: %w", translate(err))
	}
	result.Ran = true
	defer r.release(ctx)
	// A clock that is ahead, this machine's or the database's, must not drop anything.
	now := s.clock.Earlier()
	var errs []error
	if keep.Journal > 0 {
		limit := now.Add(-keep.Journal)
		errs = append(errs, r.detachBefore(ctx, journalTable, limit))
		result.Days, err = r.dropBefore(ctx, journalTable, limit)
		errs = append(errs, err)
	}
	if err := s.queries.ForgetOtherServersChanges(ctx, s.pool); err != nil {
		errs = append(errs, fmt.Errorf("forget changes of another server: %w", translate(err)))
	}
	if keep.Changes > 0 {
		dropped, err := r.retireChanges(ctx, s.now(), now.Add(-keep.Changes))
		result.Days = append(result.Days, dropped...)
		errs = append(errs, err)
	}
	result.Rejections, err = s.trimRejections(ctx, s.pool, now, keep)
	errs = append(errs, err)
	if keep.Journal > 0 {
		if err := s.queries.DropRestamps(ctx, s.pool, now.Add(-keep.Journal)); err != nil {
			errs = append(errs, fmt.Errorf("forget restamped events: %w", translate(err)))
		}
	}
	return result, errors.Join(errs...)
}

// retirement is a call of Retire.
type retirement struct {
	*Store
	holder pgtype.UUID
}

// errLeased says that another process drops what is old.
var errLeased = errors.New("another process has the lease")

// lease takes the lease, or keeps it for another while.
func (r *retirement) lease(ctx context.Context) error {
	now := r.now().UTC()
	rows, err := r.queries.LeaseRetention(ctx, r.pool, db.LeaseRetentionParams{
		LeasedBy: r.holder, LeasedUntil: now.Add(retirementLease), Longest: now.Add(longestLease), Moment: now,
	})
	if err == nil && rows == 0 {
		err = errLeased
	}
	return err
}

// release gives the lease back; where the database does not answer, it ends by itself.
func (r *retirement) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	if err := r.queries.ReleaseRetention(ctx, r.pool, r.holder); err != nil {
		r.logger.DebugContext(ctx, "lease of retention not given back", "error", translate(err))
	}
}

// detachBefore takes the days that end before the limit, or at it, out of a table. A detach that
// was begun comes first: PostgreSQL begins no other one before it is ended.
func (r *retirement) detachBefore(ctx context.Context, t dayTable, limit time.Time) error {
	list, err := t.partitions(ctx, r.pool, "")
	if err != nil {
		return fmt.Errorf("list partitions: %w", translate(err))
	}
	var errs []error
	for _, p := range list {
		if p.state == detached || p.end().After(limit) {
			continue
		}
		err := retryOnLockTimeout(func() error {
			if err := r.lease(ctx); err != nil {
				return err
			}
			if t == journalTable { // first: whoever misses a row must know
				if err := r.queries.SetDroppedUntil(ctx, r.pool, p.end()); err != nil {
					return err
				}
			}
			return t.detach(ctx, r.pool, p.name)
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("detach partition %s: %w", p.name, translate(err)))
		}
		if hasState(err, stateLockNotAvailable) || errors.Is(err, errLeased) {
			break // all others would wait for the same transaction
		}
	}
	return errors.Join(errs...)
}

// retireChanges drops the days of changes that end before the limit. Readers compare the mark of
// what is dropped with what they have seen, so it is set some time before.
func (r *retirement) retireChanges(ctx context.Context, now, limit time.Time) (dropped []string, err error) {
	markedAt, err := r.queries.MarkChangesDropped(ctx, r.pool, db.MarkChangesDroppedParams{
		DroppedUntil: day(limit), MarkedAt: now,
	})
	switch {
	case errors.Is(err, pgx.ErrNoRows): // there are none
	case err != nil:
		return nil, fmt.Errorf("mark changes as dropped: %w", translate(err))
	case now.Sub(moment(markedAt)) < changesMarkedFor:
		return nil, nil // what is marked now is dropped by a later call
	}
	err = r.detachBefore(ctx, changesTable, limit)
	dropped, dropErr := r.dropBefore(ctx, changesTable, limit)
	return dropped, errors.Join(err, dropErr)
}

// detach goes on from where an attempt before has ended.
func (t dayTable) detach(ctx context.Context, conn *pool, name string) error {
	state, err := t.stateOf(ctx, conn, name)
	if err != nil {
		return err
	}
	statement := "ALTER TABLE " + string(t) + " DETACH PARTITION " + pgx.Identifier{name}.Sanitize()
	if onCitus, err := conn.onCitus(ctx); err != nil {
		return err
	} else if onCitus && state == attached && t == journalTable {
		return detachOnCitus(ctx, conn, statement)
	}
	switch state {
	case attached: // in no transaction, which could have a lock_timeout
		err = conn.execAlone(ctx, statement+" CONCURRENTLY", lockTimeout)
	case detaching:
		err = conn.execAlone(ctx, statement+" FINALIZE", lockTimeout)
	default: // done
	}
	return err
}

// detachTimeout is how long a detach on Citus waits for its lock. Writers queue behind it, so it is less than the time
// after which callbacks go to the spool.
const detachTimeout = 500 * time.Millisecond

// detachOnCitus runs a detach under a lock: Citus does not do it concurrently.
func detachOnCitus(ctx context.Context, conn *pool, statement string) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if err := lockPartitions(ctx, tx); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL lock_timeout = %d", detachTimeout.Milliseconds())); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, statement)
		return err
	})
}

// dropBefore drops the days that end before the limit, or at it, and are no part of their table
// any more: what detachBefore left, now or before a crash.
func (r *retirement) dropBefore(ctx context.Context, t dayTable, limit time.Time) (dropped []string, err error) {
	list, err := t.partitions(ctx, r.pool, "")
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
			if err := r.lease(ctx); err != nil {
				return err
			}
			return pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) (err error) {
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

package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"readmark/internal/readstate"
)

// lockTimings are the intervals of the migration lock.
type lockTimings struct {
	try    time.Duration // between attempts to take it
	keep   time.Duration // between signs of life of its holder
	expiry time.Duration // how long PostgreSQL keeps it for a holder that gives no sign
	waits  waitTimings
}

func defaultLockTimings() lockTimings {
	return lockTimings{try: 250 * time.Millisecond, keep: time.Second, expiry: 30 * time.Second, waits: defaultWaitTimings()}
}

// migrateUnlockTimeout bounds giving the lock back, also when the caller has ended.
const migrateUnlockTimeout = 5 * time.Second

var errLockLost = fmt.Errorf("%w: the connection that holds the migration lock was lost", readstate.ErrUnavailable)

// alone runs what at most one process at a time may do, and waits for its turn as long as the
// context lasts, saying who is at it.
//
// The lock is a transaction's, not a session's: a pooler in transaction mode keeps a connection
// for a transaction, and the lock ends with it, whatever happens to its holder. When the holder
// is killed PostgreSQL ends the transaction at once; when its machine vanishes, after
// lockTimings.expiry without a sign of life. A holder that cannot give one stops its work.
func (m *Migrator) alone(ctx context.Context, work func(ctx context.Context) error) error {
	tx, err := m.lock(ctx)
	if err != nil {
		return err
	}
	ctx, lose := context.WithCancelCause(ctx)
	kept := make(chan struct{})
	keeping, stop := context.WithCancel(ctx)
	go func() {
		defer close(kept)
		if err := m.keep(keeping, tx); err != nil && keeping.Err() == nil {
			lose(fmt.Errorf("%w: %w", errLockLost, err))
		}
	}()
	err = work(ctx)
	if lost := context.Cause(ctx); errors.Is(lost, errLockLost) {
		err = errors.Join(lost, err)
	}
	stop()
	<-kept
	lose(nil)
	// What was done is committed already; a rollback that fails ends the connection, and the lock with it.
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), migrateUnlockTimeout)
	defer cancel()
	_ = tx.Rollback(ending)
	return err
}

// lock takes the migration lock in a transaction of its own.
func (m *Migrator) lock(ctx context.Context) (pgx.Tx, error) {
	notices := newWaitNotices(m.timings.waits, m.logger, "waiting for another process that migrates")
	for {
		tx, err := m.tryLock(ctx)
		if err != nil || tx != nil {
			return tx, err
		}
		holders, err := listHolders(ctx, m.pool, migrateLock)
		if err != nil {
			return nil, err
		}
		notices.see(ctx, holders)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(m.timings.try):
		}
	}
}

// tryLock gives nil when somebody else holds the lock.
func (m *Migrator) tryLock(ctx context.Context) (_ pgx.Tx, err error) {
	tx, err := m.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
	if err != nil {
		return nil, err
	}
	var locked bool
	defer func() {
		if !locked {
			err = errors.Join(err, tx.Rollback(context.WithoutCancel(ctx)))
		}
	}()
	// transaction_timeout is there since PostgreSQL 17.
	_, err = tx.Exec(ctx, fmt.Sprintf(`SET LOCAL idle_in_transaction_session_timeout = %d; SET LOCAL statement_timeout = 0;
		SELECT set_config('transaction_timeout', '0', true) FROM pg_settings WHERE name = 'transaction_timeout'`,
		m.timings.expiry.Milliseconds()))
	if err != nil {
		return nil, err
	}
	err = tx.QueryRow(ctx, fmt.Sprintf("SELECT pg_try_advisory_xact_lock(%d)", int64(migrateLock))).Scan(&locked)
	if err != nil || !locked {
		return nil, err
	}
	return tx, nil
}

// keep gives signs of life on the connection that holds the lock, and says for what the one that
// migrates waits.
func (m *Migrator) keep(ctx context.Context, tx pgx.Tx) error {
	ticker := time.NewTicker(m.timings.keep)
	defer ticker.Stop()
	notices := newWaitNotices(m.timings.waits, m.logger, "migrating waits for a lock")
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		// The transaction would go on seeing the activity as it was when it asked first.
		if _, err := tx.Exec(ctx, "SELECT pg_stat_clear_snapshot()"); err != nil {
			return err
		}
		blockers, err := listBlockers(ctx, tx)
		if err != nil {
			return err
		}
		notices.see(ctx, blockers)
	}
}

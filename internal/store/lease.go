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

// workLease is how long a process that has ended keeps others from its work.
const workLease = 30 * time.Second

// leasedWork is work that one process of all does, in steps. Each step is a transaction that renews the lease, so
// that nothing comes of what is done by a process that has lost it. Held is the row that has the lease.
type leasedWork[Held any] struct {
	*Store
	what        string // it is, in errors and the log
	holder      pgtype.UUID
	at          func() time.Time // by which the lease goes
	leasedUntil time.Time
	lease       leaseQueries[Held]
	// forgotten drops what is kept of the work in memory: what is stored counts.
	forgotten func()
}

// leaseQueries are the queries about a lease.
type leaseQueries[Held any] struct {
	take    func(ctx context.Context, conn db.DBTX, p db.LeaseRemindersParams) (int64, error)
	hold    func(ctx context.Context, conn db.DBTX, p db.HoldRemindersParams) (Held, error)
	release func(ctx context.Context, conn db.DBTX, holder pgtype.UUID) error
}

func newLeasedWork[Held any](s *Store, what string, now func() time.Time, queries leaseQueries[Held]) leasedWork[Held] {
	return leasedWork[Held]{Store: s, what: what, holder: identity(readstate.ID(uuid.New())), at: now, lease: queries}
}

// Lease has this process be the one that does the work, and reports whether it is. A lease is renewed when half of it
// is over; a step fails that has none.
func (w *leasedWork[Held]) Lease(ctx context.Context) (bool, error) {
	now := w.at().UTC()
	if left := w.leasedUntil.Sub(now); left > workLease/2 && left <= workLease {
		return true, nil
	}
	until := now.Add(workLease)
	rows, err := w.lease.take(ctx, w.pool, db.LeaseRemindersParams{
		LeasedBy: w.holder, LeasedUntil: until, Moment: now, Longest: now.Add(longestLease),
	})
	if err != nil {
		return false, fmt.Errorf("lease %s: %w", w.what, translate(err))
	}
	if rows == 0 {
		w.forget()
		return false, nil
	}
	w.leasedUntil = until
	return true, nil
}

// forget has everything be read anew.
func (w *leasedWork[Held]) forget() {
	w.leasedUntil = time.Time{}
	w.forgotten()
}

// Release gives the lease back.
func (w *leasedWork[Held]) Release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	w.forget()
	if err := w.lease.release(ctx, w.pool, w.holder); err != nil {
		w.logger.DebugContext(ctx, "lease not given back", "of", w.what, "error", translate(err))
	}
}

// step runs a transaction of the process that has the lease, which no erasure comes between, and no other process
// before its end. It fails with [readstate.ErrLeaseTaken] where another process has the lease.
func (w *leasedWork[Held]) step(ctx context.Context, what string, do func(tx pgx.Tx, held *Held) error) error {
	until := w.at().UTC().Add(workLease)
	err := w.withToday(ctx, func() error {
		return w.besideErasures(ctx, func(tx pgx.Tx) error {
			held, err := w.lease.hold(ctx, tx, db.HoldRemindersParams{LeasedBy: w.holder, LeasedUntil: until})
			if errors.Is(err, pgx.ErrNoRows) {
				return readstate.ErrLeaseTaken
			}
			if err != nil {
				return err
			}
			return do(tx, &held)
		})
	})
	switch {
	case err == nil:
		w.leasedUntil = until
		return nil
	case errors.Is(err, readstate.ErrLeaseTaken):
		w.forget()
		return err
	default:
		w.forget()
		return fmt.Errorf("%s: %w", what, translate(err))
	}
}

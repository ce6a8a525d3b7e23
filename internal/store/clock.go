package store

import (
	"context"
	"fmt"
	"time"

	"readmark/db"
	"readmark/internal/dbclock"
)

// Clock is the database's clock, by which all that is stored is dated. It is measured with
// each new connection of the pool of writes, so after a failover at once, and by
// [Store.MeasureClock].
func (s *Store) Clock() *dbclock.Clock { return s.clock }

// UseClock replaces the clock; before the store is used.
func (s *Store) UseClock(clock *dbclock.Clock) { s.clock = clock }

// now is the time by which all that is stored is dated.
func (s *Store) now() time.Time { return s.clock.Now() }

// MeasureClock compares the clock with the database's, on one connection.
func (s *Store) MeasureClock(ctx context.Context) error {
	conn, err := s.pool.acquire(ctx)
	if err != nil {
		return fmt.Errorf("measure clock: %w", translate(err))
	}
	defer conn.Release()
	if err := s.measureClock(ctx, conn); err != nil {
		return fmt.Errorf("measure clock: %w", translate(err))
	}
	return nil
}

// measureClock is called with every new connection of the pool of writes, so that nothing is
// ever written by a clock that was not measured. It does not wait for long: who waits for the
// connection does.
func (s *Store) measureClock(ctx context.Context, conn db.DBTX) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	return s.clock.Measure(ctx, func(ctx context.Context) (time.Time, error) { return s.queries.GetTime(ctx, conn) })
}

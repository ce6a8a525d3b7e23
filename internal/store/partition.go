package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// daysAhead is how many days beyond today have their partition made.
const daysAhead = 7

// partitionLock is the advisory lock that makers of partitions take, so that
// replicas do not race.
const partitionLock = 0x726d_6a64_6179 // "rmjday"

// MakeDaysAhead makes the journal's partitions from yesterday to a week ahead,
// as far as they are missing. It never waits long for a lock that ingest
// holds; the next call makes what this one could not.
func (s *Store) MakeDaysAhead(ctx context.Context) error {
	today := day(s.now())
	days := make([]time.Time, 0, daysAhead+2)
	for offset := -1; offset <= daysAhead; offset++ {
		days = append(days, today.AddDate(0, 0, offset))
	}
	return s.makeDays(ctx, days)
}

// day is the UTC midnight at which the partition of a moment begins.
func day(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

func partitionName(day time.Time) string { return "journal_" + day.Format("20060102") }

// makeDays makes each day in a transaction of its own: CREATE TABLE … LIKE and
// ATTACH, which, unlike CREATE … PARTITION OF, do not lock out writers.
func (s *Store) makeDays(ctx context.Context, days []time.Time) error {
	var errs []error
	for _, d := range days {
		err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return makeDay(ctx, tx, d) })
		if err != nil && !hasState(err, stateDuplicateTable) {
			errs = append(errs, fmt.Errorf("make partition %s: %w", partitionName(d), translate(err)))
		}
	}
	return errors.Join(errs...)
}

func makeDay(ctx context.Context, tx pgx.Tx, d time.Time) error {
	const layout = "2006-01-02 15:04:05-07"
	name := pgx.Identifier{partitionName(d)}.Sanitize()
	var exists bool
	// to_regclass looks along the search path, as CREATE TABLE does.
	if err := tx.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", partitionName(d)).Scan(&exists); err != nil {
		return err
	}
	if exists {
		return nil
	}
	statements := []string{
		"SET LOCAL lock_timeout = '2s'",
		fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", int64(partitionLock)),
		fmt.Sprintf("CREATE TABLE %s (LIKE journal INCLUDING ALL)", name),
		fmt.Sprintf("ALTER TABLE journal ATTACH PARTITION %s FOR VALUES FROM ('%s') TO ('%s')",
			name, d.Format(layout), d.AddDate(0, 0, 1).Format(layout)),
	}
	for _, statement := range statements {
		if _, err := tx.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"readmark/db"
	"readmark/internal/readstate"
)

// daysAhead is how many days beyond today have their partition of the journal made. Of changes
// it is one: each poll looks into all of them.
const daysAhead = 7

// lockTimeout is how long making and dropping partitions waits for a lock:
// whoever comes after it in the queue waits as long.
const lockTimeout = 2 * time.Second

// dayTable is a table that is partitioned by UTC day.
type dayTable string

const (
	journalTable dayTable = "journal"
	changesTable dayTable = "changes"
)

func dayTables() []dayTable { return []dayTable{journalTable, changesTable} }

// partition gives the name of a day's partition.
func (t dayTable) partition(day time.Time) string { return string(t) + "_" + day.Format(dayLayout) }

// dayLayout ends the names of partitions.
const dayLayout = "20060102"

// MakeDaysAhead makes the partitions of the journal from yesterday to a week ahead, and those of
// changes for today and tomorrow, as far as they are missing. It never waits long for a lock that ingest
// holds; the next call makes what this one could not. Where the role may not make any, the error is a
// [DaysError] when those that somebody else has made end soon.
func (s *Store) MakeDaysAhead(ctx context.Context) error {
	today := day(s.now())
	err := errors.Join(
		s.makeDays(ctx, journalTable, daysBetween(today.AddDate(0, 0, -1), today.AddDate(0, 0, daysAhead))),
		s.makeDays(ctx, changesTable, daysBetween(today, today.AddDate(0, 0, 1))))
	if errors.Is(err, ErrMayNotMakeDays) {
		return s.checkDaysAhead(ctx)
	}
	return err
}

// MakeDays makes the partitions of all days from one to another, as far as they are missing: for
// a serve whose role may not make them.
func (s *Store) MakeDays(ctx context.Context, from, until time.Time) error {
	days := daysBetween(day(from), day(until))
	return errors.Join(s.makeDays(ctx, journalTable, days), s.makeDays(ctx, changesTable, daysBetween(day(s.now()), day(until))))
}

func daysBetween(first, last time.Time) (days []time.Time) {
	for d := first; !d.After(last); d = d.AddDate(0, 0, 1) {
		days = append(days, d)
	}
	return days
}

// ErrMayNotMakeDays says that the role may not make partitions: whoever owns the tables has to.
var ErrMayNotMakeDays = errors.New("the role may not make partitions: run readmark partitions as the owner of the tables")

// DaysError says that partitions end soon, and that the role may not make more. It is an
// [ErrMayNotMakeDays].
type DaysError struct {
	Until time.Time // end of the last day that is made
}

// Error implements error.
func (e *DaysError) Error() string {
	return fmt.Sprintf("partitions are made until %s only: %v, at least daily", e.Until.Format("2006-01-02 15:04Z07:00"), ErrMayNotMakeDays)
}

// Unwrap implements what errors.Is asks.
func (e *DaysError) Unwrap() error { return ErrMayNotMakeDays }

// DaysLeft is for how much time, at least, days have to be there when the role may not make them.
const DaysLeft = 24 * time.Hour

func (s *Store) checkDaysAhead(ctx context.Context) error {
	until, err := s.DaysUntil(ctx)
	if err != nil {
		return err
	}
	if until.Sub(s.now()) < DaysLeft {
		return &DaysError{Until: until}
	}
	return nil
}

// DaysUntil gives the moment until when days are made from today on, today's beginning when today
// itself is not.
func (s *Store) DaysUntil(ctx context.Context) (until time.Time, err error) {
	for _, table := range dayTables() {
		list, err := table.partitions(ctx, s.pool, "")
		if err != nil {
			return until, fmt.Errorf("list partitions: %w", translate(err))
		}
		end := day(s.now())
		for made := true; made; {
			made = slices.ContainsFunc(list, func(p partition) bool { return p.state == attached && p.day.Equal(end) })
			if made {
				end = end.AddDate(0, 0, 1)
			}
		}
		if until.IsZero() || end.Before(until) {
			until = end
		}
	}
	return until, nil
}

// day is the UTC midnight at which the partition of a moment begins.
func day(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// makeDays makes each day in a transaction of its own: CREATE TABLE … LIKE and
// ATTACH, which, unlike CREATE … PARTITION OF, do not lock out writers.
func (s *Store) makeDays(ctx context.Context, table dayTable, days []time.Time) error {
	var errs []error
	for _, d := range days {
		err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return table.makeDay(ctx, tx, d) })
		if hasState(err, statePermission) { // so for all others
			return fmt.Errorf("make partition %s: %w: %w", table.partition(d), ErrMayNotMakeDays, translate(err))
		}
		if err != nil && !hasState(err, stateDuplicateTable) {
			errs = append(errs, fmt.Errorf("make partition %s: %w", table.partition(d), translate(err)))
		}
	}
	return errors.Join(errs...)
}

// withDays writes, and where a day of the journal, or today's changes, have no partition, makes
// them and writes once more.
func (s *Store) withDays(ctx context.Context, days []time.Time, write func() error) error {
	err := write()
	if !noPartition(err) {
		return err
	}
	makeErr := errors.Join(s.makeDays(ctx, journalTable, days), s.makeDays(ctx, changesTable, []time.Time{day(s.now())}))
	if makeErr != nil {
		return fmt.Errorf("%w: %w", readstate.ErrUnavailable, errors.Join(err, makeErr))
	}
	return write()
}

// withToday is withDays for what writes no events.
func (s *Store) withToday(ctx context.Context, write func() error) error {
	return s.withDays(ctx, nil, write)
}

// makeDay makes a day's partition, and attaches one that retention has detached
// and not yet dropped: a late receipt must find its day.
func (t dayTable) makeDay(ctx context.Context, tx pgx.Tx, d time.Time) error {
	const layout = "2006-01-02 15:04:05-07"
	state, err := t.stateOf(ctx, tx, t.partition(d))
	if err != nil || state == attached {
		return err
	}
	if err := lockPartitions(ctx, tx); err != nil {
		return err
	}
	// Another maker or retention may have been faster.
	if state, err = t.stateOf(ctx, tx, t.partition(d)); err != nil || state == attached {
		return err
	}
	name := pgx.Identifier{t.partition(d)}.Sanitize()
	var statements []string
	switch state {
	case absent:
		statements = append(statements, fmt.Sprintf("CREATE TABLE %s (LIKE %s INCLUDING ALL)", name, t))
	case detaching: // waits, within the lock timeout, for transactions that may still see the partition
		statements = append(statements, fmt.Sprintf("ALTER TABLE %s DETACH PARTITION %s FINALIZE", t, name))
	default: // there, and not attached
	}
	statements = append(statements, fmt.Sprintf("ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM ('%s') TO ('%s')",
		t, name, d.Format(layout), d.AddDate(0, 0, 1).Format(layout)))
	for _, statement := range statements {
		if _, err := tx.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return t.grantAlike(ctx, tx, t.partition(d))
}

// grantAlike gives a partition the privileges of its table: today's is written to by its name, and
// who makes it may not be who has been granted the default privileges.
func (t dayTable) grantAlike(ctx context.Context, tx pgx.Tx, name string) error {
	rows, err := tx.Query(ctx, `
		SELECT format('GRANT %s ON %I TO %s', string_agg(a.privilege_type, ', '), $2::text,
			CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
		FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS a
		WHERE c.oid = to_regclass($1::text) AND a.grantee NOT IN (c.relowner, (SELECT p.relowner FROM pg_class AS p WHERE p.oid = to_regclass(quote_ident($2::text))))
		GROUP BY a.grantee`, string(t), name)
	if err != nil {
		return err
	}
	grants, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, grant := range grants {
		if _, err := tx.Exec(ctx, grant); err != nil {
			return err
		}
	}
	return nil
}

// lockPartitions keeps other makers and droppers of partitions off until the
// transaction ends.
func lockPartitions(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL lock_timeout = %d; SELECT pg_advisory_xact_lock(%d)",
		lockTimeout.Milliseconds(), int64(partitionLock)))
	return err
}

// tableState says how a day's table stands to the partitioned one.
type tableState int

const (
	absent    tableState = iota // no such table
	attached                    // a partition
	detaching                   // a detach has begun and not ended: neither written to nor read
	detached                    // a table of its own
)

// partition is the table of a day.
type partition struct {
	name  string
	day   time.Time
	state tableState
	rows  float64 // PostgreSQL's estimate; -1 when unknown
}

// end is where the day ends and the next begins.
func (p *partition) end() time.Time { return p.day.AddDate(0, 0, 1) }

// partitions lists the tables of days, those that are being detached first; the
// one of a name when a name is given.
func (t dayTable) partitions(ctx context.Context, tx db.DBTX, name string) ([]partition, error) {
	rows, err := tx.Query(ctx, `
		SELECT c.relname, i.inhrelid IS NOT NULL, coalesce(i.inhdetachpending, false),
			CASE WHEN c.reltuples < 0 AND pg_relation_size(c.oid) = 0 THEN 0 ELSE c.reltuples END::float8
		FROM pg_class AS c
		JOIN pg_namespace AS n ON n.oid = c.relnamespace
		LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid AND i.inhparent = to_regclass($2::text)
		WHERE n.nspname = current_schema() AND c.relkind = 'r'
			AND (i.inhrelid IS NOT NULL OR NOT c.relispartition)
			AND c.relname ~ ('^' || $2 || '_[0-9]{8}$') AND ($1 = '' OR c.relname = $1)
		ORDER BY 3 DESC, 1`, name, string(t))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []partition
	for rows.Next() {
		p := partition{state: detached}
		var inherits, pending bool
		if err := rows.Scan(&p.name, &inherits, &pending, &p.rows); err != nil {
			return nil, err
		}
		switch {
		case pending:
			p.state = detaching
		case inherits:
			p.state = attached
		}
		if p.day, err = time.Parse(string(t)+"_"+dayLayout, p.name); err == nil { // else it only looks like a day
			list = append(list, p)
		}
	}
	return list, rows.Err()
}

func (t dayTable) stateOf(ctx context.Context, tx db.DBTX, name string) (tableState, error) {
	list, err := t.partitions(ctx, tx, name)
	if err != nil || len(list) == 0 {
		return absent, err
	}
	return list[0].state, nil
}

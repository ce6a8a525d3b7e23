// Package store keeps events, read states and positions in PostgreSQL: it owns the
// connection pool, turns rows into domain values and database errors into
// domain errors, and migrates the schema.
package store

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/trace"

	"readmark/db"
	"readmark/internal/dbclock"
	"readmark/internal/readstate"
)

// minVersion is the oldest PostgreSQL that Readmark runs on.
const minVersion = 150000

// Store is a pool of connections to one database. It is safe for concurrent
// use.
type Store struct {
	*Reader

	pool   *pool // of writes and housekeeping
	reads  *pool // reads that hang must not keep receipts from a connection
	logger *slog.Logger
	clock  *dbclock.Clock
	today  atomic.Pointer[today]
	// feedHistory is that of the server that changes were read from last.
	feedHistory atomic.Pointer[feedHistory]
	// untoldLeases are of lookups, untoldChecks of checks.
	untoldLeases, untoldChecks untold
	// looks counts calls of RestampFutureEvents.
	looks atomic.Int64
	// canLookUp: OpenIM's REST API can be asked.
	canLookUp bool
	onChange  func(*readstate.Change) // see OnChange; nil: nobody asks
	// lateRows is how many rows of the journal are applied anew at once, after an event
	// that comes late. It bounds memory.
	lateRows int
	waits    waitTimings
	tracing  trace.TracerProvider // see Options
}

// Options is what a Store works with.
type Options struct {
	URL string // of PostgreSQL
	// CurrentURL gives the URL at the time of connecting, whose password may have changed; nil: it
	// stays the same.
	CurrentURL func() (string, error)
	// MaxConns bounds the connections, at least 2; 0: 10.
	MaxConns int32
	// Tracing has statements be spans within the traces of those who wait for them; nil: nothing is
	// traced. Parameters of statements are in no span.
	Tracing trace.TracerProvider
	Logger  *slog.Logger
}

// defaultMaxConns is the number of connections where Options say none.
const defaultMaxConns = 10

// Open prepares connections to a database; it does not connect. Close releases them.
func Open(options Options) (*Store, error) {
	total := cmp.Or(options.MaxConns, defaultMaxConns)
	writes := max(1, total*2/5)
	o := poolOptions{url: options.URL, current: options.CurrentURL, size: writes, primary: true, tracing: options.Tracing}
	s := &Store{
		logger: options.Logger, clock: dbclock.New(dbclock.System()), lateRows: lateRows, waits: defaultWaitTimings(),
		tracing: options.Tracing,
	}
	o.admit = func(ctx context.Context, conn *pgx.Conn) error { return s.measureClock(ctx, conn) }
	pool, err := newPool(&o)
	if err != nil {
		return nil, err
	}
	o.size, o.admit = total-writes, nil
	reads, err := newPool(&o)
	if err != nil {
		pool.Close()
		return nil, err
	}
	pool.other, reads.other = reads, pool
	s.Reader, s.pool, s.reads = newReader(primary{reads}, options.Tracing), pool, reads
	return s, nil
}

// read asks a question as the read API does: within the read timeout, and once more where that may help.
func (s *Store) read(ctx context.Context, ask func(ctx context.Context) error) error {
	return s.source.ask(ctx, nil, func(ctx context.Context, _ *pool) error { return ask(ctx) })
}

// retry asks a question once more where that may help.
func (s *Store) retry(ctx context.Context, ask func() error) error { return s.reads.retry(ctx, ask) }

// EnableLookups has events ask for lookups at OpenIM also where they tell a count,
// because there is somebody who answers them. It must be called before the first Commit.
func (s *Store) EnableLookups() { s.canLookUp = true }

// Disconnect closes the connections, those in use when they come back. New ones are made when
// they are needed.
func (s *Store) Disconnect() {
	s.reads.Reset()
	s.pool.Reset()
}

// Close waits for the connections in use to come back and closes all.
func (s *Store) Close() {
	s.reads.Close()
	s.pool.Close()
}

// Check reaches the database and reports whether Readmark can run on it: its
// version, and how far its clock is from the machine's (positive: the database is
// ahead).
func (s *Store) Check(ctx context.Context) (version string, skew time.Duration, err error) {
	row, err := s.queries.ServerVersion(ctx, s.pool)
	if err != nil {
		return "", 0, fmt.Errorf("ask server version: %w", translate(err))
	}
	if err := s.MeasureClock(ctx); err != nil {
		return row.Version, 0, err
	}
	return row.Version, s.clock.Offset(), nil
}

// NewestArrival gives the later of now and the newest arrival in the journal: where a
// process's arrivals begin, so that a clock set back harms nothing. An arrival that lies
// further ahead than [readstate.MaxAhead] is from a clock that was wrong, and does not count:
// see [Store.RestampFutureEvents].
func (s *Store) NewestArrival(ctx context.Context) (time.Time, error) {
	now := s.now()
	newest, err := s.queries.NewestArrivalBetween(ctx, s.pool, db.NewestArrivalBetweenParams{
		Now: now, Latest: now.Add(readstate.MaxAhead),
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("ask newest arrival: %w", translate(err))
	}
	return newest.UTC(), nil
}

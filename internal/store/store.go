// Package store keeps events, read states and positions in PostgreSQL: it owns the
// connection pool, turns rows into domain values and database errors into
// domain errors, and migrates the schema.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"readmark/internal/readstate"
)

// minVersion is the oldest PostgreSQL that Readmark runs on.
const minVersion = 150000

// Store is a pool of connections to one database. It is safe for concurrent
// use.
type Store struct {
	*Reader // on a pool of its own

	pool   *pgxpool.Pool // of writes and housekeeping
	url    string
	logger *slog.Logger
	now    func() time.Time
	today  atomic.Pointer[today]
	// canLookUp: OpenIM's REST API can be asked.
	canLookUp bool
	onChange  func(*readstate.Change) // see OnChange; nil: nobody asks
	// lateRows is how many rows of the journal are applied anew at once, after an event
	// that comes late. It bounds memory.
	lateRows int
}

// Open prepares a pool for a PostgreSQL URL (or keyword/value string); it does
// not connect. Close releases it.
func Open(url string, logger *slog.Logger) (*Store, error) {
	config, err := poolConfig(url)
	if err != nil {
		return nil, err
	}
	reads := config.Copy()
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return nil, fmt.Errorf("prepare pool: %w", err)
	}
	readPool, err := pgxpool.NewWithConfig(context.Background(), reads)
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("prepare pool: %w", err)
	}
	return &Store{Reader: newReader(readPool), pool: pool, url: url, logger: logger, now: time.Now, lateRows: lateRows}, nil
}

func poolConfig(url string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		// pgx's message may quote the connection string: keep it out.
		return nil, errors.New("database URL cannot be parsed")
	}
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = "readmark"
	}
	config.ConnConfig.RuntimeParams["timezone"] = "UTC"
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	config.AfterConnect = leadByIndexes
	return config, nil
}

// leadByIndexes has statements led by indexes, since all but a few are about few rows.
// PostgreSQL takes a table that was empty when it looked last for one that is read at
// once, and would read what has come into it meanwhile for every row of the answer.
// Compiling takes longer than executing.
func leadByIndexes(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, conn.Config().ConnectTimeout)
	defer cancel()
	_, err := conn.Exec(ctx, "SET enable_seqscan = off; SET jit = off")
	return err
}

// EnableLookups has events ask for lookups at OpenIM also where they tell a count,
// because there is somebody who answers them. It must be called before the first Commit.
func (s *Store) EnableLookups() { s.canLookUp = true }

// Close waits for the connections in use to come back and closes all.
func (s *Store) Close() {
	s.reads.Close()
	s.pool.Close()
}

// Check reaches the database and reports whether Readmark can run on it: its
// version, and how far its clock is from ours (positive: the database is
// ahead).
func (s *Store) Check(ctx context.Context) (version string, skew time.Duration, err error) {
	before := s.now()
	row, err := s.queries.ServerVersion(ctx, s.pool)
	if err != nil {
		return "", 0, fmt.Errorf("ask server version: %w", translate(err))
	}
	if row.VersionNum < minVersion {
		return row.Version, 0, fmt.Errorf("PostgreSQL %s is too old: 15 or newer is needed", row.Version)
	}
	after := s.now()
	return row.Version, row.Clock.Sub(before.Add(after.Sub(before) / 2)), nil
}

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.pool.Ping(ctx); err != nil {
		return fmt.Errorf("ping database: %w", translate(err))
	}
	return nil
}

// NewestArrival gives the later of the moment and the newest arrival in the
// journal: where a process's arrival clock starts, so that a clock set back
// harms nothing.
func (s *Store) NewestArrival(ctx context.Context, moment time.Time) (time.Time, error) {
	newest, err := s.queries.NewestArrivalAfter(ctx, s.pool, moment)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask newest arrival: %w", translate(err))
	}
	return newest.UTC(), nil
}

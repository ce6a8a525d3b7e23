package store

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"readmark/db"
	"readmark/internal/readstate"
	"readmark/migrations"
)

// EraseLock is the number of a lock that tests hold.
const EraseLock = int64(eraseLock)

// FeedRows and FeedKeys bound pages of the feed.
const (
	FeedRows = feedRows
	FeedKeys = feedKeys
)

// FoundEvents is how many events one question for the newest looks at.
const FoundEvents = foundEvents

// Cut gives a snapshot between two.
func Cut(since, until *readstate.Snapshot, xid uint64) readstate.Snapshot {
	return cut(since, until, xid)
}

// PrefixEnd gives a text behind all that begin with a prefix.
func PrefixEnd(prefix string) string { return prefixEnd(prefix) }

// MigrateLock is the number of a lock that tests hold.
const MigrateLock = int64(migrateLock)

// SetWaits has waits told after a time, and again after as long.
func (s *Store) SetWaits(after time.Duration) { s.waits = waitTimings{after, after, time.Millisecond} }

// SetTimings has waits told after a time, and again after as long, and the lock of a holder that gives no
// sign of life expire.
func (m *Migrator) SetTimings(after, expiry time.Duration) {
	m.timings = lockTimings{try: time.Millisecond, keep: 10 * time.Millisecond, expiry: expiry, waits: waitTimings{after, after, time.Millisecond}}
}

// DefaultWaits gives when waits are told.
func DefaultWaits() (first, again time.Duration) {
	timings := defaultWaitTimings()
	return timings.first, timings.again
}

// HoldLock takes the migration lock and gives no sign of life; release gives it back.
func (m *Migrator) HoldLock(ctx context.Context) (release func(), err error) {
	tx, err := m.lock(ctx)
	if err != nil {
		return nil, err
	}
	return func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }, nil
}

// ApplyVersion applies one migration as the plain goose CLI does.
func (m *Migrator) ApplyVersion(ctx context.Context, version int64) error {
	return m.withGoose(func(provider *goose.Provider) error {
		_, err := provider.ApplyVersion(ctx, version, true)
		return err
	})
}

// MakeVersionTable makes goose's own table and nothing else.
func (m *Migrator) MakeVersionTable(ctx context.Context) error {
	return m.withGoose(func(provider *goose.Provider) error {
		_, err := provider.GetDBVersion(ctx)
		return err
	})
}

func (m *Migrator) withGoose(use func(*goose.Provider) error) (err error) {
	database := stdlib.OpenDBFromPool(m.pool.Pool)
	defer func() { err = errors.Join(err, database.Close()) }()
	provider, err := goose.NewProvider(goose.DialectPostgres, database, migrations.FS, goose.WithSlog(slog.New(slog.DiscardHandler)))
	if err != nil {
		return err
	}
	return use(provider)
}

// Objects lists what is in the schema public.
func (m *Migrator) Objects(ctx context.Context) (map[string]string, error) {
	return listObjects(ctx, m.pool, "public", nil)
}

// SchemaObjects is what the binary knows of them.
func SchemaObjects() string { return schemaObjects }

// SetLateRows sets how many rows are applied anew at once after a late event. It must be
// called before the first Commit.
func (s *Store) SetLateRows(n int) { s.lateRows = n }

// InsertState writes a state as it is.
func (s *Store) InsertState(ctx context.Context, conn db.DBTX, state readstate.ReadState) error {
	return s.queries.SaveStates(ctx, conn, stateParams([]readstate.ReadState{state}))
}

// InsertPosition writes a position as it is.
func (s *Store) InsertPosition(ctx context.Context, conn db.DBTX, position readstate.GroupPosition) error {
	if err := s.queries.AddPositions(ctx, conn, []string{position.GroupID}); err != nil {
		return err
	}
	return s.queries.SavePositions(ctx, conn, positionParams([]readstate.GroupPosition{position}))
}

// ListStates reads what is served of a pair.
func (s *Store) ListStates(ctx context.Context, conn db.DBTX, pair readstate.Pair) ([]readstate.State, error) {
	rows, err := s.queries.ListStatesByPairs(ctx, conn, db.ListStatesByPairsParams{UserIDs: []string{pair.UserID}, GroupIDs: []string{pair.GroupID}})
	return states(rows), err
}

// Load reads the state and the position of a pair as they are.
func (s *Store) Load(ctx context.Context, conn db.DBTX, pair readstate.Pair) (readstate.ReadState, readstate.GroupPosition, error) {
	states, err := s.queries.ListReadStates(ctx, conn, db.ListReadStatesParams{UserIDs: []string{pair.UserID}, GroupIDs: []string{pair.GroupID}})
	if err != nil {
		return readstate.ReadState{}, readstate.GroupPosition{}, err
	}
	positions, err := s.queries.ListPositions(ctx, conn, []string{pair.GroupID})
	return readState(&states[0]), position(&positions[0]), err
}

// Settings gives what sessions of writes (or of reads) have, in a transaction.
func (s *Store) Settings(ctx context.Context, reads bool, names ...string) (values []string, err error) {
	pool := s.pool
	if reads {
		pool = s.reads
	}
	err = pool.QueryRow(ctx, "SELECT array_agg(current_setting(name) ORDER BY place) FROM unnest($1::text[]) WITH ORDINALITY AS u (name, place)",
		names).Scan(&values)
	return values, err
}

// SetSummedStates sets how many states one step sums.
func (w *GroupSumWork) SetSummedStates(n int32) { w.states = n }

// AskSlowly asks a question that takes longer than it may.
func (r *Replicas) AskSlowly(ctx context.Context) error {
	return r.ask(ctx, nil, func(ctx context.Context, reads *pool) error {
		_, err := reads.Exec(ctx, "SELECT pg_sleep(60)")
		return err
	})
}

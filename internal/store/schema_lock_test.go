package store_test

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/logtest"
	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

func loggingMigrator(t testing.TB, url string) (*store.Migrator, *logtest.Log) {
	t.Helper()
	book := &logtest.Log{}
	m, err := store.OpenMigrator(url, slog.New(slog.NewJSONHandler(book, nil)))
	require.NoError(t, err)
	t.Cleanup(m.Close)
	m.SetTimings(time.Millisecond, time.Minute)
	return m, book
}

const waitsForMigrator = "waiting for another process that migrates"

func TestDefaultWaits(t *testing.T) {
	t.Parallel()
	first, again := store.DefaultWaits()
	require.Equal(t, []time.Duration{5 * time.Second, 30 * time.Second}, []time.Duration{first, again})
}

// Who waits for another process that migrates says for whom, again and again, and goes on when that
// has ended.
func TestMigratingWaits(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	holder := migrator(t, url)
	release, err := holder.HoldLock(t.Context())
	require.NoError(t, err)
	m, book := loggingMigrator(t, url)
	done := make(chan error, 1)
	go func() {
		_, err := m.Up(t.Context())
		done <- err
	}()
	require.Eventually(t, func() bool { return len(book.Lines(waitsForMigrator)) >= 2 }, time.Minute, time.Millisecond)
	line := book.Lines(waitsForMigrator)[1]
	require.Equal(t, "WARN", line["level"])
	host, err := os.Hostname()
	require.NoError(t, err)
	require.Regexp(t, `^PostgreSQL process \d+ \(readmark migrate, process \d+ on `+host[:min(len(host), 10)]+`.*, role .*, idle in transaction, since 20.*Z\)$`, line["held_by"])
	require.NotEmpty(t, line["waited"])
	require.Empty(t, tables(t, url), "who waits has written nothing")
	release()
	require.NoError(t, <-done)
	require.NotEmpty(t, tables(t, url))
}

// What ends while it waits gives up the wait.
func TestMigratingWaitsNoLongerThanItsContext(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	release, err := migrator(t, url).HoldLock(t.Context())
	require.NoError(t, err)
	defer release()
	m, book := loggingMigrator(t, url)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := m.Up(ctx)
		done <- err
	}()
	require.Eventually(t, func() bool { return len(book.Lines(waitsForMigrator)) > 0 }, time.Minute, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}

// Asking for versions, and migrating where nothing is missing, wait for nobody.
func TestAskingTakesNoLock(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	holder := migrator(t, url)
	release, err := holder.HoldLock(t.Context())
	require.NoError(t, err)
	defer release()
	m, s := migrator(t, url), open(t, url)
	_, err = m.List(t.Context())
	require.NoError(t, err)
	_, err = m.Schema(t.Context())
	require.NoError(t, err)
	_, _, err = s.SchemaVersion(t.Context())
	require.NoError(t, err)
	applied, err := m.Up(t.Context())
	require.NoError(t, err)
	require.Empty(t, applied)
}

// The lock of a holder that vanishes without a word, so that PostgreSQL goes on waiting for it, is
// taken over after its expiry; one that PostgreSQL knows to have ended, at once.
func TestDeadMigratorIsTakenOver(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		expiry time.Duration
		killed bool
	}{"vanished": {time.Second, false}, "killed": {time.Hour, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.Empty(t)
			holder := migrator(t, url)
			holder.SetTimings(time.Hour, c.expiry)
			release, err := holder.HoldLock(t.Context()) // and gives no sign of life
			require.NoError(t, err)
			defer release()
			if c.killed {
				_, err := pgtest.Connect(t, url).Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid::bigint = $1 & 4294967295",
					store.MigrateLock)
				require.NoError(t, err)
			}
			applied, err := migrator(t, url).Up(t.Context())
			require.NoError(t, err)
			require.NotEmpty(t, applied)
		})
	}
}

// dropChanges takes migrations back until there is no table of changes, and gives how many.
func dropChanges(t testing.TB, m *store.Migrator) (undone int) {
	t.Helper()
	all, err := m.List(t.Context())
	require.NoError(t, err)
	for i := len(all) - 1; all[i].Version >= 10; i-- {
		_, err := m.Down(t.Context())
		require.NoError(t, err)
		undone++
	}
	return undone
}

// A migrator whose lock was lost stops, since another one may begin; and one that waits for
// somebody's transaction names it.
func TestLostMigrationLock(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	m, book := loggingMigrator(t, url)
	missing := dropChanges(t, m) // the table that is locked below is altered with it
	other := pgtest.Connect(t, url)
	tx, err := other.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "LOCK TABLE retention IN SHARE MODE")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		_, err := m.Up(t.Context())
		done <- err
	}()
	const waits = "migrating waits for a lock"
	require.Eventually(t, func() bool { return len(book.Lines(waits)) > 0 }, time.Minute, time.Millisecond)
	require.Contains(t, book.Lines(waits)[0]["held_by"], "PostgreSQL process "+dump(t, other, "SELECT pg_backend_pid()::text")[0]+" (")

	_, err = pgtest.Connect(t, url).Exec(t.Context(), "SELECT pg_terminate_backend(l.pid) FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid) "+
		"WHERE l.locktype = 'advisory' AND l.objid::bigint = $1 & 4294967295 AND a.datname = current_database()", store.MigrateLock)
	require.NoError(t, err)
	err = <-done
	require.ErrorIs(t, err, readstate.ErrUnavailable, "it can be tried again")
	require.ErrorContains(t, err, "the connection that holds the migration lock was lost")
	require.NoError(t, tx.Rollback(t.Context()))
	applied, err := m.Up(t.Context())
	require.NoError(t, err)
	require.Len(t, applied, missing, "the one that was cut off was not applied")
}

// Migrating leaves no lock behind in a session, which a pooler gives to somebody else, and no table.
func TestMigratingKeepsNoSession(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	m := migrator(t, url)
	_, err := m.Up(t.Context())
	require.NoError(t, err)
	require.Empty(t, dump(t, pgtest.Connect(t, url), "SELECT l.locktype FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database WHERE l.locktype = 'advisory' AND d.datname = current_database()"))
	require.Empty(t, dump(t, pgtest.Connect(t, url), "SELECT relname::text FROM pg_class WHERE relname ~ 'goose_lock'"))
}

// A start that waits for somebody's transaction says so.
func TestStartTellsWaits(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	book := &logtest.Log{}
	s, err := store.Open(store.Options{URL: url, Logger: slog.New(slog.NewJSONHandler(book, nil))})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	s.SetWaits(time.Millisecond)
	other := pgtest.Connect(t, url)
	tx, err := other.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "LOCK TABLE journal")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		done <- s.TellWaits(t.Context(), func(ctx context.Context) error {
			_, err := s.NewestArrival(ctx)
			return err
		})
	}()
	const waits = "the start waits for a lock in the database"
	require.Eventually(t, func() bool { return len(book.Lines(waits)) > 0 }, time.Minute, time.Millisecond)
	require.Contains(t, book.Lines(waits)[0]["held_by"], "PostgreSQL process "+dump(t, other, "SELECT pg_backend_pid()::text")[0]+" (")
	require.NoError(t, tx.Rollback(t.Context()))
	require.NoError(t, <-done)
}

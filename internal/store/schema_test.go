package store_test

import (
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

func tables(t *testing.T, url string) (names []string) {
	t.Helper()
	rows, err := pgtest.Connect(t, url).Query(t.Context(),
		"SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'i', 'I', 'S') ORDER BY relname")
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var name string
		require.NoError(t, rows.Scan(&name))
		names = append(names, name)
	}
	require.NoError(t, rows.Err())
	return names
}

func migrator(t testing.TB, url string) *store.Migrator {
	t.Helper()
	m, err := store.OpenMigrator(url, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(m.Close)
	return m
}

// Every down takes back exactly what its up made, also with data in it.
func TestMigrateUpAndDown(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	s, m := open(t, url), migrator(t, url)
	ctx := t.Context()

	list, err := m.List(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, list)
	require.False(t, list[0].Applied)
	require.Empty(t, tables(t, url), "nothing is written by asking")

	applied, err := m.Up(ctx)
	require.NoError(t, err)
	require.Len(t, applied, len(list))
	full := tables(t, url)
	current, newest, err := s.SchemaVersion(ctx)
	require.NoError(t, err)
	require.Equal(t, newest, current)
	require.NoError(t, s.MakeDaysAhead(ctx))
	commit(t, s, documented("u", "g", 1, 1))

	for range list {
		undone, err := m.Down(ctx)
		require.NoError(t, err)
		require.NotNil(t, undone)
	}
	undone, err := m.Down(ctx)
	require.NoError(t, err)
	require.Nil(t, undone)
	require.Equal(t, []string{"goose_db_version", "goose_db_version_id_seq", "goose_db_version_pkey"}, tables(t, url))

	_, err = m.Up(ctx)
	require.NoError(t, err)
	require.Equal(t, full, tables(t, url))
	again, err := m.Up(ctx)
	require.NoError(t, err)
	require.Empty(t, again)
}

// Replicas that start together migrate once, and none fails.
func TestMigrateTogether(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	var group sync.WaitGroup
	var mu sync.Mutex
	applied, errs := 0, []error{}
	for range 4 {
		s, m := open(t, url), migrator(t, url)
		group.Go(func() {
			done, err := m.Up(t.Context())
			mu.Lock()
			defer mu.Unlock()
			applied += len(done)
			if err == nil {
				err = s.MakeDaysAhead(t.Context())
			}
			if err != nil {
				errs = append(errs, err)
			}
		})
	}
	group.Wait()
	require.Empty(t, errs)
	list, err := migrator(t, url).List(t.Context())
	require.NoError(t, err)
	require.Equal(t, len(list), applied)
}

// Days are there from yesterday to a week ahead; there is no default partition.
func TestDaysAhead(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	for range 2 {
		require.NoError(t, s.MakeDaysAhead(t.Context()))
	}
	conn := pgtest.Connect(t, url)
	for offset := -1; offset <= 7; offset++ {
		name := "journal_" + time.Now().UTC().AddDate(0, 0, offset).Format("20060102")
		var bound string
		require.NoError(t, conn.QueryRow(t.Context(),
			"SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = $1", name).Scan(&bound), name)
		require.Contains(t, bound, "FOR VALUES FROM")
	}
	var defaults int
	require.NoError(t, conn.QueryRow(t.Context(),
		"SELECT count(*) FROM pg_partitioned_table WHERE partdefid <> 0").Scan(&defaults))
	require.Zero(t, defaults)
}

// A day has every index of the journal, whether it is made ahead or later.
func TestDaysHaveTheJournalsIndexes(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s, conn := open(t, url), pgtest.Connect(t, url)
	require.NoError(t, s.MakeDaysAhead(t.Context()))
	late := documented("u", "g", 1, 0)
	late.At = late.At.AddDate(0, 0, 40)
	commit(t, s, late)
	var indexes, days, missing int
	require.NoError(t, conn.QueryRow(t.Context(), `
		SELECT count(DISTINCT i.indexrelid), count(DISTINCT d.inhrelid), count(*) FILTER (WHERE NOT EXISTS (
			SELECT 1 FROM pg_inherits AS a JOIN pg_index AS of ON of.indexrelid = a.inhrelid
			WHERE a.inhparent = i.indexrelid AND of.indrelid = d.inhrelid AND of.indisvalid))
		FROM pg_index AS i JOIN pg_inherits AS d ON d.inhparent = i.indrelid
		WHERE i.indrelid = 'journal'::regclass`).Scan(&indexes, &days, &missing))
	require.Equal(t, 4, indexes)
	require.GreaterOrEqual(t, days, 9)
	require.Zero(t, missing)
}

// A writer that finds no day makes it: nothing is lost when nobody made days.
func TestWriterMakesMissingDays(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	long := documented("u", "g", 1, 0)
	long.At = time.Date(2020, 2, 29, 23, 59, 59, 999999000, time.UTC)
	ahead := documented("u", "h", 2, 0)
	ahead.At = time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
	commit(t, s, long, ahead)
	require.Equal(t, 2, journalRows(t, url))
	state, err := s.State(t.Context(), readstate.Pair{UserID: "u", GroupID: "g"})
	require.NoError(t, err)
	require.EqualValues(t, 1, state.UnreadCount)
}

// Making a day does not wait for a writer's open transaction.
func TestDayBesideOpenWriter(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	commit(t, s, documented("u", "g", 1, 0))
	tx, err := pgtest.Connect(t, url).Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "INSERT INTO journal SELECT 'x', received_at, id, recorded_at, kind, group_id, unread_count, read_seq, content_type FROM journal")
	require.NoError(t, err)
	other := documented("u", "h", 1, 0)
	other.At = other.At.AddDate(0, 0, 40)
	commit(t, s, other)
	require.NoError(t, tx.Rollback(t.Context()))
}

// What a distributed PostgreSQL asks for: the keys of what is a user's contain user_id and
// lead with it. Every table whose columns say something has its comment.
func TestSchemaRules(t *testing.T) {
	t.Parallel()
	conn := pgtest.Connect(t, pgtest.New(t))
	require.Equal(t, []string{"checks", "drifts", "journal", "lookups", "reminders", "states"}, dump(t, conn, `
		SELECT i.indrelid::regclass::text FROM pg_index AS i
		JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
		WHERE i.indisprimary AND a.attname = 'user_id' AND i.indrelid::regclass::text !~ '^journal_' ORDER BY 1`))
	require.Empty(t, dump(t, conn, `
		SELECT i.indexrelid::regclass::text FROM pg_index AS i
		WHERE i.indisunique AND i.indrelid IN ('states'::regclass, 'journal'::regclass)
		  AND NOT EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = i.indrelid AND a.attnum = i.indkey[0] AND a.attname = 'user_id')`))
	for _, table := range []string{"journal", "positions", "states", "lookups", "checks", "drifts", "replays", "rejected_callbacks", "callback_stats", "openim_tokens"} {
		require.NotEqual(t, []string{""}, dump(t, conn, "SELECT coalesce(obj_description('"+table+"'::regclass), '')"), table)
	}
	require.Empty(t, dump(t, conn, "SELECT conname::text FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace"))
	require.Empty(t, dump(t, conn, "SELECT tgname::text FROM pg_trigger WHERE NOT tgisinternal"))
}

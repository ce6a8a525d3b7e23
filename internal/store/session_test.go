package store_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

// odd is settings that would change what statements mean, or keep them from running.
func odd() map[string]string {
	return map[string]string{
		"client_encoding": "GBK", "datestyle": "SQL, DMY", "intervalstyle": "sql_standard", "timezone": "Asia/Kathmandu",
		"standard_conforming_strings": "off", "bytea_output": "escape", "extra_float_digits": "-15", "array_nulls": "off",
		"transform_null_equals": "on", "default_transaction_isolation": "serializable", "default_transaction_read_only": "on",
		"default_transaction_deferrable": "on", "statement_timeout": "250ms", "lock_timeout": "50ms",
		"idle_in_transaction_session_timeout": "1ms", "synchronous_commit": "off", "enable_seqscan": "on", "jit": "on",
	}
}

// makeOdd has all sessions of a database begin with odd settings.
func makeOdd(t *testing.T, conn *pgx.Conn, settings map[string]string) {
	t.Helper()
	for name, value := range settings {
		_, err := conn.Exec(t.Context(), fmt.Sprintf("ALTER DATABASE %s SET %s = '%s'", conn.Config().Database, name, value))
		if name == "datestyle" { // a list
			_, err = conn.Exec(t.Context(), fmt.Sprintf("ALTER DATABASE %s SET datestyle = SQL, DMY", conn.Config().Database))
		}
		require.NoError(t, err, name)
	}
}

// Whatever a database or a role sets, IDs, times and counts mean the same, and everything works.
func TestOddSettings(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	conn := pgtest.Connect(t, url)
	makeOdd(t, conn, odd())
	s := open(t, url)
	ctx := t.Context()
	users := []string{"李", "用户", "naïve", "user'\\", "💬"}
	var events []readstate.Event
	for i, user := range users {
		events = append(events, documented(user, "群组", int64(i+1), i))
	}
	commit(t, s, events[:1]...) // a statement each
	commit(t, s, events...)     // and lists
	for i, user := range users {
		state, err := s.State(ctx, readstate.Pair{UserID: user, GroupID: "群组"})
		require.NoError(t, err, user)
		require.EqualValues(t, i+1, state.UnreadCount, user)
		require.Equal(t, epoch.Add(time.Duration(i)*time.Microsecond), state.LastReadAt.UTC(), user)
	}
	var stored []string
	require.NoError(t, conn.QueryRow(ctx, "SELECT array_agg(user_id ORDER BY user_id) FROM states").Scan(&stored))
	require.ElementsMatch(t, users, stored)
	require.NoError(t, s.Commit(ctx, message("李", "群组", "m", 7, 100)))
	require.NoError(t, s.Commit(ctx, snapshot("用户", "群组", 7, 3, 200)))
	list, err := s.GroupStates(ctx, "群组", readstate.Page{Limit: 10})
	require.NoError(t, err)
	require.Len(t, list, len(users))
	badge, err := s.Badge(ctx, "用户")
	require.NoError(t, err)
	require.EqualValues(t, 4, badge.UnreadCount)
	_, err = s.StateAt(ctx, readstate.Pair{UserID: "李", GroupID: "群组"}, epoch.Add(time.Second))
	require.NoError(t, err)
	require.NoError(t, s.MakeDaysAhead(ctx))
	result, err := s.Retire(ctx, store.Retention{Journal: 365 * aDay, Changes: aDay})
	require.NoError(t, err)
	require.True(t, result.Ran)
	require.NoError(t, s.ErasePair(ctx, readstate.Pair{UserID: "💬", GroupID: "群组"}))
	_, err = s.State(ctx, readstate.Pair{UserID: "💬", GroupID: "群组"})
	require.ErrorIs(t, err, readstate.ErrUnknown)

	// Time limits are those of the callers.
	tx, err := conn.Begin(ctx)
	require.NoError(t, err)
	_, err = tx.Exec(ctx, "SELECT FROM states WHERE user_id = '李' FOR UPDATE")
	require.NoError(t, err)
	waited := make(chan error, 1)
	go func() {
		waited <- s.Commit(ctx, readstate.Batch{Events: []readstate.Event{documented("李", "群组", 9, 300)}})
	}()
	select {
	case err := <-waited:
		require.Fail(t, "it did not wait", "%v", err)
	case <-time.After(600 * time.Millisecond):
	}
	require.NoError(t, tx.Rollback(ctx))
	require.NoError(t, <-waited)
}

// What is acknowledged is at least on this server's disk, and where the operator wants more, on more.
func TestSynchronousCommit(t *testing.T) {
	t.Parallel()
	for set, has := range map[string]string{"off": "local", "local": "local", "on": "on", "remote_write": "remote_write", "remote_apply": "remote_apply"} {
		t.Run(set, func(t *testing.T) {
			t.Parallel()
			url := pgtest.New(t)
			makeOdd(t, pgtest.Connect(t, url), map[string]string{"synchronous_commit": set})
			values, err := open(t, url).Settings(t.Context(), false, "synchronous_commit")
			require.NoError(t, err)
			require.Equal(t, []string{has}, values)
		})
	}
}

// Acknowledged receipts outlive the server also where transactions are not synced by default.
func TestDurableWithoutSynchronousCommit(t *testing.T) {
	t.Parallel()
	url, kill := pgtest.Own(t)
	conn := pgtest.Connect(t, url)
	makeOdd(t, conn, map[string]string{"synchronous_commit": "off"})
	for _, statement := range []string{"ALTER SYSTEM SET wal_writer_delay = '10s'", "SELECT pg_reload_conf()"} {
		_, err := conn.Exec(t.Context(), statement)
		require.NoError(t, err)
	}
	s := open(t, url)
	const receipts = 200
	for i := range receipts {
		commit(t, s, documented(fmt.Sprint("u", i), "g", 1, i))
	}
	kill()
	var rows int
	require.Eventually(t, func() bool {
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			return false
		}
		defer conn.Close(t.Context())
		return conn.QueryRow(t.Context(), "SELECT count(*) FROM journal").Scan(&rows) == nil
	}, time.Minute, 10*time.Millisecond)
	require.Equal(t, receipts, rows)
}

// A database that cannot hold every ID is refused, in one sentence that says what to do.
func TestOtherEncoding(t *testing.T) {
	t.Parallel()
	conn := pgtest.Connect(t, pgtest.Empty(t))
	for _, encoding := range []string{"SQL_ASCII", "LATIN1"} {
		name := conn.Config().Database + "_" + strings.ToLower(encoding)
		_, err := conn.Exec(t.Context(), "CREATE DATABASE "+name+" ENCODING '"+encoding+"' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
		require.NoError(t, err)
		config := conn.Config().Copy()
		s, err := store.Open(store.Options{
			URL: fmt.Sprintf("postgres://%s:%s@%s:%d/%s", config.User, config.Password, config.Host, config.Port, name), Logger: slog.New(slog.DiscardHandler),
		})
		require.NoError(t, err)
		_, _, err = s.Check(t.Context())
		require.ErrorContains(t, err, `the encoding of database "`+name+`" is `+encoding+`, and Readmark needs UTF8`)
		require.NotErrorIs(t, err, readstate.ErrRetry)
		var unfit *store.UnfitError
		require.ErrorAs(t, err, &unfit)
		s.Close()
		_, err = conn.Exec(t.Context(), "DROP DATABASE "+name+" WITH (FORCE)")
		require.NoError(t, err)
	}
}

// Other clients of a pooler get sessions as they were: nothing is set in them, and no lock is left.
func TestNothingIsLeftInSessions(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	ctx := t.Context()
	for i := range 20 {
		commit(t, s, documented(fmt.Sprint("u", i), "g", 1, i))
		require.NoError(t, s.Commit(ctx, message("u1", "g", fmt.Sprint("m", i), int64(i+1), 100+i)))
		_, err := s.State(ctx, readstate.Pair{UserID: "u1", GroupID: "g"})
		require.NoError(t, err)
		_, _, err = s.Snapshot(ctx, []readstate.Pair{{UserID: "u1", GroupID: "g"}}, []string{"u1"})
		require.NoError(t, err)
	}
	_, err := s.Retire(ctx, store.Retention{Journal: 365 * aDay, Changes: aDay})
	require.NoError(t, err)
	poller := s.Poller()
	defer poller.Close()
	_, err = poller.Poll(ctx, nil, readstate.Load{Users: []string{"u1"}})
	require.NoError(t, err)
	config, err := pgx.ParseConfig(url)
	require.NoError(t, err)
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	other, err := pgx.ConnectConfig(ctx, config)
	require.NoError(t, err)
	defer other.Close(ctx)
	for range 20 { // of any of the pooler's sessions
		var changed []string
		require.NoError(t, other.QueryRow(ctx, "SELECT coalesce(array_agg(name), '{}') FROM pg_settings WHERE source = 'session' "+
			"AND name IN ('enable_seqscan', 'jit', 'synchronous_commit', 'lock_timeout', 'statement_timeout', 'transaction_isolation', 'bytea_output')").
			Scan(&changed))
		require.Empty(t, changed)
		var locks int
		require.NoError(t, other.QueryRow(ctx, "SELECT count(*) FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database "+
			"WHERE l.locktype = 'advisory' AND d.datname = current_database()").Scan(&locks))
		require.Zero(t, locks)
	}
}

package cli_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
)

// pair starts a primary and a standby that has each commit before it is acknowledged.
func pair(t *testing.T) (primary string, standby *pgtest.StandbyServer) {
	t.Helper()
	primary, _ = pgtest.Own(t)
	standby = pgtest.Standby(t, primary)
	conn := pgtest.Connect(t, primary)
	for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"} {
		_, err := conn.Exec(t.Context(), statement)
		require.NoError(t, err)
	}
	return primary, standby
}

// alone has a promoted server commit without a standby.
func alone(t *testing.T, database string) {
	t.Helper()
	conn := pgtest.Connect(t, database)
	for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = ''", "SELECT pg_reload_conf()"} {
		_, err := conn.Exec(t.Context(), statement)
		require.NoError(t, err)
	}
}

// notes gives the lines of /readyz.
func (s *service) notes() string {
	s.t.Helper()
	_, body := s.do(http.MethodGet, s.Ops+"/readyz", "")
	return body
}

// awaitNote waits until /readyz says something.
func (s *service) awaitNote(text string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return strings.Contains(s.notes(), text) }, 2*time.Minute, 20*time.Millisecond, text)
}

// The name of the database leads to a standby for a while, which is promoted then. Receipts go to
// the spool meanwhile, reads are answered 503, and all heals without a restart.
func TestFailoverOfAName(t *testing.T) {
	t.Parallel()
	primary, standby := pair(t)
	proxy, name := proxied(t, primary)
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": name, "READMARK_LOG_LEVEL": "info", "READMARK_COMMIT_BUDGET": "800ms"})
	l := startLoad(t, "u", 8, 1<<40, func() string { return s.URL })
	l.await(200)
	u, err := url.Parse(standby.URL)
	require.NoError(t, err)
	proxy.Stop()
	proxy.Upstream = u.Host
	pgtest.ListenAgain(t, proxy.Start)
	s.awaitNote("database: read_only for ")
	status, _ := s.get("/v1/users/u-0-0/unread")
	require.Equal(t, 503, status)
	require.Contains(t, s.notes(), "degraded\n")
	_, metrics := s.do(http.MethodGet, s.Ops+"/metrics", "")
	require.Contains(t, metrics, `readmark_condition{part="database",reason="read_only"} 1`)
	l.await(100)
	standby.Promote()
	alone(t, standby.URL)
	promoted := time.Now()
	s.settled()
	t.Logf("healed %v after the promotion", time.Since(promoted).Round(10*time.Millisecond))
	require.Eventually(t, func() bool { // reads wait until the database was asked how it is
		status, _ := s.get("/v1/users/u-0-0/unread")
		return status == 200
	}, time.Minute, 10*time.Millisecond)
	l.end()
	s.settled()
	verify(t, standby.URL, l)
	require.Contains(t, s.log.String(), `"msg":"well again","part":"database","reason":"read_only"`)
	s.end()
}

// Several hosts stand in the URL: the one that can be written to is found, at start and when the
// other one is lost.
func TestFailoverToAnotherHost(t *testing.T) {
	t.Parallel()
	primary, standby := pair(t)
	proxy, through := proxied(t, primary)
	first, err := url.Parse(through)
	require.NoError(t, err)
	second, err := url.Parse(standby.URL)
	require.NoError(t, err)
	both := *first
	both.Host = second.Host + "," + first.Host // the standby comes first
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": both.String(), "READMARK_LOG_LEVEL": "info", "READMARK_COMMIT_BUDGET": "800ms"})
	l := startLoad(t, "u", 8, 1<<40, func() string { return s.URL })
	l.await(200)
	proxy.Stop()
	lost := time.Now()
	l.await(100) // by the spool
	standby.Promote()
	alone(t, standby.URL)
	s.settled()
	t.Logf("healed %v after the loss", time.Since(lost).Round(10*time.Millisecond))
	l.end()
	s.settled()
	verify(t, standby.URL, l)
	s.end()
}

// What a database or role lacks is said in words, with what mends it, and heals without a restart.
func TestDatabaseConditions(t *testing.T) {
	t.Parallel()
	database := pgtest.Empty(t)
	conn := pgtest.Connect(t, database)
	u, err := url.Parse(database)
	require.NoError(t, err)
	role := conn.Config().Database // a role of the test's own
	sql := func(format string, values ...any) {
		t.Helper()
		_, err := conn.Exec(context.WithoutCancel(t.Context()), fmt.Sprintf(format, values...))
		require.NoError(t, err)
	}
	sql("CREATE ROLE %s LOGIN PASSWORD 'right'", role)
	t.Cleanup(func() { sql("DROP OWNED BY %s CASCADE", role); sql("DROP ROLE %s", role) })
	u.User = url.UserPassword(role, "right")
	s := launch(t, map[string]string{"READMARK_DATABASE_URL": u.String(), "READMARK_LOG_LEVEL": "info"})
	s.awaitNote("permission")
	sql("GRANT ALL ON SCHEMA public TO %s", role)
	s.settled()

	sql("ALTER ROLE %s CONNECTION LIMIT 0", role)
	kick := func() {
		t.Helper()
		sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '%s'", role)
	}
	kick()
	s.awaitNote("database: connections for ")
	s.awaitNote("READMARK_DATABASE_MAX_CONNS")
	sql("ALTER ROLE %s CONNECTION LIMIT -1 NOLOGIN", role)
	s.awaitNote("database: password for ")
	sql("ALTER ROLE %s LOGIN", role)
	s.settled()
	require.Equal(t, 1, strings.Count(s.log.String(), `"msg":"not well","part":"database","reason":"connections"`), "told once")
	s.end()
}

// A role that may open two connections is enough: one for writes, one for reads, and to migrate.
func TestTwoConnections(t *testing.T) {
	t.Parallel()
	database := pgtest.Empty(t)
	conn := pgtest.Connect(t, database)
	role := conn.Config().Database
	for _, statement := range []string{
		"CREATE ROLE " + role + " LOGIN PASSWORD 'right' CONNECTION LIMIT 2", "GRANT ALL ON SCHEMA public TO " + role,
	} {
		_, err := conn.Exec(t.Context(), statement)
		require.NoError(t, err)
	}
	t.Cleanup(func() {
		_, err := conn.Exec(context.WithoutCancel(t.Context()), "DROP OWNED BY "+role+" CASCADE; DROP ROLE "+role)
		require.NoError(t, err)
	})
	u, err := url.Parse(database)
	require.NoError(t, err)
	u.User = url.UserPassword(role, "right")
	status, out, errs := run(t, map[string]string{"READMARK_DATABASE_URL": u.String()}, "migrate", "up")
	require.Equal(t, 0, status, errs)
	require.Contains(t, out, "applied ")
	for _, most := range []string{"2", "10"} { // 10: more than there are
		s := serve(t, map[string]string{"READMARK_DATABASE_URL": u.String(), "READMARK_DATABASE_MAX_CONNS": most})
		l := startLoad(t, "most"+most, 8, 400, func() string { return s.URL })
		for i := range 20 {
			status, _ := s.get("/v1/users/none/groups")
			require.Equal(t, 200, status, i)
			status, _ = s.get("/v1/groups/g/users?minUnread=1")
			require.Equal(t, 200, status, i)
			status, _ = s.get("/v1/users/none/groups/none/receipts")
			require.Equal(t, 200, status, i)
		}
		l.finish()
		require.Zero(t, l.failed.Load())
		s.settled()
		s.end()
	}
}

// A callback without the token is lost: that is said, and not one line for each.
func TestWrongTokenIsTold(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": pgtest.Empty(t), "READMARK_CALLBACK_TOKEN": "right-token", "READMARK_LOG_LEVEL": "info"})
	for range 75 {
		status, _ := s.do(http.MethodPost, s.URL+"/wrong-token/callbackAfterGroupMsgReadCommand", `{}`)
		require.Equal(t, 401, status)
	}
	require.Equal(t, 1, strings.Count(s.log.String(), `"part":"callback_token","reason":"wrong_token"`))
	require.Contains(t, s.notes(), "callback_token: wrong_token for ")
	require.NotContains(t, s.log.String(), "right-token")
	require.NotContains(t, s.log.String(), "wrong-token")
	s.end()
}

// OpenIM that does not answer, and then does.
func TestOpenIMConditionIsTold(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]string{
		"READMARK_DATABASE_URL": pgtest.Empty(t), "READMARK_LOG_LEVEL": "info", "READMARK_OPENIM_API_URL": "http://127.0.0.1:1",
		"READMARK_OPENIM_SECRET": "hunter2",
	})
	s.do(http.MethodPost, s.URL+"/callbackAfterGroupMsgReadCommand", `{"sendID":"u","receiveID":"g","unreadMsgNum":1,"contentType":101}`)
	s.awaitNote("openim: refused for ")
	require.Equal(t, 1, strings.Count(s.log.String(), `"msg":"not well","part":"openim"`))
	require.NotContains(t, s.log.String(), "hunter2")
	s.end()
}

package cli_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
)

const foreignSchema = "this schema belongs to another application: give Readmark a database or a schema of its own, for example ?search_path=readmark"

// Whatever finds another application's tables says so and ends, and touches nothing.
func TestForeignSchemaEndsEveryCommand(t *testing.T) {
	t.Parallel()
	database := pgtest.Empty(t)
	conn := pgtest.Connect(t, database)
	_, err := conn.Exec(t.Context(), "CREATE TABLE journal (id bigint PRIMARY KEY, entry text)")
	require.NoError(t, err)
	objects := func() (count int) {
		require.NoError(t, conn.QueryRow(t.Context(), "SELECT (SELECT count(*) FROM pg_class) + (SELECT count(*) FROM pg_attribute) + "+
			"(SELECT count(*) FROM pg_type) + (SELECT count(*) FROM pg_proc)").Scan(&count))
		return count
	}
	before := objects()
	environment := map[string]string{
		"READMARK_DATABASE_URL": database, "READMARK_DATA_DIR": t.TempDir(), "READMARK_ADDR": "127.0.0.1:0", "READMARK_OPS_ADDR": "127.0.0.1:0",
	}
	for _, args := range [][]string{
		{"serve"},
		{"serve", "--no-migrate"},
		{"migrate", "up"},
		{"migrate", "down"},
		{"migrate", "status"},
		{"migrate", "version"},
		{"partitions"},
		{"doctor"},
		{"key", "create", "--name", "k", "--scope", "read"},
		{"key", "list"},
		{"replay"},
	} {
		status, out, errs := run(t, environment, args...)
		require.Equal(t, 1, status, args)
		require.Contains(t, out+errs, foreignSchema, args)
		require.NotContains(t, out+errs, "run readmark migrate up", args)
	}
	require.Equal(t, before, objects())
}

// A search_path that leads nowhere is named with the statement that mends it.
func TestMissingSchema(t *testing.T) {
	t.Parallel()
	database := pgtest.Empty(t)
	path := database + "&search_path=readmark"
	if !strings.Contains(database, "?") {
		path = database + "?search_path=readmark"
	}
	status, _, errs := run(t, map[string]string{"READMARK_DATABASE_URL": path}, "migrate", "up")
	require.Equal(t, 1, status)
	require.Contains(t, errs, "schema readmark, to which the search_path leads, does not exist")
	_, statement, found := strings.Cut(strings.TrimSpace(errs), ": CREATE")
	require.True(t, found)
	_, err := pgtest.Connect(t, database).Exec(t.Context(), "CREATE"+statement)
	require.NoError(t, err)
	status, _, errs = run(t, map[string]string{"READMARK_DATABASE_URL": path}, "migrate", "up")
	require.Equal(t, 0, status, errs)
}

// Migrations connect where READMARK_MIGRATE_URL says, which has to be the same schema.
func TestMigrateURL(t *testing.T) {
	t.Parallel()
	database, other := pgtest.Empty(t), pgtest.Empty(t)
	status, _, errs := run(t, map[string]string{"READMARK_DATABASE_URL": "postgres://nobody:p@127.0.0.1:1/none", "READMARK_MIGRATE_URL": database}, "migrate", "up")
	require.Equal(t, 0, status, errs)
	status, out, errs := run(t, map[string]string{"READMARK_DATABASE_URL": database}, "migrate", "version")
	require.Equal(t, 0, status, errs)
	require.NotEqual(t, "0\n", out)
	status, out, errs = run(t, map[string]string{"READMARK_DATABASE_URL": other, "READMARK_MIGRATE_URL": other}, "migrate", "version", "--database-url", database)
	require.Equal(t, 0, status, errs)
	require.NotEqual(t, "0\n", out, "the flag wins over both")

	status, _, errs = run(t, map[string]string{
		"READMARK_DATABASE_URL": other, "READMARK_MIGRATE_URL": database, "READMARK_DATA_DIR": t.TempDir(),
		"READMARK_ADDR": "127.0.0.1:0", "READMARK_OPS_ADDR": "127.0.0.1:0",
	}, "serve")
	require.Equal(t, 1, status)
	require.Contains(t, errs, "READMARK_MIGRATE_URL leads to another schema")
}

// While reads are answered 503 a probe for reads fails, and the plain answer has a line of it; so a
// rolling update can wait. Without migrating, serve waits until somebody has migrated.
func TestReadyForReads(t *testing.T) {
	t.Parallel()
	database := pgtest.Empty(t)
	environment := map[string]string{
		"READMARK_DATABASE_URL": database, "READMARK_DATA_DIR": t.TempDir(), "READMARK_ADDR": "127.0.0.1:0", "READMARK_OPS_ADDR": "127.0.0.1:0",
	}
	s := launchArgs(t, environment, "serve", "--no-migrate")
	healthcheck := map[string]string{"READMARK_OPS_ADDR": strings.TrimPrefix(s.Ops, "http://")}
	status, body := s.do(http.MethodGet, s.Ops+"/readyz?for=reads", "")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Equal(t, "reads: answered 503, the database is not prepared yet\n", body)
	status, _ = s.do(http.MethodGet, s.URL+"/v1/users/u/groups/g", "")
	require.Equal(t, http.StatusServiceUnavailable, status)
	status, body = s.do(http.MethodGet, s.Ops+"/readyz", "")
	require.Equal(t, http.StatusOK, status)
	require.True(t, strings.HasPrefix(body, "degraded\nreads: answered 503, "), body)
	code, out, errs := run(t, healthcheck, "healthcheck")
	require.Equal(t, 0, code, errs)
	require.Contains(t, out, "degraded")
	code, _, errs = run(t, healthcheck, "healthcheck", "--for", "reads")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "reads: answered 503")
	require.Contains(t, s.log.String(), "run readmark migrate up")
	status, _ = s.do(http.MethodGet, s.Ops+"/readyz?for=writes", "")
	require.Equal(t, http.StatusBadRequest, status)
	code, _, errs = run(t, healthcheck, "healthcheck", "--for", "writes")
	require.Equal(t, 2, code)
	require.Contains(t, errs, "--for must be reads")

	code, _, errs = run(t, environment, "migrate", "up")
	require.Equal(t, 0, code, errs)
	require.Eventually(t, func() bool {
		status, body := s.do(http.MethodGet, s.Ops+"/readyz?for=reads", "")
		return fmt.Sprint(status, " ", body) == "200 ready\n"
	}, time.Minute, 10*time.Millisecond)
	status, _ = s.do(http.MethodGet, s.URL+"/v1/users/u/groups/g", "")
	require.Equal(t, http.StatusNotFound, status)
	code, out, errs = run(t, healthcheck, "healthcheck", "--for", "reads")
	require.Equal(t, 0, code, errs)
	require.Equal(t, "ready\n", out)
	s.end()
}

// Reads need the replica, where there is one: the probe for reads follows it, the plain one does not.
func TestReadyForReadsFollowsTheReplica(t *testing.T) {
	t.Parallel()
	database := pgtest.New(t)
	proxy, through := proxied(t, database)
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": database, "READMARK_REPLICA_URL": through})
	ask := func(query string) int {
		status, _ := s.do(http.MethodGet, s.Ops+"/readyz"+query, "")
		return status
	}
	require.Eventually(t, func() bool { return ask("?for=reads") == http.StatusOK }, time.Minute, 10*time.Millisecond)
	proxy.Stop()
	require.Eventually(t, func() bool { return ask("?for=reads") == http.StatusServiceUnavailable }, time.Minute, 10*time.Millisecond)
	require.Equal(t, http.StatusOK, ask(""))
	pgtest.ListenAgain(t, proxy.Start)
	require.Eventually(t, func() bool { return ask("?for=reads") == http.StatusOK }, time.Minute, 10*time.Millisecond)
	s.end()
}

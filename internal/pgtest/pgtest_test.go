package pgtest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// stub is a test whose end and outcome are ours to choose.
type stub struct {
	testing.TB
	failed   bool
	cleanups []func()
	logged   []string
}

func (s *stub) Helper()          {}
func (s *stub) Failed() bool     { return s.failed }
func (s *stub) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }
func (s *stub) Logf(format string, args ...any) {
	s.logged = append(s.logged, fmt.Sprintf(format, args...))
}

func (s *stub) end() {
	for _, f := range s.cleanups {
		f()
	}
}

func name(t *testing.T, url string) string {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	require.NoError(t, err)
	return config.Database
}

// exists asks another database of the same server.
func exists(t *testing.T, database string) (found bool) {
	t.Helper()
	require.NoError(t, pgtest.Connect(t, pgtest.Empty(t)).QueryRow(t.Context(),
		"SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", database).Scan(&found))
	return found
}

// A database is dropped when its test passes.
func TestDroppedOnSuccess(t *testing.T) {
	t.Parallel()
	inner := &stub{TB: t}
	database := name(t, pgtest.New(inner))
	require.True(t, exists(t, database))
	inner.end()
	require.False(t, exists(t, database))
}

// A database is kept and named when its test fails.
func TestKeptOnFailure(t *testing.T) {
	t.Parallel()
	inner := &stub{TB: t, failed: true}
	url := pgtest.Empty(inner)
	inner.end()
	require.True(t, exists(t, name(t, url)))
	require.Contains(t, strings.Join(inner.logged, "\n"), name(t, url)+" is kept on ")
	inner.failed = false // and now away with it
	inner.end()
	require.False(t, exists(t, name(t, url)))
}

// Each test has a migrated database of its own, made from one template.
func TestClones(t *testing.T) {
	t.Parallel()
	first, second := pgtest.New(t), pgtest.New(t)
	require.NotEqual(t, first, second)
	_, err := pgtest.Connect(t, first).Exec(t.Context(), "DROP TABLE states CASCADE")
	require.NoError(t, err)
	var templates int
	require.NoError(t, pgtest.Connect(t, second).QueryRow(t.Context(),
		"SELECT count(*) + (SELECT count(*) FROM states) FROM pg_database WHERE datname LIKE 'readmark_template_%' AND datistemplate").
		Scan(&templates))
	require.GreaterOrEqual(t, templates, 1)
}

// What is forced is taken or fails; a test never goes on without a database.
func TestForcedProvider(t *testing.T) {
	t.Setenv("READMARK_TEST_POSTGRES", "url")
	t.Setenv("TEST_DATABASE_URL", "")
	_, err := pgtest.Start(t.Context())
	require.ErrorContains(t, err, "TEST_DATABASE_URL is not set")
	require.ErrorContains(t, err, "tests need a PostgreSQL and found none")
	t.Setenv("TEST_DATABASE_URL", "postgres://somewhere/db")
	server, err := pgtest.Start(t.Context())
	require.NoError(t, err)
	require.Equal(t, "TEST_DATABASE_URL", server.Name)
	t.Setenv("READMARK_TEST_POSTGRES", "oracle")
	_, err = pgtest.Start(t.Context())
	require.ErrorContains(t, err, "must be url, docker, local, download or citus")
}

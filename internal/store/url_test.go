package store_test

import (
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"readmark/internal/config"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

// What pgx refuses is named by its parameter, and nothing of the URL is quoted.
func TestURLsThatPgxRefuses(t *testing.T) {
	t.Parallel()
	none := filepath.Join(t.TempDir(), "none")
	text := filepath.Join(t.TempDir(), "text")
	require.NoError(t, os.WriteFile(text, []byte("x"), 0o600))
	for query, says := range map[string]string{
		"sslmode=hunter": "sslmode", "sslcertmode=hunter": "sslcertmode", "sslrootcert=" + none: "sslrootcert: " + none + ": no such file or directory",
		"sslrootcert=" + text: "sslrootcert", "sslcert=hunter": "sslcert (which needs sslkey)", "sslcert=x&sslkey=" + none: "sslkey: " + none + ": no such file",
		"sslcert=x&sslkey=" + text: "sslkey", "target_session_attrs=hunter": "target_session_attrs", "connect_timeout=hunter": "connect_timeout",
		"channel_binding=hunter": "channel_binding", "require_auth=hunter": "require_auth", "min_protocol_version=hunter": "min_protocol_version",
		"max_protocol_version=hunter": "max_protocol_version", "port=hunter": "port", "port=1,2,3": "port", "service=hunter": "service",
		"pool_max_conns=hunter": "pool_…", "default_query_exec_mode=hunter": "default_query_exec_mode", "statement_cache_capacity=hunter": "cache_capacity",
		"hunter": "percent-encode the password",
	} {
		s, err := store.Open(store.Options{URL: "postgres://u:hunter@h/db?" + query, Logger: slog.New(slog.DiscardHandler)})
		if err == nil {
			s.Close()
		}
		require.ErrorContains(t, err, says, query)
		require.NotContains(t, err.Error(), "hunter", query)
	}
}

// A connection that fails is told in one line, with every host and the database, and without the user.
func TestConnectError(t *testing.T) {
	t.Parallel()
	s, err := store.Open(store.Options{URL: "postgres://hunter@127.0.0.1:1,127.0.0.2:1/db", Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer s.Close()
	_, _, err = s.Check(t.Context())
	require.ErrorIs(t, err, readstate.ErrUnavailable)
	require.ErrorContains(t, err, "connect to database db: ")
	require.ErrorContains(t, err, "127.0.0.1:1")
	require.ErrorContains(t, err, "127.0.0.2:1")
	require.NotContains(t, err.Error(), "hunter")
	require.NotContains(t, err.Error(), "\n")
	var failed *pgconn.ConnectError
	require.ErrorAs(t, err, &failed, "the cause is kept")
}

// What the configuration accepts, pgx takes, and finds the same password, host and database in it.
func TestConfigurationAndPgxAgree(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune("aQ1@/#?:%&=+ ,;[]!$*()'-._ä")), 0, 12, -1)
		password, database := text.Draw(t, "password"), text.Draw(t, "database")
		if rapid.Bool().Draw(t, "encoded") {
			password, database = url.PathEscape(password), url.PathEscape(database)
		}
		form := rapid.SampledFrom([]string{
			"postgres://u:%s@h:1/%s", "postgres://u:%s@[::1]:1/%s", "postgres://u:%s@h,i:2/%s", "postgres://%s@/%s?host=h", "postgres://h/x?password=%s&dbname=%s",
			"postgres://u:%s@h/%s?connect_timeout=3", "postgres://u:x@h/%s?sslmode=%s", "postgres://u:x@%s/%s", "postgres://u:x@h/?%s=%s",
		}).Draw(t, "form")
		address := fmt.Sprintf(form, password, database)
		c, err := config.Load(t.Context(), func(name string) (string, bool) { return address, name == "DATABASE_URL" })
		if err != nil {
			return
		}
		parsed, err := pgxpool.ParseConfig(c.DatabaseURL)
		if err != nil {
			t.Fatalf("%q: %v", address, err)
		}
		want, err := url.PathUnescape(password)
		if strings.HasPrefix(form, "postgres://u:%s@") && (err != nil || parsed.ConnConfig.Password != want) {
			t.Fatalf("%q: the password is %q", address, parsed.ConnConfig.Password)
		}
	})
}

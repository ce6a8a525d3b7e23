package config_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/config"
)

func load(t *testing.T, environment map[string]string) (config.Config, error) {
	t.Helper()
	return config.Load(t.Context(), func(name string) (string, bool) {
		value, found := environment[name]
		return value, found
	})
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	c, err := load(t, nil)
	require.NoError(t, err)
	require.Equal(t, config.Config{
		DataDir: "./data", Addr: "127.0.0.1:8080", OpsAddr: "127.0.0.1:8081", LogLevel: slog.LevelInfo,
		CommitBudget: 800 * time.Millisecond, SpoolMaxBytes: 1 << 30, Retention: 90 * 24 * time.Hour,
		ChangesRetention: 24 * time.Hour, ReadCacheBytes: 256 << 20, DatabaseMaxConns: 10,
		OpenIM: config.OpenIM{AdminUserID: "imAdmin", MaxRPS: 50, Timeout: 10 * time.Second, ReconcileInterval: time.Hour},
	}, c)
}

func TestAuthDefault(t *testing.T) {
	t.Parallel()
	for addr, required := range map[string]bool{
		"127.0.0.1:8080": false, "127.9.9.9:1": false, "localhost:80": false, "[::1]:8080": false,
		":8080": true, "0.0.0.0:8080": true, "[::]:8080": true, "10.0.0.1:80": true, "example.com:80": true,
	} {
		c, err := load(t, map[string]string{"READMARK_ADDR": addr})
		require.NoError(t, err)
		require.Equal(t, required, c.AuthRequired, addr)
	}
	c, err := load(t, map[string]string{"READMARK_ADDR": ":80", "READMARK_AUTH": "off"})
	require.NoError(t, err)
	require.False(t, c.AuthRequired)
	c, err = load(t, map[string]string{"READMARK_AUTH": "required"})
	require.NoError(t, err)
	require.True(t, c.AuthRequired)
}

func TestValues(t *testing.T) {
	t.Parallel()
	c, err := load(t, map[string]string{
		"DATABASE_URL": "postgres://other", "READMARK_DATABASE_URL": "postgresql://u:p@h/db", "READMARK_SHUTDOWN_DELAY": "5s",
		"READMARK_LOG_LEVEL": "DEBUG", "READMARK_LOG_FORMAT": "text", "READMARK_CALLBACK_TOKEN": "aZ0-._~",
		"READMARK_COMMIT_BUDGET": "250ms", "READMARK_SPOOL_MAX_BYTES": "64MiB", "READMARK_RETENTION": "48h",
		"READMARK_CHANGES_RETENTION": "36h", "READMARK_READ_CACHE_BYTES": "0", "READMARK_READ_STALENESS": "5ms",
	})
	require.NoError(t, err)
	require.Equal(t, 250*time.Millisecond, c.CommitBudget)
	require.EqualValues(t, 64<<20, c.SpoolMaxBytes)
	require.Equal(t, 36*time.Hour, c.ChangesRetention)
	require.Zero(t, c.ReadCacheBytes)
	require.Equal(t, 5*time.Millisecond, c.ReadStaleness)
	require.Equal(t, 48*time.Hour, c.Retention)
	require.Equal(t, "postgresql://u:p@h/db", c.DatabaseURL)
	require.Equal(t, 5*time.Second, c.ShutdownDelay)
	require.Equal(t, slog.LevelDebug, c.LogLevel)
	c, err = load(t, map[string]string{"DATABASE_URL": "postgres://other"})
	require.NoError(t, err)
	require.Equal(t, "postgres://other", c.DatabaseURL)
}

// Every variable can come from a file.
func TestFiles(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte("postgres://u:p@h/db\n"), 0o600))
	c, err := load(t, map[string]string{"READMARK_DATABASE_URL_FILE": file})
	require.NoError(t, err)
	require.Equal(t, "postgres://u:p@h/db", c.DatabaseURL)
	_, err = load(t, map[string]string{"READMARK_DATABASE_URL_FILE": file, "READMARK_DATABASE_URL": "postgres://x"})
	require.ErrorContains(t, err, "READMARK_DATABASE_URL and READMARK_DATABASE_URL_FILE are both set")
	_, err = load(t, map[string]string{"READMARK_CALLBACK_TOKEN_FILE": file + "-none"})
	require.ErrorContains(t, err, "READMARK_CALLBACK_TOKEN_FILE cannot be read")
}

// A secret's file that is empty must not open the door.
func TestEmptyFile(t *testing.T) {
	t.Parallel()
	for _, content := range []string{"", "\n"} {
		file := filepath.Join(t.TempDir(), "empty")
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
		_, err := load(t, map[string]string{"READMARK_CALLBACK_TOKEN_FILE": file})
		require.ErrorContains(t, err, "READMARK_CALLBACK_TOKEN_FILE names an empty file")
	}
}

func TestMalformedURL(t *testing.T) {
	t.Parallel()
	_, err := load(t, map[string]string{"DATABASE_URL": "postgres://u:p%zzhunter2@h/x"})
	require.ErrorContains(t, err, "DATABASE_URL is not a valid URL")
	require.NotContains(t, err.Error(), "hunter2")
}

// All wrong variables stand in one message, and no secret does.
func TestAllErrorsAtOnce(t *testing.T) {
	t.Parallel()
	_, err := load(t, map[string]string{
		"READMARK_DATABASE_URL": "mysql://root:hunter2@h/db", "READMARK_REPLICA_URL": "h:5432 password=hunter5", "READMARK_ADDR": "nowhere", "READMARK_OPS_ADDR": "h:99999999",
		"READMARK_CALLBACK_TOKEN": "hunter3/", "READMARK_AUTH": "maybe", "READMARK_SHUTDOWN_DELAY": "-1s",
		"READMARK_LOG_LEVEL": "loud", "READMARK_LOG_FORMAT": "xml",
		"READMARK_COMMIT_BUDGET": "0s", "READMARK_SPOOL_MAX_BYTES": "1 dozen", "READMARK_RETENTION": "90d",
		"READMARK_CHANGES_RETENTION": "0", "READMARK_READ_CACHE_BYTES": "-1", "READMARK_READ_STALENESS": "soon",
		"READMARK_RATE_LIMIT": "0", "READMARK_CORS_ORIGINS": "app.example.com", "READMARK_MIGRATE_URL": "hunter6", "READMARK_DATABASE_MAX_CONNS": "1",
		"READMARK_WEBHOOK_ALLOW_PRIVATE": "hunter7", "READMARK_ALLOWED_HOSTS": "*",
	})
	require.Error(t, err)
	for _, name := range []string{
		"READMARK_DATABASE_URL", "READMARK_REPLICA_URL", "READMARK_ADDR", "READMARK_OPS_ADDR", "READMARK_CALLBACK_TOKEN", "READMARK_AUTH",
		"READMARK_SHUTDOWN_DELAY", "READMARK_LOG_LEVEL", "READMARK_LOG_FORMAT",
		"READMARK_COMMIT_BUDGET", "READMARK_SPOOL_MAX_BYTES", "READMARK_RETENTION",
		"READMARK_CHANGES_RETENTION", "READMARK_READ_CACHE_BYTES", "READMARK_READ_STALENESS",
		"READMARK_RATE_LIMIT", "READMARK_CORS_ORIGINS", "READMARK_MIGRATE_URL", "READMARK_DATABASE_MAX_CONNS", "READMARK_WEBHOOK_ALLOW_PRIVATE", "READMARK_ALLOWED_HOSTS",
	} {
		require.ErrorContains(t, err, name+" ")
	}
	require.NotContains(t, err.Error(), "hunter")
	for _, token := range []string{"v1", "console"} { // paths of others begin so
		_, err = load(t, map[string]string{"READMARK_CALLBACK_TOKEN": token})
		require.ErrorContains(t, err, `READMARK_CALLBACK_TOKEN must not be "v1", "console"`)
	}
	_, err = load(t, map[string]string{"READMARK_OPS_ADDR": "127.0.0.1:8080"})
	require.ErrorContains(t, err, "READMARK_OPS_ADDR is the same")
}

func TestPrintRedacts(t *testing.T) {
	t.Parallel()
	c, err := load(t, map[string]string{
		"DATABASE_URL": "postgres://user:hunter2@h:5432/db?password=hunter3", "READMARK_CALLBACK_TOKEN": "hunter4",
	})
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, c.Print(&out))
	require.NotContains(t, out.String(), "hunter")
	require.Contains(t, out.String(), "READMARK_DATABASE_URL=postgres://[redacted]@h:5432/db?[redacted]\n")
	require.Contains(t, out.String(), "READMARK_CALLBACK_TOKEN=[redacted]\n")
	require.Equal(t, 29, strings.Count(out.String(), "\n"))
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]float64{"": 0, "100": 100, "0.5": 0.5, "1e3": 1000} {
		c, err := load(t, map[string]string{"READMARK_RATE_LIMIT": value})
		require.NoError(t, err, value)
		require.InDelta(t, want, c.RateLimit, 0, value)
	}
	for _, value := range []string{"0", "-1", "many", "NaN", "Inf", "1e-400", "100/s"} {
		_, err := load(t, map[string]string{"READMARK_RATE_LIMIT": value})
		require.ErrorContains(t, err, "READMARK_RATE_LIMIT must be a number of requests per second above zero", value)
	}
}

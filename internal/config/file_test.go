package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/config"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

// What comes from a file is read again, checked as at the start, and no error quotes it.
func TestCurrentFiles(t *testing.T) {
	t.Parallel()
	const usable = "postgres://u:hunter2@h/db"
	for _, c := range []struct {
		variable, first, second, wrong string // wrong: refused, none is
		current                        func(*config.Config) (string, error)
	}{
		{"READMARK_DATABASE_URL", usable, "postgres://u:hunter3@h/db", "mysql://hunter4@h", (*config.Config).CurrentDatabaseURL},
		{"DATABASE_URL", usable, "postgres://u:hunter3@h/db", "hunter4", (*config.Config).CurrentDatabaseURL},
		{"READMARK_REPLICA_URL", usable, "postgres://u:hunter3@h/db", "hunter4", firstReplica},
		{"READMARK_MIGRATE_URL", usable, "postgres://u:hunter3@h/db", "hunter4", (*config.Config).CurrentMigrateURL},
		{"READMARK_CALLBACK_TOKEN", "hunter2", "hunter3", "hunter/4", (*config.Config).CurrentCallbackToken},
		{"READMARK_OPENIM_SECRET", "hunter2", "hunter3", "", (*config.Config).CurrentOpenIMSecret},
	} {
		t.Run(c.variable, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "value")
			write(t, path, c.first+"\n")
			environment := map[string]string{c.variable + "_FILE": path}
			if c.variable == "READMARK_MIGRATE_URL" {
				environment["READMARK_DATABASE_URL"] = "postgres://h/db"
			}
			loaded, err := load(t, environment)
			require.NoError(t, err)
			value, err := c.current(&loaded)
			require.NoError(t, err)
			require.Equal(t, c.first, value)

			write(t, path, c.second+"\r\n")
			value, err = c.current(&loaded)
			require.NoError(t, err)
			require.Equal(t, c.second, value)

			write(t, path, c.wrong)
			_, err = c.current(&loaded)
			require.ErrorContains(t, err, c.variable+"_FILE")
			require.NotContains(t, err.Error(), "hunter")
			require.NoError(t, os.Remove(path))
			_, err = c.current(&loaded)
			require.ErrorContains(t, err, c.variable+"_FILE cannot be read: no such file or directory")

			write(t, path, c.first)
			value, err = c.current(&loaded)
			require.NoError(t, err, "it heals by itself")
			require.Equal(t, c.first, value)
		})
	}
}

// What does not come from a file is as it was at the start.
func TestCurrentWithoutFiles(t *testing.T) {
	t.Parallel()
	unused := filepath.Join(t.TempDir(), "unused")
	write(t, unused, "postgres://unused/db")
	c, err := load(t, map[string]string{
		"READMARK_DATABASE_URL": "postgres://h/db", "DATABASE_URL_FILE": unused, "READMARK_REPLICA_URL": "postgres://replica/db",
		"READMARK_CALLBACK_TOKEN": "token",
	})
	require.NoError(t, err)
	for want, current := range map[string]func() (string, error){
		"postgres://h/db": c.CurrentDatabaseURL, "postgres://replica/db": func() (string, error) { return firstReplica(&c) }, "token": c.CurrentCallbackToken, "": c.CurrentOpenIMSecret,
	} {
		value, err := current()
		require.NoError(t, err)
		require.Equal(t, want, value)
	}
	value, err := c.CurrentMigrateURL()
	require.NoError(t, err)
	require.Equal(t, "postgres://h/db", value)
}

// Migrations connect where everything else does, unless told otherwise.
func TestMigrateURL(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "url")
	write(t, file, "postgres://first/db")
	c, err := load(t, map[string]string{"DATABASE_URL_FILE": file})
	require.NoError(t, err)
	require.Equal(t, "postgres://first/db", c.MigrateURL)
	write(t, file, "postgres://second/db")
	value, err := c.CurrentMigrateURL()
	require.NoError(t, err)
	require.Equal(t, "postgres://second/db", value, "it follows the database's")

	c, err = load(t, map[string]string{"DATABASE_URL_FILE": file, "READMARK_MIGRATE_URL": "postgres://direct/db"})
	require.NoError(t, err)
	require.Equal(t, "postgres://direct/db", c.MigrateURL)
	value, err = c.CurrentMigrateURL()
	require.NoError(t, err)
	require.Equal(t, "postgres://direct/db", value)

	_, err = load(t, map[string]string{"READMARK_MIGRATE_URL": "postgres://direct/db"})
	require.ErrorContains(t, err, "READMARK_MIGRATE_URL needs READMARK_DATABASE_URL")
}

// Whoever puts the secret where its file's path belongs does not find it in the log.
func TestSecretInPlaceOfPath(t *testing.T) {
	t.Parallel()
	_, err := load(t, map[string]string{"READMARK_DATABASE_URL_FILE": "postgres://u:hunter2@h/db"})
	require.ErrorContains(t, err, "READMARK_DATABASE_URL_FILE cannot be read: no such file or directory; it must be the path of a file")
	require.NotContains(t, err.Error(), "hunter")
}

func TestMaxConns(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]int32{"": 10, "2": 2, "10000": 10000} {
		c, err := load(t, map[string]string{"READMARK_DATABASE_MAX_CONNS": value})
		require.NoError(t, err, value)
		require.Equal(t, want, c.DatabaseMaxConns)
	}
	for _, value := range []string{"1", "0", "-3", "10001", "99999999999999", "ten", "2.5"} {
		_, err := load(t, map[string]string{"READMARK_DATABASE_MAX_CONNS": value})
		require.ErrorContains(t, err, "READMARK_DATABASE_MAX_CONNS must be a number of connections from 2 to 10000", value)
	}
}

func firstReplica(c *config.Config) (string, error) {
	urls, err := c.CurrentReplicaURLs()
	return strings.Join(urls, " "), err
}

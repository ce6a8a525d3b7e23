package embeddedpg

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestServerKeepsItsData(t *testing.T) {
	t.Parallel()
	opts, log := options(t)
	server := start(t, opts)

	require.Equal(t, local(t).Version, server.Version())
	require.Equal(t, local(t).BinDir, server.BinDir())
	require.Equal(t, "readmark|readmark", query(t, server, "SELECT current_user, current_database()"))
	query(t, server, "CREATE TABLE kept AS SELECT 42 AS answer")
	stop(t, server)
	require.False(t, alive(server.PID()))

	before := time.Now()
	again := start(t, opts)
	require.Less(t, time.Since(before), 3*time.Second)
	require.Equal(t, "42", query(t, again, "SELECT answer FROM kept"))
	stop(t, again)

	for _, message := range []string{"embedded postgres started", "embedded postgres stopped", "data_dir=" + string(again.dir), fmt.Sprintf("port=%d", again.port)} {
		require.Contains(t, log.String(), message)
	}
}

func TestServerSettings(t *testing.T) {
	t.Parallel()
	opts, _ := prepared(t)
	opts.Settings["work_mem"] = "5MB"
	opts.Settings["listen_addresses"] = "*"
	opts.Settings["port"] = "1"
	server := start(t, opts)

	for name, want := range map[string]string{
		"listen_addresses":         "127.0.0.1",
		"unix_socket_directories":  "",
		"port":                     strconv.Itoa(server.port),
		"work_mem":                 "5MB",
		"max_connections":          "64",
		"cluster_name":             "readmark",
		"fsync":                    "off",
		"synchronous_commit":       "on",
		"logging_collector":        "on",
		"log_filename":             "postgresql-%a.log",
		"log_truncate_on_rotation": "on",
		"server_encoding":          "UTF8",
		"lc_collate":               "C",
		"password_encryption":      "scram-sha-256",
	} {
		require.Equal(t, want, query(t, server, "SHOW "+name), name)
	}
	require.Len(t, glob(t, server.dir.cluster(), "log", "postgresql-*.log"), 1)
	require.Equal(t, "scram-sha-256", query(t, server, "SELECT string_agg(DISTINCT auth_method, ',') FROM pg_hba_file_rules"))
}

func TestServerSafeDefaults(t *testing.T) {
	t.Parallel()
	opts, _ := options(t)
	opts.Settings = nil
	server := start(t, opts)
	require.Equal(t, "on|on", query(t, server, "SELECT current_setting('fsync'), current_setting('synchronous_commit')"))
}

func TestServerSecrets(t *testing.T) {
	t.Parallel()
	opts, log := options(t)
	server := start(t, opts)

	address, err := url.Parse(server.URL())
	require.NoError(t, err)
	password, _ := address.User.Password()
	require.GreaterOrEqual(t, len(password), 20)
	require.Equal(t, fmt.Sprintf("127.0.0.1:%d", server.port), address.Host)

	info, err := os.Stat(server.dir.password())
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.NotContains(t, log.String(), password)

	commandLine, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", server.PID()))
	require.NoError(t, err)
	require.NotContains(t, string(commandLine), password)
	require.Empty(t, glob(t, string(server.dir), unfinished))

	_, err = tryQuery(&Server{programs: server.programs, password: "wrong", port: server.port}, "SELECT 1")
	require.Error(t, err)
}

func TestServerURLIsEscaped(t *testing.T) {
	t.Parallel()
	server := &Server{password: "a/b@c:d?e#f%", port: 5432}
	address, err := url.Parse(server.URL())
	require.NoError(t, err)
	password, _ := address.User.Password()
	require.Equal(t, "a/b@c:d?e#f%", password)
	require.Equal(t, "postgres", address.Scheme)
	require.Equal(t, "/readmark", address.Path)
	require.Equal(t, "disable", address.Query().Get("sslmode"))
}

func TestServerInheritsNothing(t *testing.T) {
	t.Parallel()
	opts, _ := prepared(t)
	server := start(t, opts)

	proc := fmt.Sprintf("/proc/%d", server.PID())
	entries, err := os.ReadDir(filepath.Join(proc, "fd"))
	require.NoError(t, err)
	for _, entry := range entries {
		target, err := os.Readlink(filepath.Join(proc, "fd", entry.Name()))
		if err != nil {
			continue // the listing's own
		}
		require.NotEqual(t, server.dir.lock(), target)
	}
	// Its output goes to a pipe of its own log collector: one of ours would end
	// with readmark.
	ours, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, number := range []string{"1", "2"} {
		theirs, err := os.Readlink(filepath.Join(proc, "fd", number))
		require.NoError(t, err)
		for _, entry := range ours {
			target, err := os.Readlink("/proc/self/fd/" + entry.Name())
			if err == nil {
				require.NotEqual(t, target, theirs)
			}
		}
	}
	environment, err := os.ReadFile(filepath.Join(proc, "environ"))
	require.NoError(t, err)
	require.NotContains(t, string(environment), "HOME=")

	status, err := os.ReadFile(filepath.Join(proc, "stat"))
	require.NoError(t, err)
	_, after, _ := strings.Cut(string(status), ") ")
	require.Equal(t, strconv.Itoa(server.PID()), strings.Fields(after)[2], "a process group of its own")
}

func TestServerIsExclusive(t *testing.T) {
	t.Parallel()
	opts, _ := prepared(t)
	server := start(t, opts)

	_, err := Start(t.Context(), opts)
	require.ErrorContains(t, err, "another readmark is using")
	require.ErrorContains(t, err, string(server.dir))
	require.Equal(t, "1", query(t, server, "SELECT 1"))
	stop(t, server)
	start(t, opts)
}

func TestStopTwice(t *testing.T) {
	t.Parallel()
	opts, _ := prepared(t)
	server := start(t, opts)
	done := make(chan error, 2)
	for range 2 {
		go func() { done <- server.Stop(context.Background()) }()
	}
	require.NoError(t, <-done)
	require.NoError(t, <-done)
	require.NoError(t, server.Stop(t.Context()))
	require.False(t, alive(server.PID()))
}

func TestStopAtOnce(t *testing.T) {
	t.Parallel()
	opts, _ := prepared(t)
	server := start(t, opts)
	query(t, server, "CREATE TABLE kept AS SELECT 1")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, server.Stop(ended))
	require.False(t, alive(server.PID()))
	require.Equal(t, "1", query(t, start(t, opts), "SELECT count(*) FROM kept"))
}

func TestTakenPort(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	opts, log := prepared(t)
	attempts := 0
	opts.freePort = func() (int, error) {
		attempts++
		if attempts == 1 {
			return taken.Addr().(*net.TCPAddr).Port, nil
		}
		return freePort()
	}
	server := start(t, opts)
	require.Equal(t, 2, attempts)
	require.Equal(t, "1", query(t, server, "SELECT 1"))
	require.Contains(t, log.String(), "port is taken")
}

func TestAllPortsTaken(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	opts, _ := prepared(t)
	opts.freePort = func() (int, error) { return taken.Addr().(*net.TCPAddr).Port, nil }
	_, err = Start(t.Context(), opts)
	require.ErrorIs(t, err, errPortTaken)
	require.ErrorContains(t, err, "could not bind")
}

func TestFailedStartSaysWhy(t *testing.T) {
	t.Parallel()
	opts, _ := prepared(t)
	opts.Settings = map[string]string{"fsync": "off", "max_connections": "banana"}
	_, err := Start(t.Context(), opts)
	require.ErrorContains(t, err, "banana")
	require.Empty(t, processesOf(t, opts.DataDir))
	opts.Settings = fast()
	start(t, opts)
}

func TestStartCancelled(t *testing.T) {
	t.Parallel()
	t.Run("while the cluster is made", func(t *testing.T) {
		t.Parallel()
		opts, _ := options(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() {
			_, err := Start(ctx, opts)
			done <- err
		}()
		require.Eventually(t, func() bool {
			return len(glob(t, opts.DataDir, "postgres.new-*", "base")) > 0
		}, patience, time.Millisecond)
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		require.NoDirExists(t, filepath.Join(opts.DataDir, "postgres"))
		require.Empty(t, glob(t, opts.DataDir, unfinished))
		require.Empty(t, processesOf(t, opts.DataDir))
		require.Equal(t, "1", query(t, start(t, opts), "SELECT 1"))
	})
	t.Run("while the server starts", func(t *testing.T) {
		t.Parallel()
		opts, _ := prepared(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		cancelled := opts
		cancelled.freePort = func() (int, error) {
			cancel()
			return freePort()
		}
		_, err := Start(ctx, cancelled)
		require.ErrorIs(t, err, context.Canceled)
		require.Empty(t, processesOf(t, opts.DataDir))
		start(t, opts)
	})
}

// processesOf returns the command lines that name a directory.
func processesOf(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	for _, path := range glob(t, "/proc/[0-9]*/cmdline") {
		line, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(line), dir) {
			found = append(found, string(line))
		}
	}
	return found
}

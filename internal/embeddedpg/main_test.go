package embeddedpg

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"readmark/internal/logtest"
)

const (
	// roleVariable makes the test binary play a part instead of running tests.
	roleVariable = "EMBEDDEDPG_TEST_ROLE"
	patience     = 30 * time.Second
	glance       = 10 * time.Millisecond
)

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "postgres" { // see fakeInstallation
		version := filepath.Base(filepath.Dir(filepath.Dir(os.Args[0])))
		_, _ = fmt.Fprintf(os.Stdout, "postgres (PostgreSQL) %s (Fake 1)\n", version)
		os.Exit(0)
	}
	if dataDir := os.Getenv(roleVariable); dataDir != "" {
		os.Exit(playReadmark(dataDir))
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(templateRoot()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		os.Exit(code)
	}))
}

// template makes a data directory that tests copy, since initdb takes its time.
var template = sync.OnceValues(func() (string, error) {
	if err := os.MkdirAll(templateRoot(), 0o755); err != nil {
		return "", err
	}
	data := filepath.Join(templateRoot(), "data")
	server, err := Start(context.Background(), Options{DataDir: data, Settings: fast()})
	if err != nil {
		return "", err
	}
	return data, server.Stop(context.Background())
})

// playReadmark serves until its standard input ends, for tests to kill it.
func playReadmark(dataDir string) int {
	server, err := Start(context.Background(), Options{DataDir: dataDir, Settings: fast()})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := json.NewEncoder(os.Stdout).Encode(report{PID: server.PID(), URL: server.URL()}); err != nil {
		return 1
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := server.Stop(context.Background()); err != nil {
		return 1
	}
	return 0
}

// report is what a played readmark says about its server.
type report struct {
	PID int
	URL string
}

func fast() map[string]string {
	return map[string]string{"fsync": "off", "shared_buffers": "8MB"}
}

// enterable returns a directory that every user may enter; that of t.TempDir is
// closed to others.
func enterable(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "embeddedpg-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() {
		// The log collector of a server that was taken over may end a little later.
		require.Eventually(t, func() bool { return os.RemoveAll(dir) == nil }, patience, glance)
	})
	return dir
}

// options returns those of a test, with a data directory to be made.
func options(t *testing.T) (Options, *logtest.Log) {
	t.Helper()
	log := new(logtest.Log)
	return Options{
		DataDir:  filepath.Join(enterable(t), "data"),
		Settings: fast(),
		Logger:   slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}, log
}

func templateRoot() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("embeddedpg-template-%d", os.Getpid()))
}

// prepared returns options whose data directory holds a cluster already.
func prepared(t *testing.T) (Options, *logtest.Log) {
	t.Helper()
	opts, log := options(t)
	dir, err := template()
	require.NoError(t, err)
	output, err := exec.Command("cp", "-a", dir, opts.DataDir).CombinedOutput()
	require.NoError(t, err, string(output))
	return opts, log
}

// start starts a server, which the test's end stops.
func start(t *testing.T, opts Options) *Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	server, err := Start(ctx, opts)
	require.NoError(t, err)
	t.Cleanup(func() { stop(t, server) })
	return server
}

func stop(t *testing.T, server *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, server.Stop(ctx))
}

// query runs a statement with psql.
func query(t *testing.T, server *Server, statement string) string {
	t.Helper()
	output, err := tryQuery(server, statement)
	require.NoError(t, err, output)
	return output
}

func tryQuery(server *Server, statement string) (string, error) {
	output, err := exec.Command(psql(server.programs), "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement, server.URL()).CombinedOutput()
	return strings.TrimSpace(string(output)), err
}

func psql(programs Installation) string { return programs.program("psql") }

// local returns an installation of this machine.
func local(t *testing.T) Installation {
	t.Helper()
	found := Installations(os.Getenv("PG_BIN"))
	require.NotEmpty(t, found, "these tests need PostgreSQL 15 or newer")
	return found[0]
}

// alive says whether a process runs, or waits to be reaped.
func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// glob returns the names in a directory that match a pattern.
func glob(t *testing.T, parts ...string) []string {
	t.Helper()
	matches, err := filepath.Glob(filepath.Join(parts...))
	require.NoError(t, err)
	return matches
}

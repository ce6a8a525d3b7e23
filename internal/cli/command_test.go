package cli_test

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/migrations"
)

// migrationFiles gives the names of all migrations, the oldest first.
func migrationFiles(t testing.TB) []string {
	t.Helper()
	files, err := fs.Glob(migrations.FS, "*.sql")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return files
}

// version is what `migrate version` prints when a file is the newest that is applied.
func version(file string) string {
	number, _, _ := strings.Cut(file, "_")
	return strings.TrimLeft(number, "0") + "\n"
}

func TestMigrateCommands(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"DATABASE_URL": pgtest.Empty(t)}
	command := func(args ...string) string {
		status, out, errs := run(t, environment, append([]string{"migrate"}, args...)...)
		require.Equal(t, 0, status, errs)
		return out
	}
	require.Equal(t, "0\n", command("version"))
	require.Contains(t, command("status"), "pending  00001_journal.sql")
	require.Contains(t, command("up"), "applied 00001_journal.sql\n")
	require.Contains(t, command("up"), "nothing to apply")
	files := migrationFiles(t)
	newest := files[len(files)-1]
	require.Equal(t, version(newest), command("version"))
	require.Contains(t, command("status"), "applied  "+newest)
	for range files {
		require.Contains(t, command("down"), "took back 000")
	}
	require.Contains(t, command("down"), "nothing to take back")
}

// Beside a running serve, migrate asks the server that serve has started.
func TestMigrateBesideEmbedded(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"READMARK_DATA_DIR": filepath.Join(openDir(t), "data")}
	s := serve(t, environment)
	status, out, errs := run(t, environment, "migrate", "version")
	require.Equal(t, 0, status, errs)
	files := migrationFiles(t)
	require.Equal(t, version(files[len(files)-1]), out)
	s.read("u", "g", 1)
	s.end()
}

func TestVersion(t *testing.T) {
	t.Parallel()
	status, out, _ := run(t, nil, "version")
	require.Equal(t, 0, status)
	require.Contains(t, out, "readmark ")
	require.Contains(t, out, "commit ")
	require.Contains(t, out, runtime.Version())
}

func TestPrintConfig(t *testing.T) {
	t.Parallel()
	status, out, errs := run(t, map[string]string{
		"READMARK_DATABASE_URL": "postgres://u:hunter2@h/db", "READMARK_CALLBACK_TOKEN": "hunter3",
	}, "serve", "--print-config", "--addr", "127.0.0.1:99")
	require.Equal(t, 0, status, errs)
	require.Contains(t, out, "READMARK_ADDR=127.0.0.1:99\n", "a flag wins")
	require.Contains(t, out, "READMARK_LOG_FORMAT=json\n", "what is in effect")
	require.NotContains(t, out+errs, "hunter")
}

func TestWrongConfigurationStopsTheStart(t *testing.T) {
	t.Parallel()
	status, _, errs := run(t, map[string]string{"READMARK_AUTH": "x", "READMARK_LOG_LEVEL": "y"}, "serve")
	require.Equal(t, 1, status)
	require.Contains(t, errs, "READMARK_AUTH")
	require.Contains(t, errs, "READMARK_LOG_LEVEL")
}

func TestAddressInUse(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]string{"DATABASE_URL": pgtest.Empty(t)})
	occupied := strings.TrimPrefix(s.URL, "http://")
	for _, variable := range []string{"READMARK_ADDR", "READMARK_OPS_ADDR"} {
		environment := map[string]string{"READMARK_DATA_DIR": filepath.Join(t.TempDir(), "data"), "READMARK_ADDR": "127.0.0.1:0", "READMARK_OPS_ADDR": "127.0.0.1:0"}
		environment[variable] = occupied
		status, _, errs := run(t, environment, "serve")
		require.Equal(t, 1, status)
		require.Contains(t, errs, variable+": cannot listen on "+occupied+": ")
		require.Contains(t, errs, "address already in use")
		require.NoDirExists(t, environment["READMARK_DATA_DIR"], "nothing was started")
	}
	status, _, errs := run(t, map[string]string{"READMARK_DATA_DIR": t.TempDir(), "READMARK_ADDR": "192.0.2.1:0", "READMARK_OPS_ADDR": "127.0.0.1:0"}, "serve")
	require.Equal(t, 1, status)
	require.Contains(t, errs, "READMARK_ADDR: cannot listen on 192.0.2.1:0")
	require.Contains(t, errs, "no network interface")
	s.end()
}

// The embedded database keeps its data from run to run, also when readmark is
// killed: an acknowledged receipt survives kill -9.
func TestEmbeddedSurvivesKill(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	environment := map[string]string{"READMARK_DATA_DIR": filepath.Join(dir, "data")}

	s := serve(t, environment)
	require.Contains(t, s.log.String(), "for trying out and small installations")
	require.Contains(t, s.log.String(), "READMARK_DATABASE_URL")
	s.read("u", "g", 1)
	s.end()

	self, err := os.Executable()
	require.NoError(t, err)
	killed := start(t, self, asProgram+"=1", "READMARK_DATA_DIR="+environment["READMARK_DATA_DIR"])
	killed.read("u", "g", 2)
	require.NoError(t, killed.command.Process.Kill())
	require.Error(t, killed.wait())

	s = serve(t, environment)
	_, state := s.get("/v1/users/u/groups/g")
	require.EqualValues(t, 2, state["unreadCount"])
	s.read("u", "g", 3)
	_, state = s.get("/v1/users/u/groups/g")
	require.EqualValues(t, 3, state["unreadCount"])
	s.end()
}

// openDir is a temporary directory that PostgreSQL's own user may enter.
func openDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "readmark-test-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// process is readmark as a process of its own.
type process struct {
	*service
	command  *exec.Cmd
	followed chan struct{} // closed at the end of the log
}

// start runs the binary's serve on free ports and waits until it listens.
func start(t testing.TB, binary string, environment ...string) *process {
	t.Helper()
	return startCommand(t, exec.CommandContext(t.Context(), binary, "serve"), environment...)
}

func startCommand(t testing.TB, command *exec.Cmd, environment ...string) *process {
	t.Helper()
	p := &process{
		service:  &service{t: t, log: newLogWatch(), exitStatus: make(chan int, 1), client: newClient(t)},
		command:  command,
		followed: make(chan struct{}),
	}
	p.command.Env = append(os.Environ(), "READMARK_ADDR=127.0.0.1:0", "READMARK_OPS_ADDR=127.0.0.1:0", "READMARK_LOG_FORMAT=json", "READMARK_DATA_DIR="+t.TempDir())
	p.command.Env = append(p.command.Env, environment...)
	stderr, err := p.command.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, p.command.Start())
	go func() {
		defer close(p.followed)
		p.log.follow(stderr)
	}()
	p.await()
	return p
}

// wait gives the process's end back.
func (p *process) wait() error {
	<-p.followed
	return p.command.Wait()
}

// built gives the path of the real binary, which is built once. removeBuilt deletes it.
func built(t testing.TB) string {
	t.Helper()
	binary, err := buildOnce()
	require.NoError(t, err)
	return binary
}

var (
	builtDir  string
	buildOnce = sync.OnceValues(func() (binary string, err error) {
		if builtDir, err = os.MkdirTemp("", "readmark-built-"); err != nil {
			return "", err
		}
		binary = filepath.Join(builtDir, "readmark")
		out, err := exec.CommandContext(context.Background(), "go", "build", "-o", binary, "readmark/cmd/readmark").CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("build readmark: %w: %s", err, out)
		}
		return binary, nil
	})
)

func removeBuilt() { _ = os.RemoveAll(builtDir) }

// SIGTERM, SIGINT and SIGHUP stop the real program gracefully: exit status 0.
func TestSignals(t *testing.T) {
	t.Parallel()
	binary := built(t)
	for _, signal := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		p := start(t, binary, "READMARK_DATABASE_URL="+pgtest.Empty(t))
		p.read("u", "g", 1)
		require.NoError(t, p.command.Process.Signal(signal))
		require.NoError(t, p.wait(), p.log)
		require.Contains(t, p.log.String(), `"msg":"stopped"`)
	}
}

// A terminal that goes sends SIGHUP more than once: that does not cut the stop short. What nohup
// has started goes on.
func TestTerminalGoes(t *testing.T) {
	t.Parallel()
	p := start(t, built(t), "READMARK_DATABASE_URL="+pgtest.Empty(t), "READMARK_SHUTDOWN_DELAY=500ms")
	for range 3 {
		require.NoError(t, p.command.Process.Signal(syscall.SIGHUP))
	}
	require.Eventually(t, func() bool { return strings.Contains(p.log.String(), `"msg":"stopping"`) }, time.Minute, time.Millisecond)
	require.NoError(t, p.command.Process.Signal(syscall.SIGHUP))
	require.NoError(t, p.wait(), p.log)
	require.Contains(t, p.log.String(), `"msg":"stopped"`)

	p = startCommand(t, exec.CommandContext(t.Context(), "nohup", built(t), "serve"), "READMARK_DATABASE_URL="+pgtest.Empty(t))
	require.NoError(t, p.command.Process.Signal(syscall.SIGHUP))
	p.read("u", "g", 1)
	require.NoError(t, p.command.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.wait(), p.log)
}

// After the first signal callbacks are taken, unready, for as long as
// configured; a second signal ends the process at once.
func TestShutdownDelayAndSecondSignal(t *testing.T) {
	t.Parallel()
	p := start(t, built(t), "READMARK_DATABASE_URL="+pgtest.Empty(t), "READMARK_SHUTDOWN_DELAY=1h")
	require.NoError(t, p.command.Process.Signal(syscall.SIGTERM))
	require.Eventually(t, func() bool {
		status, _ := p.do(http.MethodGet, p.Ops+"/readyz", "")
		return status == http.StatusServiceUnavailable
	}, time.Minute, 5*time.Millisecond)
	p.read("u", "g", 1)
	require.NoError(t, p.command.Process.Signal(syscall.SIGTERM))
	var exit *exec.ExitError
	require.ErrorAs(t, p.wait(), &exit)
	require.NotContains(t, p.log.String(), `"msg":"stopped"`)
}

package embeddedpg

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// play starts another readmark with a server of its own.
func play(t *testing.T, opts Options) (*exec.Cmd, report) {
	t.Helper()
	readmark := exec.Command(os.Args[0])
	readmark.Env = append(os.Environ(), roleVariable+"="+opts.DataDir)
	readmark.Stderr = os.Stderr
	input, err := readmark.StdinPipe()
	require.NoError(t, err)
	t.Cleanup(func() { input.Close() })
	output, err := readmark.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, readmark.Start())
	line, err := bufio.NewReader(output).ReadBytes('\n')
	require.NoError(t, err)
	var said report
	require.NoError(t, json.Unmarshal(line, &said))
	return readmark, said
}

// orphan starts a server under a readmark that is then killed.
func orphan(t *testing.T, opts Options) report {
	t.Helper()
	readmark, said := play(t, opts)
	require.NoError(t, readmark.Process.Kill())
	require.Error(t, readmark.Wait())
	require.True(t, serves(said.PID, filepath.Join(opts.DataDir, "postgres")))
	return said
}

func TestLeftoverIsStopped(t *testing.T) {
	t.Parallel()
	opts, log := prepared(t)
	left := orphan(t, opts)
	before := time.Now()
	server := start(t, opts)
	require.Less(t, time.Since(before), 3*time.Second)
	require.NotEqual(t, left.PID, server.PID())
	require.False(t, serves(left.PID, server.dir.cluster()))
	require.Contains(t, log.String(), "stopping a leftover embedded postgres")
	require.Equal(t, "1", query(t, server, "SELECT 1"))
	stop(t, server)
	require.NotContains(t, log.String(), "stale postmaster.pid")
}

// TestLeftoverThatHangsIsKilled: one that answers no signal but a kill is killed.
func TestLeftoverThatHangsIsKilled(t *testing.T) {
	t.Parallel()
	opts, _ := prepared(t)
	left := orphan(t, opts)
	require.NoError(t, syscall.Kill(left.PID, syscall.SIGSTOP))
	process, ok := adopt(left.PID, filepath.Join(opts.DataDir, "postgres"))
	require.True(t, ok)
	defer process.forget()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, process.terminate(ended))
	require.Equal(t, "1", query(t, start(t, opts), "SELECT 1"))
}

// TestServerOfALivingReadmark: it is named, and its server is left alone.
func TestServerOfALivingReadmark(t *testing.T) {
	t.Parallel()
	opts, _ := prepared(t)
	readmark, said := play(t, opts)
	_, err := Start(t.Context(), opts)
	require.ErrorIs(t, err, ErrInUse)
	require.ErrorContains(t, err, fmt.Sprintf("process %d", readmark.Process.Pid))
	url, err := Attach(opts.DataDir)
	require.NoError(t, err)
	require.Equal(t, said.URL, url)
	require.True(t, serves(said.PID, filepath.Join(opts.DataDir, "postgres")))
	require.NoError(t, readmark.Process.Signal(syscall.SIGKILL))
	require.Error(t, readmark.Wait())
	start(t, opts)
}

// TestOrphansAreAwaited: readmark and its server are killed together, while a
// connection is too busy to notice.
func TestOrphansAreAwaited(t *testing.T) {
	t.Parallel()
	opts, log := prepared(t)
	left := orphan(t, opts)
	address, err := url.Parse(left.URL)
	require.NoError(t, err)
	port, err := strconv.Atoi(address.Port())
	require.NoError(t, err)
	password, _ := address.User.Password()
	view := &Server{programs: local(t), password: password, port: port}

	ended := make(chan struct{})
	go func() { // fails, as its connection is killed
		defer close(ended)
		_, _ = tryQuery(view, "DO $$ BEGIN WHILE clock_timestamp() < now() + interval '1 minute' LOOP END LOOP; END $$")
	}()
	var busy int
	require.Eventually(t, func() bool {
		text, err := tryQuery(view, "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'DO %'")
		if err != nil {
			return false
		}
		busy, err = strconv.Atoi(text)
		return err == nil
	}, patience, glance)
	t.Cleanup(func() {
		if serves(busy, filepath.Join(opts.DataDir, "postgres")) {
			_ = syscall.Kill(busy, syscall.SIGKILL)
		}
		<-ended
	})
	require.NoError(t, syscall.Kill(left.PID, syscall.SIGKILL))
	require.Eventually(t, func() bool { return !serves(left.PID, filepath.Join(opts.DataDir, "postgres")) }, patience, glance)

	begin := func(ctx context.Context, starts int) chan error {
		done := make(chan error, 1)
		go func() {
			server, err := Start(ctx, opts)
			if err == nil {
				err = server.Stop(context.WithoutCancel(ctx))
			}
			done <- err
		}()
		require.Eventually(t, func() bool {
			return strings.Count(log.String(), "waiting for processes of a dead") == starts
		}, patience, glance)
		return done
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := begin(ctx, 1)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)

	done = begin(t.Context(), 2)
	require.NoError(t, syscall.Kill(busy, syscall.SIGKILL))
	require.NoError(t, <-done)
}

func TestServerOfSomebodyElseIsStopped(t *testing.T) {
	t.Parallel()
	opts, log := prepared(t)
	first := start(t, opts)
	stop(t, first)

	// A server that listens elsewhere.
	port, err := freePort()
	require.NoError(t, err)
	left := first.run.command(context.Background(), first.programs.program("postgres"), "-D", first.dir.cluster(),
		"-p", strconv.Itoa(port),
		"-c", "listen_addresses=localhost", "-c", "unix_socket_directories=", "-c", "fsync=off")
	require.NoError(t, left.Start())
	reaped := make(chan error, 1)
	go func() { reaped <- left.Wait() }()
	require.Eventually(t, func() bool {
		file, err := readPIDFile(first.dir.cluster())
		return err == nil && file.pid == left.Process.Pid && file.ready
	}, patience, glance)

	server := start(t, opts)
	<-reaped
	require.NotEqual(t, left.Process.Pid, server.PID())
	require.Equal(t, "1", query(t, server, "SELECT 1"))
	require.Contains(t, log.String(), "stopping a leftover embedded postgres")
}

func TestLostPasswordIsReplaced(t *testing.T) {
	t.Parallel()
	opts, _ := prepared(t)
	left := orphan(t, opts)
	require.NoError(t, os.Remove(filepath.Join(opts.DataDir, "postgres.password")))
	server := start(t, opts)
	require.NotEqual(t, left.PID, server.PID())
	require.Equal(t, "1", query(t, server, "SELECT 1"))
	stop(t, server)
	require.Equal(t, "1", query(t, start(t, opts), "SELECT 1"))
}

func TestStalePIDFile(t *testing.T) {
	t.Parallel()
	opts, log := prepared(t)
	server := start(t, opts)
	stop(t, server)
	path := filepath.Join(server.dir.cluster(), "postmaster.pid")
	write := func(t *testing.T, text string) {
		t.Helper()
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		require.NoError(t, server.run.account.own(path))
	}
	claim := func(pid int) string {
		return fmt.Sprintf("%d\n%s\n1700000000\n%d\n\n127.0.0.1\n  1  2\nready   \n", pid, server.dir.cluster(), server.port)
	}

	// A process that is not ours, run by the server's user: postgres itself would
	// believe that it is a server.
	stranger := server.run.command(t.Context(), "/bin/cat")
	input, err := stranger.StdinPipe()
	require.NoError(t, err)
	output, err := stranger.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, stranger.Start())

	dead := exec.Command("/bin/true")
	require.NoError(t, dead.Run())

	for _, text := range []string{claim(stranger.Process.Pid), claim(dead.Process.Pid), claim(os.Getpid()), "", "nonsense\n", "-7\n"} {
		write(t, text)
		again := start(t, opts)
		require.Equal(t, "1", query(t, again, "SELECT 1"), text)
		stop(t, again)
	}
	require.Contains(t, log.String(), "removing a stale postmaster.pid")

	// The stranger still answers.
	_, err = io.WriteString(input, "alive\n")
	require.NoError(t, err)
	line, err := bufio.NewReader(output).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "alive\n", line)
	require.NoError(t, input.Close())
	require.NoError(t, stranger.Wait())
}

func TestServesOnlyItsCluster(t *testing.T) {
	t.Parallel()
	opts, _ := prepared(t)
	server := start(t, opts)
	cluster := server.dir.cluster()
	require.True(t, serves(server.PID(), cluster))
	require.False(t, serves(server.PID(), t.TempDir()))
	require.False(t, serves(os.Getpid(), cluster))
}

func TestDeadServerIsRestarted(t *testing.T) {
	t.Parallel()
	opts, log := prepared(t)
	server := start(t, opts)
	url := server.URL()
	for range 2 {
		pid := server.PID()
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		require.Eventually(t, func() bool {
			_, err := tryQuery(server, "SELECT 1")
			return err == nil && server.PID() != pid
		}, patience, glance)
	}
	require.Equal(t, url, server.URL())
	require.Contains(t, log.String(), "embedded postgres died")
}

func TestStopWhileRestarting(t *testing.T) {
	t.Parallel()
	opts, _ := prepared(t)
	server := start(t, opts)
	require.NoError(t, syscall.Kill(server.PID(), syscall.SIGKILL))
	<-server.running().exited
	stop(t, server)
	require.Empty(t, processesOf(t, server.dir.cluster()))
}

func TestParsePIDFile(t *testing.T) {
	t.Parallel()
	file, err := parsePIDFile("12\n/data\n1700000000\n5433\n\n127.0.0.1\n  11   22\nready   \n")
	require.NoError(t, err)
	require.Equal(t, 12, file.pid)
	require.True(t, file.ready)
	require.Equal(t, 5433, file.port)

	file, err = parsePIDFile("12\n/data\n1700000000\n5433\n/tmp\n*\n  11   22\nstarting\n")
	require.NoError(t, err)
	require.False(t, file.ready)

	file, err = parsePIDFile("-12\n/data\n")
	require.NoError(t, err)
	require.Equal(t, 12, file.pid, "a single-user server")
	require.False(t, file.ready)

	for _, text := range []string{"", "x", "0\n", "-1\n", "\n12"} {
		_, err := parsePIDFile(text)
		require.ErrorIs(t, err, errMalformed, "%q", text)
	}
}

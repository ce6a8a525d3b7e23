package pgtest

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// standbyStart bounds the start of a standby.
const standbyStart = time.Minute

// Standby starts a streaming standby of a server that [Own] started. promote makes it a primary
// and blocks until it is one.
func Standby(t testing.TB, primaryURL string) (databaseURL string, promote func()) {
	t.Helper()
	fail := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("pgtest: %s: %v", what, err)
		}
	}
	bin, err := binaries(t.Context())
	fail("find binaries", err)
	dir, err := os.MkdirTemp("", "readmark-pgtest-standby-")
	fail("make directory", err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	fail("open directory", os.Chmod(dir, 0o755)) // PostgreSQL's own user must enter it
	data := filepath.Join(dir, "data")
	output, err := exec.CommandContext(t.Context(), filepath.Join(bin, "pg_basebackup"),
		"--pgdata="+data, "--dbname="+primaryURL, "--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast").CombinedOutput()
	fail("copy the primary: "+string(output), err)
	owner, err := ownerOf(t.Context(), primaryURL)
	fail("find the primary's user", err)
	fail("give the copy away", filepath.Walk(data, func(path string, _ os.FileInfo, err error) error {
		if err != nil || os.Getuid() != 0 {
			return err
		}
		return os.Lchown(path, int(owner.Uid), int(owner.Gid))
	}))
	port, err := freePort(t.Context())
	fail("find a port", err)
	log, err := os.Create(filepath.Join(dir, "log"))
	fail("make a log", err)
	t.Cleanup(func() { _ = log.Close() })
	server := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-p", strconv.Itoa(port), "-c", "listen_addresses=127.0.0.1",
		"-c", "unix_socket_directories=", "-c", "hot_standby=on")
	server.Stdout, server.Stderr = log, log
	if os.Getuid() == 0 {
		server.SysProcAttr = &syscall.SysProcAttr{Credential: owner}
	}
	fail("start the standby", server.Start())
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGINT)
		_ = server.Wait()
	})
	u, err := url.Parse(primaryURL)
	fail("read the primary's URL", err)
	u.Host = "127.0.0.1:" + strconv.Itoa(port)
	fail("reach the standby", reach(t.Context(), u.String()))
	return u.String(), func() {
		conn := Connect(t, u.String())
		_, err := conn.Exec(context.WithoutCancel(t.Context()), "SELECT pg_promote()")
		fail("promote the standby", err)
	}
}

// ownerOf gives the user whose the files of a server are.
func ownerOf(ctx context.Context, databaseURL string) (*syscall.Credential, error) {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var dir string
	if err := conn.QueryRow(ctx, "SHOW data_directory").Scan(&dir); err != nil {
		return nil, fmt.Errorf("ask for the directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("find the directory: %w", err)
	}
	stat, _ := info.Sys().(*syscall.Stat_t)
	return &syscall.Credential{Uid: stat.Uid, Gid: stat.Gid}, nil
}

func freePort(ctx context.Context) (int, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("listen: %w", err)
	}
	address, _ := listener.Addr().(*net.TCPAddr)
	return address.Port, listener.Close()
}

// reach blocks until a server answers.
func reach(ctx context.Context, databaseURL string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, standbyStart)
	defer cancel()
	for {
		var conn *pgx.Conn
		if conn, err = pgx.Connect(ctx, databaseURL); err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for an answer: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

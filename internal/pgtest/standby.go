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

// StandbyServer is a streaming standby.
type StandbyServer struct {
	URL string

	t    testing.TB
	bin  string
	data string
	port int
	user *syscall.Credential // nil: that of the test
	args []string
	log  *os.File
	run  *exec.Cmd
}

// Standby starts a streaming standby of a server that [Own] started, with some more settings
// (name=value).
func Standby(t testing.TB, primaryURL string, settings ...string) *StandbyServer {
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
	s := &StandbyServer{t: t, bin: bin, data: data, port: port, log: log}
	if os.Getuid() == 0 {
		s.user = owner
	}
	for _, setting := range settings {
		s.args = append(s.args, "-c", setting)
	}
	u, err := url.Parse(primaryURL)
	fail("read the primary's URL", err)
	u.Host = "127.0.0.1:" + strconv.Itoa(port)
	s.URL = u.String()
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// Start starts the standby again, and blocks until it answers.
func (s *StandbyServer) Start() {
	s.t.Helper()
	s.run = exec.Command(filepath.Join(s.bin, "postgres"), append([]string{
		"-D", s.data, "-p", strconv.Itoa(s.port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "hot_standby=on",
	}, s.args...)...)
	s.run.Stdout, s.run.Stderr = s.log, s.log
	if s.user != nil {
		s.run.SysProcAttr = &syscall.SysProcAttr{Credential: s.user}
	}
	if err := s.run.Start(); err != nil {
		s.t.Fatalf("pgtest: start the standby: %v", err)
	}
	if err := reach(s.t.Context(), s.URL); err != nil {
		s.t.Fatalf("pgtest: reach the standby: %v", err)
	}
}

// Stop stops the standby, which breaks its connections, and blocks until it has ended.
func (s *StandbyServer) Stop() {
	_ = s.run.Process.Signal(syscall.SIGINT)
	_ = s.run.Wait()
}

// Restart stops the standby, which breaks its connections, and starts it again.
func (s *StandbyServer) Restart() {
	s.t.Helper()
	s.Stop()
	s.Start()
}

// Promote makes the standby a primary and blocks until it is one.
func (s *StandbyServer) Promote() { s.t.Helper(); s.exec("SELECT pg_promote()") }

func (s *StandbyServer) exec(sql string) {
	s.t.Helper()
	if _, err := Connect(s.t, s.URL).Exec(context.WithoutCancel(s.t.Context()), sql); err != nil {
		s.t.Fatalf("pgtest: %s: %v", sql, err)
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

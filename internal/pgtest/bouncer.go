package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// variableBouncer has tests connect through PgBouncer in transaction mode.
const variableBouncer = "READMARK_TEST_PGBOUNCER"

// poolers are the running PgBouncers: by their address the URL of the database itself. Each test's
// database has one of its own, since 1.18 crashes when a client that cancels is gone too early
// (github.com/pgbouncer/pgbouncer/issues/801): no other test notices, and it is started anew.
var poolers sync.Map

// stopBouncer says how the tests of this process have connected.
func stopBouncer() {
	if os.Getenv(variableBouncer) != "" {
		fmt.Println("pgtest: through PgBouncer in transaction mode")
	}
}

// bounce gives the URL of a database for tests: through PgBouncer, where they are to go there,
// until stop.
func bounce(direct string) (through string, stop func(), err error) {
	if os.Getenv(variableBouncer) == "" {
		return direct, func() {}, nil
	}
	u, err := url.Parse(direct)
	if err != nil {
		return "", nil, errors.New("the server's URL cannot be parsed")
	}
	b, err := startBouncer(direct)
	if err != nil {
		return "", nil, err
	}
	poolers.Store(b.addr, direct)
	u.Host, u.RawQuery = b.addr, "sslmode=disable"
	return u.String(), func() {
		poolers.Delete(b.addr)
		b.stop()
	}, nil
}

// unbounce gives the URL of the database itself.
func unbounce(database string) string {
	u, err := url.Parse(database)
	if err != nil {
		return database
	}
	known, _ := poolers.Load(u.Host)
	if direct, found := known.(string); found {
		return withDatabase(direct, strings.TrimPrefix(u.Path, "/"))
	}
	return database
}

// pooler is a running PgBouncer. Each database of the server has its name there.
type pooler struct {
	addr string
	stop func()
}

func startBouncer(serverURL string) (*pooler, error) {
	c, err := pgx.ParseConfig(serverURL)
	if err != nil {
		return nil, errors.New("the server's URL cannot be parsed")
	}
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer" // where Debian has it
		if _, err := os.Stat(program); err != nil {
			return nil, fmt.Errorf("%s is set, and there is no pgbouncer: install the package of that name", variableBouncer)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("find a port: %w", err)
	}
	addr, _ := listener.Addr().(*net.TCPAddr)
	_ = listener.Close()
	dir, err := os.MkdirTemp("", "readmark-pgbouncer-")
	if err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	text := fmt.Sprintf(`[databases]
* = host=%s port=%d user=%s password=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
max_client_conn = 2000
default_pool_size = 4
server_idle_timeout = 5
log_connections = 0
log_disconnections = 0
log_pooler_errors = 0
`, c.Host, c.Port, c.User, c.Password, addr.Port)
	if os.Geteuid() == 0 { // it refuses to run as root
		text += "user = nobody\n"
	}
	file := filepath.Join(dir, "pgbouncer.ini")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
		return nil, fmt.Errorf("write its configuration: %w", err)
	}
	run := func() (*exec.Cmd, error) {
		command := exec.Command(program, file)
		command.Stdout, command.Stderr = io.Discard, io.Discard
		err := command.Start()
		return command, err
	}
	command, err := run()
	if err != nil {
		return nil, fmt.Errorf("start pgbouncer: %w", err)
	}
	stopping, ended := make(chan struct{}), make(chan struct{})
	go func() { // started anew when it ends by itself, as systemd does
		defer close(ended)
		for {
			exited := make(chan struct{})
			go func() {
				_ = command.Wait()
				close(exited)
			}()
			select {
			case <-stopping:
				_ = command.Process.Signal(syscall.SIGTERM)
				<-exited
				return
			case <-exited:
				fmt.Println("pgtest: PgBouncer has ended by itself and is started anew")
			}
			if command, err = run(); err != nil {
				fmt.Println("pgtest: start pgbouncer:", err)
				return
			}
		}
	}()
	b := &pooler{addr: addr.String(), stop: func() {
		close(stopping)
		<-ended
		_ = os.RemoveAll(dir)
	}}
	if err := awaitAddr(b.addr); err != nil {
		b.stop()
		return nil, fmt.Errorf("pgbouncer does not answer: %w", err)
	}
	return b, nil
}

// awaitAddr waits for somebody to listen.
func awaitAddr(addr string) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		var conn net.Conn
		if conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", addr); err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

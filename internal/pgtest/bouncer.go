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
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// variableBouncer has tests connect through PgBouncer in transaction mode.
const variableBouncer = "READMARK_TEST_PGBOUNCER"

// bounced is the PgBouncer of this process, if one runs.
var bounced atomic.Pointer[pooler]

// stopBouncer ends it.
func stopBouncer() {
	if b := bounced.Load(); b != nil {
		fmt.Println("pgtest: through PgBouncer in transaction mode")
		b.stop()
	}
}

// bouncer is the PgBouncer of this process, started by the first test that asks.
var bouncer = sync.OnceValues(func() (*pooler, error) {
	server, err := shared()
	if err != nil {
		return nil, err
	}
	return startBouncer(server.URL)
})

// pooler is a running PgBouncer. Each database of the server has its name there.
type pooler struct {
	addr string
	stop func()
}

// bounce gives the URL of a database for tests: through PgBouncer, where they are to go there.
func bounce(direct string) (string, error) {
	if os.Getenv(variableBouncer) == "" {
		return direct, nil
	}
	b, err := bouncer()
	if err != nil {
		return "", err
	}
	u, err := url.Parse(direct)
	if err != nil {
		return "", errors.New("the server's URL cannot be parsed")
	}
	u.Host, u.RawQuery = b.addr, "sslmode=disable"
	return u.String(), nil
}

// unbounce gives the URL of the database itself.
func unbounce(database string) string {
	if os.Getenv(variableBouncer) == "" {
		return database
	}
	b, err := bouncer()
	server, serverErr := shared()
	if err = errors.Join(err, serverErr); err != nil {
		return database
	}
	u, err := url.Parse(database)
	if err != nil || u.Host != b.addr {
		return database
	}
	return withDatabase(server.URL, strings.TrimPrefix(u.Path, "/"))
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
	command := exec.Command(program, file)
	command.Stdout, command.Stderr = io.Discard, io.Discard
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start pgbouncer: %w", err)
	}
	b := &pooler{addr: addr.String(), stop: func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		_ = command.Wait()
		_ = os.RemoveAll(dir)
	}}
	if err := awaitAddr(b.addr); err != nil {
		b.stop()
		return nil, fmt.Errorf("pgbouncer does not answer: %w", err)
	}
	bounced.Store(b)
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

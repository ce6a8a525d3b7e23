package pgtest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"readmark/internal/store"
	"readmark/migrations"
)

// The variables in which the runner (internal/pgtest/run) hands its server to
// the test processes.
const (
	VariableURL  = "READMARK_PGTEST_URL"
	VariableName = "READMARK_PGTEST_NAME"
)

// shared is the server of this process, started by the first test that asks.
var shared = sync.OnceValues(func() (*Server, error) {
	if inherited := os.Getenv(VariableURL); inherited != "" {
		return &Server{URL: inherited, Name: os.Getenv(VariableName), Stop: func(bool) string { return "" }}, nil
	}
	return Start(context.Background())
})

var (
	started atomic.Bool // shared was asked for
	kept    sync.Map    // names of the databases that failed tests left
)

// template makes the template once per process; its name is its migrations'
// hash, so that runs share it.
var template = sync.OnceValues(func() (string, error) {
	server, err := shared()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return makeTemplate(ctx, server.URL)
})

// Main runs a package's tests, then the cleanups, and ends the process: it stops the server that
// the tests started and fails when they leave goroutines behind.
func Main(m *testing.M, cleanups ...func()) {
	code := m.Run()
	for _, cleanup := range cleanups {
		cleanup()
	}
	stopBouncer()
	if started.Load() {
		if server, err := shared(); err == nil {
			fmt.Println("pgtest: used", server.Name)
			if note := server.Stop(anyKept()); note != "" {
				fmt.Println("pgtest:", note)
			}
		}
	}
	if code == 0 {
		err := goleak.Find(
			goleak.IgnoreAnyFunction("github.com/testcontainers/testcontainers-go.(*Reaper).connect.func1"),
			// The proxy of fault tests waits for ever to hand on what it has read, when the connection that it writes to has
			// failed first.
			goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read"),
			goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*NoopToxic).Pipe"),
		)
		if err != nil {
			fmt.Println("pgtest:", err)
			code = 1
		}
	}
	os.Exit(code)
}

func anyKept() (found bool) {
	kept.Range(func(any, any) bool {
		found = true
		return false
	})
	return found
}

// New gives the URL of a fresh database with the newest schema. It is dropped
// when the test passes, and kept and named when it fails.
func New(t testing.TB) string {
	t.Helper()
	started.Store(true)
	name, err := template()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	return create(t, " TEMPLATE "+pgx.Identifier{name}.Sanitize())
}

// Empty gives the URL of a fresh database without any schema.
func Empty(t testing.TB) string {
	t.Helper()
	started.Store(true)
	return create(t, " TEMPLATE template0")
}

func create(t testing.TB, from string) string {
	t.Helper()
	server, err := shared()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	random := make([]byte, 6)
	_, _ = rand.Read(random)
	name := "readmark_test_" + hex.EncodeToString(random)
	if err := onEachNode(server, "CREATE DATABASE "+name+from); err != nil {
		t.Fatalf("pgtest: create database: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			kept.Store(name, true)
			t.Logf("pgtest: database %s is kept on %s", name, server.Name)
			return
		}
		if err := onEachNode(server, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("pgtest: drop database: %v", err)
		}
		kept.Delete(name)
	})
	database, stop, err := bounce(withDatabase(server.URL, name))
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(stop)
	return database
}

// Connect opens a connection for a test's own questions, past a pooler; the test's end closes
// it.
func Connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), unbounce(url))
	if err != nil {
		t.Fatalf("pgtest: connect: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func makeTemplate(ctx context.Context, serverURL string) (string, error) {
	hash, err := migrationsHash()
	if err != nil {
		return "", err
	}
	name := "readmark_template_" + hash
	if onCitus() {
		name += "_citus"
	}
	conn, err := pgx.Connect(ctx, serverURL)
	if err != nil {
		return "", fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	// One process makes it, the others wait; the lock goes with the connection.
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(hashtext($1))", name); err != nil {
		return "", fmt.Errorf("lock template: %w", err)
	}
	var done bool
	err = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND datistemplate)", name).Scan(&done)
	if err != nil || done {
		return name, err
	}
	if onCitus() {
		c, err := readCluster(ctx, serverURL)
		if err != nil {
			return "", err
		}
		return name, c.makeTemplate(ctx, name)
	}
	for _, statement := range []string{
		"DROP DATABASE IF EXISTS " + name + " WITH (FORCE)", // a half-made one
		"CREATE DATABASE " + name + " TEMPLATE template0",
	} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return "", fmt.Errorf("make template: %w", err)
		}
	}
	if err := migrate(ctx, withDatabase(serverURL, name)); err != nil {
		return "", fmt.Errorf("migrate template: %w", err)
	}
	if _, err := conn.Exec(ctx, "ALTER DATABASE "+name+" IS_TEMPLATE true"); err != nil {
		return "", fmt.Errorf("finish template: %w", err)
	}
	return name, nil
}

func migrate(ctx context.Context, url string) error {
	m, err := store.OpenMigrator(url, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer m.Close()
	_, err = m.Up(ctx)
	return err
}

func migrationsHash() (string, error) {
	hash := sha256.New()
	files, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil {
		return "", err
	}
	for _, file := range files {
		content, err := fs.ReadFile(migrations.FS, file)
		if err != nil {
			return "", err
		}
		_, _ = fmt.Fprintf(hash, "%s %d\n%s", file, len(content), content)
	}
	_, _ = fmt.Fprint(hash, migrations.Citus)
	return hex.EncodeToString(hash.Sum(nil))[:12], nil
}

func execute(url, statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return executeAt(ctx, url, statement)
}

// withDatabase gives the URL with another database.
func withDatabase(serverURL, name string) string {
	u, err := url.Parse(serverURL)
	if err != nil {
		return strings.TrimSpace(serverURL) + " dbname=" + name
	}
	u.Path = "/" + name
	return u.String()
}

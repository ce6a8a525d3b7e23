package pgtest

import (
	"context"
	"log/slog"
	"os"
	"syscall"
	"testing"
	"time"

	"readmark/internal/embeddedpg"
)

// binaries gives a directory of PostgreSQL's programs.
func binaries(ctx context.Context) (dir string, err error) {
	if found := embeddedpg.Installations(os.Getenv("PG_BIN")); len(found) > 0 {
		return found[0].BinDir, nil
	}
	return download(ctx)
}

// Own starts a server for one test alone, which may kill it: it comes back at the same address.
// The database has the schema.
func Own(t testing.TB) (databaseURL string, kill func()) {
	t.Helper()
	bin, err := binaries(t.Context())
	if err != nil {
		t.Fatalf("pgtest: find binaries: %v", err)
	}
	dir, err := os.MkdirTemp("", "readmark-pgtest-own-")
	if err != nil {
		t.Fatalf("pgtest: make directory: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // PostgreSQL's own user must enter it
		t.Fatalf("pgtest: open directory: %v", err)
	}
	server, err := embeddedpg.Start(t.Context(), embeddedpg.Options{DataDir: dir, BinDir: bin, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatalf("pgtest: start server: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			t.Errorf("pgtest: stop server: %v", err)
		}
	})
	if err := migrate(t.Context(), server.URL()); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	return server.URL(), func() {
		if err := syscall.Kill(server.PID(), syscall.SIGKILL); err != nil {
			t.Errorf("pgtest: kill server: %v", err)
		}
	}
}

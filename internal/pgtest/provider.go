// Package pgtest gives each test a PostgreSQL database of its own: one server
// per run, a template made by the migrations, a clone per test. Tests only.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/modules/postgres"

	"readmark/internal/embeddedpg"
)

// Server is a PostgreSQL server for tests.
type Server struct {
	// URL connects as a superuser.
	URL string
	// Name says in words which server this is.
	Name string
	// Stop ends what was started for the tests. keep leaves the data behind and
	// returns a sentence that says where.
	Stop func(keep bool) string
}

// provider is one way to come by a server.
type provider struct {
	name  string
	start func(ctx context.Context) (*Server, error)
}

func providers() []provider {
	return []provider{
		{"url", startURL}, {"docker", startDocker}, {"local", startLocal}, {"download", startDownload}, {"citus", startCitus},
	}
}

// Start takes the first of TEST_DATABASE_URL, Docker, local binaries and a
// download that works, or the one that READMARK_TEST_POSTGRES forces.
func Start(ctx context.Context) (*Server, error) {
	forced := os.Getenv("READMARK_TEST_POSTGRES")
	var errs []error
	for _, p := range providers() {
		if forced != p.name && (forced != "" || p.name == "citus") {
			continue
		}
		server, err := p.start(ctx)
		if err == nil {
			return server, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
	}
	if errs == nil {
		return nil, fmt.Errorf("READMARK_TEST_POSTGRES=%s: must be url, docker, local, download or citus", forced)
	}
	return nil, fmt.Errorf("tests need a PostgreSQL and found none: set TEST_DATABASE_URL, start Docker, "+
		"install PostgreSQL 15 or newer (or set PG_BIN), or open the internet for a download:\n%w", errors.Join(errs...))
}

func startURL(context.Context) (*Server, error) {
	url := os.Getenv("TEST_DATABASE_URL")
	if url == "" {
		return nil, errors.New("TEST_DATABASE_URL is not set")
	}
	return &Server{URL: url, Name: "TEST_DATABASE_URL", Stop: func(keep bool) string {
		if keep {
			return "kept databases are on the server of TEST_DATABASE_URL"
		}
		return ""
	}}, nil
}

// startTimeout bounds Docker: it includes fetching the image.
const startTimeout = 3 * time.Minute

func startDocker(ctx context.Context) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := engineAnswers(ctx); err != nil {
		return nil, err
	}
	image := os.Getenv("POSTGRES_IMAGE")
	if image == "" {
		image = "postgres:18-alpine"
	}
	container, err := postgres.Run(ctx, image,
		postgres.WithUsername("readmark"), postgres.WithPassword("readmark"), postgres.WithDatabase("readmark"),
		testcontainers.WithCmd("postgres", "-c", "fsync=off", "-c", "max_connections=300"),
		postgres.BasicWaitStrategies())
	if err != nil {
		return nil, errors.Join(err, testcontainers.TerminateContainer(container))
	}
	url, err := container.ConnectionString(ctx, "sslmode=disable")
	if err != nil {
		return nil, errors.Join(err, testcontainers.TerminateContainer(container))
	}
	return &Server{URL: url, Name: "Docker image " + image, Stop: func(keep bool) string {
		if keep {
			return "kept databases are in container " + container.GetContainerID()
		}
		if err := testcontainers.TerminateContainer(container); err != nil {
			return "container not removed: " + err.Error()
		}
		return ""
	}}, nil
}

// engineAnswers gives an error where there is no Docker.
func engineAnswers(ctx context.Context) error {
	client, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		return fmt.Errorf("no engine answers: %w", err)
	}
	_ = client.Close()
	return nil
}

func startLocal(ctx context.Context) (*Server, error) {
	installations := embeddedpg.Installations(os.Getenv("PG_BIN"))
	if len(installations) == 0 {
		return nil, errors.New("no PostgreSQL binaries found")
	}
	return startEmbedded(ctx, installations[0].BinDir, "local binaries")
}

func startDownload(ctx context.Context) (*Server, error) {
	bin, err := download(ctx)
	if err != nil {
		return nil, err
	}
	return startEmbedded(ctx, bin, "downloaded binaries")
}

// download gives the directory of downloaded binaries.
func download(ctx context.Context) (binDir string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find cache directory: %w", err)
	}
	fetched, err := embeddedpg.Fetch(ctx, embeddedpg.Options{
		DataDir: filepath.Join(cache, "readmark"), Logger: slog.New(slog.DiscardHandler),
	}, newestMajor)
	return fetched.BinDir, err
}

// newestMajor is the PostgreSQL that a download fetches.
const newestMajor = 18

// startEmbedded runs the binaries on a throw-away directory, without the cost
// of safety against power cuts.
func startEmbedded(ctx context.Context, binDir, kind string) (*Server, error) {
	dir, err := os.MkdirTemp("", "readmark-pgtest-")
	if err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // PostgreSQL's own user must enter it
		return nil, fmt.Errorf("open directory: %w", err)
	}
	server, err := embeddedpg.Start(ctx, embeddedpg.Options{
		DataDir: dir, BinDir: binDir,
		Settings: map[string]string{"fsync": "off", "max_connections": "300"},
		Logger:   slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &Server{
		URL:  server.URL(),
		Name: fmt.Sprintf("PostgreSQL %s from %s in %s", server.Version(), kind, server.BinDir()),
		Stop: func(keep bool) string {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			err := server.Stop(ctx)
			if keep {
				return "kept databases are in " + dir + ": look at them with READMARK_DATA_DIR=" + dir + " readmark serve"
			}
			if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
				return "server not removed: " + err.Error()
			}
			return ""
		},
	}, nil
}

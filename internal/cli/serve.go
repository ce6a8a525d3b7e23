package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"readmark/internal/api"
	"readmark/internal/config"
	"readmark/internal/ingest"
	"readmark/internal/server"
	"readmark/internal/store"
)

const (
	// requestTimeout bounds the requests under way when serving ends.
	requestTimeout = 15 * time.Second
	// skewWarning is the difference of clocks above which order across
	// replicas is in doubt.
	skewWarning = time.Second
)

func (p *program) serveCommand() *cobra.Command {
	var printConfig, noMigrate bool
	command := &cobra.Command{
		Use: "serve", Short: "Receive callbacks and serve the read API", Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := p.config(command.Context())
			if err != nil {
				return err
			}
			if printConfig {
				return c.Print(p.Stdout)
			}
			return serve(command.Context(), &c, !noMigrate, p.logger(&c))
		},
	}
	command.Flags().BoolVar(&printConfig, "print-config", false, "print the effective configuration, without secrets, and exit")
	command.Flags().BoolVar(&noMigrate, "no-migrate", false, "do not migrate the database at start")
	p.variableFlag(command, "addr", "READMARK_ADDR", "host:port of callbacks and read API")
	p.variableFlag(command, "ops-addr", "READMARK_OPS_ADDR", "host:port of health and metrics")
	p.variableFlag(command, "database-url", "READMARK_DATABASE_URL", "PostgreSQL; none: the embedded one")
	p.variableFlag(command, "data-dir", "READMARK_DATA_DIR", "directory of the embedded database")
	return command
}

// serve runs until the context ends or a listener fails, then stops in order:
// callbacks, database, embedded server.
func serve(ctx context.Context, c *config.Config, migrate bool, logger *slog.Logger) (err error) {
	b := buildInfo()
	logger.InfoContext(ctx, "readmark starts", "version", b.Version, "commit", b.Commit, "go", b.Go)
	url, stopDatabase, err := database(ctx, c, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopDatabase()) }()
	s, err := openStore(ctx, url, migrate, logger)
	if err != nil {
		return err
	}
	defer s.Close()

	in := ingest.New(s, time.Now)
	newest, err := s.NewestArrival(ctx, time.Now())
	if err != nil {
		return err
	}
	in.Advance(newest)
	return listenAndServe(ctx, c, s, in, b, logger)
}

// openStore opens the database and makes it fit to write to.
func openStore(ctx context.Context, url string, migrate bool, logger *slog.Logger) (_ *store.Store, err error) {
	s, err := store.Open(url, logger)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	version, skew, err := s.Check(ctx)
	if err != nil {
		return nil, err
	}
	logger.InfoContext(ctx, "database reached", "postgresql", version)
	if skew.Abs() > skewWarning {
		logger.WarnContext(ctx, "the database's clock differs from ours: receipts of several replicas may be misordered",
			"skew_ms", skew.Milliseconds())
	}
	if migrate {
		applied, err := s.MigrateUp(ctx)
		if err != nil {
			return nil, err
		}
		logger.InfoContext(ctx, "schema is current", "applied", len(applied))
	}
	if err := s.MakeDaysAhead(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func listenAndServe(
	ctx context.Context, c *config.Config, s *store.Store, in *ingest.Ingest, b build, logger *slog.Logger,
) (err error) {
	registry := newRegistry(s, b)
	if c.AuthRequired {
		logger.WarnContext(ctx, "the read api answers 401 to everybody: this release has no API keys yet, "+
			"set READMARK_AUTH=off where only trusted callers can connect")
	}
	readiness := server.NewReadiness(func(ctx context.Context) error { return ready(ctx, s) }, logger)
	ops, err := server.Listen(ctx, "ops", c.OpsAddr, server.NewOps(readiness, registry), logger)
	if err != nil {
		return err
	}
	public, err := server.Listen(ctx, "public", c.Addr, server.New(server.Options{
		Sink: in, CallbackToken: c.CallbackToken, Registry: registry, Logger: logger,
		API: api.Options{
			Reader: s, Version: b.Version, AuthRequired: c.AuthRequired, Now: time.Now, Logger: logger,
		},
	}), logger)
	if err != nil {
		return errors.Join(err, ops.Close())
	}

	serving, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	ops.Serve(fail)
	public.Serve(fail)
	housekeeping := make(chan struct{})
	go func() {
		defer close(housekeeping)
		keepDaysAhead(serving, s, logger)
	}()
	<-serving.Done()

	cause := context.Cause(serving)
	if ctx.Err() != nil {
		cause = nil // asked to stop
	}
	logger.Info("stopping")
	readiness.Stop()
	if c.ShutdownDelay > 0 && cause == nil {
		<-time.After(c.ShutdownDelay)
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	err = errors.Join(cause, public.Shutdown(ending))
	in.Wait()
	<-housekeeping
	err = errors.Join(err, ops.Shutdown(ending))
	logger.Info("stopped")
	return err
}

// ready reports whether callbacks can be made durable: the database answers
// and has the schema that this binary needs, or a newer one.
func ready(ctx context.Context, s *store.Store) error {
	current, newest, err := s.SchemaVersion(ctx)
	if err != nil {
		return err
	}
	if current < newest {
		return fmt.Errorf("schema version is %d, %d is needed", current, newest)
	}
	return nil
}

func newRegistry(s *store.Store, b build) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "readmark_build_info", Help: "Always 1; the labels tell which Readmark this is.",
	}, []string{"version", "commit", "goversion"})
	info.WithLabelValues(b.Version, b.Commit, b.Go).Set(1)
	registry.MustRegister(info, s.Collector(), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

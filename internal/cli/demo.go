package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"readmark/internal/config"
	"readmark/internal/demo"
	"readmark/internal/embeddedpg"
	"readmark/internal/server"
	"readmark/internal/tracing"
)

const (
	// outageEvery is how often the simulated OpenIM is away.
	outageEvery = 3 * time.Minute
	// apiHeaderTimeout bounds how long a client of the simulated OpenIM may take to ask.
	apiHeaderTimeout = 10 * time.Second
)

// demoVariables are those that a demo takes from the environment. It leaves all others alone, above all
// those that name a database, a data directory and an OpenIM.
//
//nolint:gochecknoglobals // constant
var demoVariables = []string{
	"READMARK_ADDR", "READMARK_OPS_ADDR", "READMARK_AUTH", "READMARK_ALLOWED_HOSTS", "READMARK_COMMIT_BUDGET", "READMARK_WEBHOOK_ALLOW_PRIVATE",
	"READMARK_LOG_LEVEL", "READMARK_LOG_FORMAT", "PG_BIN",
}

func (p *program) demoCommand() *cobra.Command {
	var options demo.Options
	command := &cobra.Command{
		Use: "demo", Short: "Serve on a throw-away database, with a simulated OpenIM that something happens on", Args: noArgs,
		Long: "Serve on a throw-away embedded database in a temporary directory, with a simulated OpenIM: people write, read, join and leave, " +
			"and OpenIM's REST API is away now and then. The directory is removed at the end. " +
			"Of the environment it takes " + strings.Join(demoVariables, ", ") + ": a database or an OpenIM that is configured is not touched. " +
			"Where PostgreSQL is not installed its programs are downloaded to READMARK_DATA_DIR, once.",
		RunE: func(command *cobra.Command, _ []string) error { return p.demo(command.Context(), options) },
	}
	command.Flags().DurationVar(&options.WriteFor, "write-for", 0, "how long people write and read, such as 30s; 0: until the end")
	command.Flags().DurationVar(&options.OutageEvery, "outage-every", outageEvery, "how often OpenIM's REST API is away; 0: never")
	p.variableFlag(command, "addr", "READMARK_ADDR", "host:port of callbacks and read API")
	p.variableFlag(command, "ops-addr", "READMARK_OPS_ADDR", "host:port of health and metrics")
	return command
}

// demo serves until the context ends, and removes what it has made.
func (p *program) demo(ctx context.Context, options demo.Options) (err error) {
	if options.WriteFor < 0 || options.OutageEvery < 0 {
		return usage("--write-for and --outage-every take a duration of zero or more")
	}
	dir, err := os.MkdirTemp("", "readmark-demo-")
	if err != nil {
		return fmt.Errorf("make a temporary directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // the embedded PostgreSQL's user must enter it
		return fmt.Errorf("open the temporary directory: %w", err)
	}
	api, err := server.Open(ctx, "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for the simulated OpenIM: %w", err)
	}
	options.Seed = uint64(time.Now().UnixNano())
	simulation, given := demo.New(options), p.Lookup
	c, err := p.demoConfig(ctx, filepath.Join(dir, "data"), "http://"+api.Addr().String(), simulation.Secret())
	if err != nil {
		return errors.Join(err, api.Close())
	}
	logger := p.logger(&c)
	p.warnUnknown(ctx, logger)
	traces, err := tracing.Start(ctx, func(string) (string, bool) { return "", false }, buildInfo().Version, logger)
	if err != nil {
		return errors.Join(err, api.Close())
	}
	defer traces.Stop(ctx)
	if c.PGBin, err = demoPrograms(ctx, given, c.PGBin, logger); err != nil {
		return errors.Join(err, api.Close())
	}
	stop := serveSimulated(ctx, api, simulation, logger)
	defer stop()
	return p.serve(ctx, &c, true, traces, logger, func(ctx context.Context, a *addresses) {
		public := "http://" + reachable(a.public.Addr().String())
		p.tellDemo(&c, a, simulation.Summary(), api.Addr().String())
		simulation.Run(ctx, public, logger, func() {
			_, _ = fmt.Fprintln(p.Stdout, "The simulated people have stopped writing: counts stand still.")
		})
	})
}

// demoConfig is the configuration of a demo: what is fixed, and of the environment what it takes.
func (p *program) demoConfig(ctx context.Context, dataDir, openIM, secret string) (config.Config, error) {
	given := p.Lookup
	p.Lookup = func(name string) (string, bool) {
		if slices.Contains(demoVariables, strings.TrimSuffix(name, "_FILE")) {
			return given(name)
		}
		return "", false
	}
	for variable, value := range map[string]string{
		"READMARK_DATA_DIR": dataDir, "READMARK_OPENIM_API_URL": openIM, "READMARK_OPENIM_SECRET": secret,
		// It is on this machine, and everybody is compared every minute: drift has something to show.
		"READMARK_OPENIM_MAX_RPS": "200", "READMARK_RECONCILE_INTERVAL": "1m",
	} {
		p.flags[variable] = value
	}
	return p.config(ctx)
}

// demoPrograms gives the directory of PostgreSQL's programs, "" where they are installed. Downloaded ones are kept
// where serve looks for them: neither a second demo nor serve downloads them again.
func demoPrograms(ctx context.Context, given config.Lookup, binDir string, logger *slog.Logger) (string, error) {
	if binDir != "" || len(embeddedpg.Installations("")) > 0 {
		return binDir, nil
	}
	c, err := config.Load(ctx, func(name string) (string, bool) {
		if strings.TrimSuffix(name, "_FILE") == "READMARK_DATA_DIR" {
			return given(name)
		}
		return "", false
	})
	if err != nil {
		return "", err
	}
	programs, err := embeddedpg.Fetch(ctx, embeddedpg.Options{DataDir: c.DataDir, Logger: logger}, 0)
	if err != nil {
		return "", fmt.Errorf("no PostgreSQL is installed (PG_BIN may name the directory of its programs), and none can be downloaded: %w", err)
	}
	return programs.BinDir, nil
}

// serveSimulated serves the REST API of the simulated OpenIM until stop is called.
func serveSimulated(ctx context.Context, listener net.Listener, simulation *demo.Simulation, logger *slog.Logger) (stop func()) {
	s := &http.Server{Handler: simulation.Handler(), ReadHeaderTimeout: apiHeaderTimeout}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			logger.ErrorContext(ctx, "the simulated openim ended", "error", err)
		}
	}()
	return func() {
		_ = s.Close()
		<-ended
	}
}

// tellDemo says what to look at.
func (p *program) tellDemo(c *config.Config, a *addresses, summary, openIM string) {
	public, ops := "http://"+reachable(a.public.Addr().String()), "http://"+reachable(a.ops.Addr().String())
	_, _ = fmt.Fprintf(p.Stdout, `
  console  %s/console
  docs     %s/docs
  a badge  %s/v1/users/%s/unread
  metrics  %s/metrics
  openim   http://%s

Simulated: %s.
`, public, public, public, demo.Someone, ops, openIM, summary)
	if c.AuthRequired {
		_, _ = fmt.Fprintf(p.Stdout, "Others can connect, so /v1 asks for a key: readmark key create --name demo --data-dir %s\n", c.DataDir)
	}
	_, _ = fmt.Fprintln(p.Stdout, "Ctrl-C ends it; its database is removed then.")
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"readmark/internal/api"
	"readmark/internal/condition"
	"readmark/internal/config"
	"readmark/internal/feed"
	"readmark/internal/groupsum"
	"readmark/internal/ingest"
	"readmark/internal/readcache"
	"readmark/internal/reminder"
	"readmark/internal/server"
	"readmark/internal/spool"
	"readmark/internal/stats"
	"readmark/internal/store"
	"readmark/internal/tracing"
	"readmark/internal/webhook"
)

const (
	// requestTimeout bounds the requests under way when serving ends, and
	// drainTimeout what may then be drained from the spool.
	requestTimeout = 15 * time.Second
	drainTimeout   = 10 * time.Second
	// startWait is how long listening waits for the database at start, so that
	// a normal start needs no spool.
	startWait = 3 * time.Second
	// gcPercent trades some tens of megabytes for a tenth of the processor:
	// callbacks leave much garbage and little else. GOGC overrules it.
	gcPercent = 400
	// memoryLimit ends that trade where callbacks with very many members come together:
	// garbage is collected earlier then. It is soft, and GOMEMLIMIT overrules it.
	memoryLimit = 192 << 20
	// cacheRoom is how much is added to it for what the read cache holds, in percent of that.
	cacheRoom = 125
	// memoryInterval is how often that is done.
	memoryInterval = time.Second
	// Rejected callbacks are for finding faults, not for keeping.
	rejectionRetention = 30 * 24 * time.Hour
	maxRejections      = 1_000_000
)

func (p *program) serveCommand() *cobra.Command {
	var printConfig, noMigrate bool
	command := &cobra.Command{
		Use: "serve", Short: "Receive callbacks and serve the read API", Args: noArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			p.serves = true
			c, err := p.config(command.Context())
			if err != nil {
				return err
			}
			if printConfig {
				return c.Print(p.Stdout)
			}
			logger := p.logger(&c)
			p.warnUnknown(command.Context(), logger)
			traces, err := tracing.Start(command.Context(), p.Lookup, buildInfo().Version, logger)
			if err != nil {
				return err
			}
			defer traces.Stop(command.Context())
			return p.serve(command.Context(), &c, !noMigrate, traces, traces.Logger(logger), nil)
		},
	}
	command.Flags().BoolVar(&printConfig, "print-config", false, "print the effective configuration, without secrets, and exit")
	command.Flags().BoolVar(&noMigrate, "no-migrate", false, "do not migrate the database at start")
	p.variableFlag(command, "addr", "READMARK_ADDR", "host:port of callbacks and read API")
	p.variableFlag(command, "ops-addr", "READMARK_OPS_ADDR", "host:port of health and metrics")
	p.variableFlag(command, "database-url", "READMARK_DATABASE_URL", "PostgreSQL; none: the embedded one")
	p.variableFlag(command, "data-dir", "READMARK_DATA_DIR", "directory of the spool and the embedded database")
	return command
}

// spoolDir is where the spool lies.
func spoolDir(c *config.Config) string { return filepath.Join(c.DataDir, "spool") }

// serve runs until the context ends or a part of it fails, then stops in order:
// callbacks, spool, database, embedded server. With play it is a demo, whose embedded database is
// thrown away: play runs once that is prepared, and must return when its context ends.
func (p *program) serve(ctx context.Context, c *config.Config, migrate bool, traces *tracing.Tracing, logger *slog.Logger,
	play func(context.Context, *addresses),
) (err error) {
	b := buildInfo()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	logger.InfoContext(ctx, "readmark starts", "version", b.Version, "commit", b.Commit, "go", b.Go)
	addresses, err := openAddresses(ctx, c)
	if err != nil {
		return err
	}
	defer addresses.close()
	if err := checkDataDir(c.DataDir); err != nil {
		return err
	}
	queue, err := spool.Open(spool.Options{
		Dir: spoolDir(c), MaxBytes: c.SpoolMaxBytes, Now: time.Now, Logger: logger,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, queue.Close()) }()
	if waiting := queue.Len(); waiting > 0 {
		logger.WarnContext(ctx, "the spool holds events of an earlier run", "events", waiting)
	}
	if play == nil {
		warnEmbedded(ctx, c, logger)
	}
	url, stopDatabase, err := database(ctx, c, play != nil, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopDatabase()) }()
	s, err := store.Open(store.Options{URL: url, CurrentURL: currentURL(c), MaxConns: c.DatabaseMaxConns, Tracing: traces.Provider(), Logger: logger})
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer s.Close()
	if c.OpenIM.Configured() {
		s.EnableLookups()
	}
	in := ingest.New(ingest.Options{
		Store: s, Spool: queue, Budget: c.CommitBudget, Clock: s.Clock(), Logger: logger, Tracer: traces.Tracer("readmark/internal/ingest"),
	})
	v := &service{
		program: p, config: c, build: b, addresses: addresses, told: make(chan struct{}), play: play, store: s, spool: queue, ingest: in, registry: prometheus.NewRegistry(),
		traces: traces, logger: logger,
	}
	v.board = condition.New(time.Now, logger)
	v.retired = lastSuccess("retention", "the hourly making and dropping of days")
	v.registry.MustRegister(v.board.Collector(), v.retired)
	if len(c.ReplicaURLs) > 0 {
		if v.replicas, err = s.OpenReplicas(c.ReplicaURLs, v.replicaOptions()); err != nil {
			return fmt.Errorf("open replicas: %w", err)
		}
		defer v.replicas.Close()
		v.replicas.Register(v.registry)
	}
	v.stats = v.newStats()
	closeCache := v.openCache()
	defer closeCache()
	v.apiAuth = newAPIAuth(c, s, v.registry, logger)
	v.openim = v.newOpenIMSync()
	v.webhooks = v.newWebhooks()
	return v.run(ctx, &startup{store: s, migrate: migrate, migrateURL: migrateURL(c, url), board: v.board, logger: logger})
}

// service is a serving readmark.
type service struct {
	program *program
	config  *config.Config
	build   build
	// addresses are open from the start. told is closed when all is said that a start says.
	addresses *addresses
	told      chan struct{}
	play      func(context.Context, *addresses) // nil: it is no demo
	store     *store.Store
	replicas  *store.Replicas // nil where the database itself answers reads
	cache     *readcache.Cache
	feed      *feed.Feed
	reminder  *reminder.Worker
	groupSums *groupsum.Worker
	stats     *stats.Recorder
	spool     *spool.Spool
	ingest    *ingest.Ingest
	openim    *openimSync // nil where OpenIM cannot be asked
	webhooks  *webhooks
	registry  *prometheus.Registry
	board     *condition.Board
	retired   prometheus.Gauge // when days were made and dropped last
	unusable  atomic.Bool      // the database or its schema, when it was last asked
	readOnly  atomic.Bool      // the database is a standby, and reads may be old
	traces    *tracing.Tracing
	logger    *slog.Logger
	*apiAuth
}

// run serves until the context ends or a part fails.
func (v *service) run(ctx context.Context, p *startup) (err error) {
	serving, fail := context.WithCancelCause(ctx)
	prepared := make(chan struct{})
	var background sync.WaitGroup
	defer background.Wait()
	defer fail(nil)
	// What answers depend on is watched until the last one is given.
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWatching()
	if v.replicas != nil {
		background.Go(func() { v.replicas.Follow(watching) })
	}
	background.Go(func() { v.board.Run(watching) })
	background.Go(func() { v.watchConditions(watching) })
	background.Go(func() { v.cache.Run(watching) })
	background.Go(func() { v.feed.Run(watching) })
	background.Go(func() { v.store.Clock().Follow(watching, v.store.MeasureClock) })
	if os.Getenv("GOMEMLIMIT") == "" {
		background.Go(func() { v.limitMemory(watching) })
	}
	background.Go(func() {
		newest, err := p.run(serving)
		if err != nil {
			if serving.Err() == nil {
				fail(err)
			}
			return
		}
		v.ingest.Start(serving, newest)
		close(prepared)
		v.warnNoKeys(serving)
		close(v.told)
		if v.openim != nil {
			background.Go(func() { v.openim.run(serving) })
		}
		background.Go(func() { v.webhooks.run(serving) })
		background.Go(func() { v.keepFutureAway(serving) })
		background.Go(func() { v.reminder.Run(serving) })
		if v.play != nil {
			background.Go(func() { v.play(serving, v.addresses) })
		}
		background.Go(func() { v.groupSums.Run(serving) })
		background.Go(func() { v.loadPast(serving) })
		maintain(serving, v.logger, v.maintained, v.maintenance()...)
	})
	select {
	case <-prepared:
	case <-serving.Done():
	case <-time.After(startWait):
	}
	if ctx.Err() == nil && serving.Err() != nil {
		v.ingest.Stop(ctx)
		return context.Cause(serving)
	}
	return v.listen(ctx, serving, fail)
}

// maintenance is what a serving readmark does every hour.
func (v *service) maintenance() []maintenanceTask {
	return []maintenanceTask{
		{"make days ahead", v.store.MakeDaysAhead},
		{"drop old days", v.retire},
	}
}

// maintained notes how that ended.
func (v *service) maintained(err error) {
	if err == nil {
		v.retired.SetToCurrentTime()
		v.board.Clear(condition.Retention)
		return
	}
	if isAway(err) {
		return
	}
	reason := condition.Failed
	if found, _ := store.Diagnose(err, store.DatabaseVariable); found == condition.Permission {
		reason = found
	}
	v.board.Report(condition.Retention, reason, "days are not made ahead, or old ones not dropped; it is tried again every minute: "+oneLine(err.Error()))
}

// retire drops what is older than its retention.
func (v *service) retire(ctx context.Context) error {
	keep := retention(v.config)
	may, err := v.store.MayMakeDays(ctx)
	if err != nil {
		return err
	}
	if !may { // the owner of the tables does, by readmark partitions
		keep.Journal, keep.Changes = 0, 0
	}
	retired, err := v.store.Retire(ctx, keep)
	if len(retired.Days) > 0 || retired.Rejections > 0 {
		v.logger.InfoContext(ctx, "old rows dropped", "days", retired.Days, "rejected_callbacks", retired.Rejections)
	}
	return err
}

// retention is how long things are kept.
func retention(c *config.Config) store.Retention {
	return store.Retention{
		Journal: c.Retention, Changes: c.ChangesRetention, Rejections: rejectionRetention, MaxRejections: maxRejections,
	}
}

// listen serves both listeners until serving ends, and stops gracefully.
func (v *service) listen(ctx, serving context.Context, fail context.CancelCauseFunc) (err error) {
	c, logger := v.config, v.logger
	hosts, err := v.hostRule()
	if err != nil {
		return err
	}
	v.register()
	registry := v.registry
	readiness := server.NewReadiness(v.condition)
	ops := server.NewListener("ops", v.addresses.ops, server.NewOps(readiness, registry, hosts), logger)
	var sink webhook.Sink = v.ingest
	if v.openim == nil {
		sink = &unresolvedWarner{Sink: v.ingest, logger: logger}
	}
	handler := server.New(server.Options{
		Sink: sink, CallbackToken: c.CallbackToken, CORSOrigins: c.CORSOrigins, Hosts: hosts, Registry: registry, Logger: logger,
		API: v.api(), Console: &consoleSource{v}, CurrentToken: c.CurrentCallbackToken, Unauthorized: v.unauthorized, Tracing: v.traces.Provider(),
	})
	public := server.NewListener("public", v.addresses.public, handler, logger)
	v.followCounters(&handler)
	counting, stopCounting := context.WithCancel(context.WithoutCancel(ctx))
	var listening sync.WaitGroup
	listening.Go(func() { saveStats(counting, v.store, handler.TakeCallbackStats, logger) })
	listening.Go(func() { v.watch(counting) })
	listening.Go(func() { v.stats.Run(counting) })
	defer listening.Wait()
	defer stopCounting()
	ops.Serve(fail)
	public.Serve(fail)
	listening.Go(func() { v.tellURLs(serving) })
	<-serving.Done()

	cause := context.Cause(serving)
	if ctx.Err() != nil {
		cause = nil // asked to stop
	}
	logger.Info("stopping")
	readiness.Stop()
	public.CloseAfterAnswer()
	if c.ShutdownDelay > 0 && cause == nil {
		<-time.After(c.ShutdownDelay)
	}
	v.feed.Close()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	err = errors.Join(cause, public.Shutdown(ending))
	draining, cancelDrain := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancelDrain()
	v.ingest.Stop(draining)
	err = errors.Join(err, ops.Shutdown(ending))
	logger.Info("stopped")
	return err
}

// api is what the read API works with.
func (v *service) api() api.Options {
	options := api.Options{
		Reader: v.cache, Database: v.store, Eraser: v.store, Feed: v.feed, Webhooks: v.webhooks, Reminders: v.store, Stats: v.stats, Guard: v.guard, Retention: v.config.Retention,
		Now: v.store.Clock().Now, AsOf: v.asOf, OneMoment: v.store.OneMoment, Logger: v.logger,
	}
	if v.replicas != nil {
		options.Database, options.Unreadable = v.replicas, v.replicas.Unreadable
	}
	return options
}

// asOf is what the read API's answers are not older than: callbacks that wait in the
// spool are in none. It is zero while nothing can be read.
func (v *service) asOf() time.Time {
	if v.replicas != nil { // may be read while the primary is away
		return v.ingest.ReplicaWatermark(v.replicas.AsOf())
	}
	return v.primaryAsOf()
}

// primaryAsOf is the same of what is read from the primary.
func (v *service) primaryAsOf() time.Time {
	if !v.ingest.Started() || v.readOnly.Load() { // the schema may be half there
		return time.Time{}
	}
	return v.ingest.Watermark()
}

// register registers the metrics of all parts.
func (v *service) register() {
	registry := v.registry
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "readmark_build_info", Help: "Always 1. The labels tell which version of Readmark runs, and with which version of Go it was built.",
	}, []string{"version", "commit", "goversion"})
	info.WithLabelValues(v.build.Version, v.build.Commit, v.build.Go).Set(1)
	registry.MustRegister(info, v.store.Collector(), v.store.PendingCollector(), v.store.Clock().Collector(), v.spool.Collector(), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	v.ingest.Register(registry)
	v.traces.Register(registry)
}

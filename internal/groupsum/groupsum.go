// Package groupsum keeps the sums of groups, so that groups can be listed, the fullest first, without summing them for
// each request. One process of all does the work, which is a sequence of short steps that the store keeps the place of.
// It takes a tenth of one connection's time at most: where there is much to do, sums come later, and nothing else is slower. See docs/decisions/group-sums.md.
package groupsum

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"readmark/internal/lograte"
	"readmark/internal/readstate"
)

const (
	// interval is how often it is looked whether something has changed.
	interval = time.Second
	// leaseInterval is how often a process asks whether it is to keep the sums, which does not.
	leaseInterval = 5 * time.Second
	// rest is how much longer than a round the pause behind it is, and minRest how long it is at least.
	rest    = 9
	minRest = 10 * time.Millisecond
	// maxFailurePause bounds the growing pauses between attempts that fail.
	maxFailurePause = 30 * time.Second
)

// Work is the work in steps, as the store has it. All but Lease fail with [readstate.ErrLeaseTaken] where another
// process has taken it.
type Work interface {
	// Lease has this process be the one that keeps the sums, or stay so, and reports whether it is. Release gives that
	// up.
	Lease(ctx context.Context) (bool, error)
	Release(ctx context.Context)
	// Follow reads what has changed, and Walk looks up the groups where that is not known; more says that there is more
	// to do at once.
	Follow(ctx context.Context) (more bool, err error)
	Walk(ctx context.Context) (more bool, err error)
	// Sum sums some groups, and says how many.
	Sum(ctx context.Context) (summed int, more bool, err error)
	// Save stores up to when the sums are right, every now and then, and gives that; zero: they are made for the first
	// time.
	Save(ctx context.Context) (rightUntil time.Time, err error)
}

// Worker keeps the sums.
type Worker struct {
	work    Work
	now     func() time.Time
	observe func(error)
	failed  *lograte.Line
	logger  *slog.Logger
	metrics *metrics
	leads   bool
}

// New returns a Worker, which needs Run. It tells observe how each round has ended. now is the clock of the database.
func New(work Work, now func() time.Time, observe func(error), logger *slog.Logger) *Worker {
	return &Worker{
		work: work, now: now, observe: observe, logger: logger, metrics: newMetrics(),
		failed: lograte.New(logger, slog.LevelWarn, "sums of groups wait: a step has failed and is tried again"),
	}
}

// Register registers the metrics.
func (w *Worker) Register(registry prometheus.Registerer) { w.metrics.register(registry) }

// Run works until the context ends, while no other process does.
func (w *Worker) Run(ctx context.Context) {
	defer func() {
		if w.leads {
			w.work.Release(ctx)
		}
	}()
	pause := time.Duration(0)
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		began := time.Now()
		more, err := w.round(ctx)
		if ctx.Err() != nil {
			return
		}
		took := time.Since(began)
		w.observe(err)
		if err != nil {
			w.metrics.failures.Inc()
			w.failed.Log(ctx, slog.Any("error", err))
			failures = min(failures+1, 10)
			pause = max(rest*took, min(maxFailurePause, interval<<failures))
			continue
		}
		failures = 0
		switch {
		case more:
			pause = max(rest*took, minRest)
		case w.leads:
			pause = max(rest*took, interval)
		default:
			pause = leaseInterval
		}
	}
}

// round does a step of each kind, and reports whether there is more to do at once.
func (w *Worker) round(ctx context.Context) (more bool, err error) {
	leads, err := w.work.Lease(ctx)
	if err != nil {
		return false, err //nolint:wrapcheck // the store says what it did
	}
	if leads != w.leads {
		w.logger.DebugContext(ctx, "sums of groups", "leads", leads)
	}
	if w.leads = leads; leads {
		more, err = w.steps(ctx)
	}
	if errors.Is(err, readstate.ErrLeaseTaken) { // the other one goes on
		w.leads, more, err = false, false, nil
	}
	if !w.leads {
		w.metrics.lag.Set(0)
	}
	return more, err
}

func (w *Worker) steps(ctx context.Context) (more bool, err error) {
	follows, err := w.work.Follow(ctx)
	if err != nil {
		return false, err //nolint:wrapcheck // as above
	}
	summed, sums, err := w.work.Sum(ctx)
	if err != nil {
		return false, err //nolint:wrapcheck // as above
	}
	w.metrics.summed.Add(float64(summed))
	walks, err := w.work.Walk(ctx) // also while groups are summed: where groups never rest, there is always one to sum
	if err != nil {
		return false, err //nolint:wrapcheck // as above
	}
	rightUntil, err := w.work.Save(ctx)
	if err != nil {
		return false, err //nolint:wrapcheck // as above
	}
	now := w.now()
	w.metrics.success.Set(float64(now.UnixMilli()) / 1000)
	if !rightUntil.IsZero() {
		w.metrics.lag.Set(max(0, now.Sub(rightUntil).Seconds()))
	}
	return follows || sums || walks, nil
}

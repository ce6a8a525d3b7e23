// Package groupsum keeps the sums of groups, so that groups can be listed, the fullest first, without summing them for
// each request. One process of all does the work, which is a sequence of short steps that the store keeps the place of.
// It takes a tenth of one connection's time at most: where there is much to do, sums come later, and nothing else is slower. See docs/decisions/group-sums.md.
package groupsum

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"readmark/internal/leader"
	"readmark/internal/lograte"
)

const (
	// rest is how much longer than a round the pause behind it is, and minRest how long it is at least.
	rest    = 9
	minRest = 10 * time.Millisecond
)

// Work is the work in steps, as the store has it. All but Lease fail where another process has taken it.
type Work interface {
	leader.Lease

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
	loop    leader.Loop
	metrics *metrics
}

// New returns a Worker, which needs Run. It tells observe how each round has ended. now is the clock of the database.
func New(work Work, now func() time.Time, observe func(error), logger *slog.Logger) *Worker {
	w := &Worker{work: work, now: now, metrics: newMetrics()}
	failed := lograte.New(logger, slog.LevelWarn, "sums of groups wait: a step has failed and is tried again")
	w.loop = leader.Loop{
		Name: "sums of groups", Lease: work, Logger: logger, Steps: w.steps, Rest: rest, MinRest: minRest,
		Idle: func() { w.metrics.lag.Set(0) },
		Ended: func(ctx context.Context, err error) {
			observe(err)
			if err != nil {
				w.metrics.failures.Inc()
				failed.Log(ctx, slog.Any("error", err))
			}
		},
	}
	return w
}

// Register registers the metrics.
func (w *Worker) Register(registry prometheus.Registerer) { w.metrics.register(registry) }

// Run works until the context ends, while no other process does.
func (w *Worker) Run(ctx context.Context) { w.loop.Run(ctx) }

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

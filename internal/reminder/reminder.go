// Package reminder has users be reminded of what stays unread, by rules. One process of all does the work, which is a
// sequence of short steps that the store keeps the place of. See docs/decisions/reminders.md.
package reminder

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"readmark/internal/leader"
	"readmark/internal/lograte"
	"readmark/internal/readstate"
)

const (
	// purgeInterval is how often it is looked whether a rule was deleted.
	purgeInterval = 10 * time.Second
	// maxSteps is how many steps of one kind go before others have their turn.
	maxSteps = 20
)

// Work is the work in steps, as the store has it. All but Lease fail with [readstate.ErrLeaseTaken] where another process
// has taken it.
type Work interface {
	leader.Lease

	// Follow reads what has changed, and Walk what has where that is not known; more says that there is more at once.
	Follow(ctx context.Context) (more bool, err error)
	Walk(ctx context.Context) (more bool, err error)
	// Look looks at some members of a group that is due, LookAlone at users who are due alone.
	Look(ctx context.Context) (readstate.ReminderLook, error)
	LookAlone(ctx context.Context) (readstate.ReminderLook, error)
	// Purge deletes what deleted rules have left.
	Purge(ctx context.Context) (more bool, err error)
	// Overdue gives for how long the group has waited that is due for longest.
	Overdue(ctx context.Context) (time.Duration, error)
}

// Worker reminds.
type Worker struct {
	work      Work
	loop      leader.Loop
	forgotten *lograte.Line
	metrics   *metrics
	purgedAt  time.Time
}

// New returns a Worker, which needs Run. It tells observe how each round has ended.
func New(work Work, observe func(error), logger *slog.Logger) *Worker {
	w := &Worker{
		work: work, metrics: newMetrics(),
		forgotten: lograte.New(logger, slog.LevelWarn,
			"nobody is reminded of messages that came before the days which the journal still has: a rule's after is longer than READMARK_RETENTION"),
	}
	failed := lograte.New(logger, slog.LevelWarn, "reminders wait: a step has failed and is tried again")
	w.loop = leader.Loop{
		Name: "reminders", Lease: work, Logger: logger, Steps: w.steps,
		Idle: func() { w.metrics.overdue.Set(0) },
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

// Round does some steps of each kind, and reports whether there is more to do at once.
func (w *Worker) Round(ctx context.Context) (more bool, err error) { return w.loop.Round(ctx) }

func (w *Worker) steps(ctx context.Context) (more bool, err error) {
	if time.Since(w.purgedAt) >= purgeInterval {
		purging, err := repeat(ctx, w.work.Purge)
		if err != nil {
			return false, err
		}
		if !purging {
			w.purgedAt = time.Now()
		}
	}
	for _, step := range []func(context.Context) (bool, error){w.work.Follow, w.work.Walk, w.look(w.work.Look), w.look(w.work.LookAlone)} {
		again, err := repeat(ctx, step)
		if err != nil {
			return false, err
		}
		more = more || again
	}
	overdue, err := w.work.Overdue(ctx)
	w.metrics.overdue.Set(overdue.Seconds())
	return more, err //nolint:wrapcheck // the store says what it did
}

// repeat does steps of a kind, and reports whether there is more to do.
func repeat(ctx context.Context, step func(context.Context) (bool, error)) (more bool, err error) {
	for range maxSteps {
		if more, err = step(ctx); err != nil || !more {
			break
		}
	}
	return more, err
}

// look counts what a step of looking does.
func (w *Worker) look(step func(context.Context) (readstate.ReminderLook, error)) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		done, err := step(ctx)
		if err != nil {
			return false, err
		}
		w.metrics.looked.Add(float64(done.Members))
		w.metrics.asked.Add(float64(done.Asked))
		if done.Reminded > 0 {
			w.metrics.reminded.WithLabelValues(string(done.Scope)).Add(float64(done.Reminded))
		}
		if done.Forgotten {
			w.forgotten.Log(ctx)
		}
		return done.Looked, nil
	}
}

package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"readmark/internal/openim/rest"
	"readmark/internal/readstate"
)

const (
	// sweepBatch is how many comparisons are taken at once; they are done one by one,
	// so that the sweep leaves OpenIM's rate to what callbacks ask for.
	sweepBatch = 20
	// The pauses between looks for what is due, and between looks for who is new.
	minLook, maxLook = 100 * time.Millisecond, 5 * time.Second
	minSeed, maxSeed = time.Second, 15 * time.Minute
)

// Sweep compares every user and every group once an interval, spread evenly, until
// the context ends. Several processes share the work.
func (r *Reconciler) Sweep(ctx context.Context) {
	look := min(max(r.Interval/100, minLook), maxLook)
	seed := min(max(r.Interval/4, minSeed), maxSeed)
	var seeded time.Time
	for {
		if r.Now().Sub(seeded) >= seed {
			seeded = r.Now()
			if err := r.Store.SeedChecks(ctx, r.Interval); err != nil {
				r.tell(ctx, err)
			}
		}
		due, err := r.Store.TakeChecks(ctx, sweepBatch, r.Interval)
		if err != nil {
			r.tell(ctx, err)
		}
		for _, subject := range due {
			if err := r.sweep(ctx, subject); err != nil {
				r.tell(ctx, err)
			}
		}
		if len(due) == sweepBatch && ctx.Err() == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(look):
		}
	}
}

func (r *Reconciler) sweep(ctx context.Context, subject readstate.Pair) error {
	if subject.UserID == "" {
		_, err := r.Members(ctx, subject.GroupID)
		return err
	}
	d, err := r.User(ctx, subject.UserID)
	if err != nil {
		return err
	}
	r.Observe(d)
	if d.Off > 0 {
		r.Logger.InfoContext(ctx, "counts differed from openim's", "pairs", d.Pairs, "off", d.Off,
			"repaired", d.Repaired, "largest", d.Largest)
	}
	return r.Store.SaveCheck(ctx, subject, d, r.Interval)
}

// tell logs a failure; OpenIM's or the database's absence is said elsewhere.
func (r *Reconciler) tell(ctx context.Context, err error) {
	level := slog.LevelWarn
	if ctx.Err() != nil || errors.Is(err, rest.ErrUnavailable) || errors.Is(err, readstate.ErrUnavailable) {
		level = slog.LevelDebug
	}
	r.Logger.Log(ctx, level, "sweep: comparison failed, it is due again", "error", err)
}

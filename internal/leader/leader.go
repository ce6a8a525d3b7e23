// Package leader does work that one process of all does: the one that has the lease.
package leader

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"readmark/internal/readstate"
)

const (
	// interval is how often it is looked whether there is something to do.
	interval = time.Second
	// leaseInterval is how often a process asks for the lease that does not have it.
	leaseInterval = 5 * time.Second
	// maxFailurePause bounds the growing pauses between rounds that fail.
	maxFailurePause = 30 * time.Second
)

// Lease is had by one process at a time.
type Lease interface {
	// Lease takes or keeps the lease, and reports whether this process has it. Release gives it back.
	Lease(ctx context.Context) (bool, error)
	Release(ctx context.Context)
}

// Loop does the work in rounds.
type Loop struct {
	Name   string // of the work, in the log
	Lease  Lease
	Logger *slog.Logger
	// Steps is a round of the work. More says that there is more to do at once. It fails with [readstate.ErrLeaseTaken]
	// where another process has taken the lease, which is no failure.
	Steps func(ctx context.Context) (more bool, err error)
	// Idle is called after each round in which this process does not have the lease.
	Idle func()
	// Ended is told how each round has ended.
	Ended func(ctx context.Context, err error)
	// Rest is how many times longer than a round the pause behind it is, and MinRest how long it is at least where there
	// is more to do.
	Rest    int
	MinRest time.Duration

	leads bool
}

// Run works until the context ends, and gives the lease back then.
func (l *Loop) Run(ctx context.Context) {
	defer func() {
		if l.leads {
			l.Lease.Release(ctx)
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
		more, err := l.Round(ctx)
		if ctx.Err() != nil {
			return
		}
		l.Ended(ctx, err)
		rest := time.Duration(l.Rest) * time.Since(began)
		switch {
		case err != nil:
			failures = min(failures+1, 10)
			pause = max(rest, min(maxFailurePause, interval<<failures))
			continue
		case more:
			pause = max(rest, l.MinRest)
		case l.leads:
			pause = max(rest, interval)
		default:
			pause = leaseInterval
		}
		failures = 0
	}
}

// Round asks for the lease, does a round of the work where this process has it, and reports whether there is more to do
// at once.
func (l *Loop) Round(ctx context.Context) (more bool, err error) {
	leads, err := l.Lease.Lease(ctx)
	if err != nil {
		return false, err //nolint:wrapcheck // the store says what it did
	}
	if leads != l.leads {
		l.Logger.DebugContext(ctx, "work of one process", "work", l.Name, "this_process", leads)
	}
	if l.leads = leads; leads {
		more, err = l.Steps(ctx)
	}
	if errors.Is(err, readstate.ErrLeaseTaken) { // the other one goes on
		l.leads, more, err = false, false, nil
	}
	if !l.leads {
		l.Idle()
	}
	return more, err
}

package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// drainEvents and drainBytes bound what goes from the spool to the database in one
	// transaction.
	drainEvents = 5000
	drainBytes  = 4 << 20
	// fewQueued is how many events may be left for new ones to wait while they are drained.
	fewQueued int64 = 256
	// drainTimeout bounds such a transaction: longer than the budget, since
	// nobody waits for it.
	drainTimeout = 10 * time.Second
	// The pauses between probes of a database that is away, with jitter.
	firstProbe = 50 * time.Millisecond
	maxProbe   = time.Second
	// lookInterval is how often an idle drainer looks into the spool: a file
	// that could not be opened at start may hold callbacks.
	lookInterval = 10 * time.Second
)

// drainUntilStopped moves callbacks from the spool to the database whenever
// there are any. Draining is also the probe that closes the circuit breaker.
func (in *Ingest) drainUntilStopped(ctx context.Context) {
	for {
		if in.spooling.Load() {
			in.drainAll(ctx)
		}
		select {
		case <-in.wake:
		case <-time.After(lookInterval):
			in.resumeSpooling()
		case <-in.stopping:
			if in.spooling.Load() {
				in.drainAll(ctx)
			}
			return
		}
	}
}

// drainAll returns when the spool is empty; while stopping, also at the first
// failure.
func (in *Ingest) drainAll(ctx context.Context) {
	probe, limit, moved, started := firstProbe, drainEvents, 0, time.Now()
	for {
		n, ended, err := in.drainSome(ctx, limit)
		moved += n
		if ended {
			in.options.Logger.DebugContext(ctx, "spool is drained: callbacks go to the database again",
				"callbacks", moved, "duration_ms", time.Since(started).Milliseconds())
			return
		}
		if n > 0 {
			probe, limit = firstProbe, min(2*limit, drainEvents)
		}
		if err == nil {
			continue
		}
		in.down.Store(true)
		in.cause.Store(&err)
		in.metrics.probeFailures.Inc()
		in.options.Logger.DebugContext(ctx, "spool not drained yet", "error", err)
		select {
		case <-in.stopping:
			in.options.Logger.WarnContext(ctx, "callbacks stay in the spool for the next start",
				"callbacks", in.options.Spool.Len(), "error", err)
			return
		case <-time.After(jitter(probe)):
		}
		// A slow database may take less at a time.
		probe, limit = min(2*probe, maxProbe), max(limit/4, 1)
	}
}

// drainSome moves one batch, and the rest if that is little and the database quick.
func (in *Ingest) drainSome(ctx context.Context, limit int) (moved int, ended bool, err error) {
	started := time.Now()
	if moved, err = in.drain(ctx, limit); err != nil {
		return 0, false, err
	}
	in.down.Store(false)
	in.cause.Store(nil)
	few := fewQueued
	if in.isStopping() || time.Since(started) > in.options.Budget/2 {
		few = 0 // nobody would wait, or in vain
	}
	last, ended, err := in.drainLast(ctx, few)
	return moved + last, ended, err
}

func (in *Ingest) isStopping() bool {
	select {
	case <-in.stopping:
		return true
	default:
		return false
	}
}

// drainLast ends spooling when at most so many events are left, and moves them first, while new
// ones wait: under steady load there is always another event, and a database whose commits take as
// long as the disk's syncs would never catch up. It gives up after half of the budget, so that
// those who wait still have the other half. Nothing else ends spooling.
func (in *Ingest) drainLast(ctx context.Context, few int64) (moved int, ended bool, err error) {
	in.order.Lock()
	defer in.order.Unlock()
	if in.options.Spool.Len() > few {
		return 0, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, in.options.Budget/2)
	defer cancel()
	for in.options.Spool.Len() > 0 {
		if err := in.correctSpool(); err != nil {
			return moved, false, err
		}
		n, err := in.move(ctx, drainEvents)
		if err != nil || n == 0 {
			return moved, false, err
		}
		moved += n
	}
	in.spooling.Store(false)
	return moved, true, nil
}

// drain moves one batch. What was written before a failure is written again
// next time, which changes nothing.
func (in *Ingest) drain(ctx context.Context, limit int) (moved int, err error) {
	if err := in.correctQueued(); err != nil {
		return 0, err
	}
	return in.move(ctx, limit)
}

// move is drain where all that is spooled has the database's time.
func (in *Ingest) move(ctx context.Context, limit int) (moved int, err error) {
	batch, mark, err := in.options.Spool.Next(limit, drainBytes)
	if err != nil {
		return 0, err
	}
	if batch.Len() == 0 {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	c := commit{Ingest: in}
	c.write(ctx, batch)
	if c.left.Len() > 0 {
		return 0, fmt.Errorf("write spooled callbacks: %w", errors.Join(c.cause, ctx.Err()))
	}
	in.metrics.drained.Add(float64(batch.Len()))
	in.recentDrains.add(&batch, in.options.Clock.Read().At)
	return batch.Len(), in.options.Spool.Remove(mark)
}

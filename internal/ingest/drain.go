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
		n, err := in.drain(ctx, limit)
		if err != nil {
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
			continue
		}
		in.down.Store(false)
		probe, limit = firstProbe, min(2*limit, drainEvents)
		moved += n
		if n == 0 && in.endSpooling() {
			in.options.Logger.DebugContext(ctx, "spool is drained: callbacks go to the database again",
				"callbacks", moved, "duration_ms", time.Since(started).Milliseconds())
			return
		}
	}
}

// drain moves one batch. What was written before a failure is written again
// next time, which changes nothing.
func (in *Ingest) drain(ctx context.Context, limit int) (moved int, err error) {
	if err := in.correctSpool(); err != nil {
		return 0, fmt.Errorf("date spooled callbacks: %w", err)
	}
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

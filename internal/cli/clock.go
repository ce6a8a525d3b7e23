package cli

import (
	"context"
	"errors"
	"time"
)

const (
	// futureInterval is how often it is looked whether the journal has events from the future,
	// and futureTimeout how long the look may take.
	futureInterval = time.Minute
	futureTimeout  = 5 * time.Minute
)

// keepFutureAway gives events from the future arrivals of now, at once and every minute, until
// the context ends: a spool may bring them, and the database's clock may be set back.
func (v *service) keepFutureAway(ctx context.Context) {
	ticker := time.NewTicker(futureInterval)
	defer ticker.Stop()
	for {
		v.restampFuture(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (v *service) restampFuture(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, futureTimeout)
	defer cancel()
	done, err := v.store.RestampFutureEvents(ctx)
	if done.Count > 0 {
		v.logger.WarnContext(ctx, "the journal had events from the future, of a clock that was ahead: they count as if they had arrived now",
			"events", done.Count, "newest", done.Newest)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		v.logger.WarnContext(ctx, "events from the future are not set right yet: trying again in a minute", "error", err)
	}
}

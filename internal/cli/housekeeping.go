package cli

import (
	"context"
	"log/slog"
	"time"
)

// housekeepingInterval is how often days are made ahead.
const housekeepingInterval = time.Hour

// dayMaker makes the journal's partitions ahead of time.
type dayMaker interface {
	MakeDaysAhead(ctx context.Context) error
}

// keepDaysAhead makes days every hour until the context ends. One failure is
// no harm: days are made a week ahead, and a writer makes what it misses.
func keepDaysAhead(ctx context.Context, maker dayMaker, logger *slog.Logger) {
	ticker := time.NewTicker(housekeepingInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := maker.MakeDaysAhead(ctx); err != nil && ctx.Err() == nil {
				logger.ErrorContext(ctx, "days not made ahead, trying again in an hour", "error", err)
			}
		}
	}
}

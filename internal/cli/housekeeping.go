package cli

import (
	"context"
	"log/slog"
	"time"
)

// housekeepingInterval is how often days are made ahead and old ones dropped.
const housekeepingInterval = time.Hour

// chore is a piece of housekeeping.
type chore struct {
	name string
	do   func(ctx context.Context) error
}

// housekeep does the chores at once and every hour until the context ends. One
// failure is no harm: days are made a week ahead, a writer makes what it
// misses, and what is too old is dropped an hour later.
func housekeep(ctx context.Context, logger *slog.Logger, chores ...chore) {
	ticker := time.NewTicker(housekeepingInterval)
	defer ticker.Stop()
	for {
		for _, c := range chores {
			if err := c.do(ctx); err != nil && ctx.Err() == nil {
				logger.ErrorContext(ctx, "housekeeping failed, trying again in an hour", "chore", c.name, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

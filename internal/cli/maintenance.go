package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// maintenanceInterval is how often days are made ahead and old ones dropped, maintenanceRetry how
// long after a failure it is tried again.
const (
	maintenanceInterval = time.Hour
	maintenanceRetry    = time.Minute
)

// maintenanceTask is done again and again while serving.
type maintenanceTask struct {
	name string
	do   func(ctx context.Context) error
}

// maintain does the tasks at once and every hour until the context ends, a minute after a failure,
// and has a function told how they ended. One failure is no harm: days are made a week ahead, a
// writer makes what it misses, and what is too old is dropped later.
func maintain(ctx context.Context, logger *slog.Logger, told func(err error), tasks ...maintenanceTask) {
	for {
		var failed []error
		for _, c := range tasks {
			if err := c.do(ctx); err != nil && ctx.Err() == nil {
				logger.DebugContext(ctx, "maintenance failed, trying again in a minute", "task", c.name, "error", err)
				failed = append(failed, fmt.Errorf("%s: %w", c.name, err))
			}
		}
		if ctx.Err() == nil {
			told(errors.Join(failed...))
		}
		pause := maintenanceInterval
		if len(failed) > 0 {
			pause = maintenanceRetry
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

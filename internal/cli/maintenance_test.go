package cli

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Maintenance tasks run at the start and every hour, and a minute after they have failed.
func TestMaintenanceIsHourly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Hour+3*time.Minute)
		defer cancel()
		done, failures := map[string]int{}, 0
		tasks := make([]maintenanceTask, 0, 2)
		for _, name := range []string{"first", "second"} {
			tasks = append(tasks, maintenanceTask{name, func(context.Context) error {
				if done[name]++; done[name] <= 2 {
					return errors.New("locked")
				}
				return nil
			}})
		}
		maintain(ctx, slog.New(slog.DiscardHandler), func(err error) {
			if err != nil {
				require.EqualError(t, err, "first: locked\nsecond: locked")
				failures++
			}
		}, tasks...)
		require.Equal(t, 2, failures)
		require.Equal(t, map[string]int{"first": 6, "second": 6}, done) // at 0, 1, 2, 62, 122 and 182 minutes
	})
}

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

// Maintenance tasks run at the start and every hour, also when they failed the hour before.
func TestMaintenanceIsHourly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Hour+time.Minute)
		defer cancel()
		done := map[string]int{}
		tasks := make([]maintenanceTask, 0, 2)
		for _, name := range []string{"first", "second"} {
			tasks = append(tasks, maintenanceTask{name, func(context.Context) error {
				done[name]++
				return errors.New("locked")
			}})
		}
		failures := 0
		maintain(ctx, slog.New(slog.DiscardHandler), func(err error) {
			require.EqualError(t, err, "first: locked\nsecond: locked")
			failures++
		}, tasks...)
		require.Equal(t, 6, failures)
		require.Equal(t, map[string]int{"first": 6, "second": 6}, done)
	})
}

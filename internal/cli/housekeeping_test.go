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

// failingMaker counts calls and fails each of them.
type failingMaker struct{ calls int }

func (m *failingMaker) MakeDaysAhead(context.Context) error {
	m.calls++
	return errors.New("locked")
}

// Days are made every hour, whatever became of the hour before.
func TestDaysAreMadeHourly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Hour+time.Minute)
		defer cancel()
		var maker failingMaker
		keepDaysAhead(ctx, &maker, slog.New(slog.DiscardHandler))
		require.Equal(t, 5, maker.calls)
	})
}

package lograte_test

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/lograte"
	"readmark/internal/logtest"
)

// The first line is logged, then one a minute, which counts what was left out since.
func TestLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log logtest.Log
		line := lograte.New(slog.New(slog.NewJSONHandler(&log, nil)), slog.LevelError, "it fails")
		for range 180 {
			line.Log(t.Context(), slog.String("why", "x"))
			<-time.After(time.Second)
		}
		told := log.Lines("it fails")
		require.Len(t, told, 3)
		require.NotContains(t, told[0], "left_out")
		for _, one := range told {
			require.Equal(t, "ERROR", one["level"])
			require.Equal(t, "x", one["why"])
		}
		require.EqualValues(t, 59, told[1]["left_out"])
		require.EqualValues(t, 59, told[2]["left_out"])
	})
}

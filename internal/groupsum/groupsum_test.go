package groupsum_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"readmark/internal/groupsum"
	"readmark/internal/readstate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// work notes what is done when.
type work struct {
	leads       bool
	takes       time.Duration // a sum
	sums, walks int           // are left
	err         error         // of Sum
	rounds      int
	busy        time.Duration
	released    bool
}

func (w *work) Lease(context.Context) (bool, error) { return w.leads, nil }
func (w *work) Release(context.Context)             { w.released = true }

func (w *work) Follow(context.Context) (bool, error) {
	w.rounds++
	return false, nil
}

func (w *work) Walk(context.Context) (bool, error) {
	w.walks = max(0, w.walks-1)
	return w.walks > 0, nil
}

func (w *work) Sum(context.Context) (int, bool, error) {
	if w.err != nil || w.sums == 0 {
		return 0, false, w.err
	}
	<-time.After(w.takes)
	w.busy += w.takes
	w.sums--
	return 1, w.sums > 0, nil
}

func (w *work) Save(context.Context) (time.Time, error) { return time.Now().Add(-7 * time.Second), nil }

// run runs a worker for a time and gives its metrics then.
func run(t *testing.T, w *work, d time.Duration) (metrics map[string]float64, errs []error) {
	t.Helper()
	registry := prometheus.NewRegistry()
	worker := groupsum.New(w, time.Now, func(err error) { errs = append(errs, err) }, slog.New(slog.DiscardHandler))
	worker.Register(registry)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); worker.Run(ctx) }()
	<-time.After(d)
	cancel()
	<-done
	families, err := registry.Gather()
	require.NoError(t, err)
	metrics = map[string]float64{}
	for _, family := range families {
		one := family.GetMetric()[0]
		metrics[family.GetName()] = one.GetCounter().GetValue() + one.GetGauge().GetValue()
	}
	return metrics, errs
}

// However much is to be done, it takes a tenth of the time, and walks come to their end beside.
func TestTakesATenth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &work{leads: true, takes: 300 * time.Millisecond, sums: 1 << 30, walks: 5}
		metrics, _ := run(t, w, 10*time.Minute)
		require.InDelta(t, 60, w.busy.Seconds(), 1)
		require.Zero(t, w.walks)
		require.InDelta(t, w.rounds, metrics["readmark_group_sums_total"], 0)
		require.InDelta(t, 7, metrics["readmark_group_sums_lag_seconds"], .01)
		require.Positive(t, metrics["readmark_group_sums_last_success_timestamp_seconds"])
		require.True(t, w.released)
	})
}

// What is quick is done at once, and without anything to do it is looked once a second.
func TestRounds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &work{leads: true, sums: 50, walks: 50}
		run(t, w, time.Second+500*time.Millisecond)
		require.Zero(t, w.sums)
		require.Zero(t, w.walks)
		w = &work{leads: true}
		run(t, w, time.Minute+time.Millisecond)
		require.Equal(t, 61, w.rounds)
	})
}

// A process that does not lead does nothing; one that loses the lease does nothing more.
func TestLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &work{}
		metrics, _ := run(t, w, time.Minute)
		require.Zero(t, w.rounds)
		require.Zero(t, metrics["readmark_group_sums_last_success_timestamp_seconds"])
		require.False(t, w.released)
		w = &work{leads: true, err: readstate.ErrLeaseTaken}
		metrics, errs := run(t, w, time.Second)
		require.Equal(t, 1, w.rounds)
		require.Equal(t, []error{nil}, errs)
		require.Zero(t, metrics["readmark_group_sums_lag_seconds"])
	})
}

// What fails is tried again, less and less often.
func TestFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &work{leads: true, err: errors.New("away")}
		metrics, errs := run(t, w, 119*time.Second)
		require.Len(t, errs, 7) // at 0, 2, 6, 14, 30, 60 and 90 s
		require.Error(t, errs[0])
		require.InDelta(t, 7, metrics["readmark_group_sum_failures_total"], 0)
	})
}

package ingest_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"readmark/internal/ingest"
	"readmark/internal/readstate"
)

// slowly gives a store that takes so long for each batch before the model has it, or gives up with
// the context.
func slowly(store *model, long func(users []string) time.Duration) storeFunc {
	return func(ctx context.Context, batch readstate.Batch) error {
		var users []string
		for i := range batch.Events {
			users = append(users, batch.Events[i].UserID)
		}
		select {
		case <-time.After(long(users)):
			return store.Commit(ctx, batch)
		case <-ctx.Done():
			return errAway
		}
	}
}

// pass lets the bubble's time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func requireDrainFailures(t *testing.T, in *ingest.Ingest, want string) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	in.Register(registry)
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP readmark_drain_failures_total Attempts to move callbacks from the spool to the database that failed.
# TYPE readmark_drain_failures_total counter
readmark_drain_failures_total `+want+"\n"), "readmark_drain_failures_total"))
}

// While the database is slower than half of the budget, nobody waits for a last drain that would
// fail; each event that was acknowledged comes there, in order.
func TestLastDrainOfASlowDatabase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store := newModel("ok")
		in, queue := prepare(t, slowly(store, func([]string) time.Duration { return 500 * time.Millisecond }), dir, time.Now)
		require.NoError(t, submit(t.Context(), in, "u"))
		in.Start(t.Context(), time.Time{})
		for range 20 { // there is always another one when a batch is drained
			pass(300 * time.Millisecond)
			began := time.Now()
			require.NoError(t, submit(t.Context(), in, "u"))
			require.Zero(t, time.Since(began), "straight to the spool")
			require.True(t, in.Status().Spooling)
			require.False(t, in.Status().Down)
		}
		require.Eventually(t, func() bool { return !in.Status().Spooling }, time.Hour, time.Millisecond)
		require.Zero(t, queue.Len())
		require.Len(t, store.users(), 21)
		requireDrainFailures(t, in, "0")
	})
}

// A last drain that fails gives up after half of the budget, is counted, and is the state that is
// told; what waited for it goes to the spool, behind what was there.
func TestLastDrainFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store := newModel("ok")
		var hangs atomic.Bool
		hangs.Store(true)
		in, queue := prepare(t, slowly(store, func(users []string) time.Duration {
			if hangs.Load() && users[0] != "a" {
				return time.Hour
			}
			return 10 * time.Millisecond
		}), dir, time.Now)
		require.NoError(t, submit(t.Context(), in, "a"))
		in.Start(t.Context(), time.Time{})
		pass(5 * time.Millisecond) // a is being drained
		require.NoError(t, submit(t.Context(), in, "b"))
		pass(10 * time.Millisecond) // b is being drained, last
		began := time.Now()
		require.NoError(t, submit(t.Context(), in, "c"))
		require.LessOrEqual(t, time.Since(began), 400*time.Millisecond, "half of the budget")
		require.EqualValues(t, 2, queue.Len())
		synctest.Wait()
		requireDrainFailures(t, in, "1")
		status := in.Status()
		require.True(t, status.Spooling && status.Down)
		require.ErrorIs(t, status.Cause, readstate.ErrUnavailable)
		hangs.Store(false)
		require.Eventually(t, func() bool { return !in.Status().Spooling }, time.Hour, time.Millisecond)
		require.Equal(t, []string{"a", "b", "c"}, store.users())
	})
}

// A process that stops drains a slow database to the end: nobody waits then, and nothing is cut
// after half of the budget.
func TestLastDrainOfAProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store := newModel("ok")
		w := &times{}
		c := w.clock(0)
		w.measure(t, c)
		in, _, end := begin(t, slowly(store, func(users []string) time.Duration {
			if users[0] == "a" {
				return 10 * time.Millisecond
			}
			return 2 * time.Second
		}), dir, c)
		require.NoError(t, submit(t.Context(), in, "a"))
		in.Start(t.Context(), time.Time{})
		pass(5 * time.Millisecond)
		require.NoError(t, submit(t.Context(), in, "b"))
		began := time.Now()
		end()
		require.Equal(t, []string{"a", "b"}, store.users())
		require.Less(t, time.Since(began), 2100*time.Millisecond, "once")
		requireDrainFailures(t, in, "0")
	})
}

// All parts of a large callback share one budget: then the spool takes the rest, and the caller has
// an answer.
func TestLargeCallbackSharesABudget(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store := newModel("ok")
		in, queue := prepare(t, slowly(store, func([]string) time.Duration { return 300 * time.Millisecond }), dir, time.Now)
		in.Start(t.Context(), time.Time{})
		began := time.Now()
		require.NoError(t, in.Submit(t.Context(), kicked(10_000)))
		require.LessOrEqual(t, time.Since(began), 800*time.Millisecond)
		require.EqualValues(t, 8000, queue.Len())
		require.Eventually(t, func() bool { return !in.Status().Spooling }, time.Hour, time.Second)
		requireInOrder(t, store, 10_000)
	})
}

// A budget that ends between two parts is no failure of the database, and no part is tried in vain.
func TestLateIsNotDown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store := newModel("ok")
		var calls atomic.Int64
		in, queue := prepare(t, slowly(store, func([]string) time.Duration {
			calls.Add(1)
			return 400 * time.Millisecond
		}), dir, time.Now)
		in.Start(t.Context(), time.Time{})
		require.NoError(t, in.Submit(t.Context(), kicked(3000)))
		require.EqualValues(t, 1000, queue.Len())
		status := in.Status()
		require.True(t, status.Spooling)
		require.False(t, status.Down)
		require.ErrorContains(t, status.Cause, "commit budget")
		require.Eventually(t, func() bool { return !in.Status().Spooling }, time.Hour, time.Second)
		requireInOrder(t, store, 3000)
		require.EqualValues(t, 3, calls.Load())
	})
}

// Where the spool takes nothing a large callback has all the time that the database needs: else
// the rest of it would be lost.
func TestLargeCallbackWithoutASpool(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store := newModel("ok")
		_, queue := prepare(t, store, dir, time.Now)
		in := ingest.New(ingest.Options{
			Store: slowly(store, func([]string) time.Duration { return 399 * time.Millisecond }), Spool: &brokenSpool{Spool: queue, broken: true},
			Budget: 798 * time.Millisecond, Clock: ingest.ClockFunc(time.Now), Logger: discard(),
		})
		in.Start(t.Context(), time.Time{})
		require.NoError(t, in.Submit(t.Context(), kicked(10_000)))
		requireInOrder(t, store, 10_000)
		in.Stop(t.Context())
	})
}

// Who has waited for a last drain has what is left of the budget.
func TestWaitingCountsAgainstTheBudget(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store := newModel("ok")
		took := map[string]time.Duration{"a": 10 * time.Millisecond, "b": 390 * time.Millisecond}
		var hangs atomic.Int64 // c takes so long
		hangs.Store(int64(time.Hour))
		in, queue := prepare(t, slowly(store, func(users []string) time.Duration {
			if users[0] == "c" {
				return time.Duration(hangs.Load())
			}
			return took[users[0]]
		}), dir, time.Now)
		require.NoError(t, submit(t.Context(), in, "a"))
		in.Start(t.Context(), time.Time{})
		pass(5 * time.Millisecond)
		require.NoError(t, submit(t.Context(), in, "b"))
		pass(5 * time.Millisecond) // b is being drained, last
		began := time.Now()
		require.NoError(t, submit(t.Context(), in, "c"))
		require.Equal(t, 800*time.Millisecond, time.Since(began))
		require.Equal(t, []string{"a", "b"}, store.users())
		require.EqualValues(t, 1, queue.Len())
		hangs.Store(0)
		require.Eventually(t, func() bool { return !in.Status().Spooling }, time.Hour, time.Second)
	})
}

// gatedSpool has an append wait until the gate opens, and says that it does.
type gatedSpool struct {
	ingest.Spool
	entered, gate chan struct{}
	corrected     chan struct{}
}

func (s *gatedSpool) Append(batch readstate.Batch, oldest, newest time.Time) error {
	close(s.entered)
	<-s.gate
	return s.Spool.Append(batch, oldest, newest)
}

func (s *gatedSpool) Correct(correction time.Duration, started time.Time) error {
	select {
	case <-s.corrected:
	default:
		close(s.corrected)
	}
	return s.Spool.Correct(correction, started)
}

// Start corrects the spool behind an append that has begun, so that nothing by the machine's clock
// comes behind the correction.
func TestStartWaitsForAnAppend(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w, store := &times{}, newModel("ok")
		c := w.clock(years)
		_, queue, end := begin(t, store, dir, c)
		defer end()
		gated := &gatedSpool{Spool: queue, entered: make(chan struct{}), gate: make(chan struct{}), corrected: make(chan struct{})}
		in := ingest.New(ingest.Options{Store: store, Spool: gated, Budget: time.Second, Clock: c, Logger: discard()})
		answered := make(chan error, 1)
		go func() { answered <- submit(context.Background(), in, "a") }()
		<-gated.entered
		w.measure(t, c)
		started := make(chan struct{})
		go func() { in.Start(context.Background(), time.Time{}); close(started) }()
		synctest.Wait()
		select {
		case <-gated.corrected:
			t.Error("corrected beside an append")
		default:
		}
		close(gated.gate)
		require.NoError(t, <-answered)
		<-started
		in.Stop(t.Context())
		require.Equal(t, []time.Time{w.now()}, store.arrivals())
	})
}

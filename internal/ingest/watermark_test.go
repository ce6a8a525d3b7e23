package ingest_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/readstate"
)

// While acknowledged callbacks wait in the spool, nobody may say that the database
// holds all until now; nor of a replica, until it has what came from there.
func TestWatermark(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store := newModel("ok")
		in, _ := prepare(t, store, dir, time.Now)
		require.False(t, in.Started())
		in.Start(t.Context(), time.Time{})
		require.True(t, in.Started())
		minute := func() time.Time {
			time.Sleep(time.Minute) //nolint:forbidigo // the bubble's clock
			return time.Now()
		}
		same := func(want, got time.Time) {
			t.Helper()
			require.Equal(t, want.UTC(), got.UTC())
		}
		require.NoError(t, submit(t.Context(), in, "a"))
		same(time.Now(), in.Watermark())
		store.set("away")
		away := minute()
		require.NoError(t, submit(t.Context(), in, "b"))
		between := minute()
		require.NoError(t, submit(t.Context(), in, "c"))
		same(away.Add(-time.Microsecond), in.Watermark())
		same(away.Add(-time.Second), in.ReplicaWatermark(away.Add(-time.Second))) // it is further behind
		same(away.Add(-time.Microsecond), in.ReplicaWatermark(between))
		store.set("ok")
		drained := minute()
		same(drained, in.Watermark())
		require.Equal(t, []string{"a", "b", "c"}, store.users())
		same(away.Add(-time.Microsecond), in.ReplicaWatermark(between)) // of a time when they were in the spool
		same(drained, in.ReplicaWatermark(drained))
		same(drained, in.ReplicaWatermark(drained)) // still
	})
}

// storeFunc is a store that is a function.
type storeFunc func(ctx context.Context, batch readstate.Batch) error

func (f storeFunc) Commit(ctx context.Context, batch readstate.Batch) error { return f(ctx, batch) }

// Of two groups that are written beside each other, the earlier one may come to the
// spool behind the later one. The watermark stays before it all the same, also when the
// later one is drained.
func TestWatermarkOutOfOrder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		open := sync.OnceFunc(func() { close(gate) })
		defer open()
		var takes atomic.Value // the only user whose events are taken; "" is nobody, "*" everybody
		takes.Store("")
		store := storeFunc(func(_ context.Context, batch readstate.Batch) error {
			if batch.Fresh && batch.Events[0].UserID == "early" {
				<-gate
			}
			for i := range batch.Events {
				if who := takes.Load(); who != "*" && who != batch.Events[i].UserID {
					return errAway
				}
			}
			return nil
		})
		in, queue := prepare(t, store, dir, time.Now)
		in.Start(t.Context(), time.Time{})
		second := func() { time.Sleep(time.Second) } //nolint:forbidigo // the bubble's clock
		second()
		early, late := []readstate.Event{receipt("early")}, []readstate.Event{receipt("late")}
		answered := make(chan error, 1)
		go func() { answered <- in.Submit(context.Background(), early) }()
		synctest.Wait()
		second()
		require.NoError(t, in.Submit(t.Context(), late))
		require.Equal(t, early[0].At, queue.OldestQueued(), "an earlier one may come")
		require.True(t, in.Watermark().Before(early[0].At))
		open()
		require.NoError(t, <-answered)
		require.True(t, early[0].At.Before(late[0].At))
		require.EqualValues(t, 2, queue.Len())
		require.True(t, in.Watermark().Before(early[0].At))

		takes.Store("late")
		require.Eventually(t, func() bool { return queue.Len() == 1 }, time.Hour, time.Second)
		require.Equal(t, early[0].At.Add(-time.Microsecond), in.Watermark())
		now := time.Now()
		require.Equal(t, early[0].At.Add(-time.Microsecond), in.ReplicaWatermark(now))
		takes.Store("*")
		require.Eventually(t, func() bool { return queue.Len() == 0 }, time.Hour, time.Second)
		require.Equal(t, time.Now().UTC(), in.Watermark().UTC())
	})
}

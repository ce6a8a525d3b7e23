package ingest_test

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/ingest"
	"readmark/internal/readstate"
	"readmark/internal/spool"
)

const largeList = 100_000

// kicked gives the events of a callback that names so many users.
func kicked(users int) []readstate.Event {
	events := make([]readstate.Event, users)
	for i := range events {
		events[i] = readstate.Event{Kind: readstate.EventLeft, UserID: strconv.Itoa(i), GroupID: "g"}
	}
	return events
}

// requireInOrder checks that the model has the users 0, 1, 2 …
func requireInOrder(t *testing.T, store *model, users int) {
	t.Helper()
	got := store.users()
	require.Len(t, got, users)
	for i, user := range got {
		if user != strconv.Itoa(i) {
			require.Failf(t, "out of order", "%s at %d", user, i)
		}
	}
}

// A callback with many events is written in parts, in order, and answered when all are
// durable.
func TestLargeCallback(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{gate: make(chan struct{})}
		in := start(t, store, time.Now)
		answered := make(chan error, 1)
		go func() { answered <- in.Submit(context.Background(), kicked(largeList)) }()
		for range largeList/1000 - 1 {
			store.gate <- struct{}{}
		}
		synctest.Wait()
		require.Empty(t, answered, "answered before the last part is durable")
		store.gate <- struct{}{}
		require.NoError(t, <-answered)
		total := 0
		for _, batch := range store.batches {
			require.LessOrEqual(t, batch.Len(), 1000)
			require.True(t, batch.Fresh)
			for i := range batch.Events {
				require.Equal(t, strconv.Itoa(total), batch.Events[i].UserID)
				total++
			}
		}
		require.Equal(t, largeList, total)
	})
}

// When the database fails in the middle of a large callback, the rest goes to the spool.
func TestLargeCallbackInAnOutage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store := newModel("away")
		for range 40 {
			store.script = append(store.script, "ok")
		}
		in, queue := prepare(t, store, dir, time.Now)
		in.Start(t.Context(), time.Time{})
		events := kicked(largeList)
		require.NoError(t, in.Submit(t.Context(), events))
		require.EqualValues(t, largeList-40_000, queue.Len())
		requireInOrder(t, store, 40_000)
		require.True(t, in.Watermark().Before(events[40_000].At))
		store.set("ok")
		require.Eventually(t, func() bool { return !in.Status().Spooling }, time.Hour, time.Second)
		requireInOrder(t, store, largeList)
		require.Empty(t, store.notFresh)
	})
}

// Beside a large callback nothing is written, and what comes meanwhile is not lost.
func TestLargeCallbackAmongOthers(t *testing.T) {
	t.Parallel()
	store := newModel("ok")
	in := start(t, store, time.Now)
	errs := make(chan error, 300)
	var wait sync.WaitGroup
	for i := range 300 {
		wait.Go(func() {
			if i%100 == 50 {
				errs <- in.Submit(context.Background(), kicked(2500))
			} else {
				errs <- submit(context.Background(), in, "u")
			}
		})
	}
	wait.Wait()
	for range 300 {
		require.NoError(t, <-errs)
	}
	require.Len(t, store.journal, 297+3*2500)
	for _, size := range store.sizes {
		require.LessOrEqual(t, size, 1000)
	}
}

// watchedSpool remembers what was asked of it, and given.
type watchedSpool struct {
	ingest.Spool
	mu     sync.Mutex
	limits []int
	given  []readstate.Batch
}

func (s *watchedSpool) Next(maxEvents int, maxBytes int64) (readstate.Batch, spool.Mark, error) {
	batch, mark, err := s.Spool.Next(maxEvents, maxBytes)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits = append(s.limits, maxEvents)
	s.given = append(s.given, batch)
	return batch, mark, err
}

// watch gives an Ingest on a spool that is watched.
func watch(t *testing.T, store ingest.Store, dir string) (*ingest.Ingest, *watchedSpool) {
	t.Helper()
	queue, err := spool.Open(spool.Options{Dir: dir, MaxBytes: 64 << 20, Now: time.Now, Logger: discard()})
	require.NoError(t, err)
	watched := &watchedSpool{Spool: queue}
	in := ingest.New(ingest.Options{
		Store: store, Spool: watched, Budget: 800 * time.Millisecond, Clock: ingest.ClockFunc(time.Now), Logger: discard(),
	})
	t.Cleanup(func() {
		in.Stop(context.Background())
		require.NoError(t, queue.Close())
	})
	return in, watched
}

// What is drained at once is bounded in events, and in bytes where they are large.
func TestDrainIsBounded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store := newModel("ok")
		in, queue := watch(t, store, dir)
		require.NoError(t, in.Submit(t.Context(), kicked(12_000)))
		large := make([]readstate.Event, 6000)
		for i := range large {
			large[i] = readstate.Event{
				Kind: readstate.EventMessage, UserID: strconv.Itoa(12_000 + i), GroupID: "g", MessageID: strings.Repeat("m", 2000),
			}
		}
		require.NoError(t, in.Submit(t.Context(), large))
		in.Start(t.Context(), time.Time{})
		require.Eventually(t, func() bool { return !in.Status().Spooling }, time.Hour, time.Second)
		requireInOrder(t, store, 18_000)
		most := 0
		for _, batch := range queue.given {
			most = max(most, batch.Len())
			require.LessOrEqual(t, batch.Len(), 5000)
			size := 0
			for i := range batch.Events {
				size += len(batch.Events[i].MessageID)
			}
			require.LessOrEqual(t, size, 4<<20)
		}
		require.Equal(t, 5000, most)
	})
}

// Against a database that can only take one event at a time the drain goes down to that.
func TestDrainGoesDownToOne(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store := newModel("ok")
		store.most = 1
		in, queue := watch(t, store, dir)
		const events = 50
		require.NoError(t, in.Submit(t.Context(), kicked(events)))
		require.EqualValues(t, events, queue.Len())
		in.Start(t.Context(), time.Time{})
		require.Eventually(t, func() bool { return !in.Status().Spooling }, time.Hour, time.Second)
		requireInOrder(t, store, events)
		require.Equal(t, []int{5000, 1250, 312, 78, 19, 4, 1}, queue.limits[:7])
		for _, size := range store.sizes {
			require.Equal(t, 1, size)
		}
		// It takes more again as soon as it can.
		queue.limits = nil
		store.set("away")
		require.NoError(t, in.Submit(t.Context(), kicked(events)))
		require.Eventually(t, func() bool {
			queue.mu.Lock()
			defer queue.mu.Unlock()
			return len(queue.limits) > 8
		}, time.Hour, time.Second)
		store.setMost(0)
		store.set("ok")
		require.Eventually(t, func() bool { return !in.Status().Spooling }, time.Hour, time.Second)
		require.Greater(t, store.sizes[len(store.sizes)-1], 1)
	})
}

// Of a callback whose events are not all taken the caller learns it, and the others are
// durable.
func TestPartlyRefusedCallback(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store := newModel("ok")
		in, queue := prepare(t, store, dir, time.Now)
		in.Start(t.Context(), time.Time{})
		events := []readstate.Event{receipt("a"), receipt("b"), receipt("poison"), receipt("c")}
		err := in.Submit(t.Context(), events)
		var refused *readstate.InputError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, readstate.CodeRefused, refused.Code)
		require.Equal(t, "poison", refused.UserID)
		require.Equal(t, []string{"a", "b", "c"}, store.users())
		require.Len(t, store.rejected, 1)
		record := store.rejected[events[2].ID]
		require.Equal(t, events[2].At, record.ReceivedAt)
		require.Equal(t, "g", record.GroupID)
		require.Zero(t, queue.Len())
		require.NoError(t, submit(t.Context(), in, "d"), "it is nobody else's trouble")
	})
}

// A batch is called fresh when nobody has tried to write it: not after an answer that
// was lost, whatever parts it is tried in then, and not from the spool.
func TestFresh(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		type attempt struct {
			users int
			fresh bool
		}
		var mu sync.Mutex
		var attempts []attempt
		inner := newModel("ok")
		store := storeFunc(func(ctx context.Context, batch readstate.Batch) error {
			mu.Lock()
			attempts = append(attempts, attempt{len(batch.Events), batch.Fresh})
			mu.Unlock()
			return inner.Commit(ctx, batch)
		})
		in, _ := prepare(t, store, dir, time.Now)
		in.Start(t.Context(), time.Time{})
		tried := func() []attempt {
			mu.Lock()
			defer mu.Unlock()
			list := attempts
			attempts = nil
			return list
		}
		require.NoError(t, submit(t.Context(), in, "a"))
		require.Equal(t, []attempt{{1, true}}, tried())

		inner.script = []string{"lost answer"}
		require.NoError(t, submit(t.Context(), in, "a"))
		require.Equal(t, []attempt{{1, true}, {1, false}}, tried())

		// Refused at the first attempt: nothing of it was written.
		poisoned := func() []readstate.Event { return []readstate.Event{receipt("a"), receipt("poison")} }
		require.Error(t, in.Submit(t.Context(), poisoned()))
		require.Equal(t, []attempt{{2, true}, {1, true}, {1, true}, {0, false}}, tried())

		inner.script = []string{"deadlock"}
		require.Error(t, in.Submit(t.Context(), poisoned()))
		require.Equal(t, []attempt{{2, true}, {2, false}, {1, false}, {1, false}, {0, false}}, tried())

		inner.script = []string{"away", "away"}
		require.NoError(t, submit(t.Context(), in, "b"))
		require.NoError(t, submit(t.Context(), in, "b"), "behind it")
		require.Eventually(t, func() bool { return !in.Status().Spooling }, time.Hour, time.Second)
		for i, a := range tried() {
			require.Equal(t, i == 0, a.fresh, i)
		}
		require.Empty(t, inner.notFresh)
	})
}

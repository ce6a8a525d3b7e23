package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/ingest"
	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/spool"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// fakeStore records batches; each commit waits for the gate when there is one,
// and batches with the user "poison" are refused.
type fakeStore struct {
	gate    chan struct{}
	mu      sync.Mutex
	batches []readstate.Batch
	err     error
}

var errPoison = errors.New("poison")

func (s *fakeStore) Commit(ctx context.Context, batch readstate.Batch) error {
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range batch.Events {
		if r.UserID == "poison" {
			return errPoison
		}
	}
	if s.err != nil {
		return s.err
	}
	s.batches = append(s.batches, batch)
	return nil
}

func (s *fakeStore) sizes() (sizes []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, batch := range s.batches {
		sizes = append(sizes, batch.Len())
	}
	return sizes
}

// start gives an Ingest on the store and on a spool of its own, ready to use
// the database, and stops it with the test.
func start(t testing.TB, store ingest.Store, now func() time.Time) *ingest.Ingest {
	t.Helper()
	in, _ := prepare(t, store, t.TempDir(), now)
	in.Start(t.Context(), time.Time{})
	return in
}

func prepare(t testing.TB, store ingest.Store, dir string, now func() time.Time) (*ingest.Ingest, *spool.Spool) {
	t.Helper()
	queue, err := spool.Open(spool.Options{Dir: dir, MaxBytes: 64 << 20, Now: now, Logger: discard()})
	require.NoError(t, err)
	in := ingest.New(ingest.Options{
		Store: store, Spool: queue, Budget: 800 * time.Millisecond, Clock: ingest.ClockFunc(now), Logger: discard(),
	})
	t.Cleanup(func() {
		in.Stop(context.Background())
		require.NoError(t, queue.Close())
	})
	return in, queue
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func receipt(user string) readstate.Event {
	return readstate.Event{Kind: readstate.EventReceipt, UserID: user, GroupID: "g"}
}

// submit brings a callback with one receipt.
func submit(ctx context.Context, in *ingest.Ingest, user string) error {
	return in.Submit(ctx, []readstate.Event{receipt(user)})
}

// What arrives while a transaction is under way shares the next one; nobody is
// answered before the commit.
func TestGroupCommit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{gate: make(chan struct{})}
		in := start(t, store, time.Now)
		var answered sync.WaitGroup
		results := make(chan error, 12)
		begin := func(user string) {
			answered.Go(func() { results <- submit(context.Background(), in, user) })
			synctest.Wait()
		}
		begin("first")
		begin("second") // beside a small one
		for i := range 9 {
			begin(fmt.Sprint("u", i))
		}
		answered.Go(func() { results <- in.Reject(context.Background(), readstate.Rejection{Command: "c"}) })
		synctest.Wait()
		require.Empty(t, results, "answered before the commit")
		store.gate <- struct{}{}
		synctest.Wait()
		require.Len(t, results, 1)
		store.gate <- struct{}{}
		synctest.Wait()
		require.Len(t, results, 2, "not a third transaction beside the large one")
		store.gate <- struct{}{}
		answered.Wait()
		require.Equal(t, []int{1, 1, 10}, store.sizes())
		for range 12 {
			require.NoError(t, <-results)
		}
		// Identity and arrival are given once, in the order of arrival.
		batch := store.batches[2].Events
		for i := 1; i < len(batch); i++ {
			require.Positive(t, batch[i].Compare(&batch[i-1]))
			require.True(t, batch[i].At.After(batch[i-1].At))
			require.NotEqual(t, batch[i].ID, batch[i-1].ID)
			require.Equal(t, byte(7), batch[i].ID[6]>>4, "UUID version")
		}
	})
}

// A client that goes away does not undo what others wait for.
func TestCancelledLeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{gate: make(chan struct{})}
		in := start(t, store, time.Now)
		ctx, cancel := context.WithCancel(context.Background())
		leader, follower := make(chan error, 1), make(chan error, 1)
		go func() { leader <- submit(ctx, in, "leader") }()
		synctest.Wait()
		go func() { follower <- submit(context.Background(), in, "follower") }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(store.gate)
		require.NoError(t, <-leader)
		require.NoError(t, <-follower)
		require.Error(t, submit(ctx, in, "late"))
	})
}

// One bad event never fails its neighbours.
func TestPoisonIsIsolated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{gate: make(chan struct{})}
		in := start(t, store, time.Now)
		var wait sync.WaitGroup
		users := []string{"lead", "a", "b", "poison", "c", "d", "e"}
		errs := make([]error, len(users))
		for i, user := range users {
			wait.Go(func() { errs[i] = submit(context.Background(), in, user) })
			synctest.Wait()
		}
		var rejected error
		wait.Go(func() { rejected = in.Reject(context.Background(), readstate.Rejection{}) })
		synctest.Wait()
		close(store.gate)
		wait.Wait()
		require.NoError(t, rejected)
		var refused []readstate.Rejection
		for _, batch := range store.batches {
			for _, r := range batch.Rejections {
				if r.Code == readstate.CodeRefused {
					refused = append(refused, r)
				}
			}
		}
		require.Len(t, refused, 1, "recorded among the rejected")
		require.Equal(t, "poison", refused[0].UserID)
		require.Contains(t, refused[0].Reason, "poison", "with its reason")
		for i, user := range users {
			if user == "poison" {
				var input *readstate.InputError
				require.ErrorAs(t, errs[i], &input)
				require.Equal(t, readstate.CodeRefused, input.Code)
			} else {
				require.NoError(t, errs[i], user)
			}
		}
	})
}

// A group is bounded: who finds it full waits for the next one.
func TestBoundedGroups(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{gate: make(chan struct{})}
		in := start(t, store, time.Now)
		var wait sync.WaitGroup
		const callers = 2500
		errs := make(chan error, callers)
		for i := range callers {
			wait.Go(func() { errs <- submit(context.Background(), in, strconv.Itoa(i)) })
		}
		synctest.Wait()
		close(store.gate)
		wait.Wait()
		close(errs)
		for err := range errs {
			require.NoError(t, err)
		}
		total := 0
		for _, size := range store.sizes() {
			require.LessOrEqual(t, size, 1000)
			total += size
		}
		require.Equal(t, callers, total)
	})
}

// Arrival is in whole microseconds and strictly increasing, and starts after what is
// stored, also when the database's clock is set back a little.
func TestArrivalClock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 12, 0, 0, 1500, time.UTC)
	store := &fakeStore{}
	in, _ := prepare(t, store, t.TempDir(), func() time.Time { return now })
	in.Start(t.Context(), time.Time{})
	arrival := func() time.Time {
		require.NoError(t, submit(t.Context(), in, "u"))
		return store.batches[len(store.batches)-1].Events[0].At
	}
	first := arrival()
	require.Equal(t, now.Truncate(time.Microsecond), first)
	require.Equal(t, first.Add(time.Microsecond), arrival())
	now = now.Add(-20 * time.Second) // set back
	require.Equal(t, first.Add(2*time.Microsecond), arrival())
	stored := now.Truncate(time.Microsecond).Add(time.Minute)
	in, _ = prepare(t, store, t.TempDir(), func() time.Time { return now })
	in.Start(t.Context(), stored)
	require.Equal(t, stored.Add(time.Microsecond), arrival())
}

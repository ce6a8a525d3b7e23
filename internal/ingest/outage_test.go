package ingest_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/ingest"
	"readmark/internal/readstate"
	"readmark/internal/spool"
)

var (
	errAway     = fmt.Errorf("gone: %w", readstate.ErrUnavailable)
	errDeadlock = fmt.Errorf("deadlock: %w, %w", readstate.ErrUnavailable, readstate.ErrRetry)
	errDisk     = errors.New("no space left on device")
)

// An outage adds no latency after the first failure, loses nothing and keeps
// the order; callbacks queue behind what is spooled until it is drained.
func TestOutage(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"away", "hang"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				store := newModel("ok")
				in, queue := prepare(t, store, dir, time.Now)
				in.Start(t.Context(), time.Time{})
				took := func(user string) time.Duration {
					started := time.Now()
					require.NoError(t, submit(t.Context(), in, user))
					return time.Since(started)
				}
				took("a")
				require.Equal(t, ingest.Status{}, in.Status())
				store.set(kind)
				require.LessOrEqual(t, took("b"), 800*time.Millisecond, "the budget")
				require.True(t, in.Status().Spooling)
				for range 20 {
					require.Zero(t, took("c"), "straight to the spool")
				}
				require.NoError(t, in.Reject(t.Context(), readstate.Rejection{Command: "x", Code: readstate.CodeMalformedBody}))
				require.Equal(t, []string{"a"}, store.users())
				require.EqualValues(t, 22, queue.Len())
				require.True(t, in.Status().Down)
				store.set("ok")
				time.Sleep(12 * time.Second) //nolint:forbidigo // the bubble's clock: a probe gives up a hanging database after 10 s
				synctest.Wait()
				require.Equal(t, ingest.Status{}, in.Status())
				require.Zero(t, queue.Len())
				took("d")
				want := append([]string{"a", "b"}, slices.Repeat([]string{"c"}, 20)...)
				require.Equal(t, append(want, "d"), store.users(), "in order")
				require.Len(t, store.rejected, 1)
				require.Zero(t, queue.Len())
			})
		})
	}
}

// Deadlocks, serialization failures and dropped connections are retried within
// the budget, and do not reach the spool.
func TestRetriesWithinBudget(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store := newModel("ok", "deadlock", "lost answer", "deadlock")
		in, queue := prepare(t, store, dir, time.Now)
		in.Start(t.Context(), time.Time{})
		started := time.Now()
		require.NoError(t, submit(t.Context(), in, "u"))
		require.Less(t, time.Since(started), 100*time.Millisecond)
		require.Equal(t, 4, store.calls)
		require.Equal(t, []string{"u"}, store.users(), "once")
		require.Zero(t, queue.Len())
		store.set("deadlock")
		started = time.Now()
		require.NoError(t, submit(t.Context(), in, "v"), "the spool takes it")
		require.LessOrEqual(t, time.Since(started), 800*time.Millisecond)
		require.EqualValues(t, 1, queue.Len())
		store.set("ok")
	})
}

// What a process leaves in the spool is drained by the next one, before and
// behind nothing else; arrivals continue after it.
func TestRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store := newModel("away")
	now := time.Now()
	options := spool.Options{Dir: dir, MaxBytes: 1 << 20, Now: time.Now, Logger: discard()}
	queue, err := spool.Open(options)
	require.NoError(t, err)
	in := ingest.New(ingest.Options{Store: store, Spool: queue, Budget: time.Second, Clock: ingest.ClockFunc(func() time.Time { return now }), Logger: discard()})
	require.NoError(t, submit(t.Context(), in, "before start"), "the database is not prepared yet")
	in.Start(t.Context(), time.Time{})
	require.NoError(t, submit(t.Context(), in, "a"))
	in.Stop(t.Context())
	require.EqualValues(t, 2, queue.Len())
	require.NoError(t, queue.Close())

	now = now.Add(-30 * time.Second) // the clock is set back
	store.set("ok")
	queue, err = spool.Open(options)
	require.NoError(t, err)
	in = ingest.New(ingest.Options{Store: store, Spool: queue, Budget: time.Second, Clock: ingest.ClockFunc(func() time.Time { return now }), Logger: discard()})
	require.NoError(t, submit(t.Context(), in, "a"))
	require.True(t, in.Status().Spooling)
	in.Start(t.Context(), time.Time{})
	in.Stop(t.Context())
	require.NoError(t, queue.Close())
	require.Equal(t, []string{"before start", "a", "a"}, store.users())
	last := store.states[readstate.Pair{UserID: "a", GroupID: "g"}]
	require.Equal(t, store.order[2], last.ID, "the last receipt wins")
}

// brokenSpool takes nothing while broken is set.
type brokenSpool struct {
	ingest.Spool
	broken bool
}

func (s *brokenSpool) Append(batch readstate.Batch, oldest, newest time.Time) error {
	if s.broken {
		return errDisk
	}
	return s.Spool.Append(batch, oldest, newest)
}

// Only when spool and database both fail is a callback not durable.
func TestSpoolFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store := newModel("away")
		queue, err := spool.Open(spool.Options{Dir: dir, MaxBytes: 1 << 20, Now: time.Now, Logger: discard()})
		require.NoError(t, err)
		broken := &brokenSpool{Spool: queue, broken: true}
		in := ingest.New(ingest.Options{Store: store, Spool: broken, Budget: 800 * time.Millisecond, Clock: ingest.ClockFunc(time.Now), Logger: discard()})
		in.Start(t.Context(), time.Time{})
		err = submit(t.Context(), in, "lost")
		require.ErrorIs(t, err, errDisk)
		require.ErrorIs(t, err, readstate.ErrUnavailable)
		store.set("ok")
		require.NoError(t, submit(t.Context(), in, "a"), "the database alone")
		store.set("away")
		broken.broken = false
		require.NoError(t, submit(t.Context(), in, "b"), "the spool alone")
		broken.broken = true
		require.ErrorIs(t, submit(t.Context(), in, "lost"), errDisk)
		store.set("ok")
		require.NoError(t, submit(t.Context(), in, "c"), "the database, though the spool is not empty")
		in.Stop(t.Context())
		require.NoError(t, queue.Close())
		require.ElementsMatch(t, []string{"a", "b", "c"}, store.users())
	})
}

// What lies in a spool that could not be opened at start is drained when it can
// be, without another outage.
func TestSpoolOpensLater(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	synctest.Test(t, func(t *testing.T) {
		store := newModel("away")
		in, queue := prepare(t, store, dir, time.Now)
		require.NoError(t, submit(t.Context(), in, "kept"))
		require.NoError(t, queue.Close())
		require.NoError(t, os.Rename(dir, dir+"-elsewhere"))
		require.NoError(t, os.WriteFile(dir, nil, 0o600))

		store.set("ok")
		in, queue = prepare(t, store, dir, time.Now)
		in.Start(t.Context(), time.Time{})
		require.NoError(t, submit(t.Context(), in, "a"))
		require.Equal(t, []string{"a"}, store.users())
		require.NoError(t, os.Remove(dir))
		require.NoError(t, os.Rename(dir+"-elsewhere", dir))
		time.Sleep(time.Minute) //nolint:forbidigo // the bubble's clock
		synctest.Wait()
		require.Equal(t, []string{"a", "kept"}, store.users())
		require.Zero(t, queue.Len())
		require.False(t, in.Status().Spooling)
	})
}

// An event that turns out to be refused when it is drained lands among the
// rejected, and holds nobody up.
func TestPoisonInTheSpool(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store := newModel("ok")
	in, queue := prepare(t, store, dir, time.Now)
	for _, user := range []string{"a", "poison", "b", "poison", "c"} {
		require.NoError(t, submit(t.Context(), in, user))
	}
	in.Start(t.Context(), time.Time{})
	require.Eventually(t, func() bool { return !in.Status().Spooling }, time.Minute, time.Millisecond)
	require.Equal(t, []string{"a", "b", "c"}, store.users())
	require.Len(t, store.rejected, 2)
	require.Zero(t, queue.Len())
}

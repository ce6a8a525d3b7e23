package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"readmark/internal/ingest"
	"readmark/internal/readstate"
	"readmark/internal/spool"
)

var (
	errAway     = fmt.Errorf("gone: %w", readstate.ErrUnavailable)
	errDeadlock = fmt.Errorf("deadlock: %w, %w", readstate.ErrUnavailable, readstate.ErrRetry)
	errDisk     = errors.New("no space left on device")
)

// model is a database in memory with the rules of the real one; what Commit
// does is decided by the script, a call at a time, then by always.
type model struct {
	mu       sync.Mutex
	script   []string // "ok", "away", "deadlock", "hang", "lost answer", "poison <user>"
	always   string
	calls    int
	journal  map[readstate.ID]readstate.Receipt
	order    []readstate.ID // of first insertion
	states   map[readstate.Pair]readstate.Receipt
	rejected map[readstate.ID]readstate.Rejection
}

func newModel(always string, script ...string) *model {
	return &model{
		always: always, script: script, journal: map[readstate.ID]readstate.Receipt{},
		states: map[readstate.Pair]readstate.Receipt{}, rejected: map[readstate.ID]readstate.Rejection{},
	}
}

func (m *model) set(always string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.always = always
}

func (m *model) Commit(ctx context.Context, batch readstate.Batch) error {
	m.mu.Lock()
	m.calls++
	what := m.always
	if len(m.script) > 0 {
		what, m.script = m.script[0], m.script[1:]
	}
	m.mu.Unlock()
	switch what {
	case "away":
		return errAway
	case "deadlock":
		return errDeadlock
	case "hang":
		<-ctx.Done()
		return fmt.Errorf("%w: %w", readstate.ErrUnavailable, ctx.Err())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range batch.Receipts {
		if r.UserID == "poison" {
			return errPoison
		}
	}
	for _, r := range batch.Receipts {
		if _, known := m.journal[r.ID]; !known {
			m.journal[r.ID] = r
			m.order = append(m.order, r.ID)
		}
		pair := readstate.Pair{UserID: r.UserID, GroupID: r.GroupID}
		if last, known := m.states[pair]; !known || r.After(&last) {
			m.states[pair] = r
		}
	}
	for _, r := range batch.Rejections {
		m.rejected[r.ID] = r
	}
	if what == "lost answer" {
		return errDeadlock
	}
	return nil
}

func (m *model) users() (users []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range m.order {
		users = append(users, m.journal[id].UserID)
	}
	return users
}

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
				submit := func(user string) time.Duration {
					started := time.Now()
					require.NoError(t, in.Submit(t.Context(), receipt(user)))
					return time.Since(started)
				}
				submit("a")
				require.Equal(t, ingest.Status{}, in.Status())
				store.set(kind)
				require.LessOrEqual(t, submit("b"), 800*time.Millisecond, "the budget")
				require.True(t, in.Status().Spooling)
				for range 20 {
					require.Zero(t, submit("c"), "straight to the spool")
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
				submit("d")
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
		require.NoError(t, in.Submit(t.Context(), receipt("u")))
		require.Less(t, time.Since(started), 100*time.Millisecond)
		require.Equal(t, 4, store.calls)
		require.Equal(t, []string{"u"}, store.users(), "once")
		require.Zero(t, queue.Len())
		store.set("deadlock")
		started = time.Now()
		require.NoError(t, in.Submit(t.Context(), receipt("v")), "the spool takes it")
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
	in := ingest.New(ingest.Options{Store: store, Spool: queue, Budget: time.Second, Now: func() time.Time { return now }, Logger: discard()})
	require.NoError(t, in.Submit(t.Context(), receipt("before start")), "the database is not prepared yet")
	in.Start(t.Context(), time.Time{})
	require.NoError(t, in.Submit(t.Context(), receipt("a")))
	in.Stop(t.Context())
	require.EqualValues(t, 2, queue.Len())
	require.NoError(t, queue.Close())

	now = now.Add(-time.Hour) // the clock is set back
	store.set("ok")
	queue, err = spool.Open(options)
	require.NoError(t, err)
	in = ingest.New(ingest.Options{Store: store, Spool: queue, Budget: time.Second, Now: func() time.Time { return now }, Logger: discard()})
	require.NoError(t, in.Submit(t.Context(), receipt("a")))
	require.True(t, in.Status().Spooling)
	in.Start(t.Context(), time.Time{})
	in.Stop(t.Context())
	require.NoError(t, queue.Close())
	require.Equal(t, []string{"before start", "a", "a"}, store.users())
	last := store.states[readstate.Pair{UserID: "a", GroupID: "g"}]
	require.Equal(t, store.order[2], last.ID, "the last receipt wins")
}

// While acknowledged callbacks wait in the spool, nobody may say that the database
// holds all until now; nor of a replica, until it has what came from there.
func TestReached(t *testing.T) {
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
		require.NoError(t, in.Submit(t.Context(), receipt("a")))
		same(time.Now(), in.Reached())
		store.set("away")
		away := minute()
		require.NoError(t, in.Submit(t.Context(), receipt("b")))
		between := minute()
		require.NoError(t, in.Submit(t.Context(), receipt("c")))
		same(away.Add(-time.Microsecond), in.Reached())
		same(away.Add(-time.Second), in.ReachedBy(away.Add(-time.Second))) // it is further behind
		same(away.Add(-time.Microsecond), in.ReachedBy(between))
		store.set("ok")
		drained := minute()
		same(drained, in.Reached())
		require.Equal(t, []string{"a", "b", "c"}, store.users())
		same(away.Add(-time.Microsecond), in.ReachedBy(between)) // of a time when they were in the spool
		same(drained, in.ReachedBy(drained))
		same(drained, in.ReachedBy(drained)) // still
	})
}

// brokenSpool takes nothing while broken is set.
type brokenSpool struct {
	ingest.Spool
	broken bool
}

func (s *brokenSpool) Append(batch readstate.Batch) error {
	if s.broken {
		return errDisk
	}
	return s.Spool.Append(batch)
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
		in := ingest.New(ingest.Options{Store: store, Spool: broken, Budget: 800 * time.Millisecond, Now: time.Now, Logger: discard()})
		in.Start(t.Context(), time.Time{})
		err = in.Submit(t.Context(), receipt("lost"))
		require.ErrorIs(t, err, errDisk)
		require.ErrorIs(t, err, readstate.ErrUnavailable)
		store.set("ok")
		require.NoError(t, in.Submit(t.Context(), receipt("a")), "the database alone")
		store.set("away")
		broken.broken = false
		require.NoError(t, in.Submit(t.Context(), receipt("b")), "the spool alone")
		broken.broken = true
		require.ErrorIs(t, in.Submit(t.Context(), receipt("lost")), errDisk)
		store.set("ok")
		require.NoError(t, in.Submit(t.Context(), receipt("c")), "the database, though the spool is not empty")
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
		require.NoError(t, in.Submit(t.Context(), receipt("kept")))
		require.NoError(t, queue.Close())
		require.NoError(t, os.Rename(dir, dir+"-elsewhere"))
		require.NoError(t, os.WriteFile(dir, nil, 0o600))

		store.set("ok")
		in, queue = prepare(t, store, dir, time.Now)
		in.Start(t.Context(), time.Time{})
		require.NoError(t, in.Submit(t.Context(), receipt("a")))
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

// A receipt that turns out to be refused when it is drained lands among the
// rejected, and holds nobody up.
func TestPoisonInTheSpool(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store := newModel("ok")
	in, queue := prepare(t, store, dir, time.Now)
	for _, user := range []string{"a", "poison", "b", "poison", "c"} {
		require.NoError(t, in.Submit(t.Context(), receipt(user)))
	}
	in.Start(t.Context(), time.Time{})
	require.Eventually(t, func() bool { return !in.Status().Spooling }, time.Minute, time.Millisecond)
	require.Equal(t, []string{"a", "b", "c"}, store.users())
	require.Len(t, store.rejected, 2)
	require.Zero(t, queue.Len())
}

// Whatever the database answers, in whatever order callbacks come, with
// restarts in between and repeats of everything: what was acknowledged is in
// the journal exactly once, and each state is the last acknowledged receipt.
func TestNothingIsLostProperty(t *testing.T) {
	t.Parallel()
	synctestRapid(t, func(r *rapid.T, dir string) {
		answers := rapid.SliceOfN(rapid.SampledFrom([]string{"ok", "ok", "away", "deadlock", "hang", "lost answer"}), 0, 30).Draw(r, "answers")
		store := newModel("ok", answers...)
		acknowledged := map[string]int{}
		var mu sync.Mutex
		for run := range rapid.IntRange(1, 3).Draw(r, "runs") {
			queue, err := spool.Open(spool.Options{Dir: dir, MaxBytes: 1 << 20, Now: time.Now, Logger: discard()})
			require.NoError(r, err)
			in := ingest.New(ingest.Options{Store: store, Spool: queue, Budget: 800 * time.Millisecond, Now: time.Now, Logger: discard()})
			in.Start(context.Background(), time.Time{})
			var wait sync.WaitGroup
			for i, user := range rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 1, 20).Draw(r, "users") {
				receipt := receipt(user)
				receipt.UnreadCount = int64(1000*run + i)
				wait.Go(func() {
					if in.Submit(context.Background(), receipt) == nil {
						mu.Lock()
						defer mu.Unlock()
						acknowledged[fmt.Sprint(user, receipt.UnreadCount)]++
					}
				})
				if rapid.Bool().Draw(r, "one after the other") {
					wait.Wait()
				}
			}
			wait.Wait()
			in.Stop(context.Background())
			require.NoError(r, queue.Close())
		}
		// A last run drains what is left.
		store.script = nil
		queue, err := spool.Open(spool.Options{Dir: dir, MaxBytes: 1 << 20, Now: time.Now, Logger: discard()})
		require.NoError(r, err)
		in := ingest.New(ingest.Options{Store: store, Spool: queue, Budget: time.Second, Now: time.Now, Logger: discard()})
		in.Start(context.Background(), time.Time{})
		in.Stop(context.Background())
		require.Zero(r, queue.Len())
		require.NoError(r, queue.Close())

		journal := map[string]int{}
		last := map[readstate.Pair]readstate.Receipt{}
		for _, receipt := range store.journal {
			journal[fmt.Sprint(receipt.UserID, receipt.UnreadCount)]++
			pair := readstate.Pair{UserID: receipt.UserID, GroupID: receipt.GroupID}
			if l, known := last[pair]; !known || receipt.ReceivedAt.After(l.ReceivedAt) ||
				receipt.ReceivedAt.Equal(l.ReceivedAt) && bytes.Compare(receipt.ID[:], l.ID[:]) > 0 {
				last[pair] = receipt
			}
		}
		require.Equal(r, acknowledged, journal)
		require.Equal(r, last, store.states)
	})
}

// synctestRapid checks a property inside a bubble, where waiting costs nothing.
func synctestRapid(t *testing.T, property func(r *rapid.T, dir string)) {
	t.Helper()
	dir, n := t.TempDir(), 0
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(withoutDeadline{t}, func(r *rapid.T) {
			n++
			property(r, fmt.Sprintf("%s/%d", dir, n))
		})
	})
}

// withoutDeadline hides testing.T.Deadline, which a bubble must not call.
type withoutDeadline struct{ rapid.TB }

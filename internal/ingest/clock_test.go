package ingest_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"readmark/internal/dbclock"
	"readmark/internal/ingest"
	"readmark/internal/readstate"
	"readmark/internal/spool"
)

// times is the true time, which goes on by hand.
type times struct {
	mu      sync.Mutex
	elapsed time.Duration
}

func (w *times) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.elapsed += d
}

func (w *times) since() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.elapsed
}

func (w *times) now() time.Time { return time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC).Add(w.since()) }

// clock is that of a machine that is ahead by so much.
func (w *times) clock(ahead time.Duration) *dbclock.Clock {
	return dbclock.New(dbclock.Machine{Wall: func() time.Time { return w.now().Add(ahead) }, Elapsed: w.since})
}

func (w *times) measure(t require.TestingT, c *dbclock.Clock) {
	require.NoError(t, c.Measure(context.Background(), func(context.Context) (time.Time, error) { return w.now(), nil }))
}

const years = 10 * 365 * 24 * time.Hour

// begin gives an Ingest on a spool in a directory, and what ends both.
func begin(t require.TestingT, store ingest.Store, dir string, c *dbclock.Clock) (in *ingest.Ingest, queue *spool.Spool, end func()) {
	queue, err := spool.Open(spool.Options{Dir: dir, MaxBytes: 1 << 20, Now: time.Now, Logger: discard()})
	require.NoError(t, err)
	in = ingest.New(ingest.Options{Store: store, Spool: queue, Budget: time.Second, Clock: c, Logger: discard()})
	return in, queue, func() {
		in.Stop(context.Background())
		require.NoError(t, queue.Close())
	}
}

func (m *model) arrivals() (arrivals []time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range m.order {
		arrivals = append(arrivals, m.journal[id].At)
	}
	return arrivals
}

// What comes before the database is known is dated by the machine's clock, and moved when the
// database's clock is known: to when it came, in its order, and to the same after a crash.
func TestArrivalsBeforeTheFirstMeasurement(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{0, years, -years, 90 * time.Second, -90 * time.Second} {
		w, dir := &times{}, t.TempDir()
		c := w.clock(ahead)
		store := newModel("lost answer")
		in, queue, end := begin(t, store, dir, c)
		var want []time.Time
		for _, user := range []string{"a", "b"} {
			w.pass(time.Second)
			want = append(want, w.now())
			require.NoError(t, submit(t.Context(), in, user))
		}
		w.pass(time.Second)
		w.measure(t, c)
		require.NoError(t, submit(t.Context(), in, "c"))
		want = append(want, w.now())
		in.Start(t.Context(), time.Time{})
		require.Equal(t, want[0].Add(-time.Microsecond), in.Watermark(), "what waits is in no answer")
		require.Equal(t, want[0], queue.OldestQueued())
		end() // the answer was lost, so that all of it comes again
		require.Equal(t, want, store.arrivals())

		store.set("ok")
		w.pass(time.Minute)
		c = w.clock(0) // the machine's clock has been set right
		w.pass(time.Minute)
		in, queue, end = begin(t, store, dir, c)
		w.measure(t, c)
		in.Start(t.Context(), want[2])
		require.NoError(t, submit(t.Context(), in, "d"))
		end()
		require.Zero(t, queue.Len())
		require.Equal(t, append(want, w.now()), store.arrivals(), "they have their arrivals once")
		require.Equal(t, []string{"a", "b", "c", "d"}, store.users())
	}
}

// A process that never saw the database, on a machine whose clock has been set since, leaves
// what did not come from the future: the next process dates it before its own start.
func TestArrivalsOfAnEarlierProcess(t *testing.T) {
	t.Parallel()
	w, dir := &times{}, t.TempDir()
	store := newModel("ok")
	in, _, end := begin(t, store, dir, w.clock(years))
	for _, user := range []string{"a", "b"} {
		require.NoError(t, submit(t.Context(), in, user))
		w.pass(time.Second)
	}
	end()
	w.pass(time.Hour)
	c := w.clock(-90 * time.Second)
	started := w.now()
	in, _, end = begin(t, store, dir, c)
	require.NoError(t, submit(t.Context(), in, "c"))
	w.pass(time.Second)
	w.measure(t, c)
	in.Start(t.Context(), time.Time{})
	end()
	require.Equal(t, []string{"a", "b", "c"}, store.users())
	require.Equal(t, []time.Time{started.Add(-time.Second - time.Microsecond), started.Add(-time.Microsecond), started}, store.arrivals())
}

// A newest arrival from the future, of the journal or the spool, is not taken over; and when
// the database's own clock was ahead, arrivals begin anew when it is set right.
func TestFutureIsNotTakenOver(t *testing.T) {
	t.Parallel()
	w, dir := &times{}, t.TempDir()
	store := newModel("away")
	c := w.clock(0)
	future := func(context.Context) (time.Time, error) { return w.now().Add(years), nil }
	require.NoError(t, c.Measure(t.Context(), future))
	in, _, end := begin(t, store, dir, c)
	in.Start(t.Context(), time.Time{})
	require.NoError(t, submit(t.Context(), in, "a"))
	w.measure(t, c)
	require.NoError(t, submit(t.Context(), in, "b"))
	end()

	c = w.clock(0)
	w.measure(t, c)
	in, _, end = begin(t, store, dir, c)
	in.Start(t.Context(), w.now().Add(years))
	require.NoError(t, submit(t.Context(), in, "c"))
	w.pass(time.Second)
	store.set("ok")
	end()
	now := w.now().Add(-time.Second)
	require.Equal(t, []time.Time{now.Add(years), now, now.Add(time.Microsecond)}, store.arrivals()[:3])
}

// Two processes on one database, whose machines' clocks are anything and are set while they
// run: a receipt that is sent after another one was acknowledged comes after it, and each
// process's arrivals rise.
func TestTwoClocksProperty(t *testing.T) {
	t.Parallel()
	dirs := t.TempDir()
	rapid.Check(t, func(r *rapid.T) {
		w, store := &times{}, newModel("ok")
		offsets := rapid.SampledFrom([]time.Duration{0, years, -years, 90 * time.Second, -90 * time.Second, time.Millisecond})
		type process struct {
			in    *ingest.Ingest
			clock *dbclock.Clock
			ahead time.Duration
		}
		var processes []*process
		for _, name := range []string{"a", "b"} {
			p := &process{ahead: offsets.Draw(r, name)}
			p.clock = dbclock.New(dbclock.Machine{Wall: func() time.Time { return w.now().Add(p.ahead) }, Elapsed: w.since})
			in, _, end := begin(r, store, dirs+"/"+rapid.StringMatching(`[a-z]{16}`).Draw(r, "dir")+name, p.clock)
			r.Cleanup(end)
			p.in = in
			w.measure(r, p.clock)
			in.Start(context.Background(), w.now())
			processes = append(processes, p)
		}
		for range rapid.IntRange(1, 20).Draw(r, "steps") {
			p := processes[rapid.IntRange(0, 1).Draw(r, "process")]
			switch rapid.SampledFrom([]string{"send", "send", "set", "measure"}).Draw(r, "what") {
			case "send":
				require.NoError(r, submit(context.Background(), p.in, "u"))
			case "set":
				p.ahead = offsets.Draw(r, "ahead")
			case "measure":
				w.measure(r, p.clock)
			}
			w.pass(time.Duration(rapid.IntRange(100, 1_000_000).Draw(r, "µs")) * time.Microsecond)
		}
		arrivals := store.arrivals()
		for i := 1; i < len(arrivals); i++ {
			require.True(r, arrivals[i].After(arrivals[i-1]), "%v", arrivals)
		}
		last := store.states[readstate.Pair{UserID: "u", GroupID: "g"}]
		if n := len(store.order); n > 0 {
			require.Equal(r, store.order[n-1], last.ID, "the last receipt wins")
		}
	})
}

// Before the database's clock is known nothing is written to it, also when the spool takes
// nothing.
func TestNothingIsWrittenUnmeasured(t *testing.T) {
	t.Parallel()
	w, store := &times{}, newModel("ok")
	_, queue, _ := begin(t, store, t.TempDir(), w.clock(years))
	broken := &brokenSpool{Spool: queue, broken: true}
	in := ingest.New(ingest.Options{Store: store, Spool: broken, Budget: time.Second, Clock: w.clock(years), Logger: discard()})
	err := submit(t.Context(), in, "a")
	require.ErrorIs(t, err, readstate.ErrUnavailable)
	require.Empty(t, store.order)
	in.Stop(t.Context())
	require.NoError(t, queue.Close())
}

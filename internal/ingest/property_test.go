package ingest_test

import (
	"context"
	"fmt"
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

// acknowledged collects the events of the callbacks that were answered with success.
type acknowledged struct {
	mu     sync.Mutex
	events []readstate.Event
}

func (a *acknowledged) add(events []readstate.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events = append(a.events, events...)
}

func (a *acknowledged) all() []readstate.Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.events)
}

// drawCallback gives the events of one callback.
func drawCallback(r *rapid.T) []readstate.Event {
	kind := rapid.SampledFrom([]readstate.EventKind{
		readstate.EventReceipt, readstate.EventReceipt, readstate.EventMessage, readstate.EventLeft,
	}).Draw(r, "kind")
	users := []string{rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(r, "user")}
	if kind == readstate.EventLeft {
		users = []string{"a", "b", "c", "d"}[:rapid.IntRange(1, 4).Draw(r, "users")]
	}
	events := make([]readstate.Event, len(users))
	for i, user := range users {
		events[i] = readstate.Event{Kind: kind, UserID: user, GroupID: "g"}
	}
	return events
}

// Whatever the database answers, in whatever order callbacks come, with
// restarts in between and repeats of everything: what was acknowledged is in
// the journal exactly once, and each state is made of the last acknowledged event.
// What is called fresh was not tried before. No event that was acknowledged and arrived
// until the watermark is missing.
func TestNothingIsLostProperty(t *testing.T) {
	t.Parallel()
	synctestRapid(t, func(r *rapid.T, dir string) {
		answers := rapid.SliceOfN(rapid.SampledFrom([]string{"ok", "ok", "away", "deadlock", "hang", "lost answer"}), 0, 30).Draw(r, "answers")
		store := newModel("ok", answers...)
		store.most = rapid.SampledFrom([]int{0, 0, 3, 1}).Draw(r, "most")
		var done acknowledged
		for range rapid.IntRange(1, 3).Draw(r, "runs") {
			inRun(r, store, dir, func(in *ingest.Ingest) {
				var wait sync.WaitGroup
				defer wait.Wait()
				for range rapid.IntRange(1, 20).Draw(r, "callbacks") {
					events := drawCallback(r)
					wait.Go(func() {
						if in.Submit(context.Background(), events) == nil {
							done.add(events)
						}
					})
					if rapid.Bool().Draw(r, "one after the other") {
						wait.Wait()
					}
					known := done.all()
					require.Empty(r, store.missing(known, in.Watermark()))
					if rapid.Bool().Draw(r, "later") {
						time.Sleep(time.Millisecond) //nolint:forbidigo // the bubble's clock
					}
				}
			})
		}
		store.script, store.most = nil, 0
		left := inRun(r, store, dir, func(*ingest.Ingest) {}) // drains
		require.Zero(r, left)

		journal := map[readstate.ID]readstate.Event{}
		last := map[readstate.Pair]readstate.Event{}
		for _, e := range done.all() {
			journal[e.ID] = e
			if l, known := last[e.Pair()]; !known || e.Compare(&l) > 0 {
				last[e.Pair()] = e
			}
		}
		require.Equal(r, journal, store.journal)
		require.Equal(r, last, store.states)
		require.Empty(r, store.notFresh)
	})
}

// inRun does something with an Ingest that lasts for so long, and gives how much it has
// left in the spool.
func inRun(r *rapid.T, store ingest.Store, dir string, do func(*ingest.Ingest)) (left int64) {
	queue, err := spool.Open(spool.Options{Dir: dir, MaxBytes: 1 << 20, Now: time.Now, Logger: discard()})
	require.NoError(r, err)
	in := ingest.New(ingest.Options{Store: store, Spool: queue, Budget: 800 * time.Millisecond, Clock: ingest.ClockFunc(time.Now), Logger: discard()})
	in.Start(context.Background(), time.Time{})
	defer func() {
		in.Stop(context.Background())
		left = queue.Len()
		require.NoError(r, queue.Close())
	}()
	do(in)
	return 0 // set when all is stopped
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

package store_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"readmark/internal/readstate"
	"readmark/internal/store"
)

// load reads and writes until it is stopped. No read fails, asOf never goes back, and what was acknowledged before asOf
// is in the answer, whichever replica gave it.
type load struct {
	t     testing.TB
	f     *following
	s     *store.Store
	mu    sync.Mutex
	acks  []time.Time     // of the counts 1, 2, …
	reads [3]atomic.Int64 // of each way to read
	stop  func()
}

func startLoad(t testing.TB, s *store.Store, f *following) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	l := &load{t: t, f: f, s: s}
	var running sync.WaitGroup
	l.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(l.stop)
	running.Go(func() { l.write(ctx) })
	running.Go(func() {
		l.read(ctx, &l.reads[0], func() (int64, error) {
			state, err := f.State(ctx, readstate.Pair{UserID: "load", GroupID: "g"})
			return state.UnreadCount, err
		})
	})
	running.Go(func() {
		l.read(ctx, &l.reads[1], func() (int64, error) {
			list, err := f.UserStates(ctx, "load", readstate.Page{Limit: 10})
			if err != nil || len(list) == 0 {
				return 0, err
			}
			return list[0].UnreadCount, nil
		})
	})
	running.Go(func() {
		poller := f.Poller()
		defer poller.Close()
		l.read(ctx, &l.reads[2], func() (int64, error) {
			poll, err := poller.Poll(ctx, nil, readstate.Load{Users: []string{"load"}})
			if err != nil || len(poll.Users) == 0 {
				return 0, err
			}
			state, _, _ := poll.Users[0].Count(&poll.Users[0].Position)
			return state, nil
		})
	})
	l.await()
	return l
}

func (l *load) write(ctx context.Context) {
	for n := 1; ctx.Err() == nil; n++ {
		err := l.s.Commit(ctx, readstate.Batch{Events: []readstate.Event{documented("load", "g", int64(n), 1000+n)}})
		if err != nil {
			n--
			continue
		}
		l.mu.Lock()
		l.acks = append(l.acks, time.Now())
		l.mu.Unlock()
	}
}

func (l *load) read(ctx context.Context, reads *atomic.Int64, count func() (int64, error)) {
	var last time.Time
	for ctx.Err() == nil {
		asOf := l.f.AsOf()
		got, err := count()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			l.t.Errorf("a read fails: %v", err)
			return
		}
		if asOf.Before(last) {
			l.t.Errorf("asOf goes back from %v to %v", last, asOf)
		}
		last = asOf
		l.mu.Lock()
		least, _ := slices.BinarySearchFunc(l.acks, asOf, time.Time.Compare)
		l.mu.Unlock()
		if got < int64(least) {
			l.t.Errorf("%d is missing as of %v: the answer is %d", least, asOf, got)
		}
		reads.Add(1)
	}
}

// await blocks until some reads of each way have been answered.
func (l *load) await() {
	l.t.Helper()
	for i := range l.reads {
		from := l.reads[i].Load()
		eventually(l.t, "reads go on", func() bool { return l.reads[i].Load() >= from+20 })
	}
}

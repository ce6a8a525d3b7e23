package readcache_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"readmark/internal/readstate"
)

// counter is a value that only grows: begun before a write, done after it was acknowledged. What
// is read has to lie between done, as it was before the request, and begun after it.
type counter struct{ begun, done atomic.Int64 }

// world is pairs whose counts are known at any time: user i has read groups up to a count that
// a writer raises, and in group "m" messages come that nobody reads. The last user is erased
// and reads again, in turns.
type world struct {
	t         testing.TB
	pairs     []readstate.Pair
	counts    []counter // of pairs
	messages  counter
	erasures  counter // odd: known, even: erased
	answers   atomic.Int64
	hundred   chan struct{} // is sent to, where anybody waits, with each hundredth answer
	wrong     atomic.Int64
	failed    atomic.Int64 // reads while the database was away
	tolerates bool         // of failures
}

const (
	worldUsers  = 8
	worldGroups = 5
)

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, counts: make([]counter, worldUsers*worldGroups), hundred: make(chan struct{})}
	for u := range worldUsers {
		for g := range worldGroups {
			w.pairs = append(w.pairs, readstate.Pair{UserID: "u" + strconv.Itoa(u), GroupID: "g" + strconv.Itoa(g)})
		}
	}
	return w
}

func event(kind readstate.EventKind, pair readstate.Pair, count int64) readstate.Event {
	return readstate.Event{
		Kind: kind, ID: readstate.ID(uuid.Must(uuid.NewV7())), At: time.Now().UTC().Truncate(time.Microsecond),
		UserID: pair.UserID, GroupID: pair.GroupID, UnreadCount: count,
	}
}

// commit writes until the database has taken it: it may be away, and may have taken it already.
func (w *world) commit(ctx context.Context, p *process, e readstate.Event) {
	for fresh := true; ctx.Err() == nil; fresh = false {
		err := p.Commit(ctx, readstate.Batch{Events: []readstate.Event{e}, Fresh: fresh})
		if err == nil {
			return
		}
		if !w.tolerates && ctx.Err() == nil {
			w.t.Errorf("commit: %v", err)
			return
		}
	}
}

// raise has one more written by a counter's writer.
func (c *counter) raise(write func(n int64)) {
	n := c.begun.Add(1)
	write(n)
	c.done.Store(n)
}

// write writes until the context ends, through any of the processes.
func (w *world) write(ctx context.Context, seed uint64, from, to int, processes []*process) {
	random := rand.New(rand.NewPCG(seed, 2))
	for ctx.Err() == nil {
		p, i := processes[random.IntN(len(processes))], from+random.IntN(to-from)
		w.counts[i].raise(func(n int64) { w.commit(ctx, p, event(readstate.EventReceipt, w.pairs[i], n)) })
	}
}

func (w *world) send(ctx context.Context, processes []*process) {
	for i := 0; ctx.Err() == nil; i++ {
		e := event(readstate.EventMessage, readstate.Pair{GroupID: "m"}, 0)
		e.MessageID = strconv.Itoa(i)
		w.messages.raise(func(int64) { w.commit(ctx, processes[i%len(processes)], e) })
	}
}

func (w *world) erase(ctx context.Context, processes []*process) {
	erasedAt := time.Time{}
	for i := 0; ctx.Err() == nil; i++ {
		p := processes[i%len(processes)]
		w.erasures.raise(func(n int64) {
			if n%2 == 1 {
				e := event(readstate.EventReceipt, readstate.Pair{UserID: "erased", GroupID: "e"}, 7)
				if !e.At.After(erasedAt) {
					e.At = erasedAt.Add(time.Microsecond)
				}
				w.commit(ctx, p, e)
				return
			}
			for ctx.Err() == nil {
				erased, err := p.EraseUser(ctx, "erased")
				if err == nil {
					erasedAt = erased.At
					return
				}
			}
		})
	}
}

// check holds a value between bounds.
func (w *world) check(what string, low, got, high int64) {
	if w.answers.Add(1)%100 == 0 {
		select {
		case w.hundred <- struct{}{}:
		default:
		}
	}
	if got < low || got > high {
		if w.wrong.Add(1) <= 10 {
			w.t.Logf("%s: %d, not between %d and %d", what, got, low, high)
		}
	}
}

// wait blocks until about so many hundreds of answers more have been compared, or the context ends.
func (w *world) wait(ctx context.Context, hundreds int) {
	for range hundreds {
		select {
		case <-w.hundred:
		case <-ctx.Done():
		}
	}
}

// low and high give the bounds of all pairs, before and after a request.
func (w *world) low() (counts []int64) {
	for i := range w.counts {
		counts = append(counts, w.counts[i].done.Load())
	}
	return counts
}

func (w *world) high() (counts []int64) {
	for i := range w.counts {
		counts = append(counts, w.counts[i].begun.Load())
	}
	return counts
}

func sum(counts []int64, in func(i int) bool) (total int64) {
	for i, n := range counts {
		if in(i) {
			total += n
		}
	}
	return total
}

// read asks for something, and holds the answer against the bounds.
func (w *world) read(ctx context.Context, random *rand.Rand, p *process) error {
	i := random.IntN(len(w.pairs))
	pair := w.pairs[i]
	ofUser, ofGroup := func(k int) bool { return w.pairs[k].UserID == pair.UserID }, func(k int) bool { return w.pairs[k].GroupID == pair.GroupID }
	list := func(what string, low []int64, states []readstate.State, want int) {
		high := w.high()
		if len(states) != want {
			w.check(what+", states", int64(want), int64(len(states)), int64(want))
		}
		for _, state := range states {
			k := slices.Index(w.pairs, state.Pair)
			w.check(what, low[k], state.UnreadCount, high[k])
		}
	}
	low := w.low()
	switch random.IntN(8) {
	case 0:
		state, _, err := p.cache.State(ctx, pair)
		if err != nil {
			return err
		}
		w.check("state", low[i], state.UnreadCount, w.high()[i])
	case 1:
		badge, _, err := p.cache.Badge(ctx, pair.UserID)
		if err != nil {
			return err
		}
		w.check("badge", sum(low, ofUser), badge.UnreadCount, sum(w.high(), ofUser))
	case 2:
		group, _, err := p.cache.GroupSum(ctx, pair.GroupID)
		if err != nil {
			return err
		}
		w.check("sum", sum(low, ofGroup), group.UnreadCount, sum(w.high(), ofGroup))
	case 3:
		states, _, err := p.cache.UserStates(ctx, pair.UserID, readstate.Page{Limit: 100, Order: readstate.Order(random.IntN(3))})
		if err != nil {
			return err
		}
		list("groups", low, states, worldGroups)
	case 4:
		states, _, err := p.cache.GroupStates(ctx, pair.GroupID, readstate.Page{Limit: 100, Order: readstate.Order(random.IntN(3))})
		if err != nil {
			return err
		}
		list("users", low, states, worldUsers)
	case 5:
		before := w.messages.done.Load()
		state, _, err := p.cache.State(ctx, readstate.Pair{UserID: "reader", GroupID: "m"})
		if err != nil {
			return err
		}
		w.check("messages", before, state.UnreadCount, w.messages.begun.Load())
	case 6:
		done := w.erasures.done.Load()
		_, _, err := p.cache.Badge(ctx, "erased")
		if known := err == nil; w.erasures.begun.Load() == done && (known || plain(err) == readstate.ErrUnknown) { //nolint:errorlint // plain
			w.check("erased", done%2, map[bool]int64{true: 1}[known], done%2)
		}
	default:
		states, badges, _, err := p.cache.Snapshot(ctx, w.pairs, []string{pair.UserID})
		if err != nil {
			return err
		}
		high := w.high()
		total := int64(0)
		for k := range w.pairs {
			w.check("batch", low[k], states[w.pairs[k]].UnreadCount, high[k])
			if ofUser(k) {
				total += states[w.pairs[k]].UnreadCount
			}
		}
		w.check("badge of the batch's own snapshot", total, badges[pair.UserID].UnreadCount, total)
	}
	return nil
}

// run has writers and readers go on until so many answers were compared, while a trouble, if there
// is one, comes again and again.
func (w *world) run(answers int64, readers, writers []*process, trouble func(ctx context.Context)) {
	t := w.t
	for _, pair := range append([]readstate.Pair{{UserID: "reader", GroupID: "m"}}, w.pairs...) {
		require.NoError(t, writers[0].Commit(t.Context(), readstate.Batch{Events: []readstate.Event{event(readstate.EventReceipt, pair, 0)}, Fresh: true}))
	}
	ctx, end := context.WithCancel(t.Context())
	defer end()
	var all sync.WaitGroup
	for i := range 2 {
		half := len(w.pairs) / 2
		all.Go(func() { w.write(ctx, uint64(i), i*half, (i+1)*half, writers) })
	}
	all.Go(func() { w.send(ctx, writers) })
	all.Go(func() { w.erase(ctx, writers) })
	if trouble != nil {
		all.Go(func() {
			for ctx.Err() == nil {
				trouble(ctx)
			}
		})
	}
	var reading sync.WaitGroup
	for i := range 6 {
		reading.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 3))
			for w.answers.Load() < answers && ctx.Err() == nil && w.wrong.Load() == 0 {
				if err := w.read(ctx, random, readers[i%len(readers)]); err != nil {
					w.failed.Add(1)
					if !w.tolerates {
						t.Errorf("read: %v", err)
						return
					}
				}
			}
		})
	}
	reading.Wait()
	end()
	all.Wait()
	t.Logf("%d answers compared, %d wrong, %d reads failed, %d writes", w.answers.Load(), w.wrong.Load(), w.failed.Load(), sum(w.high(), func(int) bool { return true }))
}

// answersCompared is how many answers each of the tests compares.
const answersCompared = 100_000

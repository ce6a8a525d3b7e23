package store

import (
	"context"
	"sync"

	"readmark/internal/readstate"
)

// maxAsking is how many inquiries of one gatherer are under way at once.
const maxAsking = 2

// gatherer asks the database for many callers together: while inquiries are under
// way, the keys that are asked for meanwhile gather for the next one. There is no
// timer: a lone caller's inquiry goes out at once. An inquiry begins after
// everybody who shares it has come, so that an answer is never older than its
// request.
type gatherer[K comparable, V any] struct {
	// ask gives what is known of the keys, which may repeat. It is given the context
	// of one of the callers, without its end.
	ask   func(ctx context.Context, keys []K) (map[K]V, error)
	limit int // keys of one inquiry

	mu      sync.Mutex
	waiting []*inquiry[K, V] // in the order of coming; all but the last one are full
	asking  int
}

type inquiry[K comparable, V any] struct {
	keys    []K
	done    chan struct{} // closed when answers and err are set
	answers map[K]V
	err     error
}

// get gives what is known of a key, and whether anything is. It blocks until the
// database has answered or the context ends.
func (g *gatherer[K, V]) get(ctx context.Context, key K) (answer V, known bool, err error) {
	q, lead := g.join(key)
	if lead {
		g.run(context.WithoutCancel(ctx), q)
	}
	select {
	case <-q.done:
		if q.err != nil {
			return answer, false, q.err
		}
		answer, known = q.answers[key]
		return answer, known, nil
	case <-ctx.Done():
		return answer, false, ctx.Err()
	}
}

// join adds a key to the inquiry that gathers, and reports whether the caller has
// to run it.
func (g *gatherer[K, V]) join(key K) (q *inquiry[K, V], lead bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := len(g.waiting); n > 0 && len(g.waiting[n-1].keys) < g.limit {
		q = g.waiting[n-1]
	} else {
		q = &inquiry[K, V]{done: make(chan struct{})}
		g.waiting = append(g.waiting, q)
	}
	q.keys = append(q.keys, key)
	if g.asking == maxAsking {
		return q, false
	}
	g.asking++
	g.waiting = g.waiting[1:] // nothing waits while somebody may ask
	return q, true
}

// run asks, and has what gathered meanwhile asked in a goroutine of its own, so
// that the caller need not serve the others.
func (g *gatherer[K, V]) run(ctx context.Context, q *inquiry[K, V]) {
	g.answer(ctx, q)
	if q = g.next(); q == nil {
		return
	}
	go func() {
		for ; q != nil; q = g.next() {
			g.answer(ctx, q)
		}
	}()
}

func (g *gatherer[K, V]) answer(ctx context.Context, q *inquiry[K, V]) {
	defer close(q.done)
	q.err = readstate.ErrUnavailable // should asking panic
	q.answers, q.err = g.ask(ctx, q.keys)
}

// next takes the inquiry that waits longest, or ends the asking.
func (g *gatherer[K, V]) next() *inquiry[K, V] {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.asking--
		return nil
	}
	q := g.waiting[0]
	g.waiting = g.waiting[1:]
	return q
}

package store

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// counting is a database whose inquiries wait until they are let go.
type counting struct {
	mu      sync.Mutex
	asked   [][]string
	entered chan struct{}
	release chan struct{}
	err     error
}

func (c *counting) ask(_ context.Context, keys []string) (map[string]int, error) {
	c.mu.Lock()
	c.asked = append(c.asked, append([]string(nil), keys...))
	c.mu.Unlock()
	c.entered <- struct{}{}
	<-c.release
	answers := map[string]int{}
	for _, key := range keys {
		if key != "unknown" {
			answers[key] = len(key)
		}
	}
	return answers, c.err
}

func newCounting(limit int) (*counting, *gatherer[string, int]) {
	c := &counting{entered: make(chan struct{}, 100), release: make(chan struct{})}
	return c, &gatherer[string, int]{ask: c.ask, limit: limit}
}

// TestGathering: while as many inquiries as allowed are under way, what is asked for
// gathers, is divided by the limit, and everybody gets the own answer.
func TestGathering(t *testing.T) {
	t.Parallel()
	c, g := newCounting(3)
	var callers sync.WaitGroup
	ask := func(key string) {
		callers.Go(func() {
			answer, known, err := g.get(t.Context(), key)
			if err != nil || known != (key != "unknown") || known && answer != len(key) {
				t.Errorf("%s: %d, %t, %v", key, answer, known, err)
			}
		})
	}
	for range maxAsking { // lone callers go at once
		ask("a")
		<-c.entered
	}
	joined := func() (n int) {
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, q := range g.waiting {
			n += len(q.keys)
		}
		return n
	}
	for i, key := range []string{"b", "bb", "b", "unknown", "bbb"} {
		ask(key)
		for joined() <= i {
			runtime.Gosched()
		}
	}
	close(c.release)
	callers.Wait()
	asking := func() int {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.asking
	}
	for asking() > 0 { // the goroutine that asked for the others ends last
		runtime.Gosched()
	}
	require.Equal(t, [][]string{{"a"}, {"a"}}, c.asked[:maxAsking])
	require.ElementsMatch(t, [][]string{{"b", "bb", "b"}, {"unknown", "bbb"}}, c.asked[maxAsking:])
}

// A caller who has gone does not take the others' answer along, and is not kept.
func TestGatheringEnded(t *testing.T) {
	t.Parallel()
	c, g := newCounting(10)
	var callers sync.WaitGroup
	for range maxAsking {
		callers.Go(func() { _, _, _ = g.get(t.Context(), "a") })
		<-c.entered
	}
	ended, end := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, _, err := g.get(ended, "b")
		gone <- err
	}()
	end()
	require.ErrorIs(t, <-gone, context.Canceled)
	c.err = errors.New("away")
	close(c.release)
	callers.Wait()
	_, known, err := g.get(t.Context(), "c")
	require.ErrorIs(t, err, c.err)
	require.False(t, known)
}

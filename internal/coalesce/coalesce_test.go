package coalesce_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"readmark/internal/coalesce"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errLeader = errors.New("the leader panicked")

type item struct {
	name   int
	weight int
	alone  bool
	ran    []int // with which it ran
}

// recorder runs batches that take a second.
type recorder struct {
	mu    sync.Mutex
	now   int
	most  int
	order []int
	begun []int // the first item of each batch
	sizes []int
}

func (r *recorder) run(_ context.Context, items []*item) {
	r.mu.Lock()
	r.now++
	r.most = max(r.most, r.now)
	r.sizes = append(r.sizes, len(items))
	r.mu.Unlock()
	time.Sleep(time.Second) //nolint:forbidigo // the bubble's clock
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now--
	for _, i := range items {
		for _, o := range items {
			i.ran = append(i.ran, o.name)
		}
	}
}

func newBatcher(r *recorder, limit, beside int) *coalesce.Batcher[*item] {
	return coalesce.New(coalesce.Options[*item]{
		Run: r.run, Limit: limit, Weight: func(i *item) int { return i.weight },
		MayRun: func(next []*item, running [][]*item) bool {
			for _, other := range running {
				if other[0].alone || next[0].alone {
					return false
				}
			}
			return len(running) < beside
		},
		Join:  func(i *item) { r.order = append(r.order, i.name) },
		Begin: func(items []*item) { r.begun = append(r.begun, items[0].name) },
	})
}

// TestLoneCaller: nobody waits where nobody runs.
func TestLoneCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		b := newBatcher(r, 10, 1)
		started := time.Now()
		require.NoError(t, b.Do(t.Context(), &item{weight: 1}))
		require.Equal(t, time.Second, time.Since(started))
	})
}

// TestTogether: who comes while a batch runs shares the next, up to the limit, in the
// order of coming.
func TestTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		b := newBatcher(r, 3, 1)
		items := make([]*item, 6)
		var callers sync.WaitGroup
		for i := range items {
			items[i] = &item{name: i, weight: 1}
			callers.Go(func() { assert.NoError(t, b.Do(t.Context(), items[i])) })
			synctest.Wait()
		}
		callers.Wait()
		b.Wait()
		require.Equal(t, []int{0, 1, 2, 3, 4, 5}, r.order)
		require.Equal(t, []int{1, 3, 2}, r.sizes)
		require.Equal(t, []int{0, 1, 4}, r.begun)
		require.Equal(t, []int{1, 2, 3}, items[2].ran)
		require.Equal(t, 1, r.most)
	})
}

// TestHeavyItem: what weighs more than the limit runs alone.
func TestHeavyItem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		b := newBatcher(r, 3, 1)
		var callers sync.WaitGroup
		for i, weight := range []int{1, 1, 9, 1} {
			callers.Go(func() { assert.NoError(t, b.Do(t.Context(), &item{name: i, weight: weight})) })
			synctest.Wait()
		}
		callers.Wait()
		require.Equal(t, []int{1, 1, 1, 1}, r.sizes)
	})
}

// TestBeside: batches run beside each other as far as they may, and none is forgotten.
func TestBeside(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		b := newBatcher(r, 1, 2)
		var callers sync.WaitGroup
		for i := range 9 {
			callers.Go(func() { assert.NoError(t, b.Do(t.Context(), &item{name: i, weight: 1, alone: i == 4})) })
			synctest.Wait()
		}
		callers.Wait()
		b.Wait()
		require.Len(t, r.sizes, 9)
		require.Equal(t, 2, r.most)
	})
}

// TestContext: a caller who goes does not undo what it has joined, nor what it leads.
func TestContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		b := newBatcher(r, 10, 1)
		var callers sync.WaitGroup
		callers.Go(func() { assert.NoError(t, b.Do(t.Context(), &item{name: 0, weight: 1})) })
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		gone := &item{name: 1, weight: 1}
		callers.Go(func() { assert.ErrorIs(t, b.Do(ctx, gone), context.Canceled) })
		synctest.Wait()
		cancel()
		require.ErrorIs(t, b.Do(ctx, &item{weight: 1}), context.Canceled)
		callers.Wait()
		b.Wait()
		require.Equal(t, []int{1}, gone.ran)
	})
}

// TestPanic: a panic ends its own batch only, and nobody takes it for success.
func TestPanic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		proceed := make(chan struct{})
		b := coalesce.New(coalesce.Options[string]{
			Run: func(_ context.Context, items []string) {
				switch items[0] {
				case "slow":
					<-proceed
				case "follower":
					panic("run")
				}
			},
			Limit:  10,
			MayRun: func(next []string, running [][]string) bool { return len(running) == 0 || len(next) == 2 },
		})
		var callers sync.WaitGroup
		do := func(item string) <-chan error {
			result := make(chan error, 1)
			callers.Go(func() {
				defer func() {
					if recover() != nil {
						result <- errLeader
					}
				}()
				result <- b.Do(t.Context(), item)
			})
			synctest.Wait()
			return result
		}
		slow, follower, leader := do("slow"), do("follower"), do("leader")
		require.ErrorIs(t, <-leader, errLeader)
		require.ErrorIs(t, <-follower, coalesce.ErrPanicked)
		close(proceed)
		require.NoError(t, <-slow)
		require.NoError(t, <-do("next"))
		callers.Wait()
		b.Wait()
	})
}

// Who comes while a batch gathers joins it, up to the limit; who comes after that is in the
// next one.
func TestGather(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var sizes []int
		gather, run := make(chan struct{}), make(chan struct{})
		b := coalesce.New(coalesce.Options[int]{
			Limit:  3,
			MayRun: func(_ []int, running [][]int) bool { return len(running) == 0 },
			Gather: func() { <-gather },
			Run: func(_ context.Context, items []int) {
				sizes = append(sizes, len(items))
				<-run
			},
		})
		var callers sync.WaitGroup
		come := func(n int) {
			for i := range n {
				callers.Go(func() { require.NoError(t, b.Do(t.Context(), i)) })
				synctest.Wait()
			}
		}
		come(4) // one too many
		gather <- struct{}{}
		synctest.Wait()
		come(1)
		run <- struct{}{}
		gather <- struct{}{}
		run <- struct{}{}
		callers.Wait()
		b.Wait()
		require.Equal(t, []int{3, 2}, sizes)
	})
}

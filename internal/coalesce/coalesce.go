// Package coalesce runs the work of callers who come at the same time together: one of
// them leads, the others wait for it. There is no timer: a lone caller's work begins at
// once.
package coalesce

import (
	"context"
	"errors"
	"slices"
	"sync"

	"go.opentelemetry.io/otel/trace"
)

// ErrPanicked says that the batch with an item panicked while it ran.
var ErrPanicked = errors.New("the batch panicked")

// Options says how items are run.
type Options[T any] struct {
	// Run does the work of a batch, and keeps each item's outcome in the item. Its context
	// is that of the caller who leads, without its end.
	Run func(ctx context.Context, items []T)
	// Limit bounds a batch by the sum of its items' weights. An item that weighs more runs
	// alone.
	Limit int
	// Weight of an item; nil: each weighs 1.
	Weight func(item T) int
	// MayRun reports whether a batch may run beside those that are running. It must allow
	// one beside none.
	MayRun func(next []T, running [][]T) bool
	// Join is called when an item has got its place, in the order of places, one at a time;
	// nil: nothing is.
	Join func(item T)
	// Begin is called before a batch runs, in the order of batches, one at a time; nil:
	// nothing is.
	Begin func(items []T)
	// Gather is called by the leader before its batch is closed: who comes meanwhile joins it.
	// It must not block. nil: a batch is closed when it may run. With Gather, Begin must be nil.
	Gather func()
	// Tracing has callers and batches be spans.
	Tracing Tracing
}

// Batcher collects items into batches. Its methods are safe for concurrent use.
type Batcher[T any] struct {
	options Options[T]

	mu      sync.Mutex
	waiting []*batch[T] // in the order of coming; all but the last one are full
	running []*batch[T]
	workers sync.WaitGroup
}

type batch[T any] struct {
	items  []T
	weight int
	open   bool          // it may run, and others may still join
	done   chan struct{} // closed when the batch has run
	err    error         // set before done is closed
	waits  []trace.Span  // of the callers that are traced
}

// New returns a Batcher without work.
func New[T any](options Options[T]) *Batcher[T] {
	if options.Weight == nil {
		options.Weight = func(T) int { return 1 }
	}
	return &Batcher[T]{options: options}
}

// Do blocks until the batch with the item has run, which begins after the call. It
// returns the context's error when that ends first; the item may still run then. A panic
// of Run goes through the caller who leads; the others get [ErrPanicked].
func (b *Batcher[T]) Do(ctx context.Context, item T) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	wait := b.options.Tracing.wait(ctx)
	if wait != nil {
		defer wait.End()
	}
	own, lead := b.join(item, wait)
	if lead {
		b.lead(context.WithoutCancel(ctx), own)
		return nil
	}
	select {
	case <-own.done:
		return own.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Wait blocks until no batch runs or waits. No item may come meanwhile.
func (b *Batcher[T]) Wait() { b.workers.Wait() }

// join adds an item to the batch that is being collected, and reports whether the
// caller has to run it.
func (b *Batcher[T]) join(item T, wait trace.Span) (own *batch[T], lead bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	weight := b.options.Weight(item)
	roomIn := func(o *batch[T]) bool { return o.weight+weight <= b.options.Limit }
	if n := len(b.running); n > 0 && b.running[n-1].open && roomIn(b.running[n-1]) {
		own = b.running[n-1]
	} else if n := len(b.waiting); n > 0 && roomIn(b.waiting[n-1]) {
		own = b.waiting[n-1]
	} else {
		own = &batch[T]{done: make(chan struct{})}
		b.waiting = append(b.waiting, own)
	}
	own.items, own.weight = append(own.items, item), own.weight+weight
	if wait != nil {
		own.waits = append(own.waits, wait)
	}
	if b.options.Join != nil {
		b.options.Join(item)
	}
	if own.open || b.waiting[0] != own || !b.start() {
		return own, false
	}
	b.workers.Add(1)
	return own, true
}

// start moves the batch that waits longest to those that run, if it may; b.mu is held.
func (b *Batcher[T]) start() bool {
	running := make([][]T, len(b.running))
	for i, other := range b.running {
		running[i] = other.items
	}
	if !b.options.MayRun(b.waiting[0].items, running) {
		return false
	}
	b.waiting[0].open = b.options.Gather != nil
	b.running = append(b.running, b.waiting[0])
	b.waiting = b.waiting[1:]
	if b.options.Begin != nil {
		b.options.Begin(b.running[len(b.running)-1].items)
	}
	return true
}

// lead runs a batch, and has what waits behind it run in a goroutine of its own, so
// that the caller need not serve the others.
func (b *Batcher[T]) lead(ctx context.Context, own *batch[T]) {
	next := own
	defer func() {
		if next == own { // Run has panicked
			own.err = ErrPanicked
			next = b.finish(own)
		}
		if next == nil {
			b.workers.Done()
			return
		}
		go func() {
			defer b.workers.Done()
			for ; next != nil; next = b.finish(next) {
				b.run(ctx, next)
			}
		}()
	}()
	b.run(ctx, own)
	next = b.finish(own)
}

// run closes a batch and runs it.
func (b *Batcher[T]) run(ctx context.Context, own *batch[T]) {
	if b.options.Gather != nil {
		b.options.Gather()
		b.mu.Lock()
		own.open = false
		b.mu.Unlock()
	}
	ctx, span := b.options.Tracing.run(ctx, own.waits, len(own.items))
	if span != nil {
		defer span.End()
	}
	b.options.Run(ctx, own.items)
}

// finish ends a batch and gives the next one to run, nil where there is none.
func (b *Batcher[T]) finish(done *batch[T]) *batch[T] {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(done.done)
	b.running = slices.DeleteFunc(b.running, func(o *batch[T]) bool { return o == done })
	if len(b.waiting) == 0 || !b.start() {
		return nil
	}
	return b.running[len(b.running)-1]
}

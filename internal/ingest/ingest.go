// Package ingest makes callbacks durable by group commit: callbacks that arrive
// while a transaction is under way share the next one. There is no timer, so a
// lone callback pays for one transaction and nothing more.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"readmark/internal/readstate"
)

const (
	// maxGroup bounds the callbacks of one transaction; who finds the gathering
	// group full waits for the next.
	maxGroup = 1000
	// commitTimeout bounds one transaction. OpenIM gives a callback five
	// seconds by default.
	commitTimeout = 4 * time.Second
)

// Store makes a batch durable, as a whole or not at all. Its error wraps
// [readstate.ErrUnavailable] when the store could not be asked.
type Store interface {
	Commit(ctx context.Context, batch readstate.Batch) error
}

// Ingest gives each callback its identity and time of arrival, and groups
// callbacks into transactions. It is safe for concurrent use.
type Ingest struct {
	store Store
	clock clock

	mu        sync.Mutex
	gathering *group // what the next transaction will hold; nil when empty
	writing   bool   // a transaction is under way
	writers   sync.WaitGroup
}

// group is the callbacks of one transaction, and its outcome.
type group struct {
	batch readstate.Batch
	done  chan struct{} // closed when errs is set
	errs  outcome
}

// outcome has an entry per callback; nil stands for all nil.
type outcome struct {
	receipts, rejections []error
}

// New returns an Ingest that writes to the store. now is the machine's clock.
func New(store Store, now func() time.Time) *Ingest {
	return &Ingest{store: store, clock: clock{now: now}}
}

// Advance makes every later arrival come after the moment: call it with the
// newest arrival that is stored, before the first callback.
func (in *Ingest) Advance(moment time.Time) { in.clock.advance(moment) }

// Submit blocks until the receipt is durable and returns nil, or returns why
// it is not. It sets the receipt's identity and time of arrival. When the
// context ends first, the receipt may still become durable.
func (in *Ingest) Submit(ctx context.Context, receipt readstate.Receipt) error {
	return in.add(ctx, func(g *group) (func() error, error) {
		id, err := uuid.NewV7()
		if err != nil {
			return nil, fmt.Errorf("make identity: %w", err)
		}
		receipt.ID, receipt.ReceivedAt = readstate.ID(id), in.clock.next()
		i := len(g.batch.Receipts)
		g.batch.Receipts = append(g.batch.Receipts, receipt)
		return func() error { return at(g.errs.receipts, i) }, nil
	})
}

// Reject blocks until the record of a rejected callback is durable, as
// [Ingest.Submit] does.
func (in *Ingest) Reject(ctx context.Context, rejection readstate.Rejection) error {
	return in.add(ctx, func(g *group) (func() error, error) {
		id, err := uuid.NewV7()
		if err != nil {
			return nil, fmt.Errorf("make identity: %w", err)
		}
		rejection.ID, rejection.ReceivedAt = readstate.ID(id), in.clock.next()
		i := len(g.batch.Rejections)
		g.batch.Rejections = append(g.batch.Rejections, rejection)
		return func() error { return at(g.errs.rejections, i) }, nil
	})
}

// Wait blocks until no transaction is under way; no callback may be submitted
// any more.
func (in *Ingest) Wait() { in.writers.Wait() }

// add puts a callback into the gathering group and waits for its outcome.
func (in *Ingest) add(ctx context.Context, put func(*group) (result func() error, err error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	in.mu.Lock()
	for in.gathering != nil && in.gathering.batch.Len() >= maxGroup {
		full := in.gathering
		in.mu.Unlock()
		select {
		case <-full.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		in.mu.Lock()
	}
	if in.gathering == nil {
		in.gathering = &group{done: make(chan struct{})}
	}
	g := in.gathering
	result, err := put(g)
	if err != nil {
		in.mu.Unlock()
		return err
	}
	lead := !in.writing
	if lead {
		in.writing, in.gathering = true, nil
		in.writers.Add(1)
	}
	in.mu.Unlock()

	if lead {
		// Others may wait for this transaction: the caller's context must not
		// undo it.
		in.write(context.WithoutCancel(ctx), g)
		in.next(context.WithoutCancel(ctx))
		return result()
	}
	select {
	case <-g.done:
		return result()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// next writes what has gathered meanwhile, in a goroutine of its own so that
// the caller who led need not serve the others.
func (in *Ingest) next(ctx context.Context) {
	g := in.take()
	if g == nil {
		in.writers.Done()
		return
	}
	go func() {
		defer in.writers.Done()
		for ; g != nil; g = in.take() {
			in.write(ctx, g)
		}
	}()
}

// take gives the gathering group, or nil and leaves the writer idle.
func (in *Ingest) take() *group {
	in.mu.Lock()
	defer in.mu.Unlock()
	g := in.gathering
	in.gathering = nil
	in.writing = g != nil
	return g
}

func (in *Ingest) write(ctx context.Context, g *group) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	g.errs = in.commit(ctx, g.batch)
	close(g.done)
}

// commit writes a batch; where the store refuses it, halves are tried, so that
// one bad callback never fails its neighbours.
func (in *Ingest) commit(ctx context.Context, batch readstate.Batch) outcome {
	err := in.store.Commit(ctx, batch)
	switch {
	case err == nil:
		return outcome{}
	case batch.Len() == 1 || ctx.Err() != nil || errors.Is(err, readstate.ErrUnavailable):
		return outcome{receipts: repeat(err, len(batch.Receipts)), rejections: repeat(err, len(batch.Rejections))}
	}
	r, j := len(batch.Receipts)/2, len(batch.Rejections)/2
	if r+j == 0 { // one of each
		r = 1
	}
	first := in.commit(ctx, readstate.Batch{Receipts: batch.Receipts[:r], Rejections: batch.Rejections[:j]})
	second := in.commit(ctx, readstate.Batch{Receipts: batch.Receipts[r:], Rejections: batch.Rejections[j:]})
	return outcome{
		receipts:   join(first.receipts, r, second.receipts, len(batch.Receipts)-r),
		rejections: join(first.rejections, j, second.rejections, len(batch.Rejections)-j),
	}
}

func at(errs []error, i int) error {
	if errs == nil {
		return nil
	}
	return errs[i]
}

func repeat(err error, n int) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// join puts two outcomes of n and m callbacks behind each other.
func join(first []error, n int, second []error, m int) []error {
	if first == nil {
		first = make([]error, n)
	}
	if second == nil {
		second = make([]error, m)
	}
	return slices.Concat(first, second)
}

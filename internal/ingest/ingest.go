// Package ingest makes callbacks durable by group commit: callbacks that arrive
// while a transaction is under way share the next one. There is no timer, so a
// lone callback pays for one transaction and nothing more. What the database
// does not take in time goes to the spool, and from there to the database
// again, in order.
package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"readmark/internal/readstate"
	"readmark/internal/spool"
)

// maxGroup bounds the callbacks of one transaction; who finds the gathering
// group full waits for the next.
const maxGroup = 1000

// A second transaction may be under way beside one of few callbacks: two lone
// callers need not wait for each other. Beside a larger one it would only make
// groups smaller, which costs the database more than it gains. Messages and
// changes of membership are always written alone: their place in the order of
// arrival decides what receipts beside them mean.
const (
	maxWriters = 2
	fewAtOnce  = 4
)

// Store makes a batch durable, as a whole or not at all. Its error wraps
// [readstate.ErrUnavailable] when the store could not be asked, also
// [readstate.ErrRetry] when the same call may succeed at once; any other error
// means that it refused the batch for what it holds.
type Store interface {
	Commit(ctx context.Context, batch readstate.Batch) error
}

// Spool is a durable queue, see [spool.Spool].
type Spool interface {
	Append(batch readstate.Batch) error
	Next(limit int) (readstate.Batch, spool.Mark, error)
	Remove(mark spool.Mark) error
	Len() int64
	Behind() time.Time
	NewestArrival() time.Time
}

// Options is what an Ingest works with.
type Options struct {
	Store Store
	Spool Spool
	// Budget is how long the database may take for a group before it goes to
	// the spool.
	Budget time.Duration
	Now    func() time.Time // the machine's clock
	Logger *slog.Logger
}

// Ingest gives each callback its identity and time of arrival, and groups
// callbacks into transactions. It is safe for concurrent use.
type Ingest struct {
	options Options
	clock   clock
	metrics *metrics

	mu        sync.Mutex
	gathering *group // what the next transaction will hold; nil when empty
	writing   int    // transactions under way, at most maxWriters
	largest   int    // callbacks of the largest of them, at least
	writers   sync.WaitGroup
	cancel    context.CancelFunc // ends the drainer's work at once; nil before Start
	stopped   bool

	// order holds the queue's order: whoever appends to the spool, or ends
	// spooling, holds it.
	order sync.Mutex
	// spooling sends groups to the spool without asking the database: the
	// circuit breaker. It is on while the spool holds anything.
	spooling atomic.Bool
	started  atomic.Bool
	drained  drained
	// down says that the last answer of the database was none.
	down atomic.Bool

	wake     chan struct{} // has an element when spooling began
	stopping chan struct{} // closed by Stop
	drainer  sync.WaitGroup
}

// group is the callbacks of one transaction, and its outcome.
type group struct {
	batch  readstate.Batch
	done   chan struct{} // closed when failed is set
	failed outcome
}

// outcome has the callbacks that did not become durable, with the reason; nil
// when there are none.
type outcome map[readstate.ID]error

// New returns an Ingest that writes to the spool only, until Start.
func New(options Options) *Ingest {
	in := &Ingest{
		options: options, clock: clock{now: options.Now}, metrics: newMetrics(),
		wake: make(chan struct{}, 1), stopping: make(chan struct{}),
	}
	in.clock.advance(options.Spool.NewestArrival())
	in.spooling.Store(true)
	in.down.Store(true)
	return in
}

// Start begins to use the database: what is spooled is drained, in the
// background until Stop, and then callbacks are written directly. newest is the
// newest arrival in the journal; every later one comes after it.
func (in *Ingest) Start(ctx context.Context, newest time.Time) {
	in.clock.advance(newest)
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.stopped {
		return
	}
	in.down.Store(false)
	in.endSpooling()
	in.started.Store(true)
	ctx, in.cancel = context.WithCancel(context.WithoutCancel(ctx))
	in.drainer.Go(func() { in.drainUntilStopped(ctx) })
}

// Submit blocks until the receipt is durable and returns nil, or returns why
// it is not: a [readstate.InputError] when the database refuses what it holds.
// It sets the receipt's identity and time of arrival. When the context ends
// first, the receipt may still become durable.
func (in *Ingest) Submit(ctx context.Context, receipt readstate.Receipt) error {
	return in.add(ctx, func(batch *readstate.Batch, id readstate.ID, arrival time.Time) {
		receipt.ID, receipt.ReceivedAt = id, arrival
		batch.Receipts = append(batch.Receipts, receipt)
	})
}

// SubmitMessage blocks until what a message callback tells is durable, as
// [Ingest.Submit] does.
func (in *Ingest) SubmitMessage(ctx context.Context, message readstate.Message) error {
	return in.add(ctx, func(batch *readstate.Batch, id readstate.ID, arrival time.Time) {
		message.ID, message.ReceivedAt = id, arrival
		batch.Messages = append(batch.Messages, message)
	})
}

// SubmitChange blocks until what a membership callback tells is durable, as
// [Ingest.Submit] does.
func (in *Ingest) SubmitChange(ctx context.Context, change readstate.Change) error {
	return in.add(ctx, func(batch *readstate.Batch, id readstate.ID, arrival time.Time) {
		change.ID, change.ReceivedAt = id, arrival
		batch.Changes = append(batch.Changes, change)
	})
}

// Reject blocks until the record of a rejected callback is durable, as
// [Ingest.Submit] does.
func (in *Ingest) Reject(ctx context.Context, rejection readstate.Rejection) error {
	return in.add(ctx, func(batch *readstate.Batch, id readstate.ID, arrival time.Time) {
		rejection.ID, rejection.ReceivedAt = id, arrival
		batch.Rejections = append(batch.Rejections, rejection)
	})
}

// Stop ends an Ingest that nothing is submitted to any more: it blocks until
// all groups are settled and the spool is empty, the database fails, or the
// context ends. What stays in the spool is the next process's.
func (in *Ingest) Stop(ctx context.Context) {
	in.writers.Wait()
	in.mu.Lock()
	in.stopped = true
	cancel := in.cancel
	in.mu.Unlock()
	close(in.stopping)
	if cancel == nil { // never started
		return
	}
	end := context.AfterFunc(ctx, cancel)
	defer end()
	in.drainer.Wait()
	cancel()
}

// Reached gives until when the database has everything now: every callback that this
// process has acknowledged, and that arrived until then, is there. It never blocks.
func (in *Ingest) Reached() time.Time {
	now := in.options.Now()
	return before(now, in.options.Spool.Behind())
}

// ReachedBy is Reached for a replica that has what was committed until a moment, which
// must not go back from call to call.
func (in *Ingest) ReachedBy(replayed time.Time) time.Time {
	// In the order in which callbacks move, so that none is missed between.
	reached := before(replayed, in.options.Spool.Behind())
	return before(reached, in.drained.since(replayed))
}

// before sets a moment back before a bound, where there is one.
func before(moment, bound time.Time) time.Time {
	if !bound.IsZero() && !moment.Before(bound) {
		return bound.Add(-time.Microsecond)
	}
	return moment
}

// Started reports whether Start has been called: the database is prepared.
func (in *Ingest) Started() bool { return in.started.Load() }

// Status says where callbacks go at the moment.
type Status struct {
	Spooling bool // to the spool, which also holds what came before
	Down     bool // the database did not answer when it was last asked
}

// Status gives the state of the circuit breaker.
func (in *Ingest) Status() Status {
	return Status{Spooling: in.spooling.Load(), Down: in.down.Load()}
}

// add puts a callback into the gathering group and waits for its outcome.
func (in *Ingest) add(
	ctx context.Context, put func(batch *readstate.Batch, id readstate.ID, arrival time.Time),
) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	made, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("make identity: %w", err)
	}
	id := readstate.ID(made)
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
	put(&g.batch, id, in.clock.next())
	lead := in.mayWrite()
	if lead {
		in.begin(g)
		in.writers.Add(1)
	}
	in.mu.Unlock()

	if lead {
		// Others may wait for this transaction: the caller's context must not
		// undo it.
		in.write(context.WithoutCancel(ctx), g)
		in.next(context.WithoutCancel(ctx))
		return g.failed[id]
	}
	select {
	case <-g.done:
		return g.failed[id]
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

// mayWrite reports whether one more transaction may begin; in.mu is held.
func (in *Ingest) mayWrite() bool {
	return in.writing == 0 || in.writing < maxWriters && in.largest <= fewAtOnce && in.gathering.batch.OnlyReceipts()
}

// begin counts a transaction of the gathering group in; in.mu is held.
func (in *Ingest) begin(g *group) {
	if in.writing == 0 {
		in.largest = 0
	}
	in.writing++
	in.largest = max(in.largest, g.batch.Len())
	if !g.batch.OnlyReceipts() {
		in.largest = maxGroup
	}
	in.gathering = nil
}

// take ends a writer's transaction and begins the next with the gathering
// group, or gives nil and leaves the writer idle.
func (in *Ingest) take() *group {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.writing--
	g := in.gathering
	if g == nil || !in.mayWrite() {
		return nil
	}
	in.begin(g)
	return g
}

func (in *Ingest) write(ctx context.Context, g *group) {
	g.failed = in.settle(ctx, g.batch)
	close(g.done)
}

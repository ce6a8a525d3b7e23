// Package ingest makes events durable by group commit: those that arrive while a
// transaction is under way share the next one. There is no timer, so a lone callback
// pays for one transaction and nothing more. What the database does not take in time
// goes to the spool, and from there to the database again, in order.
package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"readmark/internal/coalesce"
	"readmark/internal/dbclock"
	"readmark/internal/readstate"
	"readmark/internal/spool"
)

// maxGroup bounds the events of one transaction. A callback that brings more is written
// in parts.
const maxGroup = 1000

// A second transaction may be under way beside one of few events: two lone callers need
// not wait for each other. Beside a larger one it would only make groups smaller, which
// costs the database more than it gains. Nothing is written beside what moves positions:
// its place in the order of arrival decides what receipts beside it mean.
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
	Append(batch readstate.Batch, oldest, newest time.Time) error
	Next(maxEvents int, maxBytes int64) (readstate.Batch, spool.Mark, error)
	Remove(mark spool.Mark) error
	Len() int64
	OldestQueued() time.Time
	NewestArrival() time.Time
	Correct(correction time.Duration, now time.Time) error
}

// Options is what an Ingest works with.
type Options struct {
	Store Store
	Spool Spool
	// Budget is how long the database may take for a group before it goes to
	// the spool.
	Budget time.Duration
	Clock  Clock
	Logger *slog.Logger
	Tracer trace.Tracer // nil: nothing is traced
}

// Ingest gives each event its identity and arrival, and groups events into
// transactions. It is safe for concurrent use.
type Ingest struct {
	options Options
	clock   clock
	opened  dbclock.Reading // when New was called
	metrics *metrics
	batcher *coalesce.Batcher[*submission]
	// inFlight has the first arrivals of the groups that are being written.
	inFlight moments

	mu      sync.Mutex
	cancel  context.CancelFunc // ends the drainer's work at once; nil before Start
	stopped bool

	// order holds the queue's order: whoever appends to the spool, or ends
	// spooling, holds it.
	order lock
	// spooling sends groups to the spool without asking the database: the
	// circuit breaker. It is on while the spool holds anything.
	spooling     atomic.Bool
	started      atomic.Bool
	recentDrains recentDrains
	// down says that the last answer of the database was none, cause why it was that.
	down  atomic.Bool
	cause atomic.Pointer[error]

	wake     chan struct{} // has an element when spooling began
	stopping chan struct{} // closed by Stop
	drainer  sync.WaitGroup
}

// lock is a mutex that is held while the database is waited for. It is a channel, so that tests
// which let time pass see who waits for it.
type lock chan struct{}

// Lock takes the lock.
func (l lock) Lock() { l <- struct{}{} }

// Unlock gives it back.
func (l lock) Unlock() { <-l }

// submission is what one caller brings: the events of a callback, or the record of a
// rejected one.
type submission struct {
	events    []readstate.Event
	rejection *readstate.Rejection
	receipts  bool // nothing but receipts
	// machineTime: arrivals are by the machine's clock.
	machineTime bool
	err         error
}

// outcome has what did not become durable, by identity, with the reason.
type outcome map[readstate.ID]error

// New returns an Ingest that writes to the spool only, until Start.
func New(options Options) *Ingest {
	in := &Ingest{
		options: options, clock: clock{source: options.Clock}, opened: options.Clock.Read(), metrics: newMetrics(),
		order: make(lock, 1), wake: make(chan struct{}, 1), stopping: make(chan struct{}),
	}
	in.batcher = coalesce.New(coalesce.Options[*submission]{
		Run: in.run, Limit: maxGroup, Weight: (*submission).weight, MayRun: mayRun, Join: in.arrive, Begin: in.begin,
		Tracing: coalesce.Tracing{Tracer: options.Tracer, Wait: "commit", Run: "group commit"},
	})
	in.clock.advance(options.Spool.NewestArrival())
	in.spooling.Store(true)
	in.down.Store(true)
	return in
}

// Start begins to use the database, whose clock has been measured: what is spooled is
// drained, in the background until Stop, and then events are written directly. newest is the
// newest arrival in the journal; every later one comes after it.
func (in *Ingest) Start(ctx context.Context, newest time.Time) {
	in.clock.advance(newest)
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.stopped {
		return
	}
	in.down.Store(false)
	if err := in.correctSpool(); err != nil {
		in.options.Logger.WarnContext(ctx, "spooled events cannot be dated by the database's clock yet", "error", err)
	}
	in.endSpooling()
	in.started.Store(true)
	ctx, in.cancel = context.WithCancel(context.WithoutCancel(ctx))
	in.drainer.Go(func() { in.drainUntilStopped(ctx) })
}

// Submit blocks until the events of one callback are durable and returns nil, or returns
// why one is not: a [readstate.InputError] when the database refuses what it holds; the
// others may be durable then. It sets identities and arrivals in events, which it keeps
// until it returns. When the context ends first, the events may still become durable.
func (in *Ingest) Submit(ctx context.Context, events []readstate.Event) error {
	sub := &submission{events: events, receipts: true}
	for i := range events {
		id, err := identity()
		if err != nil {
			return err
		}
		events[i].ID = id
		sub.receipts = sub.receipts && events[i].Kind.IsReceipt()
	}
	return in.submit(ctx, sub)
}

// Reject blocks until the record of a rejected callback is durable, as
// [Ingest.Submit] does.
func (in *Ingest) Reject(ctx context.Context, rejection readstate.Rejection) (err error) {
	if rejection.ID, err = identity(); err != nil {
		return err
	}
	return in.submit(ctx, &submission{rejection: &rejection, receipts: true})
}

func (in *Ingest) submit(ctx context.Context, sub *submission) error {
	if err := in.batcher.Do(ctx, sub); err != nil {
		return err
	}
	return sub.err
}

func identity() (readstate.ID, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return readstate.ID{}, fmt.Errorf("make identity: %w", err)
	}
	return readstate.ID(id), nil
}

// arrive gives arrivals, in the order in which submissions are written.
func (in *Ingest) arrive(sub *submission) {
	at, machineTime := in.clock.next(sub.weight())
	sub.machineTime = machineTime
	for i := range sub.events {
		sub.events[i].At = at.Add(time.Duration(i) * time.Microsecond)
	}
	if sub.rejection != nil {
		sub.rejection.ReceivedAt = at
	}
}

// begin notes the first arrival of a group before any later group can reach the spool.
func (in *Ingest) begin(group []*submission) {
	in.correct(group)
	in.inFlight.add(arrivalOf(group))
}

// correct moves arrivals of a group by the machine's clock, if the database's has been
// measured since: then all are by one clock.
func (in *Ingest) correct(group []*submission) {
	now := in.options.Clock.Read()
	for _, sub := range group {
		batch := readstate.Batch{Events: sub.events, MachineTime: sub.machineTime}
		if sub.rejection != nil {
			batch.Rejections = []readstate.Rejection{*sub.rejection}
		}
		correct(&batch, now)
		sub.machineTime = batch.MachineTime
		if sub.rejection != nil {
			sub.rejection.ReceivedAt = batch.Rejections[0].ReceivedAt
		}
	}
}

// arrivalOf gives the first arrival of a group's events, zero where it has none.
func arrivalOf(group []*submission) time.Time {
	for _, sub := range group {
		if len(sub.events) > 0 {
			return sub.events[0].At
		}
	}
	return time.Time{}
}

func (s *submission) weight() int { return max(1, len(s.events)) }

// mayRun reports whether one more transaction may begin.
func mayRun(next []*submission, running [][]*submission) bool {
	if len(running) == 0 {
		return true
	}
	if len(running) == maxWriters || !onlyReceipts(next) {
		return false
	}
	for _, group := range running {
		if len(group) > fewAtOnce || !onlyReceipts(group) {
			return false
		}
	}
	return true
}

func onlyReceipts(group []*submission) bool {
	for _, sub := range group {
		if !sub.receipts {
			return false
		}
	}
	return true
}

// run makes a group durable.
func (in *Ingest) run(ctx context.Context, group []*submission) {
	defer in.inFlight.remove(arrivalOf(group)) // as it was when it began
	in.correct(group)
	batch := readstate.Batch{Fresh: true}
	if len(group) == 1 {
		batch.Events = group[0].events // may be many: not copied
	}
	for _, sub := range group {
		batch.MachineTime = sub.machineTime // all are by one clock
		if len(group) > 1 {
			batch.Events = append(batch.Events, sub.events...)
		}
		if sub.rejection != nil {
			batch.Rejections = append(batch.Rejections, *sub.rejection)
		}
	}
	failed := in.persist(ctx, batch)
	if len(failed) == 0 {
		return
	}
	for _, sub := range group {
		for i := range sub.events {
			if err := failed[sub.events[i].ID]; err != nil {
				sub.err = err
				break
			}
		}
		if sub.rejection != nil {
			sub.err = failed[sub.rejection.ID]
		}
	}
}

// Stop ends an Ingest that nothing is submitted to any more: it blocks until
// all groups are durable and the spool is empty, the database fails, or the
// context ends. What stays in the spool is the next process's.
func (in *Ingest) Stop(ctx context.Context) {
	in.batcher.Wait()
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

// Started reports whether Start has been called: the database is prepared.
func (in *Ingest) Started() bool { return in.started.Load() }

// Answered takes note that the database has answered somebody else. While events are drained from the
// spool, only the drainer's answers count.
func (in *Ingest) Answered() {
	if !in.spooling.Load() || in.options.Spool.Len() == 0 {
		in.down.Store(false)
	}
}

// Status says where events go at the moment.
type Status struct {
	Spooling bool // to the spool, which also holds what came before
	Down     bool // the database did not answer when it was last asked
	// Cause is why events go to the spool, while they do and that is known.
	Cause error
}

// Status gives the state of the circuit breaker.
func (in *Ingest) Status() Status {
	status := Status{Spooling: in.spooling.Load(), Down: in.down.Load()}
	if cause := in.cause.Load(); status.Spooling && cause != nil {
		status.Cause = *cause
	}
	return status
}

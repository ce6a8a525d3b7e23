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

// A second transaction may run beside one with few events, so that two lone callers need not wait
// for each other. Beside a larger one it would only make groups smaller, which costs the database
// more than it gains. Nothing runs beside a transaction that moves positions: its place in the order
// of arrival decides what the receipts around it mean.
const (
	maxWriters = 2
	fewAtOnce  = 4
)

// Store makes a batch durable, as a whole or not at all. Its error wraps
// [readstate.ErrUnavailable] when the store could not be asked, and [readstate.ErrRetry]
// too when the same call may succeed at once. Any other error means that the store refuses
// what the batch holds.
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
	// Budget is how long the database may take for a group before the rest of the group goes to the
	// spool.
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

	mu      sync.Mutex         // taken before order, never after it
	cancel  context.CancelFunc // ends the drainer's work at once; nil before Start
	stopped bool

	// order guards the order of the queue. Whoever appends to the spool, corrects it, or begins or
	// ends spooling holds it.
	order lock
	// spooling is the circuit breaker: while it is set, groups go to the spool and the database is
	// not asked. It is set while the spool holds anything.
	spooling     atomic.Bool
	started      atomic.Bool
	recentDrains recentDrains
	down         atomic.Bool           // the database did not answer when it was last asked
	cause        atomic.Pointer[error] // why

	wake     chan struct{} // has an element when spooling began
	stopping chan struct{} // closed by Stop
	drainer  sync.WaitGroup
}

// lock is a mutex made of a channel: synctest lets time pass while somebody waits for a channel,
// but not for a sync.Mutex.
type lock chan struct{}

// Lock locks l.
func (l lock) Lock() { l <- struct{}{} }

// Unlock unlocks l.
func (l lock) Unlock() { <-l }

// submission holds the events of one callback, or the record of a rejected one.
type submission struct {
	events      []readstate.Event
	rejection   *readstate.Rejection
	receipts    bool // nothing but receipts
	machineTime bool // arrivals are by the machine's clock
	err         error
}

// outcome maps what did not become durable to the reason.
type outcome map[readstate.ID]error

// New returns an Ingest that writes to the spool until Start is called.
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

// Start begins to use the database, whose clock must have been measured. It drains the spool in the
// background until Stop; as soon as the spool is empty, events are written directly. newest is the
// newest arrival in the journal: every arrival from now on is later.
func (in *Ingest) Start(ctx context.Context, newest time.Time) {
	in.clock.advance(newest)
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.stopped {
		return
	}
	in.down.Store(false)
	if err := in.correctQueued(); err != nil {
		in.options.Logger.WarnContext(ctx, "spooled events cannot be dated by the database's clock yet", "error", err)
	}
	_, _, _ = in.drainLast(ctx, 0) // moves nothing, so that nothing fails
	in.started.Store(true)
	ctx, in.cancel = context.WithCancel(context.WithoutCancel(ctx))
	in.drainer.Go(func() { in.drainUntilStopped(ctx) })
}

// Submit blocks until the events of one callback are durable. Its error says why one of them is
// not, and the others may be durable all the same; it is a [readstate.InputError] when the database
// refuses what the event holds. Submit sets identities and arrivals in events, which the caller must
// not use before it returns. When the context ends first, the events may still become durable.
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

// Reject is Submit for the record of a rejected callback.
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

// arrive sets the arrivals of a submission. The batcher calls it in the order of writing.
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

// begin registers a group as in flight, before any later group can reach the spool.
func (in *Ingest) begin(group []*submission) {
	in.correct(group)
	in.inFlight.add(arrivalOf(group))
}

// correct moves the arrivals of a group that are by the machine's clock to the database's, if that
// has been measured since. Then all arrivals of the group are by one clock.
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

// arrivalOf returns the first arrival of a group's events, or zero if there are no events.
func arrivalOf(group []*submission) time.Time {
	for _, sub := range group {
		if len(sub.events) > 0 {
			return sub.events[0].At
		}
	}
	return time.Time{}
}

func (s *submission) weight() int { return max(1, len(s.events)) }

// mayRun reports whether a transaction for next may begin beside those that are running.
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
	defer in.inFlight.remove(arrivalOf(group)) // evaluated now: correct may change it
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

// Stop blocks until all groups are durable and the spool is empty, the database fails, or the
// context ends. Nothing may be submitted any more. What stays in the spool is drained by the next
// process.
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

// Started reports whether Start has been called.
func (in *Ingest) Started() bool { return in.started.Load() }

// Answered takes note that the database has answered somebody else. While events are drained from the
// spool, only the drainer's answers count.
func (in *Ingest) Answered() {
	if !in.spooling.Load() || in.options.Spool.Len() == 0 {
		in.down.Store(false)
	}
}

// Status is the state of the circuit breaker.
type Status struct {
	Spooling bool  // events go to the spool
	Down     bool  // the database did not answer when it was last asked
	Cause    error // why events go to the spool; nil if they do not, or the reason is not known
}

// Status returns the state of the circuit breaker.
func (in *Ingest) Status() Status {
	status := Status{Spooling: in.spooling.Load(), Down: in.down.Load()}
	if cause := in.cause.Load(); status.Spooling && cause != nil {
		status.Cause = *cause
	}
	return status
}

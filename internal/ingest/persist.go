package ingest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"readmark/internal/readstate"
)

// errLate is why the rest of a large group goes to the spool though the database has answered.
var errLate = fmt.Errorf("%w: the group took longer than the commit budget", readstate.ErrUnavailable)

var errNotMeasured = fmt.Errorf("%w: the database's clock is not known yet", readstate.ErrUnavailable)

const (
	// retryPause is how long the first retry within the budget waits; each
	// further one waits twice as long, with jitter.
	retryPause = 2 * time.Millisecond
	maxRetries = 8
)

// persist makes a group durable in the database or in the spool, in parts where it is large, and
// gives what could not be. All parts share one budget: OpenIM does not wait for long.
func (in *Ingest) persist(ctx context.Context, batch readstate.Batch) outcome {
	deadline := time.Now().Add(in.options.Budget)
	var failed outcome
	for len(batch.Events) > maxGroup {
		part := readstate.Batch{Events: batch.Events[:maxGroup:maxGroup], Fresh: batch.Fresh, MachineTime: batch.MachineTime}
		batch.Events = batch.Events[maxGroup:]
		failed = failed.with(in.persistPart(ctx, part, deadline))
	}
	return failed.with(in.persistPart(ctx, batch, deadline))
}

// with adds what failed in another part.
func (o outcome) with(other outcome) outcome {
	if o == nil {
		return other
	}
	maps.Copy(o, other)
	return o
}

// persistPart makes a part of a group durable, in the database until the deadline.
func (in *Ingest) persistPart(ctx context.Context, batch readstate.Batch, deadline time.Time) outcome {
	var spooled bool
	var spoolErr error
	if in.spooling.Load() {
		spooled, spoolErr = in.spoolBehind(&batch)
	}
	if !spooled && spoolErr == nil && !time.Now().Before(deadline) {
		spoolErr = in.beginSpooling(ctx, &batch, errLate)
		spooled = spoolErr == nil
	}
	if spooled {
		noteSpooled(ctx)
		return nil
	}
	if spoolErr != nil { // full or broken: the database is the only hope left
		deadline = time.Now().Add(in.options.Budget)
	}
	correct(&batch, in.options.Clock.Read())
	if batch.MachineTime { // whoever reaches the database measures its clock first
		c := commit{Ingest: in}
		c.fail(batch, errors.Join(errNotMeasured, spoolErr))
		return c.failed
	}
	committing, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	c := commit{Ingest: in}
	c.write(committing, batch)
	if c.left.Len() == 0 {
		if spoolErr == nil {
			in.down.Store(false)
		}
		return c.failed
	}
	if spoolErr == nil {
		in.down.Store(true)
		if spoolErr = in.beginSpooling(ctx, &c.left, c.cause); spoolErr == nil {
			noteSpooled(ctx)
		}
	}
	if spoolErr != nil {
		c.fail(c.left, errors.Join(c.cause, spoolErr))
	}
	return c.failed
}

// spooledKey is the attribute of a group's span that says whether it went to the spool.
const spooledKey = attribute.Key("readmark.spooled")

func noteSpooled(ctx context.Context) {
	trace.SpanFromContext(ctx).SetAttributes(spooledKey.Bool(true))
}

// spoolBehind queues a batch behind what is spooled. It reports false without
// an error when spooling has ended meanwhile.
func (in *Ingest) spoolBehind(batch *readstate.Batch) (bool, error) {
	in.order.Lock()
	defer in.order.Unlock()
	if !in.spooling.Load() {
		return false, nil
	}
	if err := in.append(batch); err != nil {
		in.metrics.spoolFailures.Inc()
		return false, err
	}
	in.metrics.spooled.Add(float64(batch.Len()))
	return true, nil
}

// append queues a batch; in.order is held, so that nothing by the machine's clock comes
// behind a correction of what is spooled.
func (in *Ingest) append(batch *readstate.Batch) error {
	correct(batch, in.options.Clock.Read())
	return in.options.Spool.Append(*batch, in.inFlight.oldest(firstArrival(batch)), in.clock.newest())
}

// correctQueued is correctSpool for who does not hold in.order.
func (in *Ingest) correctQueued() error {
	in.order.Lock()
	defer in.order.Unlock()
	return in.correctSpool()
}

// correctSpool moves spooled arrivals by the machine's clock to the database's; in.order is held.
func (in *Ingest) correctSpool() error {
	now := in.options.Clock.Read()
	if !now.Measured {
		return fmt.Errorf("date spooled callbacks: %w", errNotMeasured)
	}
	started := in.opened.At
	if !in.opened.Measured {
		started = started.Add(now.Correction)
	}
	if err := in.options.Spool.Correct(now.Correction, started); err != nil {
		return fmt.Errorf("date spooled callbacks: %w", err)
	}
	return nil
}

// beginSpooling queues what the database did not take, and sends everything
// that follows to the spool until it is empty again.
func (in *Ingest) beginSpooling(ctx context.Context, batch *readstate.Batch, cause error) error {
	in.order.Lock()
	defer in.order.Unlock()
	if err := in.append(batch); err != nil {
		in.metrics.spoolFailures.Inc()
		return err
	}
	in.metrics.spooled.Add(float64(batch.Len()))
	in.cause.Store(&cause)
	if !in.spooling.Swap(true) {
		in.options.Logger.DebugContext(ctx, "database does not take callbacks: they go to the spool until it does", "error", cause)
	}
	select {
	case in.wake <- struct{}{}:
	default: // it is awake
	}
	return nil
}

// resumeSpooling sends what follows behind callbacks that turn out to be in
// the spool.
func (in *Ingest) resumeSpooling() {
	in.order.Lock()
	defer in.order.Unlock()
	if in.options.Spool.Len() > 0 {
		in.spooling.Store(true)
	}
}

// commit is one attempt to write a batch to the database, whole or in parts.
type commit struct {
	*Ingest
	failed outcome         // refused for what they hold
	left   readstate.Batch // not written, in the order of arrival
	cause  error           // why they are left
}

// write writes a batch; where the database refuses it, halves are tried, so
// that one bad event never fails its neighbours. An event that is refused by itself is
// recorded among the rejected callbacks.
func (c *commit) write(ctx context.Context, batch readstate.Batch) {
	if c.cause != nil { // the database has just failed
		c.leave(batch, c.cause)
		return
	}
	err := c.attempt(ctx, &batch)
	switch {
	case err == nil:
	case errors.Is(err, readstate.ErrUnavailable) || ctx.Err() != nil:
		c.leave(batch, err)
	case batch.Len() > 1:
		first, second := batch.Halves()
		c.write(ctx, first)
		c.write(ctx, second)
	case len(batch.Rejections) == 0:
		c.refuse(ctx, batch, err)
	default:
		c.options.Logger.ErrorContext(ctx, "record of a rejected callback refused by the database", "error", err)
		c.fail(batch, err)
	}
}

// attempt commits a batch, again where that may help, within the context. From the second
// time on the batch is not fresh.
func (c *commit) attempt(ctx context.Context, batch *readstate.Batch) error {
	for try := 0; ; try++ {
		started := time.Now()
		err := c.options.Store.Commit(ctx, *batch)
		c.metrics.observe(ctx, batch.Len(), time.Since(started), err)
		if !errors.Is(err, readstate.ErrRetry) || try == maxRetries || ctx.Err() != nil {
			return err
		}
		c.metrics.retries.Inc()
		batch.Fresh = false // the database may have taken it, and its answer was lost
		if !pause(ctx, jitter(retryPause<<try)) {
			return err
		}
	}
}

// refuse records an event that the database refuses by itself among the rejected callbacks.
func (c *commit) refuse(ctx context.Context, batch readstate.Batch, cause error) {
	c.metrics.refused.Inc()
	c.options.Logger.ErrorContext(ctx, "callback refused by the database: recorded among the rejected callbacks",
		"error", cause)
	event := &batch.Events[0] // there is one
	input := &readstate.InputError{
		Code: readstate.CodeRefused, Field: "body", Message: "body was refused by the database", Detail: "see Readmark's log",
		UserID: event.UserID, GroupID: event.GroupID,
	}
	record := readstate.Batch{Rejections: []readstate.Rejection{{
		ID: event.ID, ReceivedAt: event.At, Code: input.Code, Field: input.Field,
		Reason: fmt.Sprintf("%s: %v", input.Message, cause), UserID: event.UserID, GroupID: event.GroupID,
	}}}
	c.fail(batch, input)
	if err := c.attempt(ctx, &record); err == nil {
		return
	} else if errors.Is(err, readstate.ErrUnavailable) || ctx.Err() != nil {
		c.leave(record, err)
		return
	}
	// What is refused in the IDs may be refused here too.
	record.Rejections[0].UserID, record.Rejections[0].GroupID = "", ""
	if err := c.attempt(ctx, &record); err != nil {
		c.leave(record, err)
	}
}

// leave keeps a batch for the spool.
func (c *commit) leave(batch readstate.Batch, cause error) {
	c.left.Append(batch)
	c.cause = cause
}

func (c *commit) fail(batch readstate.Batch, err error) {
	if c.failed == nil {
		c.failed = outcome{}
	}
	add := func(id readstate.ID) {
		if c.failed[id] == nil { // the record of a refused callback has its ID
			c.failed[id] = err
		}
	}
	for i := range batch.Events {
		add(batch.Events[i].ID)
	}
	for i := range batch.Rejections {
		add(batch.Rejections[i].ID)
	}
}

// jitter gives half the duration to the whole of it, so that replicas do not
// retry in step.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1) //nolint:gosec // no secret
}

// pause waits, and reports whether it could wait to the end.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"readmark/db"
	"readmark/internal/readstate"
)

// fewReceipts is up to how many receipts are written by a statement each: lists cost
// the database more than they save.
const fewReceipts = 3

// Commit makes a batch durable in one transaction: when it returns nil, every event is
// in the journal and in the states and positions, and survives a crash of either side.
// Writing the same batch again changes nothing. On an error nothing of the batch may be
// relied upon.
func (s *Store) Commit(ctx context.Context, batch readstate.Batch) error {
	err := s.withDays(ctx, days(&batch), func() error { return s.commit(ctx, &batch) })
	if err != nil {
		return fmt.Errorf("commit batch: %w", translate(err))
	}
	return nil
}

func (s *Store) commit(ctx context.Context, batch *readstate.Batch) (err error) {
	alone := batch.OnlyReceipts() && !s.hasFuture(batch)
	if alone && !batch.Fresh { // what has come before may have another arrival now
		restamped, err := s.listRestamped(ctx, s.pool, batch.Events)
		if err != nil {
			return err
		}
		alone = len(restamped) == 0
	}
	if alone {
		err = s.commitReceipts(ctx, batch)
	}
	if !alone || hasState(err, stateLate) || errors.Is(err, errLate) {
		err = s.commitEvents(ctx, batch, false)
	}
	if hasState(err, stateErased) {
		err = s.commitEvents(ctx, batch, true)
	}
	return err
}

// days gives the days of a batch's events.
func days(batch *readstate.Batch) []time.Time {
	var list []time.Time
	for i := range batch.Events {
		list = append(list, day(batch.Events[i].At))
	}
	slices.SortFunc(list, time.Time.Compare)
	return slices.CompactFunc(list, time.Time.Equal)
}

// recordedAt is the moment that rows which are written now have.
func (s *Store) recordedAt() time.Time { return s.now().UTC().Truncate(time.Microsecond) }

func (s *Store) options(now time.Time) readstate.Options {
	return readstate.Options{Now: now, CanLookUp: s.canLookUp}
}

// commitReceipts sends all statements in one round trip, as one transaction that takes no lock. On
// Citus there is another round trip before. It fails with stateLate or errLate when the position of a
// group has moved behind one of its receipts.
func (s *Store) commitReceipts(ctx context.Context, batch *readstate.Batch) error {
	writing, err := s.receiptWriter(ctx, batch)
	if err != nil {
		return err
	}
	recordedAt := s.recordedAt()
	var queue pipeline
	err = s.holdErasures(ctx, &queue, batch)
	journal := s.journalOf(&queue, batch)
	last := foldReceipts(batch.Events)
	if len(batch.Events) <= fewReceipts && len(last) == len(batch.Events) {
		for i := range last {
			err = errors.Join(err, writing.insertOne(ctx, journal, last[i].Event, recordedAt), writing.upsertOne(ctx, &queue, &last[i], recordedAt))
		}
	} else {
		if len(batch.Events) > 0 {
			err = errors.Join(err, writing.insert(ctx, journal, batch.Events, recordedAt))
		}
		if len(last) > 0 {
			err = errors.Join(err, writing.upsert(ctx, &queue, last, recordedAt))
		}
	}
	lookups := readstate.ReceiptLookups(batch.Events, s.options(recordedAt))
	var change readstate.Change
	for i := range last {
		change.Pairs = append(change.Pairs, last[i].Pair())
	}
	change.AddLookups(lookups)
	err = errors.Join(err,
		s.enqueueLookups(ctx, &queue, lookups, recordedAt),
		s.insertRejections(ctx, &queue, batch.Rejections),
		s.insertChange(ctx, &queue, &change, recordedAt))
	if err != nil {
		return err
	}
	if err := queue.send(ctx, atomically{s.pool}); err != nil {
		return err
	}
	s.touched(&change)
	return nil
}

func (s *Store) holdErasures(ctx context.Context, queue db.DBTX, batch *readstate.Batch) error {
	return s.queries.HoldErasures(ctx, queue, db.HoldErasuresParams{LockKey: eraseLock, Oldest: s.oldest(batch)})
}

func (s *Store) insertRejections(ctx context.Context, conn db.DBTX, rejections []readstate.Rejection) (err error) {
	for i := range rejections {
		r := &rejections[i]
		err = errors.Join(err, s.queries.InsertRejection(ctx, conn, db.InsertRejectionParams{
			ID: identity(r.ID), ReceivedAt: r.ReceivedAt, Command: r.Command, Code: int32(r.Code),
			Field: r.Field, Reason: r.Reason, BodyBytes: r.Size,
			UserID: optional(r.UserID), GroupID: optional(r.GroupID),
		}))
	}
	return err
}

// lastReceipt is the last receipt of a pair in a batch, and when the first one arrived.
type lastReceipt struct {
	*readstate.Event
	firstAt time.Time
}

// foldReceipts keeps the last receipt that tells a count of each pair, in key order.
func foldReceipts(events []readstate.Event) []lastReceipt {
	last := make([]lastReceipt, 0, len(events))
	for i := range events {
		if e := &events[i]; e.Kind == readstate.EventReceipt {
			last = append(last, lastReceipt{e, e.At})
		}
	}
	slices.SortFunc(last, func(a, b lastReceipt) int {
		return cmp.Or(a.Pair().Compare(b.Pair()), a.At.Compare(b.At), bytes.Compare(a.ID[:], b.ID[:]))
	})
	kept := last[:0]
	for _, r := range last {
		if n := len(kept); n > 0 && kept[n-1].Pair() == r.Pair() {
			kept[n-1].Event = r.Event
			continue
		}
		kept = append(kept, r)
	}
	return kept
}

package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"readmark/db"
	"readmark/internal/readstate"
)

// errLate says that the position of a group has moved behind a receipt of it, as stateLate does.
var errLate = errors.New("a receipt of the batch is late")

// receiptWriter queues writing receipts. The statements read the positions of their groups, but on Citus, where those lie apart:
// they are read before. A message that was acknowledged before a receipt arrived counts for it in both cases.
type receiptWriter struct {
	*Store

	apart     bool
	positions map[string]readstate.GroupPosition // where they lie apart
}

// receiptWriter begins to write the receipts of a batch. It fails with errLate as the statements fail with stateLate.
func (s *Store) receiptWriter(ctx context.Context, batch *readstate.Batch) (*receiptWriter, error) {
	apart, err := s.pool.onCitus(ctx)
	w := receiptWriter{Store: s, apart: apart}
	if err != nil || !apart {
		return &w, err
	}
	groups := map[string]bool{}
	for i := range batch.Events {
		if e := &batch.Events[i]; e.Kind == readstate.EventReceipt {
			groups[e.GroupID] = true
		}
	}
	rows, err := s.queries.ListPositions(ctx, s.pool, sortedKeys(groups))
	if err != nil {
		return nil, err
	}
	w.positions = make(map[string]readstate.GroupPosition, len(rows))
	for i := range rows {
		w.positions[rows[i].GroupID] = position(&rows[i])
	}
	for i := range batch.Events {
		e := &batch.Events[i]
		if p, found := w.positions[e.GroupID]; found && e.Kind == readstate.EventReceipt && !p.MovedAt.Before(e.At) {
			return nil, errLate
		}
	}
	return &w, nil
}

// read gives the read position that a receipt tells.
func (w *receiptWriter) read(e *readstate.Event) (read int64, beforeBaseSeq bool) {
	p := w.positions[e.GroupID]
	return p.ReceiptRead(e.UnreadCount)
}

// insert writes receipts into the journal.
func (w *receiptWriter) insert(ctx context.Context, journal db.DBTX, events []readstate.Event, recordedAt time.Time) error {
	p := receiptsParams(events, recordedAt)
	if !w.apart {
		return w.queries.InsertReceipts(ctx, journal, p)
	}
	n := len(events)
	of := db.InsertReceiptsApartParams{
		UserIDs: p.UserIDs, ReceivedAts: p.ReceivedAts, Ids: p.Ids, RecordedAt: recordedAt, Kinds: p.Kinds, GroupIDs: p.GroupIDs,
		ContentTypes: p.ContentTypes,
		UnreadCounts: make([]*int64, n), ReadSeqs: make([]*int64, n), ReadPositions: make([]*int64, n), BeforeBaseSeqs: make([]*bool, n),
	}
	for i := range events {
		e := &events[i]
		if e.Kind != readstate.EventReceipt {
			of.ReadSeqs[i] = &e.ReadSeq
			continue
		}
		read, before := w.read(e)
		of.UnreadCounts[i], of.ReadPositions[i], of.BeforeBaseSeqs[i] = &e.UnreadCount, &read, &before
	}
	return w.queries.InsertReceiptsApart(ctx, journal, of)
}

func (w *receiptWriter) insertOne(ctx context.Context, journal db.DBTX, e *readstate.Event, recordedAt time.Time) error {
	if !w.apart {
		return w.queries.InsertReceipt(ctx, journal, receiptParams(e, recordedAt))
	}
	read, before := w.read(e)
	return w.queries.InsertReceiptApart(ctx, journal, db.InsertReceiptApartParams{
		UserID: e.UserID, ReceivedAt: e.At, ID: identity(e.ID), RecordedAt: recordedAt, GroupID: e.GroupID, UnreadCount: e.UnreadCount,
		ContentType: e.ContentType, ReadPosition: read, BeforeBaseSeq: before,
	})
}

// upsert writes the estimates that the last receipts of pairs tell.
func (w *receiptWriter) upsert(ctx context.Context, queue db.DBTX, last []lastReceipt, updatedAt time.Time) error {
	p := upsertsParams(last, updatedAt)
	if !w.apart {
		return w.queries.UpsertStates(ctx, queue, p)
	}
	of := db.UpsertStatesApartParams{
		UserIDs: p.UserIDs, GroupIDs: p.GroupIDs, EstimateAts: p.EstimateAts, EstimateIds: p.EstimateIds, ContentTypes: p.ContentTypes,
		FirstEstimateAts: p.FirstEstimateAts, UpdatedAt: updatedAt,
		EstimateReads: make([]int64, len(last)), EstimateBeforeBaseSeqs: make([]bool, len(last)),
	}
	for i := range last {
		of.EstimateReads[i], of.EstimateBeforeBaseSeqs[i] = w.read(last[i].Event)
	}
	return w.queries.UpsertStatesApart(ctx, queue, of)
}

func (w *receiptWriter) upsertOne(ctx context.Context, queue db.DBTX, r *lastReceipt, updatedAt time.Time) error {
	if !w.apart {
		return w.queries.UpsertState(ctx, queue, upsertParams(r, updatedAt))
	}
	read, before := w.read(r.Event)
	return w.queries.UpsertStateApart(ctx, queue, db.UpsertStateApartParams{
		UserID: r.UserID, GroupID: r.GroupID, EstimateRead: read, EstimateBeforeBaseSeq: before, EstimateAt: r.At, EstimateID: identity(r.ID),
		ContentType: r.ContentType, FirstEstimateAt: r.firstAt, UpdatedAt: updatedAt,
	})
}

func receiptParams(e *readstate.Event, recordedAt time.Time) db.InsertReceiptParams {
	return db.InsertReceiptParams{
		UserID: e.UserID, ReceivedAt: e.At, ID: identity(e.ID), RecordedAt: recordedAt, GroupID: e.GroupID,
		UnreadCount: e.UnreadCount, ContentType: e.ContentType,
	}
}

func receiptsParams(events []readstate.Event, recordedAt time.Time) db.InsertReceiptsParams {
	n := len(events)
	p := db.InsertReceiptsParams{
		RecordedAt: recordedAt,
		UserIDs:    make([]string, n), ReceivedAts: make([]time.Time, n), Ids: make([]pgtype.UUID, n), Kinds: make([]string, n),
		GroupIDs: make([]*string, n), Reported: make([]int64, n), ContentTypes: make([]int64, n),
	}
	for i := range events {
		e := &events[i]
		p.UserIDs[i], p.ReceivedAts[i], p.Ids[i] = e.UserID, e.At, identity(e.ID)
		p.Kinds[i], p.ContentTypes[i], p.Reported[i] = string(e.Kind), e.ContentType, e.UnreadCount
		if e.Kind != readstate.EventReceipt {
			p.Reported[i] = e.ReadSeq
		}
		if e.GroupID != "" {
			p.GroupIDs[i] = &e.GroupID
		}
	}
	return p
}

func upsertParams(r *lastReceipt, updatedAt time.Time) db.UpsertStateParams {
	return db.UpsertStateParams{
		UserID: r.UserID, GroupID: r.GroupID, UnreadCount: r.UnreadCount, ContentType: r.ContentType,
		EstimateAt: r.At, EstimateID: identity(r.ID), FirstEstimateAt: r.firstAt, UpdatedAt: updatedAt,
	}
}

func upsertsParams(last []lastReceipt, updatedAt time.Time) db.UpsertStatesParams {
	n := len(last)
	p := db.UpsertStatesParams{
		UpdatedAt: updatedAt,
		UserIDs:   make([]string, n), GroupIDs: make([]string, n), UnreadCounts: make([]int64, n), ContentTypes: make([]int64, n),
		EstimateAts: make([]time.Time, n), EstimateIds: make([]pgtype.UUID, n), FirstEstimateAts: make([]time.Time, n),
	}
	for i, r := range last {
		p.UserIDs[i], p.GroupIDs[i], p.UnreadCounts[i], p.ContentTypes[i] = r.UserID, r.GroupID, r.UnreadCount, r.ContentType
		p.EstimateAts[i], p.EstimateIds[i], p.FirstEstimateAts[i] = r.At, identity(r.ID), r.firstAt
	}
	return p
}

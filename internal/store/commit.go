package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"readmark/db"
	"readmark/internal/readstate"
)

// Commit makes a batch durable in one transaction: when it returns nil, every
// receipt is in the journal and in its pair's state, and survives a crash of
// either side. Writing the same batch again changes nothing. On an error
// nothing of the batch may be relied upon.
func (s *Store) Commit(ctx context.Context, batch readstate.Batch) error {
	err := s.commit(ctx, &batch)
	if !noPartition(err) {
		return err
	}
	// A day without a partition: make the days and try once more.
	var days []time.Time
	for i := range batch.Receipts {
		days = append(days, day(batch.Receipts[i].ReceivedAt))
	}
	slices.SortFunc(days, time.Time.Compare)
	days = slices.CompactFunc(days, time.Time.Equal)
	if makeErr := s.makeDays(ctx, days); makeErr != nil {
		return fmt.Errorf("%w: %w", readstate.ErrUnavailable, errors.Join(err, makeErr))
	}
	return s.commit(ctx, &batch)
}

// commit sends all statements in one round trip. PostgreSQL runs what comes
// before one Sync message as one transaction.
func (s *Store) commit(ctx context.Context, batch *readstate.Batch) error {
	recordedAt := s.now().UTC().Truncate(time.Microsecond)
	var queue pipeline
	var err error
	if len(batch.Receipts) > 0 {
		err = errors.Join(err, s.queries.InsertJournal(ctx, &queue, journalParams(batch.Receipts, recordedAt)))
	}
	if last := readstate.Fold(batch.Receipts); len(last) > 0 {
		err = errors.Join(err, s.queries.UpsertStates(ctx, &queue, stateParams(last, recordedAt)))
	}
	for i := range batch.Rejections {
		err = errors.Join(err, s.queries.InsertRejection(ctx, &queue, rejectionParams(&batch.Rejections[i])))
	}
	if err == nil {
		err = s.pool.SendBatch(ctx, &queue.Batch).Close()
	}
	if err != nil {
		return fmt.Errorf("commit batch: %w", translate(err))
	}
	return nil
}

// pipeline is a db.DBTX that queues statements instead of executing them.
type pipeline struct{ pgx.Batch }

// Exec queues a statement; its result comes with the batch.
func (p *pipeline) Exec(_ context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	p.Queue(sql, args...)
	return pgconn.CommandTag{}, nil
}

var errNotQueued = errors.New("only statements without rows can be queued")

// Query refuses: rows cannot be read before the batch is sent.
func (p *pipeline) Query(context.Context, string, ...any) (pgx.Rows, error) { return nil, errNotQueued }

// QueryRow refuses, as Query does.
func (p *pipeline) QueryRow(context.Context, string, ...any) pgx.Row { return refusedRow{} }

type refusedRow struct{}

// Scan implements pgx.Row.
func (refusedRow) Scan(...any) error { return errNotQueued }

func journalParams(receipts []readstate.Receipt, recordedAt time.Time) db.InsertJournalParams {
	n := len(receipts)
	p := db.InsertJournalParams{
		RecordedAt:   recordedAt,
		UserIDs:      make([]string, n),
		ReceivedAts:  make([]time.Time, n),
		Ids:          make([]pgtype.UUID, n),
		Dialects:     make([]int16, n),
		GroupIDs:     make([]string, n),
		Reported:     make([]int64, n),
		ContentTypes: make([]int64, n),
	}
	for i := range receipts {
		r := &receipts[i]
		p.UserIDs[i], p.ReceivedAts[i], p.Ids[i] = r.UserID, r.ReceivedAt, identity(r.ID)
		p.Dialects[i], p.GroupIDs[i], p.ContentTypes[i] = int16(r.Dialect), r.GroupID, r.ContentType
		p.Reported[i] = r.UnreadCount
		if r.Dialect == readstate.DialectServer {
			p.Reported[i] = r.ReadSeq
		}
	}
	return p
}

func stateParams(last []*readstate.Receipt, updatedAt time.Time) db.UpsertStatesParams {
	n := len(last)
	p := db.UpsertStatesParams{
		UpdatedAt:    updatedAt,
		UserIDs:      make([]string, n),
		GroupIDs:     make([]string, n),
		UnreadCounts: make([]int64, n),
		ContentTypes: make([]int64, n),
		LastReadAts:  make([]time.Time, n),
		ReceiptIds:   make([]pgtype.UUID, n),
	}
	for i, r := range last {
		p.UserIDs[i], p.GroupIDs[i] = r.UserID, r.GroupID
		p.UnreadCounts[i], p.ContentTypes[i] = r.UnreadCount, r.ContentType
		p.LastReadAts[i], p.ReceiptIds[i] = r.ReceivedAt, identity(r.ID)
	}
	return p
}

func rejectionParams(r *readstate.Rejection) db.InsertRejectionParams {
	return db.InsertRejectionParams{
		ID: identity(r.ID), ReceivedAt: r.ReceivedAt, Command: r.Command, Code: int32(r.Code),
		Field: r.Field, Reason: r.Reason, BodyBytes: r.Size,
		UserID: optional(r.UserID), GroupID: optional(r.GroupID),
	}
}

// identity is pgtype's UUID: google's one would be encoded through database/sql's
// slow interface.
func identity(id readstate.ID) pgtype.UUID { return pgtype.UUID{Bytes: id, Valid: true} }

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

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
// callback is in the journal and in the states and positions, and survives a crash
// of either side. Writing the same batch again changes nothing. On an error nothing
// of the batch may be relied upon.
func (s *Store) Commit(ctx context.Context, batch readstate.Batch) error {
	err := s.commit(ctx, &batch)
	if !noPartition(err) {
		return err
	}
	// A day without a partition: make the days and try once more.
	var days []time.Time
	for subject := range batch.All() {
		days = append(days, day(subject.ReceivedAt))
	}
	for i := range batch.Facts {
		days = append(days, day(batch.Facts[i].AskedAt))
	}
	for i := range batch.Listings {
		days = append(days, day(batch.Listings[i].AskedAt))
	}
	slices.SortFunc(days, time.Time.Compare)
	days = slices.CompactFunc(days, time.Time.Equal)
	if makeErr := s.makeDays(ctx, days); makeErr != nil {
		return fmt.Errorf("%w: %w", readstate.ErrUnavailable, errors.Join(err, makeErr))
	}
	return s.commit(ctx, &batch)
}

func (s *Store) commit(ctx context.Context, batch *readstate.Batch) error {
	recordedAt := s.now().UTC().Truncate(time.Microsecond)
	var err error
	if batch.OnlyReceipts() {
		err = s.commitReceipts(ctx, batch, recordedAt)
	} else {
		err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			if err := s.queries.HoldErasures(ctx, tx, oldest(batch)); err != nil {
				return err
			}
			return s.apply(ctx, tx, batch, recordedAt)
		})
	}
	if hasState(err, stateErased) {
		err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return s.applyUnerased(ctx, tx, batch, recordedAt) })
	}
	if err != nil {
		return fmt.Errorf("commit batch: %w", translate(err))
	}
	return nil
}

// commitReceipts sends all statements in one round trip. PostgreSQL runs what
// comes before one Sync message as one transaction.
func (s *Store) commitReceipts(ctx context.Context, batch *readstate.Batch, recordedAt time.Time) error {
	var queue pipeline
	err := s.queries.HoldErasures(ctx, &queue, oldest(batch))
	if len(batch.Receipts) > 0 {
		err = errors.Join(err, s.queries.InsertReceipts(ctx, &queue, receiptParams(batch.Receipts, recordedAt)))
	}
	if last := readstate.Fold(batch.Receipts); len(last) > 0 {
		err = errors.Join(err, s.queries.UpsertStates(ctx, &queue, stateParams(last, recordedAt)))
	}
	var m marks
	m.receipts(batch.Receipts, s.asks, recordedAt)
	err = errors.Join(err, s.raise(ctx, &queue, &m, recordedAt))
	err = errors.Join(err, s.insertRejections(ctx, &queue, batch.Rejections))
	if err != nil {
		return err
	}
	return s.pool.SendBatch(ctx, &queue.Batch).Close()
}

func (s *Store) insertRejections(ctx context.Context, conn db.DBTX, rejections []readstate.Rejection) (err error) {
	for i := range rejections {
		err = errors.Join(err, s.queries.InsertRejection(ctx, conn, rejectionParams(&rejections[i])))
	}
	return err
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

func receiptParams(receipts []readstate.Receipt, recordedAt time.Time) db.InsertReceiptsParams {
	n := len(receipts)
	p := db.InsertReceiptsParams{
		RecordedAt:   recordedAt,
		UserIDs:      make([]string, n),
		ReceivedAts:  make([]time.Time, n),
		Ids:          make([]pgtype.UUID, n),
		Kinds:        make([]int16, n),
		GroupIDs:     make([]string, n),
		Reported:     make([]int64, n),
		ContentTypes: make([]int64, n),
	}
	for i := range receipts {
		r := &receipts[i]
		p.UserIDs[i], p.ReceivedAts[i], p.Ids[i] = r.UserID, r.ReceivedAt, identity(r.ID)
		p.Kinds[i], p.GroupIDs[i], p.ContentTypes[i] = int16(r.Dialect), r.GroupID, r.ContentType
		p.Reported[i] = r.UnreadCount
		if r.Dialect != readstate.DialectDocumented {
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
		EstimateAts:  make([]time.Time, n),
		EstimateIds:  make([]pgtype.UUID, n),
	}
	for i, r := range last {
		p.UserIDs[i], p.GroupIDs[i] = r.UserID, r.GroupID
		p.UnreadCounts[i], p.ContentTypes[i] = r.UnreadCount, r.ContentType
		p.EstimateAts[i], p.EstimateIds[i] = r.ReceivedAt, identity(r.ID)
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

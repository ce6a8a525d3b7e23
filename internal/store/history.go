package store

import (
	"context"
	"fmt"
	"time"

	"readmark/db"
	"readmark/internal/readstate"
)

// Receipts lists what the journal has of receipts, the newest first. Those of the
// server dialect have no group: they are in the history of their user only.
func (r *Reader) Receipts(ctx context.Context, h readstate.History) (list []readstate.Event, err error) {
	p := db.ListReceiptsByPairParams{
		UserID: h.UserID, GroupID: h.GroupID, FromAt: bound(h.From), ToAt: bound(h.To), MaxRows: h.Limit,
	}
	if before := h.Before; !before.At.IsZero() {
		p.BeforeAt, p.BeforeID = &before.At, identity(before.ID)
		// Days are left out by a bound of received_at alone.
		if end := before.At.Add(time.Microsecond); h.To.IsZero() || end.Before(h.To) {
			p.ToAt = &end
		}
	}
	err = r.read(ctx, func(ctx context.Context, reads *pool) error {
		list, err = r.listReceipts(ctx, reads, p)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list receipts: %w", translate(err))
	}
	return list, nil
}

func (r *Reader) listReceipts(ctx context.Context, reads *pool, p db.ListReceiptsByPairParams) (list []readstate.Event, err error) {
	switch {
	case p.GroupID == "":
		rows, err := r.queries.ListReceiptsByUser(ctx, reads, db.ListReceiptsByUserParams{
			UserID: p.UserID, FromAt: p.FromAt, ToAt: p.ToAt, BeforeAt: p.BeforeAt, BeforeID: p.BeforeID, MaxRows: p.MaxRows,
		})
		return receipts(rows), err
	case p.UserID == "":
		rows, err := r.queries.ListReceiptsByGroup(ctx, reads, db.ListReceiptsByGroupParams{
			GroupID: p.GroupID, FromAt: p.FromAt, ToAt: p.ToAt, BeforeAt: p.BeforeAt, BeforeID: p.BeforeID, MaxRows: p.MaxRows,
		})
		return receipts(rows), err
	default:
		rows, err := r.queries.ListReceiptsByPair(ctx, reads, p)
		return receipts(rows), err
	}
}

// receiptRow is what the three lists have of a receipt.
type receiptRow interface {
	db.ListReceiptsByPairRow | db.ListReceiptsByUserRow | db.ListReceiptsByGroupRow
}

func receipts[R receiptRow](rows []R) []readstate.Event {
	list := make([]readstate.Event, len(rows))
	for i := range rows {
		list[i] = receipt(db.ListReceiptsByPairRow(rows[i]))
	}
	return list
}

func receipt(row db.ListReceiptsByPairRow) readstate.Event {
	return readstate.Event{
		Kind: readstate.EventKind(row.Kind), ID: readstate.ID(row.ID.Bytes), At: row.ReceivedAt.UTC(),
		UserID: row.UserID, GroupID: value(row.GroupID),
		UnreadCount: value(row.UnreadCount), ReadSeq: value(row.ReadSeq), ContentType: value(row.ContentType),
	}
}

package store

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"readmark/db"
)

// batchSender runs several statements in one round trip.
type batchSender interface {
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// sender runs statements alone and in one round trip.
type sender interface {
	db.DBTX
	batchSender
}

// pipeline collects statements that are sent in one round trip. It is a db.DBTX, so that
// generated methods can be queued: those without rows directly, those with rows by
// [pipeline.ask], and those of which sqlc generates no rows (:exec) directly, too, with
// [pipeline.decode] for their rows.
type pipeline struct {
	batch   pgx.Batch
	results []func(pgx.BatchResults) error // one for each statement
}

// Exec queues a statement without rows.
func (p *pipeline) Exec(_ context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	p.batch.Queue(sql, args...)
	p.results = append(p.results, func(r pgx.BatchResults) error {
		_, err := r.Exec()
		return err
	})
	return pgconn.CommandTag{}, nil
}

// decode has each row of the statement that Exec has queued last passed to a function.
func (p *pipeline) decode(row func(*decoder)) {
	p.results[len(p.results)-1] = func(r pgx.BatchResults) error {
		rows, err := r.Query()
		if err != nil {
			return err
		}
		return decodeRows(rows, row)
	}
}

var errNotQueued = errors.New("statements with rows are queued by ask")

// Query refuses: rows cannot be read before the pipeline is sent.
func (p *pipeline) Query(context.Context, string, ...any) (pgx.Rows, error) { return nil, errNotQueued }

// QueryRow refuses, as Query does.
func (p *pipeline) QueryRow(context.Context, string, ...any) pgx.Row { return failedRow{errNotQueued} }

// ask queues one statement with rows: do is called twice, now, for its text and
// arguments, and for its rows when they have come.
func (p *pipeline) ask(do func(conn db.DBTX) error) {
	_ = do(capture{p}) // fails, since there are no rows yet
	p.results = append(p.results, func(r pgx.BatchResults) error { return do(received{r}) })
}

// send sends what was queued and reads the results; the first error ends both.
func (p *pipeline) send(ctx context.Context, conn batchSender) (err error) {
	if len(p.results) == 0 {
		return nil
	}
	results := conn.SendBatch(ctx, &p.batch)
	defer func() { err = errors.Join(err, results.Close()) }()
	for _, read := range p.results {
		if err := read(results); err != nil {
			return err
		}
	}
	return nil
}

// capture queues a statement whose rows come later.
type capture struct{ p *pipeline }

func (c capture) Exec(context.Context, string, ...any) (pgconn.CommandTag, error) {
	return pgconn.CommandTag{}, errNotQueued
}

func (c capture) Query(_ context.Context, sql string, args ...any) (pgx.Rows, error) {
	c.p.batch.Queue(sql, args...)
	return nil, errNotQueued
}

func (c capture) QueryRow(_ context.Context, sql string, args ...any) pgx.Row {
	c.p.batch.Queue(sql, args...)
	return failedRow{errNotQueued}
}

// received gives the rows of the next statement.
type received struct{ results pgx.BatchResults }

func (r received) Exec(context.Context, string, ...any) (pgconn.CommandTag, error) {
	return r.results.Exec()
}

func (r received) Query(context.Context, string, ...any) (pgx.Rows, error) { return r.results.Query() }

func (r received) QueryRow(context.Context, string, ...any) pgx.Row { return r.results.QueryRow() }

type failedRow struct{ err error }

// Scan implements pgx.Row.
func (r failedRow) Scan(...any) error { return r.err }

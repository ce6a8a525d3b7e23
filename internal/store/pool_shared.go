package store

import (
	"cmp"
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// sharedKey marks connections on which each transaction has another session.
const sharedKey = "readmark.shared"

func isShared(conn *pgxpool.Conn) bool {
	return conn.Conn().PgConn().CustomData()[sharedKey] != nil
}

// beginOn queues the beginning of a transaction on a connection.
func beginOn(ctx context.Context, conn *pgxpool.Conn, queue *pipeline, options pgx.TxOptions) {
	_, _ = queue.Exec(ctx, beginQuery(options))
	if isShared(conn) {
		_, _ = queue.Exec(ctx, settleTransaction)
	}
}

// beginQuery names all that a role may have other defaults for.
func beginQuery(o pgx.TxOptions) string {
	return strings.Join([]string{
		"begin isolation level", cmp.Or(string(o.IsoLevel), string(pgx.ReadCommitted)),
		cmp.Or(string(o.AccessMode), string(pgx.ReadWrite)), cmp.Or(string(o.DeferrableMode), string(pgx.NotDeferrable)),
	}, " ")
}

// send runs statements, and gives the connection back when the results are closed. It is one transaction but for statements on
// Citus that are not to be atomic.
func send(ctx context.Context, conn *pgxpool.Conn, batch *pgx.Batch, atomic bool) pgx.BatchResults {
	var beginning []string
	switch {
	case isShared(conn):
		beginning = []string{beginQuery(pgx.TxOptions{}), settleTransaction}
	case atomic && conn.Conn().PgConn().CustomData()[citusKey] != nil:
		beginning = []string{beginQuery(pgx.TxOptions{})}
	default: // PostgreSQL runs what comes before one Sync message as one transaction, Citus a statement about one shard by itself
		return &ownedBatch{BatchResults: conn.SendBatch(ctx, batch), conn: conn, ctx: ctx}
	}
	whole := &pgx.Batch{}
	for _, statement := range beginning {
		whole.Queue(statement)
	}
	whole.QueuedQueries = append(whole.QueuedQueries, batch.QueuedQueries...)
	whole.Queue("commit")
	b := &ownedBatch{BatchResults: conn.SendBatch(ctx, whole), conn: conn, ctx: ctx}
	for range beginning {
		if b.err == nil {
			_, b.err = b.BatchResults.Exec()
		}
	}
	return b
}

func sendOne(ctx context.Context, conn *pgxpool.Conn, sql string, args []any) pgx.BatchResults {
	batch := &pgx.Batch{}
	batch.Queue(sql, args...)
	return send(ctx, conn, batch, false)
}

// atomically runs the statements of a pipeline as one transaction, on Citus too.
type atomically struct{ *pool }

// SendBatch runs statements as one transaction.
func (a atomically) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	conn, err := a.acquire(ctx)
	if err != nil {
		return failedBatch{err}
	}
	return send(ctx, conn, batch, true)
}

// ownedBatch gives its connection back when it is closed.
type ownedBatch struct {
	pgx.BatchResults

	conn *pgxpool.Conn
	ctx  context.Context //nolint:containedctx // of the call that it belongs to
	err  error           // why the transaction did not begin
}

// Exec implements pgx.BatchResults.
func (b *ownedBatch) Exec() (pgconn.CommandTag, error) {
	if b.err != nil {
		return pgconn.CommandTag{}, b.err
	}
	return b.BatchResults.Exec()
}

// Query implements pgx.BatchResults.
func (b *ownedBatch) Query() (pgx.Rows, error) {
	if b.err != nil {
		return nil, b.err
	}
	return b.BatchResults.Query()
}

// QueryRow implements pgx.BatchResults.
func (b *ownedBatch) QueryRow() pgx.Row {
	if b.err != nil {
		return failedRow{b.err}
	}
	return b.BatchResults.QueryRow()
}

// Close ends the transaction, and tells whether that was possible.
func (b *ownedBatch) Close() error {
	if b.conn == nil {
		return nil
	}
	err := b.BatchResults.Close()
	if b.conn.Conn().PgConn().TxStatus() != 'I' {
		rollBack(b.ctx, b.conn)
	}
	b.conn.Release()
	b.conn = nil
	return err
}

// failedBatch is the results of a batch that was not sent.
type failedBatch struct{ err error }

func (b failedBatch) Exec() (pgconn.CommandTag, error) { return pgconn.CommandTag{}, b.err }
func (b failedBatch) Query() (pgx.Rows, error)         { return nil, b.err }
func (b failedBatch) QueryRow() pgx.Row                { return failedRow(b) }
func (b failedBatch) Close() error                     { return b.err }
func (b failedBatch) Tx() pgx.Tx                       { return nil }

// ownedRows ends the transaction that they come from when they are read or closed.
type ownedRows struct {
	pgx.Rows

	end   func() error
	ended bool
	err   error
}

// Next implements pgx.Rows.
func (r *ownedRows) Next() bool {
	if r.Rows.Next() {
		return true
	}
	r.Close()
	return false
}

// Close implements pgx.Rows.
func (r *ownedRows) Close() {
	if r.ended {
		return
	}
	r.ended = true
	r.Rows.Close()
	r.err = r.end()
}

// Err implements pgx.Rows.
func (r *ownedRows) Err() error { return cmp.Or(r.Rows.Err(), r.err) }

// firstRow is the first of some rows.
type firstRow struct{ rows pgx.Rows }

// Scan implements pgx.Row.
func (r firstRow) Scan(into ...any) error {
	defer r.rows.Close()
	if !r.rows.Next() {
		return cmp.Or(r.rows.Err(), pgx.ErrNoRows)
	}
	if err := r.rows.Scan(into...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}

// ownedTx gives its connection back when it ends.
type ownedTx struct {
	pgx.Tx

	conn *pgxpool.Conn
}

// Commit implements pgx.Tx.
func (t *ownedTx) Commit(ctx context.Context) error {
	defer t.release()
	return t.Tx.Commit(ctx)
}

// Rollback implements pgx.Tx.
func (t *ownedTx) Rollback(ctx context.Context) error {
	defer t.release()
	return t.Tx.Rollback(ctx)
}

func (t *ownedTx) release() {
	if t.conn != nil {
		t.conn.Release()
		t.conn = nil
	}
}

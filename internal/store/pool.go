package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/trace"

	"readmark/db"
)

const (
	// connectTimeout bounds connecting to one host, unless the URL says otherwise: a host that is
	// gone must not keep others from being tried.
	connectTimeout = 2 * time.Second
	// pingTimeout bounds asking a connection that was idle whether it still is one.
	pingTimeout = time.Second
	// cancelTimeout is how long a statement that was to end may still take.
	cancelTimeout = time.Second
	// fullPause is how long a pool makes do with the connections that it has when the server gives
	// it no further one, and fullTick how often it looks for one of them meanwhile.
	fullPause = 5 * time.Second
	fullTick  = time.Millisecond
	// takeOverTimeout bounds waiting for a connection of the other pool.
	takeOverTimeout = time.Second
)

// pool is connections to one database. Whatever the server, the database, the role or a pooler
// between sets, statements mean the same on all of them. It is a db.DBTX whose statements are a
// transaction each, and safe for concurrent use.
type pool struct {
	*pgxpool.Pool

	size   int32
	other  *pool       // of the same process and server; nil: there is none
	shared atomic.Bool // a pooler gives each transaction another session
	known  atomic.Bool // shared is known
	citus  atomic.Bool // the database has the extension Citus
	// generation counts how often all connections were made anew.
	generation atomic.Int64

	mu        sync.Mutex
	fullUntil time.Time
}

// poolOptions is how a pool is made.
type poolOptions struct {
	url string
	// current gives the URL at the time of connecting; nil: it is always the same. Its password
	// may have been changed.
	current func() (string, error)
	size    int32
	// primary refuses standbys.
	primary bool
	// admit may refuse the server at the other end of a new connection; nil admits all.
	admit func(ctx context.Context, conn *pgx.Conn) error
	// migrates has the connections named after the process, for who waits for it.
	migrates bool
	tracing  trace.TracerProvider // see Options
}

// newPool prepares a pool; it does not connect.
func newPool(options *poolOptions) (*pool, error) {
	own := *options
	o := &own
	config, err := poolConfig(o)
	if err != nil {
		return nil, err
	}
	p := &pool{size: o.size}
	config.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		if o.current != nil {
			url, err := o.current()
			if err != nil {
				return err
			}
			fresh := *o
			fresh.url = url
			config, err := poolConfig(&fresh)
			if err != nil {
				return err
			}
			*c = *config.ConnConfig
		}
		c.DefaultQueryExecMode = p.execMode(c)
		return nil
	}
	config.AfterConnect = p.settle
	if o.admit != nil {
		config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
			if err := p.settle(ctx, conn); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(ctx, connectTimeout)
			defer cancel()
			return o.admit(ctx, conn)
		}
	}
	// A connection that broke tells that others have, too: the server was restarted, demoted or
	// has moved. It is closed already then.
	config.BeforeClose = func(conn *pgx.Conn) {
		if generation, ok := conn.PgConn().CustomData()[generationKey].(int64); ok && conn.IsClosed() {
			p.renew(generation)
		}
	}
	if p.Pool, err = pgxpool.NewWithConfig(context.Background(), config); err != nil {
		return nil, fmt.Errorf("prepare pool: %w", err)
	}
	return p, nil
}

func poolConfig(o *poolOptions) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(o.url)
	if err != nil {
		return nil, urlError(err)
	}
	c := config.ConnConfig
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "readmark"
	}
	if o.migrates {
		c.RuntimeParams["application_name"] = migratorName(c.RuntimeParams["application_name"])
	}
	for _, s := range startupSettings {
		c.RuntimeParams[s.name] = s.value
	}
	if c.ConnectTimeout == 0 { // neither the URL nor PGCONNECT_TIMEOUT has one
		c.ConnectTimeout = connectTimeout
	}
	if o.primary {
		c.ValidateConnect = primaryOnly
	}
	// What takes too long is ended by the server, and the connection lives on. One that does not
	// answer to that either is given up.
	c.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: cancelTimeout}
	}
	c.OnPgError = func(_ *pgconn.PgConn, err *pgconn.PgError) bool {
		return !endsConnection(err)
	}
	config.MaxConns, config.PingTimeout = o.size, pingTimeout
	traceStatements(config, o.tracing)
	return config, nil
}

// generationKey has the generation of a connection.
const generationKey = "readmark.generation"

// citusKey marks connections to a database that has the extension Citus.
const citusKey = "readmark.citus"

// renew has all connections made anew, those in use when they come back, unless that was done
// since a generation: of many that break together, the first one does it.
func (p *pool) renew(generation int64) {
	if p.generation.CompareAndSwap(generation, generation+1) {
		p.Reset()
	}
}

// retry asks a question, and a second time where the first failed for a reason of the moment: a
// conflict, or a broken connection. The context bounds both. The question is asked on a connection
// of its own each time, and must not have done anything where it fails.
func (p *pool) retry(ctx context.Context, ask func() error) error {
	generation := p.generation.Load()
	err := ask()
	if !p.again(ctx, generation, err) {
		return err
	}
	return ask()
}

// again has connections made anew where a question failed for a broken one, and reports whether to
// ask once more: also where somebody has ended the statement. The generation is that from before the question.
func (p *pool) again(ctx context.Context, generation int64, err error) bool {
	broken := brokenConnection(err)
	if broken { // at once: the next one that lies idle has most likely broken as well
		p.renew(generation)
	}
	return (broken || conflict(err) || hasState(err, stateQueryCanceled)) && ctx.Err() == nil
}

// acquire takes a connection, and blocks until there is one. Where the server has no connection
// left, those that the pool has are waited for.
func (p *pool) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	for {
		if err := p.awaitIdle(ctx); err != nil {
			return nil, err
		}
		conn, err := p.Acquire(ctx)
		switch {
		case err == nil:
			return conn, nil
		case errors.Is(err, errSessionKind): // made anew for what was found
		case hasState(err, stateTooManyConnections) && (p.Stat().TotalConns() > 0 || p.takeOver(ctx)):
			p.noteFull()
		default:
			return nil, err
		}
	}
}

// awaitIdle blocks while the server gives no further connection and all that there are are in
// use.
func (p *pool) awaitIdle(ctx context.Context) error {
	for p.full() {
		if stat := p.Stat(); stat.IdleConns() > 0 || stat.TotalConns() == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(fullTick):
		}
	}
	return nil
}

// takeOver has the other pool close one of several connections, and reports whether one becomes
// free: neither writes nor reads may take all that there are.
func (p *pool) takeOver(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, takeOverTimeout)
	defer cancel()
	for p.other != nil && p.other.Stat().TotalConns() > 1 {
		p.other.noteFull()
		idle := p.other.AcquireAllIdle(ctx)
		for _, conn := range idle[min(1, len(idle)):] {
			conn.Release()
		}
		if len(idle) > 0 {
			delete(idle[0].Conn().PgConn().CustomData(), generationKey) // it did not break
			_ = idle[0].Conn().Close(ctx)
			idle[0].Release()
		}
		if len(idle) == 0 && ctx.Err() != nil {
			return false
		}
		select { // the server takes a moment to notice
		case <-ctx.Done():
			return len(idle) > 0
		case <-time.After(10 * fullTick):
		}
		if len(idle) > 0 {
			return true
		}
	}
	return false
}

// noteFull notes that the server gives no further connection.
func (p *pool) noteFull() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fullUntil = time.Now().Add(fullPause)
}

// full reports whether the server has lately refused a further connection.
func (p *pool) full() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.fullUntil.IsZero() && time.Now().Before(p.fullUntil)
}

// onCitus reports whether the database has the extension Citus. It connects where nobody has before.
func (p *pool) onCitus(ctx context.Context) (bool, error) {
	if !p.known.Load() {
		conn, err := p.acquire(ctx)
		if err != nil {
			return false, err
		}
		conn.Release()
	}
	return p.citus.Load(), nil
}

// onCitus is [pool.onCitus] of a pool or of a transaction.
func onCitus(ctx context.Context, conn db.DBTX) (bool, error) {
	switch conn := conn.(type) {
	case *pool:
		return conn.onCitus(ctx)
	case pgx.Tx:
		return conn.Conn().PgConn().CustomData()[citusKey] != nil, nil
	default:
		return false, fmt.Errorf("ask whether the database has Citus: %T is neither a pool nor a transaction", conn)
	}
}

// spare reports whether one connection may be kept for a purpose.
func (p *pool) spare() bool { return p.size > 1 && !p.full() && !p.shared.Load() }

// Exec runs one statement.
func (p *pool) Exec(ctx context.Context, sql string, args ...any) (tag pgconn.CommandTag, err error) {
	conn, err := p.acquire(ctx)
	if err != nil {
		return tag, err
	}
	if !isShared(conn) {
		defer conn.Release()
		return conn.Exec(ctx, sql, args...)
	}
	results := sendOne(ctx, conn, sql, args)
	tag, err = results.Exec()
	return tag, cmp.Or(err, results.Close())
}

// execAlone runs one statement that may stand in no transaction, and has the server give it up
// after a time as it does after a lock_timeout.
func (p *pool) execAlone(ctx context.Context, sql string, limit time.Duration) error {
	conn, err := p.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_, err = conn.Exec(limited, sql)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return &pgconn.PgError{Severity: "ERROR", Code: stateLockNotAvailable, Message: "not done in time"}
	}
	return err
}

// Query runs one statement. The rows must be closed, or read to their end.
func (p *pool) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	conn, err := p.acquire(ctx)
	if err != nil {
		return nil, err
	}
	if !isShared(conn) {
		rows, err := conn.Query(ctx, sql, args...)
		if err != nil {
			conn.Release()
			return nil, err
		}
		return &ownedRows{Rows: rows, end: func() error { conn.Release(); return nil }}, nil
	}
	results := sendOne(ctx, conn, sql, args)
	rows, err := results.Query()
	if err != nil {
		return nil, cmp.Or(err, results.Close())
	}
	return &ownedRows{Rows: rows, end: results.Close}, nil
}

// QueryRow runs one statement that gives one row, or none.
func (p *pool) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, err := p.Query(ctx, sql, args...)
	if err != nil {
		return failedRow{err}
	}
	return firstRow{rows}
}

// Begin begins a transaction.
func (p *pool) Begin(ctx context.Context) (pgx.Tx, error) { return p.BeginTx(ctx, pgx.TxOptions{}) }

// BeginTx begins a transaction.
func (p *pool) BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error) {
	conn, err := p.acquire(ctx)
	if err != nil {
		return nil, err
	}
	if isShared(conn) {
		options.BeginQuery = beginQuery(options) + "; " + settleTransaction
	}
	tx, err := conn.BeginTx(ctx, options)
	if err != nil {
		conn.Release()
		return nil, err
	}
	return &ownedTx{Tx: tx, conn: conn}, nil
}

// SendBatch runs statements in one round trip, and as one transaction where the database is no Citus, see [atomically]. The results
// must be closed.
func (p *pool) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	conn, err := p.acquire(ctx)
	if err != nil {
		return failedBatch{err}
	}
	return send(ctx, conn, batch, false)
}

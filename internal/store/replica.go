package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"readmark/db"
	"readmark/internal/condition"
	"readmark/internal/readstate"
)

const (
	// beatInterval is how often a heartbeat is written on the primary, and the replica asked for it.
	beatInterval = 500 * time.Millisecond
	// quickInterval is the same for quickRounds rounds where something has changed.
	quickInterval = 50 * time.Millisecond
	quickRounds   = 20
	// beatTimeout bounds one of these questions.
	beatTimeout = 2 * time.Second
	// proofPatience is how long a replica that was read from while the primary was away may take
	// to show the first heartbeat.
	proofPatience = 2 * time.Second
	// lagLimit is how far a replica may be behind without a word.
	lagLimit = 10 * time.Second
	// heartbeatLife is how long the heartbeat of a process that has ended is kept.
	heartbeatLife = 24 * time.Hour
)

// ReplicaOptions configures a Replica.
type ReplicaOptions struct {
	// CurrentURLs gives the URLs at the time of connecting; nil: they stay the same.
	CurrentURLs func() ([]string, error)
	// Report is told in each round what is wrong: a [MisfitError], or that the replica does not answer.
	// Clear is called when nothing is. Both must not block.
	Report func(err error)
	Clear  func()
}

// Replica answers the questions of the read API from a streaming replica of a store's database, the
// next of several where one does not answer or fit. What it answers may be older than the store's;
// AsOf tells. Where the server is not a replica of that database, or not any more, nothing is
// read. It is safe for concurrent use.
type Replica struct {
	*Reader

	options ReplicaOptions
	process pgtype.UUID
	logger  *slog.Logger
	store   *Store
	urls    []string
	next    atomic.Int64 // of the URLs, the one to connect to

	beating sync.Mutex // held while a heartbeat is written
	count   int64      // heartbeats tried

	mu       sync.Mutex
	primary  *dbServer    // as it was at the last heartbeat; nil: none was written yet
	last     heartbeat    // the last that the primary has taken
	since    time.Time    // when the first one was written
	unseen   time.Time    // when the oldest one was written that the replica has not shown; zero: it has all
	required int64        // the number of the heartbeat that the replica must have
	server   dbServer     // the replica, as it was when it fitted last
	asOf     time.Time    // what it had then
	misfit   *MisfitError // nil: it may be read from
	lags     bool         // it was told to lag
}

// OpenReplica prepares a pool for the URLs of replicas, of which there must be one; it does not
// connect. Nothing is read before Follow has found that one fits. Close releases it, before the store.
func (s *Store) OpenReplica(urls []string, options ReplicaOptions) (*Replica, error) {
	r := &Replica{
		options: options, urls: urls, process: pgtype.UUID{Bytes: uuid.New(), Valid: true}, logger: s.logger, store: s,
		misfit: &MisfitError{condition.Lagging, "the replica has not answered yet"},
	}
	r.mu.Lock() // the pool may connect at once
	defer r.mu.Unlock()
	pool, err := newPool(&poolOptions{url: urls[0], current: r.url, size: s.reads.Config().MaxConns, admit: r.admit, tracing: s.tracing})
	if err != nil {
		return nil, fmt.Errorf("replica: %w", err)
	}
	r.Reader = newReader(pool, s.tracing)
	r.source = r
	return r, nil
}

// url gives the URL to connect to.
func (r *Replica) url() (url string, err error) {
	urls := r.urls
	if r.options.CurrentURLs != nil {
		urls, err = r.options.CurrentURLs()
	}
	if err != nil || len(urls) == 0 {
		return "", err
	}
	return urls[int(r.next.Load())%len(urls)], nil
}

// turn has the next of several replicas read from.
func (r *Replica) turn() {
	if len(r.urls) > 1 {
		r.next.Add(1)
		r.reads.renew(r.reads.generation.Load())
	}
}

// Close waits for the connections in use to come back and closes all.
func (r *Replica) Close() { r.reads.Close() }

// AsOf is a moment of the primary's clock whose commits, and all before, the replica had when it
// was last asked. It is zero until the replica has fitted once. A read that begins after a call
// gives nothing older.
func (r *Replica) AsOf() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asOf
}

// Unreadable says why nothing can be read, empty where it can.
func (r *Replica) Unreadable() string {
	if err := r.usable(); err != nil {
		return err.Error()
	}
	return ""
}

// usable gives the misfit.
func (r *Replica) usable() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.misfit != nil {
		return r.misfit
	}
	return nil
}

// feeds reports whether a poll was answered by the replica as it was found to fit.
func (r *Replica) feeds(server readstate.Server) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case server.Same(r.server.Server):
		return nil
	case server.StartedAt.Equal(r.server.StartedAt):
		return &MisfitError{condition.Promoted, "the replica was promoted just now"}
	default:
		return errMoved
	}
}

// admit looks at the server at the other end of a new connection: the address may lead to another
// one than before.
func (r *Replica) admit(ctx context.Context, conn *pgx.Conn) error {
	state, err := askReplica(ctx, db.New(), conn, r.process)
	if err != nil {
		return fmt.Errorf("ask replica: %w", err)
	}
	if r.judge(&state) == nil {
		return nil
	}
	// The primary may be another one since it was asked last.
	if _, err := r.beat(ctx); err != nil {
		r.logger.DebugContext(ctx, "no heartbeat for the replica", "error", err)
	}
	if misfit := r.judge(&state); misfit != nil {
		return misfit
	}
	return nil
}

// judge compares what a server has told with the primary. One that fits is read from, from then
// on: connections to another one are closed.
func (r *Replica) judge(state *replicaState) *MisfitError {
	r.mu.Lock()
	defer r.mu.Unlock()
	misfit := state.fits(r.primary, r.required, r.asOf)
	if misfit != nil {
		return misfit
	}
	if !r.server.StartedAt.IsZero() && !state.Same(r.server.Server) {
		r.reads.renew(r.reads.generation.Load())
	}
	if r.primary == nil {
		r.asOf = state.newest
	} else {
		r.required, r.asOf = state.number, state.at
		switch {
		case state.number >= r.last.number:
			r.unseen = time.Time{}
		case state.at.After(r.unseen): // the one after it
			r.unseen = state.at
		}
	}
	r.server = state.dbServer
	return nil
}

// Follow compares the replica with the primary until the context ends.
func (r *Replica) Follow(ctx context.Context) {
	quick, wait := quickRounds, time.Duration(0)
	readable, same := false, false
	for {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		err := r.round(ctx)
		if ctx.Err() != nil {
			return
		}
		r.tell(err)
		if now := r.usable() == nil; now != readable {
			readable, quick = now, quickRounds
		}
		if own := r.isPrimary(); own != same {
			if same = own; own {
				r.logger.InfoContext(ctx, "READMARK_REPLICA_URL leads to the primary itself: it spares the primary nothing")
			}
		}
		wait = beatInterval
		if err != nil && quick > 0 {
			quick--
			wait = quickInterval
		}
	}
}

func (r *Replica) tell(err error) {
	if err != nil {
		r.options.Report(err)
		return
	}
	r.options.Clear()
}

// round writes a heartbeat and asks the replica for the newest that it has. It gives what is
// wrong with the replica.
func (r *Replica) round(ctx context.Context) error {
	if first, err := r.beat(ctx); err != nil {
		r.logger.DebugContext(ctx, "no heartbeat for the replica", "error", err)
	} else if first {
		r.dropHeartbeats(ctx, pgtype.UUID{})
	}
	state, err := r.ask(ctx)
	var misfit *MisfitError
	switch {
	case errors.As(err, &misfit): // a new connection was not admitted
	case err != nil:
		r.turn()
		return err
	default:
		misfit = r.judge(&state)
	}
	err = r.conclude(misfit)
	if r.usable() != nil {
		r.turn()
	}
	return err
}

// conclude takes over whether the replica fits.
func (r *Replica) conclude(misfit *MisfitError) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if misfit == nil {
		r.misfit = nil
		limit := lagLimit
		if r.lags { // a lag about the limit is one condition, not many
			limit /= 2
		}
		lag := r.last.at.Sub(r.unseen)
		if r.lags = !r.unseen.IsZero() && lag > limit; r.lags {
			return &MisfitError{condition.Lagging, fmt.Sprintf("the replica has nothing of what was written on the primary in the last %v: "+
				"answers are as old, and say so by asOf", lag.Round(time.Second))}
		}
		return nil
	}
	if r.misfit == nil && misfit.Reason == condition.Lagging && r.last.at.Sub(r.since) < proofPatience {
		return nil
	}
	r.misfit = misfit
	return misfit
}

// ask asks the replica what it is and has.
func (r *Replica) ask(ctx context.Context) (state replicaState, err error) {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	err = r.reads.retry(ctx, func() error {
		conn, err := r.reads.acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release()
		state, err = askReplica(ctx, r.queries, conn, r.process)
		return err
	})
	if pgconn.Timeout(err) { // the others may lead nowhere, too
		r.reads.renew(r.reads.generation.Load())
	}
	if err != nil {
		return state, fmt.Errorf("ask replica: %w", translate(err))
	}
	return state, nil
}

// beat writes a heartbeat on the primary and takes over what that is; first says that it is the
// first one. It fails where the primary is away: then the replica falls behind, and says so. Who
// comes while one is written shares it.
func (r *Replica) beat(ctx context.Context) (first bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	before := r.lastBeat()
	r.beating.Lock()
	defer r.beating.Unlock()
	last := r.lastBeat()
	if last.number > before.number {
		return false, nil
	}
	r.count++
	next := heartbeat{number: r.count}
	primary, err := r.writeBeat(ctx, &next)
	if err != nil {
		return false, fmt.Errorf("write heartbeat: %w", translate(err))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	first = r.primary == nil
	switch {
	case first:
		r.since = next.at
	case !r.primary.sameHistory(&primary): // what was read before may be lost
		r.required = next.number
	}
	if r.primary, r.last = &primary, next; r.unseen.IsZero() {
		r.unseen = next.at
	}
	return first, nil
}

func (r *Replica) writeBeat(ctx context.Context, next *heartbeat) (primary dbServer, err error) {
	if primary, err = askServer(ctx, r.queries, r.store.pool); err != nil {
		return primary, err
	}
	next.timeline = primary.timeline
	next.at, err = r.queries.Beat(ctx, r.store.pool, db.BeatParams{
		ProcessID: r.process, Number: next.number, Timeline: when(next.timeline != 0, next.timeline),
	})
	return primary, err
}

func (r *Replica) lastBeat() heartbeat {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// dropHeartbeats drops what other processes have left, and what a process has.
func (r *Replica) dropHeartbeats(ctx context.Context, process pgtype.UUID) {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	r.mu.Lock()
	params := db.DropHeartbeatsParams{EndedBefore: r.last.at.Add(-heartbeatLife), ProcessID: process}
	r.mu.Unlock()
	if err := r.queries.DropHeartbeats(ctx, r.store.pool, params); err != nil {
		r.logger.DebugContext(ctx, "old heartbeats stay", "error", translate(err))
	}
}

// isPrimary reports whether the server is the primary itself.
func (r *Replica) isPrimary() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.primary != nil && r.primary.Same(r.server.Server)
}

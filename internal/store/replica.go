package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"readmark/db"
	"readmark/internal/condition"
)

const (
	// proofPatience is how long a replica that was read from while the primary was away may take
	// to show the first heartbeat.
	proofPatience = 2 * time.Second
	// lagLimit is how far a replica may be behind the primary without a word.
	lagLimit = 10 * time.Second
)

// Replica is one of the streaming replicas that reads are spread over. It is safe for concurrent use.
type Replica struct {
	name   string
	all    *Replicas
	pool   *pool
	closed atomic.Bool
	// permitted says that the role may read all that it needs to: it was looked at, and no read was
	// refused since.
	permitted atomic.Bool

	// Held by all.mu.
	standing // fits is whether misfit is nil
	misfit   *MisfitError
	turn     uint64    // when it was asked a question last, counted in questions
	server   dbServer  // as it was when it fitted last
	unseen   time.Time // when the oldest heartbeat was written that it has not shown; zero: it has all
	lags     bool      // it was told to lag
	// How many questions it was asked, and how many of them failed.
	questions, failures int64
}

// Name is host and port of the replica, or of each host where its URL has several. No other replica of the process
// has it, and it holds no secret.
func (x *Replica) Name() string { return x.name }

// admit looks at the server at the other end of a new connection: the address may lead to another
// one than before.
func (x *Replica) admit(ctx context.Context, conn *pgx.Conn) error {
	if conn.PgConn().CustomData()[citusKey] != nil { // workers answer with what is newer, and nothing tells which commits have not ended
		return &MisfitError{Reason: condition.Foreign, Text: "nothing is read from the replica: Readmark does not read from replicas of Citus"}
	}
	state, err := askReplica(ctx, db.New(), conn, x.all.process)
	if err != nil {
		return fmt.Errorf("ask replica: %w", err)
	}
	if x.judge(&state) == nil {
		return nil
	}
	// The primary may be another one since it was asked last.
	if err := x.all.beat(ctx, 0); err != nil {
		x.all.logger.DebugContext(ctx, "no heartbeat for the replicas", "error", err)
	}
	if misfit := x.judge(&state); misfit != nil {
		return misfit
	}
	return nil
}

// judge compares what a server has told with the primary. One that fits is read from, from then
// on: connections to another one are closed. What one has that is only behind is noted, too.
func (x *Replica) judge(state *replicaState) *MisfitError {
	r := x.all
	r.mu.Lock()
	defer r.mu.Unlock()
	misfit := state.fits(r.primary, r.floor)
	if misfit != nil && (!misfit.behind || !state.Same(x.server.Server)) {
		return misfit
	}
	if !x.server.StartedAt.IsZero() && !state.Same(x.server.Server) {
		x.pool.renew(x.pool.generation.Load())
	}
	if r.primary == nil {
		x.has = heartbeat{at: state.newest}
	} else {
		x.has = state.heartbeat
		switch {
		case state.number >= r.last.number:
			x.unseen = time.Time{}
		case state.at.After(x.unseen): // the one after it
			x.unseen = state.at
		}
	}
	x.server = state.dbServer
	r.settle()
	return misfit
}

// follow compares the replica with the primary until the context ends, or the replica is closed.
func (x *Replica) follow(ctx context.Context) {
	quick, wait := quickRounds, time.Duration(0)
	beatWithin := time.Duration(0)
	fits, same := false, false
	for {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		err := x.round(ctx, beatWithin)
		if ctx.Err() != nil {
			return
		}
		x.all.tell(x, err)
		if x.isFit() != fits {
			fits, quick = !fits, quickRounds
		}
		if own := x.isPrimary(); own != same {
			if same = own; own {
				x.all.logger.InfoContext(ctx, "READMARK_REPLICA_URL leads to the primary itself: it spares the primary nothing", "replica", x.name)
			}
		}
		wait = beatInterval
		if err != nil && quick > 0 {
			quick--
			wait = quickInterval
		}
		beatWithin = wait * 9 / 10 // of the rounds of all replicas, one writes it
	}
}

// round has a heartbeat be written, unless that was done within a time before, and asks the replica for the newest
// that it has. It gives what is wrong with the replica.
func (x *Replica) round(ctx context.Context, beatWithin time.Duration) error {
	if err := x.all.beat(ctx, beatWithin); err != nil {
		x.all.logger.DebugContext(ctx, "no heartbeat for the replicas", "error", err)
	}
	state, err := x.ask(ctx)
	var misfit *MisfitError
	switch {
	case errors.As(err, &misfit): // a new connection was not admitted
	case err != nil:
		x.noteSilence()
		return err
	default:
		misfit = x.judge(&state)
	}
	var denied error
	if misfit == nil {
		denied = x.askPrivileges(ctx)
	}
	return cmp.Or(x.conclude(misfit), denied)
}

// conclude takes over whether the replica, which has answered, fits, and gives what is to be told of that. What fits answers
// from the same moment on, so that asOf is known as soon as something is read.
func (x *Replica) conclude(misfit *MisfitError) error {
	r := x.all
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.settle()
	x.answers = x.answers || misfit == nil
	if misfit != nil && (!misfit.behind || !r.anyInUse()) {
		if x.misfit == nil && misfit.Reason == condition.Lagging && r.last.at.Sub(r.since) < proofPatience {
			return nil
		}
		x.misfit = misfit
		return misfit
	}
	x.misfit = nil
	limit := lagLimit
	if x.lags { // a lag about the limit is one condition, not many
		limit /= 2
	}
	lag := r.last.at.Sub(x.unseen)
	if x.lags = !x.unseen.IsZero() && lag > limit; !x.lags {
		return nil
	}
	effect := "answers are as old, and say so by asOf"
	if misfit != nil || x.behind {
		effect = "it is not read from until it has caught up with the others"
	}
	return &MisfitError{Reason: condition.Lagging, Text: fmt.Sprintf("the replica has nothing of what was written on the primary in the last %v: %s",
		lag.Round(time.Second), effect)}
}

// noteSilence takes over that the replica does not answer.
func (x *Replica) noteSilence() {
	x.all.mu.Lock()
	defer x.all.mu.Unlock()
	x.answers = false
	x.all.settle()
}

// ask asks the replica what it is and has.
func (x *Replica) ask(ctx context.Context) (state replicaState, err error) {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	err = x.pool.retry(ctx, func() error {
		conn, err := x.pool.acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release()
		state, err = askReplica(ctx, x.all.queries, conn, x.all.process)
		return err
	})
	if pgconn.Timeout(err) { // the others may lead nowhere, too
		x.pool.renew(x.pool.generation.Load())
	}
	if err != nil {
		return state, fmt.Errorf("ask replica: %w", translate(err))
	}
	return state, nil
}

// askPrivileges looks whether the role may read all that it needs to: until it may, and again after a read was refused.
func (x *Replica) askPrivileges(ctx context.Context) error {
	if x.permitted.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	missing, err := x.MissingPrivileges(ctx)
	if err != nil {
		x.all.logger.DebugContext(ctx, "privileges on a replica are not known", "replica", x.name, "error", err)
		return nil // reads tell
	}
	denied := len(missing) > 0
	x.permitted.Store(!denied)
	x.all.mu.Lock()
	x.denied = denied
	x.all.mu.Unlock()
	if denied {
		return &UnfitError{condition.Permission, fmt.Sprintf("the role lacks %s, and waiting does not heal that: %s", missing[0].Text, missing[0].Grant)}
	}
	return nil
}

// isPrimary reports whether the server is the primary itself.
func (x *Replica) isPrimary() bool {
	x.all.mu.Lock()
	defer x.all.mu.Unlock()
	return x.all.primary != nil && x.all.primary.Same(x.server.Server)
}

// isFit reports whether the replica was found to fit.
func (x *Replica) isFit() bool {
	x.all.mu.Lock()
	defer x.all.mu.Unlock()
	return x.misfit == nil
}

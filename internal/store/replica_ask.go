package store

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"readmark/internal/condition"
	"readmark/internal/readstate"
)

// asking is a question to replicas.
type asking struct {
	all      *Replicas
	kept     *pool // of the replica that is preferred; nil: none is
	question func(ctx context.Context, reads *pool) error
	asked    map[*Replica]tries
	failure  error // of the replica that was asked last
}

// tries is how often a replica was asked a question, and whether it will not be asked again.
type tries struct {
	n    int
	over bool
}

// ask asks a question of a replica, within the read timeout; and of another one, or once more, where that may help.
// Where one has used that time up, another one gets as much.
func (r *Replicas) ask(ctx context.Context, kept *pool, question func(ctx context.Context, reads *pool) error) error {
	a := asking{all: r, kept: kept, question: question}
	usedUp, err := a.within(ctx, readTimeout)
	if usedUp && ctx.Err() == nil {
		_, err = a.within(ctx, readTimeout)
	}
	return err
}

// within asks replicas one after the other, and says whether the time was used up.
func (a *asking) within(ctx context.Context, timeout time.Duration) (usedUp bool, err error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for limited.Err() == nil {
		x, none := a.all.choose(a.kept, a.asked)
		if x == nil {
			return false, cmp.Or(a.failure, none)
		}
		generation := x.pool.generation.Load()
		err := a.question(limited, x.pool)
		if err == nil || ctx.Err() != nil || !x.isToBlame(err) {
			return false, err
		}
		a.failure = err
		if a.asked == nil {
			a.asked = map[*Replica]tries{}
		}
		t := a.asked[x]
		t.n++
		t.over = !x.pool.again(limited, generation, a.failure) || t.n > 1
		a.asked[x] = t
		a.all.failed(x, a.failure, t.over)
	}
	return true, cmp.Or(a.failure, limited.Err())
}

// choose gives the replica to ask a question, or why there is none.
func (r *Replicas) choose(kept *pool, asked map[*Replica]tries) (*Replica, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]candidate, len(r.list))
	for i, x := range r.list {
		list[i] = candidate{
			readable: x.readable(r.floor), inUse: x.inUse, kept: kept != nil && x.pool == kept,
			tries: asked[x].n, over: asked[x].over, turn: x.turn,
		}
	}
	best := choose(list)
	if best < 0 {
		return nil, r.unreadable()
	}
	x := r.list[best]
	r.turns++
	x.turn = r.turns
	x.questions++
	return x, nil
}

// unreadable says why nothing can be read, nil where something may be; r.mu is held.
func (r *Replicas) unreadable() error {
	var misfit error
	for _, x := range r.list {
		if x.readable(r.floor) {
			return nil
		}
		if misfit == nil && x.misfit != nil {
			misfit = x.misfit
		}
	}
	if misfit == nil {
		misfit = isBehind()
	}
	return misfit
}

// Unreadable says why nothing can be read, empty where it can.
func (r *Replicas) Unreadable() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.unreadable(); err != nil {
		return err.Error()
	}
	return ""
}

// failed takes note of a question that failed for its replica. Where asking again did not help, others are preferred
// until the replica has answered its next heartbeat.
func (r *Replicas) failed(x *Replica, err error, over bool) {
	var misfit *MisfitError
	r.mu.Lock()
	defer r.mu.Unlock()
	x.failures++
	switch {
	case errors.As(err, &misfit) && misfit.Reason != condition.Lagging:
		x.misfit = misfit
	case hasState(err, statePermission):
		x.permitted.Store(false)
		x.denied = true
	case over && !conflict(err) && !hasState(err, stateQueryCanceled): // who cancels a statement does answer
		x.answers = false
	}
	r.settle()
}

// isToBlame reports whether a question failed for the replica, so that another one may answer it.
func (x *Replica) isToBlame(err error) bool {
	var answered *pgconn.PgError
	var connect *pgconn.ConnectError
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return false
	case errors.As(err, &answered):
		return !aboutData(answered)
	case errors.Is(err, readstate.ErrUnknown), errors.Is(err, readstate.ErrGone):
		return false
	default:
		return errors.Is(err, readstate.ErrUnavailable) || errors.As(err, &connect) || errors.Is(err, context.DeadlineExceeded) ||
			pgconn.Timeout(err) || brokenConnection(err) || x.closed.Load()
	}
}

// once gives the pool to ask a question that is asked only once.
func (r *Replicas) once(kept *pool) (*pool, error) {
	x, err := r.choose(kept, nil)
	if err != nil {
		return nil, err
	}
	return x.pool, nil
}

// feeds reports whether a poll was answered by the replica as it was found to fit.
func (r *Replicas) feeds(reads *pool, server readstate.Server) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.list {
		switch {
		case x.pool != reads:
		case server.Same(x.server.Server):
			return nil
		case server.StartedAt.Equal(x.server.StartedAt):
			return &MisfitError{Reason: condition.Promoted, Text: "the replica was promoted just now"}
		}
	}
	return errMoved
}

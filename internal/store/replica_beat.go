package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"readmark/db"
)

const (
	// beatInterval is how often a heartbeat is written on the primary, and each replica asked for it.
	beatInterval = 500 * time.Millisecond
	// quickInterval is the same for quickRounds rounds where something has changed.
	quickInterval = 50 * time.Millisecond
	quickRounds   = 20
	// beatTimeout bounds one of these questions.
	beatTimeout = 2 * time.Second
	// heartbeatLife is how long the heartbeat of a process that has ended is kept.
	heartbeatLife = 24 * time.Hour
)

// heartbeat is what a process has written on the primary.
type heartbeat struct {
	number   int64
	at       time.Time // by the clock of the primary; what was committed before comes before it
	timeline int64     // of the primary then; 0: not known
}

// before reports whether a heartbeat is older than another one. Those of other processes have no number.
func (h heartbeat) before(o heartbeat) bool {
	if h.number != o.number {
		return h.number < o.number
	}
	return h.at.Before(o.at)
}

// beat writes a heartbeat on the primary and takes over what that is, unless one was written in a
// time before. It fails where the primary is away: then the replicas fall behind, and say so. Who
// comes while one is written shares it.
func (r *Replicas) beat(ctx context.Context, unlessWithin time.Duration) error {
	before := r.tried.Load()
	r.beating.Lock()
	defer r.beating.Unlock()
	if r.tried.Load() > before {
		return r.beatFailure
	}
	if unlessWithin > 0 && time.Since(r.beatenAt) < unlessWithin {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	next := heartbeat{number: r.tried.Load() + 1}
	primary, err := r.writeBeat(ctx, &next)
	if err != nil {
		err = fmt.Errorf("write heartbeat: %w", translate(err))
	} else {
		r.beatenAt = time.Now()
		r.takeOver(&primary, next)
	}
	r.tried.Store(next.number)
	r.beatFailure = err
	return err
}

func (r *Replicas) writeBeat(ctx context.Context, next *heartbeat) (primary dbServer, err error) {
	if primary, err = askServer(ctx, r.queries, r.store.pool); err != nil {
		return primary, err
	}
	next.timeline = primary.timeline
	next.at, err = r.queries.Beat(ctx, r.store.pool, db.BeatParams{
		ProcessID: r.process, Number: next.number, Timeline: when(next.timeline != 0, next.timeline),
	})
	return primary, err
}

// takeOver takes over what the primary is, and its newest heartbeat.
func (r *Replicas) takeOver(primary *dbServer, next heartbeat) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.primary == nil:
		r.since = next.at
	case !r.primary.sameHistory(primary): // what was read before may be lost
		r.floor.number = next.number
	}
	r.primary, r.last = primary, next
	for _, x := range r.list {
		if x.unseen.IsZero() {
			x.unseen = next.at
		}
	}
}

// dropHeartbeats drops what processes have left that ended long ago, and what a process has.
func (r *Replicas) dropHeartbeats(ctx context.Context, process pgtype.UUID) {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	r.mu.Lock()
	params := db.DropHeartbeatsParams{EndedBefore: r.last.at.Add(-heartbeatLife), ProcessID: process}
	r.mu.Unlock()
	if err := r.queries.DropHeartbeats(ctx, r.store.pool, params); err != nil {
		r.logger.DebugContext(ctx, "old heartbeats stay", "error", translate(err))
	}
}

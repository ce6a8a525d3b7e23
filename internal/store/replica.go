package store

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// beatInterval is how often a replica is asked how far it is, and the primary is
	// given something to tell it.
	beatInterval = 500 * time.Millisecond
	// beatTimeout bounds one of these questions.
	beatTimeout = 2 * time.Second
)

// Replica answers the questions of the read API from a streaming replica of a
// store's database. What it answers may be older than the store's; AsOf tells. It is
// safe for concurrent use.
type Replica struct {
	*Reader

	primary   *Store
	watermark atomic.Pointer[time.Time]
	logger    *slog.Logger
}

// OpenReplica prepares a pool for the URL of a replica; it does not connect. Close
// releases it, before the store.
func (s *Store) OpenReplica(url string) (*Replica, error) {
	pool, err := newPool(&poolOptions{url: url, size: s.reads.Config().MaxConns})
	if err != nil {
		return nil, fmt.Errorf("replica: %w", err)
	}
	return &Replica{Reader: newReader(pool), primary: s, logger: s.logger}, nil
}

// Close waits for the connections in use to come back and closes all.
func (r *Replica) Close() { r.reads.Close() }

// AsOf is a moment of the primary's clock whose commits, and all before, the replica
// had when it was last asked. It is zero until the replica has answered once. A read
// that begins after a call gives nothing older.
func (r *Replica) AsOf() time.Time {
	if t := r.watermark.Load(); t != nil {
		return *t
	}
	return time.Time{}
}

// Follow asks the replica how far it is until the context ends. It has the primary
// commit an empty transaction now and then: a replica knows the moments of commits
// only.
func (r *Replica) Follow(ctx context.Context) {
	ticker := time.NewTicker(beatInterval)
	defer ticker.Stop()
	away := false
	for {
		err := r.ask(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !away:
			r.logger.WarnContext(ctx, "replica does not answer: reads are answered with 503 until it does", "error", err)
		case err == nil && away:
			r.logger.InfoContext(ctx, "replica answers again")
		}
		away = err != nil
		r.beat(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (r *Replica) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	reached, err := r.queries.ReplayedUntil(ctx, r.reads)
	if err != nil {
		return fmt.Errorf("ask replica: %w", translate(err))
	}
	if at := moment(reached); at.After(r.AsOf()) {
		r.watermark.Store(&at)
	}
	return nil
}

// beat fails where the primary is away; then the replica falls behind, and says so.
func (r *Replica) beat(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	if err := r.primary.queries.Beat(ctx, r.primary.pool); err != nil {
		r.logger.DebugContext(ctx, "no heartbeat for the replica", "error", translate(err))
	}
}

// Register adds the replica's lag to the metrics.
func (r *Replica) Register(registry prometheus.Registerer) {
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "readmark_replica_lag_seconds",
		Help: "How old what the replica answers may be; NaN until it has answered.",
	}, func() float64 {
		reached := r.AsOf()
		if reached.IsZero() {
			return math.NaN()
		}
		return r.primary.now().Sub(reached).Seconds()
	}))
}

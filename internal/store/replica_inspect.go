package store

import (
	"context"
	"errors"
	"time"

	"readmark/internal/condition"
)

// inspectTimeout is how long Inspect waits.
const inspectTimeout = 5 * time.Second

// ReplicaReport is what a replica was found to be.
type ReplicaReport struct {
	Version     string
	IsPrimary   bool // it is the primary itself
	PrimaryAway bool // the primary cannot be asked: neither can the replica be compared
	AsOf        time.Time
	Lag         time.Duration // after how long it had what was written on the primary
}

// Inspect compares the replica with the primary, and fails with a [MisfitError] or with what it cannot be
// asked for. It gives the replica some seconds for what was written. Follow must not run.
func (x *Replica) Inspect(ctx context.Context) (report ReplicaReport, err error) {
	ctx, cancel := context.WithTimeout(ctx, inspectTimeout)
	defer cancel()
	away := x.all.beat(ctx, 0)
	defer x.all.dropHeartbeats(context.WithoutCancel(ctx), x.all.process)
	began := time.Now()
	for {
		state, err := x.ask(ctx)
		if err == nil {
			if misfit := x.judge(&state); misfit != nil {
				err = misfit
			}
		}
		var misfit *MisfitError
		switch {
		case err == nil:
			return ReplicaReport{
				Version: state.version, IsPrimary: x.isPrimary(), PrimaryAway: away != nil, AsOf: x.newest(), Lag: time.Since(began),
			}, nil
		case !errors.As(err, &misfit) || misfit.Reason != condition.Lagging || ctx.Err() != nil:
			return report, err
		}
		select {
		case <-time.After(quickInterval):
		case <-ctx.Done():
			return report, err
		}
	}
}

// newest gives the time of the newest heartbeat that the replica has shown.
func (x *Replica) newest() time.Time {
	x.all.mu.Lock()
	defer x.all.mu.Unlock()
	return x.has.at
}

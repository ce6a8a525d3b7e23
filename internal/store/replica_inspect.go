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
func (r *Replica) Inspect(ctx context.Context) (report ReplicaReport, err error) {
	ctx, cancel := context.WithTimeout(ctx, inspectTimeout)
	defer cancel()
	_, away := r.beat(ctx)
	defer r.dropHeartbeats(context.WithoutCancel(ctx), r.process)
	began := time.Now()
	for {
		state, err := r.ask(ctx)
		if err == nil {
			if misfit := r.judge(&state); misfit != nil {
				err = misfit
			}
		}
		var misfit *MisfitError
		switch {
		case err == nil:
			return ReplicaReport{
				Version: state.version, IsPrimary: r.isPrimary(), PrimaryAway: away != nil, AsOf: r.AsOf(), Lag: time.Since(began),
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

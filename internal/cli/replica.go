package cli

import (
	"errors"
	"slices"

	"readmark/internal/condition"
	"readmark/internal/store"
)

// replicaOptions has the board say what is wrong with the replica.
func (v *service) replicaOptions() store.ReplicaOptions {
	board := v.board
	return store.ReplicaOptions{
		CurrentURLs: v.config.CurrentReplicaURLs,
		Report: func(err error) {
			reason, text := replicaProblem(err)
			board.Report(condition.Replica, reason, text)
		},
		Clear: func() { board.Clear(condition.Replica) },
	}
}

func replicaProblem(err error) (condition.Reason, string) {
	var misfit *store.MisfitError
	if errors.As(err, &misfit) {
		return misfit.Reason, misfit.Text
	}
	reason, text := store.Diagnose(err, store.ReplicaVariable)
	if slices.Contains([]condition.Reason{condition.ReadOnly, condition.Full}, reason) { // of a primary
		reason = condition.Failed
	}
	return reason, "the replica does not answer as it should: " + text
}

package cli

import (
	"errors"
	"slices"
	"strings"

	"readmark/internal/condition"
	"readmark/internal/store"
)

// replicaOptions has the board say what is wrong with each replica.
func (v *service) replicaOptions() store.ReplicaOptions {
	board := v.board
	return store.ReplicaOptions{
		CurrentURLs: v.config.CurrentReplicaURLs,
		Report: func(name string, err error) {
			reason, text := replicaProblem(err)
			board.ReportOne(condition.Replica, name, reason, text)
		},
		Clear: func(name string) { board.ClearOne(condition.Replica, name) },
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

// replicaNote says which of several replicas are read from, "" where there are not several.
func (v *service) replicaNote() string {
	if v.replicas == nil {
		return ""
	}
	used, left := v.replicas.InUse()
	if len(used)+len(left) < 2 {
		return ""
	}
	list := func(names []string) string {
		if len(names) == 0 {
			return "none"
		}
		return strings.Join(names, " ")
	}
	return "replicas: read from " + list(used) + ", left out " + list(left)
}

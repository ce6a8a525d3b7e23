package cli

import (
	"errors"

	"readmark/internal/condition"
	"readmark/internal/store"
)

// onBoard has a board say what is wrong with the replica.
func onBoard(board *condition.Board) store.ReplicaOptions {
	return store.ReplicaOptions{
		Report: func(err error) {
			reason, text := replicaProblem(err)
			board.Report(condition.Replica, reason, text)
		},
		Clear: func() { board.Clear(condition.Replica) },
	}
}

func replicaProblem(err error) (condition.Reason, string) {
	var misfit *store.Misfit
	if errors.As(err, &misfit) {
		return condition.Reason(misfit.Reason), misfit.Text
	}
	return condition.Failed, "it does not answer, so that reads are answered 503: " + err.Error()
}

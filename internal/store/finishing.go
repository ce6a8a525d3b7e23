package store

import (
	"context"
	"slices"

	"readmark/db"
	"readmark/internal/readstate"
)

// On Citus a transaction that has written on several nodes is committed on the coordinator first, where its row of
// changes becomes visible, and a moment later on the others. Who reads what the row names in between reads what was
// before, and would never read it again. So a transaction counts as running for as long as it holds the lock on its own
// number: PostgreSQL gives locks back when all nodes have committed. Nobody was told of it yet: it is acknowledged then.

// askUnfinished gives what asks which transactions hold the lock on their numbers. It is to be asked behind the statement
// that takes the snapshot.
func (r *Reader) askUnfinished(ctx context.Context, into *[]int64) func(conn db.DBTX) error {
	return func(conn db.DBTX) (err error) {
		*into, err = r.queries.ListUnfinishedTransactions(ctx, conn)
		return err
	}
}

// withoutUnfinished gives a snapshot that does not show some transactions, given by the lower half of their numbers.
func withoutUnfinished(s readstate.Snapshot, unfinished []int64) readstate.Snapshot {
	var hidden []uint64
	for _, xid := range unfinished {
		behind := uint32(s.XMax) - uint32(xid) //nolint:gosec // numbers wrap around
		if behind == 0 || behind > 1<<31 {     // it began after the snapshot was taken
			continue
		}
		if full := s.XMax - uint64(behind); s.Shows(full) {
			hidden = append(hidden, full)
		}
	}
	if hidden == nil {
		return s
	}
	hidden = append(hidden, s.Running...)
	slices.Sort(hidden)
	return readstate.NewSnapshot(s.XMax, slices.Compact(hidden))
}

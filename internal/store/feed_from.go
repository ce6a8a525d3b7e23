package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"readmark/db"
	"readmark/internal/readstate"
)

// recordedBefore is how long before its transaction ends a change may have been recorded, by the clock
// of its writer, at most: a minute for the work, and a minute by which clocks may differ.
const recordedBefore = 2 * time.Minute

// ChangesFrom gives a cursor behind which everything is that was committed from a moment on, and a little
// of what was before. complete is false where some of that is not kept any more: then everything that is
// kept is behind the cursor. It blocks for 20 s at most.
func (s *Store) ChangesFrom(ctx context.Context, from time.Time) (cursor readstate.FeedCursor, complete bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	from = from.Add(-recordedBefore)
	err = s.retry(ctx, func() error {
		cursor = readstate.FeedCursor{}
		var server db.GetFeedServerRow
		var row db.FirstChangeFromRow
		var days []partition
		err := pgx.BeginTxFunc(ctx, s.reads, snapshot, func(tx pgx.Tx) (err error) {
			if server, err = s.queries.GetFeedServer(ctx, tx); err != nil {
				return err
			}
			if row, err = s.queries.FirstChangeFrom(ctx, tx, from); err != nil {
				return err
			}
			days, err = changesTable.partitions(ctx, tx, "")
			return err
		})
		if err != nil {
			return err
		}
		if err := parseSnapshot(row.Snapshot, &cursor.Seen); err != nil {
			return err
		}
		if row.Xid != nil {
			cursor.Seen = before(&cursor.Seen, uint64(*row.Xid)) //nolint:gosec // transactions count from 0
		}
		dropped := uint64(value(row.DroppedXid)) //nolint:gosec // transactions count from 0
		complete = dropped == 0 || keptSince(days, from) && !droppedSince(&readstate.Revision{Snapshot: cursor.Seen}, dropped)
		if droppedSince(&readstate.Revision{Snapshot: cursor.Seen}, dropped) {
			cursor.Seen = readstate.NewSnapshot(max(cursor.Seen.XMax, dropped+1), cursor.Seen.Running) // the earliest that shows all of that
		}
		cursor.Source, err = s.feedSource(ctx, &server)
		return err
	})
	if err != nil {
		return cursor, false, fmt.Errorf("find changes from a moment: %w", translate(err))
	}
	return cursor, complete, nil
}

// before gives the snapshot that shows, of what another one does, what came before a transaction.
func before(now *readstate.Snapshot, xid uint64) readstate.Snapshot {
	xmax := min(xid, now.XMax)
	n, _ := slices.BinarySearch(now.Running, xmax) // their changes are to come
	return readstate.NewSnapshot(xmax, slices.Clone(now.Running[:n]))
}

// keptSince reports whether the partition of a moment is there, which those after it then are, too.
func keptSince(days []partition, from time.Time) bool {
	return slices.ContainsFunc(days, func(p partition) bool { return p.state == attached && !p.day.After(from) })
}

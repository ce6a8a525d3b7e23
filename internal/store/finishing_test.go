package store

import (
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/db"
	"readmark/internal/readstate"
)

// What has not given its locks back counts as running, whatever the upper half of its number is.
func TestWithoutUnfinished(t *testing.T) {
	t.Parallel()
	const epoch = 3 << 32
	seen := readstate.NewSnapshot(epoch+100, []uint64{epoch + 90, epoch + 95})
	require.Equal(t, seen, withoutUnfinished(seen, nil))
	require.Equal(t, seen, withoutUnfinished(seen, []int64{90, 100, 120}), "they run, or have begun since")
	hidden := withoutUnfinished(seen, []int64{97, 90, 92, 101})
	require.Equal(t, readstate.NewSnapshot(epoch+100, []uint64{epoch + 90, epoch + 92, epoch + 95, epoch + 97}), hidden)
	require.False(t, hidden.Shows(epoch+97))
	require.True(t, hidden.Shows(epoch+98))

	wrapped := withoutUnfinished(readstate.NewSnapshot(epoch+5, nil), []int64{1<<32 - 3})
	require.Equal(t, readstate.NewSnapshot(epoch+5, []uint64{epoch - 3}), wrapped)
}

// What a transaction that has not ended on all nodes has changed is told by the poll after its end, and not before.
func TestUnfinishedIsToldLater(t *testing.T) {
	t.Parallel()
	row := func(xid int64, user string) db.PollChangesRow {
		return db.PollChangesRow{Snapshot: "100:100:", Xid: &xid, UserIDs: []string{user}}
	}
	rows := []db.PollChangesRow{row(97, "unfinished"), row(98, "ended")}
	since := readstate.Revision{Snapshot: readstate.NewSnapshot(96, nil)}
	var first, second readstate.Poll
	require.NoError(t, (&polledRows{rows: rows, unfinished: []int64{97}}).answer(&since, &first))
	require.Equal(t, []string{"ended"}, first.Change.Users)
	require.False(t, first.Revision.Shows(97), "it is asked for again")
	require.True(t, first.Revision.Shows(98))
	require.NoError(t, (&polledRows{rows: rows[:1]}).answer(&first.Revision, &second))
	require.Equal(t, []string{"unfinished"}, second.Change.Users)
	require.True(t, second.Revision.Shows(97))
	require.False(t, second.Reset)
}

// Retention may drop its row meanwhile, which is visible: then anything may have changed, once it has ended.
func TestUnfinishedIsDropped(t *testing.T) {
	t.Parallel()
	dropped := int64(97)
	rows := []db.PollChangesRow{{Snapshot: "100:100:", DroppedXid: &dropped}}
	since := readstate.Revision{Snapshot: readstate.NewSnapshot(96, nil), DroppedXID: 90}
	var first, second, third, fourth readstate.Poll
	require.NoError(t, (&polledRows{onCitus: true, rows: rows, unfinished: []int64{97}}).answer(&since, &first))
	require.True(t, first.Reset, "others may have been dropped")
	require.NoError(t, (&polledRows{onCitus: true, rows: rows, unfinished: []int64{97}}).answer(&first.Revision, &second))
	require.False(t, second.Reset, "it still runs")
	require.NoError(t, (&polledRows{onCitus: true, rows: rows}).answer(&second.Revision, &third))
	require.True(t, third.Reset, "it has ended, and nothing tells of what")
	require.NoError(t, (&polledRows{onCitus: true, rows: rows}).answer(&third.Revision, &fourth))
	require.False(t, fourth.Reset)
}

// A subscriber of the feed starts again then.
func TestUnfinishedIsDroppedBehindCursor(t *testing.T) {
	t.Parallel()
	r := feedRound{onCitus: true, since: &readstate.FeedCursor{Seen: readstate.NewSnapshot(100, []uint64{97}), Dropped: 97}}
	r.now = readstate.Revision{Snapshot: readstate.NewSnapshot(101, []uint64{97}), DroppedXID: 97}
	require.False(t, r.misses(), "it still runs")
	r.now.Snapshot = readstate.NewSnapshot(101, nil)
	require.True(t, r.misses(), "it has ended, and nothing tells of what")
}

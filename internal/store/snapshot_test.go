package store_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
)

// A write that comes between the two statements of a snapshot is seen by neither.
func TestSnapshotIsOneMoment(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	move := func(inG, inH int64, µs int) {
		require.NoError(t, s.Commit(t.Context(), readstate.Batch{Events: []readstate.Event{
			documented("u", "g", inG, µs), documented("u", "h", inH, µs+1),
		}}))
	}
	move(0, 1, 1)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // one message is unread, now here, now there
		defer close(stopped)
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			default:
				move(int64(n%2), int64((n+1)%2), 10*n)
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	g, h := readstate.Pair{UserID: "u", GroupID: "g"}, readstate.Pair{UserID: "u", GroupID: "h"}
	seen := map[int64]bool{}
	for n := 0; n < 300 || len(seen) < 2; n++ {
		known, badges, err := s.Snapshot(t.Context(), []readstate.Pair{g, h}, []string{"u"})
		require.NoError(t, err)
		require.EqualValues(t, 1, known[g].UnreadCount+known[h].UnreadCount)
		require.EqualValues(t, 1, badges["u"].UnreadCount)
		newest := known[g].UpdatedAt
		if known[h].UpdatedAt.After(newest) {
			newest = known[h].UpdatedAt
		}
		require.Equal(t, newest, badges["u"].UpdatedAt, "pairs and users are of one moment")
		seen[known[g].UnreadCount] = true
	}
}

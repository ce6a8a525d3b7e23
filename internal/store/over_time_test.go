package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

// plain gives numbers with -1 where nothing was known.
func plain(list []*int64) []int64 {
	numbers := make([]int64, len(list))
	for i, n := range list {
		numbers[i] = -1
		if n != nil {
			numbers[i] = *n
		}
	}
	return numbers
}

// The position of a group is told at each moment, and not where nothing was known, or the days before were
// dropped.
func TestPositionsAt(t *testing.T) {
	t.Parallel()
	a := asserting{t, open(t, pgtest.New(t))}
	a.tell(
		arrived(message("s", "g", "1", 5, 0), daysAgo(9, 0)), arrived(message("s", "g", "2", 0, 0), daysAgo(3, 0)),
		arrived(message("s", "g", "3", 9, 0), daysAgo(2, 0)), arrived(message("s", "other", "4", 70, 0), daysAgo(2, 0)),
	)
	moments := []time.Time{daysAgo(10, 0), daysAgo(9, 0), daysAgo(2, 3600e6), daysAgo(1, 0), daysAgo(0, 0)}
	numbers, err := a.PositionsAt(t.Context(), "g", moments)
	require.NoError(t, err)
	require.Equal(t, []int64{-1, 5, 9, 9, 9}, plain(numbers))
	numbers, err = a.PositionsAt(t.Context(), "g", []time.Time{daysAgo(3, 3600e6)})
	require.NoError(t, err)
	require.Equal(t, []int64{6}, plain(numbers))
	numbers, err = a.PositionsAt(t.Context(), "nobody", moments)
	require.NoError(t, err)
	require.Equal(t, []int64{-1, -1, -1, -1, -1}, plain(numbers))
	_, err = a.Retire(t.Context(), store.Retention{Journal: 5 * 24 * time.Hour})
	require.NoError(t, err)
	numbers, err = a.PositionsAt(t.Context(), "g", moments)
	require.NoError(t, err)
	require.Equal(t, []int64{-1, -1, 9, 9, 9}, plain(numbers))
	counts, err := a.CountsAt(t.Context(), readstate.Pair{UserID: "s", GroupID: "g"}, nil)
	require.NoError(t, err)
	require.Empty(t, counts)
}

// Rows of all kinds are listed, the newest first, page by page, of a user, a group or both.
func TestJournalRows(t *testing.T) {
	t.Parallel()
	a := asserting{t, open(t, pgtest.New(t))}
	yesterday := daysAgo(1, 0)
	server := readstate.Event{Kind: readstate.EventServerReceipt, ID: identity(), At: daysAgo(1, 9e6), UserID: "u", ReadSeq: 3, ContentType: 3}
	a.tell(
		arrived(message("u", "g", "1", 5, 0), daysAgo(1, 1e6)), arrived(receipt("u", "g", 2, 0), daysAgo(1, 2e6)),
		arrived(receipt("v", "g", 1, 0), daysAgo(1, 3e6)), arrived(snapshot("u", "h", 8, 6, 0), daysAgo(1, 4e6)),
		readstate.Batch{Events: []readstate.Event{server}},
	)
	kinds := func(h readstate.History) (list []readstate.EventKind) {
		t.Helper()
		h.Limit = 2
		for {
			rows, err := a.JournalRows(t.Context(), h)
			require.NoError(t, err)
			for i := range rows {
				list = append(list, rows[i].Kind)
			}
			if len(rows) < 2 {
				return list
			}
			h.Before = readstate.EventCursor{At: rows[1].At, ID: rows[1].ID}
		}
	}
	require.Equal(t, []readstate.EventKind{"server_receipt", "snapshot", "receipt", "message"}, kinds(readstate.History{UserID: "u"}))
	require.Equal(t, []readstate.EventKind{"receipt", "receipt", "message"}, kinds(readstate.History{GroupID: "g"}))
	require.Equal(t, []readstate.EventKind{"receipt", "message"}, kinds(readstate.History{UserID: "u", GroupID: "g"}))
	require.Equal(t, []readstate.EventKind{"receipt"}, kinds(readstate.History{GroupID: "g", From: yesterday, To: daysAgo(0, 0), UserID: "v"}))
	require.Empty(t, kinds(readstate.History{GroupID: "g", To: daysAgo(2, 0)}))
	require.Empty(t, kinds(readstate.History{GroupID: "g", From: daysAgo(0, 0)}))
}

package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
)

func off(user, group string, µs int, reason readstate.OffReason) readstate.Off {
	return readstate.Off{Pair: readstate.Pair{UserID: user, GroupID: group}, Known: true, UnreadCount: 3, Want: 5, Reason: reason, At: at(µs)}
}

// Each comparison of a user replaces what was off of the user, and of nobody else; the
// newest comparison comes first.
func TestDrifts(t *testing.T) {
	t.Parallel()
	a := asserting{t, open(t, pgtest.New(t))}
	a.tell(receipt("u", "g", 3, 1), receipt("v", "g", 3, 2), receipt("w", "g", 3, 3))
	save := func(user string, left ...readstate.Off) {
		t.Helper()
		d := readstate.Difference{Pairs: 4, Off: int64(len(left)) + 1, Repaired: 1, Largest: 2, Left: left}
		require.NoError(t, a.SaveCheck(t.Context(), readstate.Pair{UserID: user}, d, time.Hour))
	}
	lists := func(want ...readstate.Off) {
		t.Helper()
		drift, err := a.Drift(t.Context())
		require.NoError(t, err)
		require.Equal(t, append([]readstate.Off{}, want...), drift.Left)
		require.EqualValues(t, len(want), drift.Stays())
		counts, err := a.CountDrifts(t.Context())
		require.NoError(t, err)
		wanted := map[readstate.OffReason]int64{}
		for i := range want {
			wanted[want[i].Reason]++
		}
		require.Equal(t, wanted, counts)
	}
	unknown := readstate.Off{Pair: readstate.Pair{UserID: "u", GroupID: "n"}, Want: 7, Reason: readstate.OffUnknown, At: at(10)}
	lists()
	save("u", off("u", "g", 10, readstate.OffReadSeq), unknown)
	save("v", off("v", "G", 20, readstate.OffBehind), off("v", "g", 20, readstate.OffMaxSeq))
	save("w", off("w", "g", 15, readstate.OffUnsequenced))
	lists(off("v", "G", 20, readstate.OffBehind), off("v", "g", 20, readstate.OffMaxSeq), off("w", "g", 15, readstate.OffUnsequenced),
		off("u", "g", 10, readstate.OffReadSeq), unknown)
	save("v", off("v", "g", 30, readstate.OffMaxSeq))
	save("u")
	lists(off("v", "g", 30, readstate.OffMaxSeq), off("w", "g", 15, readstate.OffUnsequenced))
	save("nobody", off("nobody", "g", 40, readstate.OffUnknown))
	lists(off("v", "g", 30, readstate.OffMaxSeq), off("w", "g", 15, readstate.OffUnsequenced))
}

// A hundred pairs are kept of a user, and listed of all; the sums are of all.
func TestManyDrifts(t *testing.T) {
	t.Parallel()
	a := asserting{t, open(t, pgtest.New(t))}
	for i, user := range []string{"u", "v"} {
		a.tell(receipt(user, "g", 3, i))
		d := readstate.Difference{Pairs: 150, Off: 150}
		for group := range 150 {
			d.Left = append(d.Left, off(user, fmt.Sprintf("g%03d", group), i, readstate.OffBehind))
		}
		for range 2 {
			require.NoError(t, a.SaveCheck(t.Context(), readstate.Pair{UserID: user}, d, time.Hour))
		}
	}
	drift, err := a.Drift(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 300, drift.Stays())
	require.Len(t, drift.Left, readstate.MaxOff)
	require.Equal(t, readstate.Pair{UserID: "v", GroupID: "g000"}, drift.Left[0].Pair)
	require.Equal(t, readstate.Pair{UserID: "v", GroupID: "g099"}, drift.Left[99].Pair)
	counts, err := a.CountDrifts(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[readstate.OffReason]int64{readstate.OffBehind: 200}, counts)
}

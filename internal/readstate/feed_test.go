package readstate_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"readmark/internal/readstate"
)

func TestSnapshotShows(t *testing.T) {
	t.Parallel()
	s := readstate.Snapshot{XMin: 10, XMax: 20, Running: []uint64{10, 15}}
	for xid, shown := range map[uint64]bool{1: true, 9: true, 10: false, 11: true, 14: true, 15: false, 16: true, 19: true, 20: false, 99: false} {
		require.Equal(t, shown, s.Shows(xid), xid)
	}
	require.False(t, (&readstate.Snapshot{}).Shows(0))
}

// Of two snapshots of a server the later one shows all that the earlier one shows, and Before says
// whether it shows more, may be.
func TestSnapshotBefore(t *testing.T) {
	t.Parallel()
	early := readstate.Snapshot{XMin: 10, XMax: 20, Running: []uint64{10, 15}}
	for _, late := range []readstate.Snapshot{
		{XMin: 15, XMax: 20, Running: []uint64{15}}, {XMin: 20, XMax: 20}, {XMin: 10, XMax: 21, Running: []uint64{10, 15, 20}}, {XMin: 30, XMax: 30},
	} {
		require.True(t, early.Before(&late), late)
		require.False(t, late.Before(&early), late)
	}
	same := early
	require.False(t, early.Before(&same))
}

// FoldOwn names each pair, its group, or everything, never less, and stays within its bounds.
func TestFoldOwn(t *testing.T) {
	t.Parallel()
	pairs := func(groups, users int) (list []readstate.Pair) {
		for g := range groups {
			for u := range users {
				list = append(list, readstate.Pair{GroupID: fmt.Sprint("g", g), UserID: fmt.Sprint("u", u)})
			}
		}
		return list
	}
	require.Empty(t, readstate.FoldOwn(nil))
	require.Len(t, readstate.FoldOwn(pairs(8, 8)), 64)
	require.Len(t, readstate.FoldOwn(append(pairs(8, 8), pairs(8, 8)...)), 64, "repeats do not count")
	require.Equal(t, []readstate.Pair{{}}, readstate.FoldOwn(append(pairs(8, 8), readstate.Pair{GroupID: "h", UserID: "u"})))
	require.Equal(t, []readstate.Pair{{GroupID: "g0"}}, readstate.FoldOwn(pairs(1, 9)))
	require.Len(t, readstate.FoldOwn(pairs(64, 9)), 64)
	require.Equal(t, []readstate.Pair{{}}, readstate.FoldOwn(pairs(65, 9)))
	require.Equal(t, []readstate.Pair{{GroupID: "g0"}}, readstate.FoldOwn(append(pairs(1, 2), readstate.Pair{GroupID: "g0"})), "a whole group stays one")
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOf(rapid.Custom(func(t *rapid.T) readstate.Pair {
			return readstate.Pair{GroupID: fmt.Sprint("g", rapid.IntRange(0, 90).Draw(t, "group")), UserID: fmt.Sprint("u", rapid.IntRange(0, 12).Draw(t, "user"))}
		})).Draw(t, "pairs")
		folded := readstate.FoldOwn(slices.Clone(list))
		require.LessOrEqual(t, len(folded), 64)
		for _, pair := range list {
			require.True(t, slices.ContainsFunc(folded, func(f readstate.Pair) bool {
				return f == pair || f == readstate.Pair{GroupID: pair.GroupID} || f == readstate.Pair{}
			}), pair)
		}
	})
}

// The cursor behind one change is in the middle of the page's round, and watches what was watched
// before: some of it is still to be told.
func TestCursorAfter(t *testing.T) {
	t.Parallel()
	key := func(group string) readstate.FeedChange {
		return readstate.FeedChange{FeedKey: readstate.FeedKey{GroupID: group, UserID: "u", Kind: readstate.FeedChanged}}
	}
	source := readstate.FeedSource{SystemID: 1, Timeline: 2, TableID: 3}
	seen, now := readstate.Snapshot{XMin: 5, XMax: 5}, readstate.Snapshot{XMin: 7, XMax: 9, Running: []uint64{7}}
	before, told := readstate.Pair{GroupID: "c", UserID: "u"}, readstate.Pair{GroupID: "a", UserID: "u"}
	page := readstate.FeedPage{
		Changes: []readstate.FeedChange{key("a"), key("b"), key("c")},
		From:    readstate.FeedCursor{Source: source, Seen: seen, Own: []readstate.Pair{before}},
		Next:    readstate.FeedCursor{Source: source, Seen: now, Own: []readstate.Pair{told}},
		Large:   readstate.FeedLarge{FromUser: "u5", FromGroup: "x"},
	}
	require.Equal(t, page.Next, page.CursorAfter(2))
	for i := range 2 {
		require.Equal(t, readstate.FeedCursor{
			Source: source, Seen: seen, Until: &now, After: page.Changes[i].FeedKey, Large: page.Large, Own: []readstate.Pair{told, before},
		}, page.CursorAfter(i))
	}
	until := readstate.Snapshot{XMin: 6, XMax: 6} // the page is in the middle of a round itself
	page.Next = readstate.FeedCursor{Source: source, Seen: seen, Until: &until, After: page.Changes[2].FeedKey, Own: []readstate.Pair{before}}
	require.Equal(t, page.Next, page.CursorAfter(2))
	require.Equal(t, readstate.FeedCursor{
		Source: source, Seen: seen, Until: &until, After: page.Changes[0].FeedKey, Large: page.Large, Own: []readstate.Pair{before},
	}, page.CursorAfter(0))
}

func TestFeedFilter(t *testing.T) {
	t.Parallel()
	f := readstate.FeedFilter{UserPrefix: "u", GroupPrefix: "g"}
	require.True(t, f.WantsUser("u") && f.WantsUser("u1") && f.WantsGroup("g1") && f.WantsPositions())
	require.False(t, f.WantsUser("v") || f.WantsUser("") || f.WantsGroup("h"))
	f = readstate.FeedFilter{UserID: "u1", UserPrefix: "v"}
	require.False(t, f.WantsUser("u1"), "the prefix bounds what may be asked for")
	require.False(t, f.WantsPositions())
	require.False(t, (&readstate.FeedFilter{UserPrefix: "u", OnlyUsers: true}).WantsPositions())
}

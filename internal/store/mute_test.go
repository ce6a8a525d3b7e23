package store_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
)

// sums gives what a user's badge says: all that is unread, and that of what is not muted.
func (a asserting) sums(user string) [2]int64 {
	a.Helper()
	badge, err := a.Badge(a.Context(), user)
	require.NoError(a, err)
	return [2]int64{badge.UnreadCount, badge.UnreadCountUnmuted}
}

// muted reports whether a user is known to have muted the group g.
func (a asserting) muted(user string) bool {
	a.Helper()
	state, err := a.State(a.Context(), readstate.Pair{UserID: user, GroupID: "g"})
	require.NoError(a, err)
	return state.Muted
}

// A muted group counts, and has a place of its own in the badge: also when all groups are
// muted, and in the answer for a moment that has passed.
func TestMutedGroups(t *testing.T) {
	t.Parallel()
	a := newAsserting(t)
	a.tell(receipt("u", "g", 3, 1), receipt("u", "h", 4, 2), receipt("v", "g", 5, 3))
	require.False(t, a.muted("u"), "nothing is known of it")
	require.Equal(t, [2]int64{7, 7}, a.sums("u"))
	a.tell(change(readstate.EventMuted, "g", 4, "u"))
	require.True(t, a.muted("u"))
	require.False(t, a.muted("v"))
	require.Equal(t, [2]int64{7, 4}, a.sums("u"))
	require.Equal(t, [2]int64{5, 5}, a.sums("v"))
	a.tell(change(readstate.EventMuted, "h", 5, "u"))
	require.Equal(t, [2]int64{7, 0}, a.sums("u"))
	a.tell(change(readstate.EventUnmuted, "g", 6, "u"))
	require.Equal(t, [2]int64{7, 3}, a.sums("u"))

	_, badges, err := a.Snapshot(t.Context(), nil, []string{"u"})
	require.NoError(t, err)
	require.EqualValues(t, 3, badges["u"].UnreadCountUnmuted)
	for moment, want := range map[int]int64{3: 7, 4: 4, 5: 0, 6: 3} {
		badge, err := a.BadgeAt(t.Context(), "u", at(moment))
		require.NoError(t, err)
		require.Equal(t, []int64{7, want}, []int64{badge.UnreadCount, badge.UnreadCountUnmuted}, moment)
		state, err := a.StateAt(t.Context(), readstate.Pair{UserID: "u", GroupID: "g"}, at(moment))
		require.NoError(t, err)
		require.Equal(t, moment == 4 || moment == 5, state.Muted, moment)
	}
}

// What is said again is not kept, nor what was said before the last word: nothing changes.
func TestMutesSaidAgain(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	a := asserting{t, open(t, url)}
	a.tell(receipt("u", "g", 3, 1), change(readstate.EventUnmuted, "g", 2, "u"))
	require.Equal(t, 1, journalRows(t, url), "it was not muted")
	a.tell(change(readstate.EventMuted, "g", 3, "u"), change(readstate.EventMuted, "g", 4, "u"), change(readstate.EventUnmuted, "g", 2, "u"))
	require.Equal(t, 2, journalRows(t, url))
	a.tell(change(readstate.EventUnmuted, "g", 6, "u"), change(readstate.EventMuted, "g", 5, "u"))
	require.Equal(t, 3, journalRows(t, url))
	require.False(t, a.muted("u"))
	rebuild(a, url)
	require.False(t, a.muted("u"))
}

// Both sums stop at the end of int64 by themselves.
func TestMutedSumsSaturate(t *testing.T) {
	t.Parallel()
	a := newAsserting(t)
	const most = 1<<63 - 1
	a.tell(receipt("u", "g", most, 1), receipt("u", "h", most, 2), receipt("u", "i", 2, 3))
	a.tell(change(readstate.EventMuted, "g", 4, "u"))
	require.Equal(t, [2]int64{most, most}, a.sums("u"))
	a.tell(change(readstate.EventMuted, "h", 5, "u"))
	require.Equal(t, [2]int64{most, 2}, a.sums("u"))
	badge, err := a.BadgeAt(t.Context(), "u", at(5))
	require.NoError(t, err)
	require.Equal(t, []int64{most, 2}, []int64{badge.UnreadCount, badge.UnreadCountUnmuted})
}

// Every list, in every order and over pages, gives what is muted, what is not, or both.
func TestMutedLists(t *testing.T) {
	t.Parallel()
	a := newAsserting(t)
	var muted, unmuted []string
	for n := range 7 {
		name := fmt.Sprint("n", n)
		a.tell(receipt("u", name, int64(n), 2*n), receipt(name, "g", int64(n), 2*n+1))
		if n%3 == 0 {
			muted = append(muted, name)
			a.tell(change(readstate.EventMuted, name, 20, "u"), change(readstate.EventMuted, "g", 20, name))
		} else {
			unmuted = append(unmuted, name)
		}
	}
	both := slices.Sorted(slices.Values(slices.Concat(muted, unmuted)))
	groups := func(page readstate.Page) ([]readstate.State, error) { return a.UserStates(t.Context(), "u", page) }
	users := func(page readstate.Page) ([]readstate.State, error) { return a.GroupStates(t.Context(), "g", page) }
	for _, order := range []readstate.Order{readstate.OrderKey, readstate.OrderUnread, readstate.OrderLastRead} {
		for _, test := range []struct {
			muted *bool
			want  []string
		}{{nil, both}, {new(true), muted}, {new(false), unmuted}} {
			byGroup := walk(t, readstate.Page{Order: order, Muted: test.muted}, groups, func(s readstate.State) string { return s.GroupID })
			byUser := walk(t, readstate.Page{Order: order, Muted: test.muted}, users, func(s readstate.State) string { return s.UserID })
			want := slices.Clone(test.want)
			if order != readstate.OrderKey { // the largest count is also the last one that was told
				slices.Reverse(want)
			}
			require.Equal(t, want, byGroup, order)
			require.Equal(t, want, byUser, order)
		}
	}
}

// walk gives the keys of a list, read in pages of two.
func walk(
	t *testing.T, page readstate.Page, read func(readstate.Page) ([]readstate.State, error), key func(readstate.State) string,
) (keys []string) {
	t.Helper()
	for page.Limit = 2; ; {
		list, err := read(page)
		require.NoError(t, err)
		for _, state := range list {
			require.True(t, page.Muted == nil || *page.Muted == state.Muted)
			keys = append(keys, key(state))
		}
		if len(list) < 2 {
			return keys
		}
		last := list[len(list)-1]
		page.After = readstate.Cursor{Key: key(last), UnreadCount: last.UnreadCount, LastReadAt: last.LastReadAt}
	}
}

// Sums are exact when all of their parts are, and a badge is pending when one of them is.
func TestExactSums(t *testing.T) {
	t.Parallel()
	a := newAsserting(t)
	type sums struct{ badge, pending, group bool }
	now := func() sums {
		badge, err := a.Badge(t.Context(), "u")
		require.NoError(t, err)
		sum, err := a.GroupSum(t.Context(), "g")
		require.NoError(t, err)
		return sums{badge.Exact, badge.Pending, sum.Exact}
	}
	a.tell(snapshot("u", "g", 9, 4, 1), snapshot("u", "h", 9, 5, 2), snapshot("v", "g", 9, 9, 3))
	require.Equal(t, sums{badge: true, group: true}, now())
	a.tell(receipt("v", "g", 2, 4))
	require.Equal(t, sums{badge: true}, now())
	a.tell(receipt("u", "h", 2, 5))
	require.Equal(t, sums{}, now())
	require.NoError(t, a.EnqueueLookups(t.Context(), []readstate.Pair{{UserID: "u", GroupID: "h"}}))
	require.Equal(t, sums{pending: true}, now(), "of one of the groups")
	badge, err := a.BadgeAt(t.Context(), "u", at(3))
	require.NoError(t, err)
	require.False(t, badge.Exact, "of the past nothing is")
}

// An erasure takes what is known of mutes with it, and OpenIM's word of them is not taken
// until a callback names the user again.
func TestEraseMutes(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	a := asserting{t, open(t, url)}
	const user = "erased-user"
	a.tell(receipt(user, "g", 3, 1), change(readstate.EventMuted, "g", 2, user), change(readstate.EventUnmuted, "g", 3, user), change(readstate.EventMuted, "g", 4, user))
	_, err := a.EraseUser(t.Context(), user)
	require.NoError(t, err)
	require.Zero(t, journalRows(t, url))
	nowhere(t, url, user)
	after := later()
	a.tell(change(readstate.EventMuted, "g", after, user))
	nowhere(t, url, user)
	a.tell(receipt(user, "g", 1, after+1))
	require.False(t, a.muted(user))
	a.tell(change(readstate.EventMuted, "g", after+2, user))
	require.True(t, a.muted(user))
}

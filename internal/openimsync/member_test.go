package openimsync_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/readstate"
)

// ids gives n user IDs in order.
func ids(prefix string, n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("%s%04d", prefix, i))
	}
	return list
}

// users gives the users of the committed events of a kind, and holds that all are about the
// group and have the given moment.
func users(t *testing.T, s *fakeStore, kind readstate.EventKind, at time.Time) (list []string) {
	t.Helper()
	for _, e := range s.events() {
		require.Equal(t, "g", e.GroupID)
		require.Equal(t, at.UTC(), e.At)
		require.NotZero(t, e.ID)
		if e.Kind == kind {
			list = append(list, e.UserID)
		}
	}
	return list
}

// Members without a state are listed, users with one who are no members are unlisted, and
// nobody else is told of.
func TestMembers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{hook: slow(time.Second)}
		for _, userID := range []string{"stays", "gone", "back", "away"} {
			s.know(userID, "g", 3, 4)
		}
		s.know("elsewhere", "h", 1, 2)
		s.left[pairOf("back", "g")], s.left[pairOf("away", "g")] = true, true
		s.untrusted[pairOf("erased", "g")] = true
		o.members = map[string][]string{"g": {"stays", "back", "new", "erased", "", "\x00", "\xff", strings.Repeat("x", 256)}}
		sync, _, _ := newSync(s, o)
		at := time.Now()
		members, err := sync.Members(t.Context(), "g")
		require.NoError(t, err)
		require.Equal(t, []string{"stays", "back", "new"}, members)
		require.Equal(t, []string{"back", "new"}, users(t, s, readstate.EventListed, at))
		require.Equal(t, []string{"gone"}, users(t, s, readstate.EventUnlisted, at))
		require.Len(t, s.events(), 3)
		require.True(t, s.batches[0].Fresh)
		require.Len(t, o.called(), 1, "a list of one page is read once")
		require.Empty(t, s.enqueued, "lookups are another's matter")
	})
}

// When the list and the states agree, nothing is committed.
func TestSameMembers(t *testing.T) {
	t.Parallel()
	s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": {"a", "b"}}}
	s.know("a", "g", 3, 4)
	s.know("b", "g", 3, 4)
	sync, _, _ := newSync(s, o)
	_, err := sync.Members(t.Context(), "g")
	require.NoError(t, err)
	require.Empty(t, s.batches)
}

// A list of several pages may miss a member: who is missing is unlisted when a second list
// says so, too.
func TestMissingTwice(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		members  int
		second   []string // listed when OpenIM is called again
		calls    int
		unlisted []string
	}{
		"one page":            {99, nil, 1, []string{"x", "y"}},
		"pages, missing":      {100, nil, 2, []string{"x", "y"}},
		"pages, one is there": {100, []string{"x"}, 2, []string{"y"}},
		"pages, all there":    {250, []string{"y", "x"}, 2, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				members := ids("m", test.members)
				s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": members}}
				for _, userID := range append([]string{"x", "y"}, members...) {
					s.know(userID, "g", 3, 4)
				}
				o.hook = func(_ context.Context, _ string, n int) error {
					if n == 2 {
						o.mu.Lock()
						o.members["g"] = append(slices.Clone(members), test.second...)
						o.mu.Unlock()
					}
					<-time.After(time.Second)
					return nil
				}
				sync, _, _ := newSync(s, o)
				at := time.Now()
				got, err := sync.Members(t.Context(), "g")
				require.NoError(t, err)
				require.Equal(t, members, got)
				require.Len(t, o.called(), test.calls)
				require.Equal(t, test.unlisted, users(t, s, readstate.EventUnlisted, at))
				require.Empty(t, users(t, s, readstate.EventListed, at))
			})
		})
	}
}

// Thousands of events are committed in parts, and states are read in pages.
func TestManyMembers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": ids("new", 2500)}}
		for _, userID := range ids("gone", 2500) {
			s.know(userID, "g", 3, 4)
		}
		sync, _, _ := newSync(s, o)
		at := time.Now()
		_, err := sync.Members(t.Context(), "g")
		require.NoError(t, err)
		require.Equal(t, ids("new", 2500), users(t, s, readstate.EventListed, at))
		require.Equal(t, ids("gone", 2500), users(t, s, readstate.EventUnlisted, at))
		require.Len(t, s.batches, 5)
		for _, batch := range s.batches {
			require.LessOrEqual(t, len(batch.Events), 1000)
		}
	})
}

// A group of which OpenIM lists nobody, that it does not know, or that is dismissed is left
// as it is; and nothing is changed by a Sync that only checks.
func TestMembersChangeNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		members   []string
		unknown   bool
		dismissed bool
		checkOnly bool
		want      []string
	}{
		"nobody":     {},
		"unknown":    {members: []string{"a"}, unknown: true},
		"dismissed":  {members: []string{"a"}, dismissed: true, want: []string{"a"}},
		"check only": {members: []string{"a", "\x00", "erased"}, checkOnly: true, want: []string{"a"}},
		"unstorable": {members: []string{"\x00"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": test.members}}
			s.know("gone", "g", 3, 4)
			s.untrusted[pairOf("erased", "g")] = true
			s.dismissed["g"] = test.dismissed
			if test.unknown {
				o.hook = func(context.Context, string, int) error { return errUnknown }
			}
			sync, _, _ := newSync(s, o)
			if test.checkOnly {
				sync, _, _ = newSync(s, o, checkOnly)
			}
			members, err := sync.Members(t.Context(), "g")
			require.NoError(t, err)
			require.ElementsMatch(t, test.want, members)
			require.Empty(t, s.batches)
			require.Len(t, o.called(), 1)
		})
	}
}

// When a step fails nothing is concluded from the others.
func TestMembersFail(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"first call", "second call", "FilterTrusted", "Dismissed", "GroupStates", "Commit"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": ids("m", 100)}}
			s.know("gone", "g", 3, 4)
			s.fault = func(_ context.Context, method string) error {
				if method == where {
					return errFault
				}
				return nil
			}
			o.hook = func(_ context.Context, _ string, n int) error {
				if n == 1 && where == "first call" || n == 2 && where == "second call" {
					return errFault
				}
				return nil
			}
			sync, _, _ := newSync(s, o)
			members, err := sync.Members(t.Context(), "g")
			require.ErrorIs(t, err, errFault)
			require.Nil(t, members)
			require.Empty(t, s.batches)
		})
	}
}

package openimsync_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/openim/client"
	"readmark/internal/openimsync"
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
		require.NotZero(t, e.ID)
		if e.Kind == kind {
			require.Equal(t, at.UTC(), e.At)
			list = append(list, e.UserID)
		}
	}
	return list
}

// asMembers stores states of users in the group g, and has OpenIM list them.
func asMembers(s *fakeStore, o *fakeOpenIM, userIDs ...string) {
	for _, userID := range userIDs {
		s.know(userID, "g", 3, 4)
	}
	o.members = map[string][]string{"g": userIDs}
}

// Members without a state are listed, and nobody else is told of: whoever has a state and is
// missing waits for a second look.
func TestMembers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{hook: slow(time.Second)}
		for _, userID := range []string{"stays", "gone", "back", "away"} {
			s.know(userID, "g", 3, 4)
		}
		s.know("elsewhere", "h", 1, 2)
		s.leave("back", "g")
		s.leave("away", "g")
		s.untrusted[pairOf("erased", "g")] = true
		o.members = map[string][]string{"g": {"stays", "back", "new", "erased", "", "\x00", "\xff", strings.Repeat("x", 256)}}
		sync, _, _ := newSync(s, o)
		at := time.Now()
		members, err := sync.Members(t.Context(), "g")
		require.NoError(t, err)
		require.Equal(t, []string{"stays", "back", "new"}, members)
		require.Equal(t, []string{"back", "new"}, users(t, s, readstate.EventListed, at))
		require.Len(t, s.events(), 2)
		require.True(t, s.batches[0].Fresh)
		require.Equal(t, []string{"gone"}, o.called()[2].ids, "only who is shown and missing is asked for")
		require.Len(t, o.called(), 3, "the list, the status, who is missing")
		require.Empty(t, s.enqueued, "lookups are another's matter")
		started := time.Now()
		require.NoError(t, sync.Settle(t.Context()))
		require.Equal(t, 10*time.Second+3*time.Second, time.Since(started))
		require.Equal(t, []string{"gone"}, users(t, s, readstate.EventUnlisted, started.Add(12*time.Second)))
		require.Len(t, s.events(), 4, "this fake keeps who is listed without a state")
	})
}

// When the list and the states agree, nothing is committed.
func TestSameMembers(t *testing.T) {
	t.Parallel()
	s, o := newStore(), &fakeOpenIM{}
	asMembers(s, o, "a", "b")
	sync, _, _ := newSync(s, o)
	_, err := sync.Members(t.Context(), "g")
	require.NoError(t, err)
	require.Empty(t, s.batches)
	require.Zero(t, o.asked("who of g"))
	require.NoError(t, sync.Settle(t.Context()))
	require.Equal(t, 1, o.asked("members of g"))
}

// Thousands of events are committed in parts, and states are read in pages.
func TestManyMembers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{}
		asMembers(s, o, ids("gone", 2500)...)
		o.members["g"] = ids("new", 2500)
		for _, userID := range ids("new", 2500) {
			s.know(userID, "g", 3, 4)
			s.leave(userID, "g")
		}
		sync, _, _ := newSync(s, o)
		at := time.Now()
		_, err := sync.Members(t.Context(), "g")
		require.NoError(t, err)
		require.NoError(t, sync.Settle(t.Context()))
		require.Equal(t, ids("new", 2500), users(t, s, readstate.EventListed, at))
		require.Equal(t, ids("gone", 2500), users(t, s, readstate.EventUnlisted, at.Add(20*time.Second)))
		require.Len(t, s.batches, 6)
		for _, batch := range s.batches {
			require.LessOrEqual(t, len(batch.Events), 1000)
		}
	})
}

// A dismissed group is left as it is when a list has members; and nothing is changed, nor
// looked at again, by a Sync that only checks.
func TestMembersChangeNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		members   []string
		status    client.GroupStatus
		dismissed bool
		checkOnly bool
		want      []string
		calls     int
	}{
		"dismissed, by a callback":      {[]string{"a"}, client.GroupAlive, true, false, []string{"a"}, 2},
		"check only":                    {[]string{"a", "\x00", "erased"}, client.GroupAlive, false, true, []string{"a"}, 1},
		"check only, nobody":            {nil, client.GroupDismissed, false, true, nil, 1},
		"nobody, a dismissal was known": {nil, client.GroupDismissed, true, false, nil, 1},
		"nobody in a group that lives":  {nil, client.GroupAlive, false, false, nil, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, o := newStore(), &fakeOpenIM{
				members: map[string][]string{"g": test.members}, status: map[string]client.GroupStatus{"g": test.status},
			}
			s.know("gone", "g", 3, 4)
			s.untrusted[pairOf("erased", "g")] = true
			if test.dismissed {
				s.dismiss("g")
			}
			sync, _, _ := newSync(s, o, func(o *openimsync.Options) { o.CheckOnly = test.checkOnly })
			members, err := sync.Members(t.Context(), "g")
			require.NoError(t, err)
			require.ElementsMatch(t, test.want, members)
			require.NoError(t, sync.Settle(t.Context()))
			require.Empty(t, s.batches)
			require.Len(t, o.called(), test.calls)
		})
	}
}

// When a step fails nothing is concluded from the others.
func TestMembersFail(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"members of g", "status of g", "who of g", "FilterTrusted", "GroupPositions", "GroupStates", "Commit"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			s, o := newStore(), &fakeOpenIM{}
			asMembers(s, o, "gone")
			o.members["g"] = ids("m", 100)
			s.fault = func(_ context.Context, method string) error {
				if method == where {
					return errFault
				}
				return nil
			}
			o.hook = func(_ context.Context, id string, _ int) error {
				if id == where {
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

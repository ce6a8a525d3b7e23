package openimsync_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/openimsync"
	"readmark/internal/readstate"
)

// isMuted reports whether a user is known to have muted a group.
func (s *fakeStore) isMuted(userID, groupID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.states[pairOf(userID, groupID)]
	return state.Muted()
}

// keptMutes gives how many mutes changed something.
func (s *fakeStore) keptMutes() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.kept {
		if e.Kind == readstate.EventMuted || e.Kind == readstate.EventUnmuted {
			n++
		}
	}
	return n
}

// A comparison learns what is muted, and what is not any more, of a user's known groups; what
// stays is not kept again.
func TestMutesAreCompared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{muted: map[string][]string{"u": {"g", "elsewhere"}}}
		for _, groupID := range []string{"g", "h"} {
			s.know("u", groupID, 1, 9)
			o.set("u", groupID, 9, 8)
		}
		sync, registry, _ := newSync(s, o)
		compare := func(g, h bool, kept int) {
			t.Helper()
			_, err := sync.User(t.Context(), "u")
			require.NoError(t, err)
			require.Equal(t, []bool{g, h}, []bool{s.isMuted("u", "g"), s.isMuted("u", "h")})
			require.False(t, s.isMuted("u", "elsewhere"))
			require.Equal(t, kept, s.keptMutes())
			wait(time.Hour - time.Minute) // a sweep's check may come early
		}
		compare(true, false, 1)
		compare(true, false, 1)
		o.change(func() { o.mutesAll = map[string]bool{"u": true} })
		compare(true, true, 2)
		o.change(func() { o.mutesAll = nil })
		compare(true, false, 3)
		o.change(func() { o.muted = nil })
		compare(false, false, 4)
		require.Equal(t, 10, o.askedMutes(), "two calls each")
		require.Equal(t, 5, value(t, registry, "readmark_mute_lookups_total"))
		require.Zero(t, value(t, registry, "readmark_mute_lookup_failures_total"))
	})
}

// A Sync that only checks asks for no mutes, and nobody asks of whom nothing is known.
func TestMutesAreNotAskedFor(t *testing.T) {
	t.Parallel()
	s, o := newStore(), &fakeOpenIM{muted: map[string][]string{"u": {"g"}}}
	sync, _, _ := newSync(s, o)
	_, err := sync.User(t.Context(), "nobody")
	require.NoError(t, err)
	s.know("u", "g", 1, 9)
	o.set("u", "g", 9, 8)
	sync, _, _ = newSync(s, o, checkOnly)
	_, err = sync.User(t.Context(), "u")
	require.NoError(t, err)
	require.Zero(t, o.askedMutes())
	require.False(t, s.isMuted("u", "g"))
}

// However often a user is compared, it is asked about once an hour what is muted, of each user
// and by each process. A group that has come since is muted from then on.
func TestMutesAreHourly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{mutesAll: map[string]bool{"u": true}}
		for _, userID := range []string{"u", "v"} {
			s.know(userID, "g", 1, 9)
			o.set(userID, "g", 9, 8)
		}
		sync, registry, _ := newSync(s, o)
		compare := func(sync *openimsync.Sync, userID string, asked int) {
			t.Helper()
			_, err := sync.User(t.Context(), userID)
			require.NoError(t, err)
			require.Equal(t, asked, o.askedMutes())
		}
		compare(sync, "u", 2)
		require.True(t, s.isMuted("u", "g"))
		s.know("u", "new", 1, 9)
		o.set("u", "new", 9, 8)
		for range 5 {
			wait(10 * time.Minute)
			compare(sync, "u", 2)
		}
		require.False(t, s.isMuted("u", "new"), "within the hour")
		compare(sync, "v", 4)
		wait(10 * time.Minute)
		compare(sync, "u", 6)
		require.True(t, s.isMuted("u", "new"))
		require.Equal(t, 3, value(t, registry, "readmark_mute_lookups_total"))
		o.change(func() { o.mutesAll = nil })
		another, _, _ := newSync(s, o)
		compare(another, "u", 8)
		require.False(t, s.isMuted("u", "g"), "as reconcile does")
	})
}

// Lookups do not ask: calls for each receipt stay few.
func TestLookupsDoNotAskForMutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{mutesAll: map[string]bool{"u": true}}
		o.set("u", "g", 9, 8)
		sync, _, _ := newSync(s, o)
		end := start(t, sync.Run)
		defer end()
		s.queue(pairOf("u", ""), time.Time{})
		wait(time.Minute)
		require.Zero(t, s.waiting())
		require.Zero(t, o.askedMutes())
		require.False(t, s.isMuted("u", "g"))
		_, err := sync.User(t.Context(), "u")
		require.NoError(t, err)
		require.True(t, s.isMuted("u", "g"))
	})
}

// While OpenIM does not tell what is muted no comparison fails, or waits for each user anew,
// and what was known stays. The next comparison asks again.
func TestMutesThatFail(t *testing.T) {
	t.Parallel()
	for name, hook := range map[string]func(context.Context, string, int) error{
		"it hangs":   slow(time.Hour),
		"it refuses": func(context.Context, string, int) error { return errFault },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, o := newStore(), &fakeOpenIM{muteHook: hook}
				sync, registry, log := newSync(s, o)
				for n := range 40 {
					s.know(fmt.Sprint("u", n), "g", 1, 9)
					o.set(fmt.Sprint("u", n), "g", 9, 8)
				}
				s.change(pairOf("u0", "g"), func(state *readstate.ReadState, _ *readstate.GroupPosition) { state.MutedAt = time.Now() })
				before := time.Now()
				for n := range 40 {
					_, err := sync.User(t.Context(), fmt.Sprint("u", n))
					require.NoError(t, err)
				}
				require.LessOrEqual(t, time.Since(before), time.Minute)
				require.Equal(t, 1, o.askedMutes(), "of the first user")
				require.True(t, s.isMuted("u0", "g"))
				require.NotContains(t, log.String(), "level=WARN")
				wait(time.Minute)
				o.muteHook = nil
				_, err := sync.User(t.Context(), "u0")
				require.NoError(t, err)
				require.False(t, s.isMuted("u0", "g"), "OpenIM tells again")
				require.Equal(t, 2, value(t, registry, "readmark_mute_lookups_total"))
				require.Equal(t, 1, value(t, registry, "readmark_mute_lookup_failures_total"))
			})
		})
	}
}

// A server that does not know a path is asked for it once an hour; that is no failure, and
// the other path goes on.
func TestServerWithoutMutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{noPath: map[string]bool{"mutes": true}, mutesAll: map[string]bool{"u": true}}
		for _, userID := range []string{"u", "v", "w"} {
			s.know(userID, "g", 1, 9)
			o.set(userID, "g", 9, 8)
		}
		sync, registry, _ := newSync(s, o)
		compare := func(userIDs ...string) {
			for _, userID := range userIDs {
				_, err := sync.User(t.Context(), userID)
				require.NoError(t, err)
			}
		}
		compare("u", "v", "w")
		require.True(t, s.isMuted("u", "g"))
		require.Equal(t, 4, o.askedMutes(), "three users, and once what is muted")
		require.Zero(t, value(t, registry, "readmark_mute_lookup_failures_total"))
		o.change(func() { o.noPath["user"] = true })
		wait(time.Hour - time.Second)
		compare("u", "v", "w")
		require.Equal(t, 5, o.askedMutes())
		require.Equal(t, 3, value(t, registry, "readmark_mute_lookups_total"), "no call, no more")
		require.True(t, s.isMuted("u", "g"), "nobody said otherwise")
		wait(time.Hour)
		o.change(func() { o.noPath, o.muted = nil, map[string][]string{"v": {"g"}} })
		compare("v")
		require.True(t, s.isMuted("v", "g"), "after an upgrade")
	})
}

// Of who was erased nothing is learnt.
func TestMutesOfErased(t *testing.T) {
	t.Parallel()
	s, o := newStore(), &fakeOpenIM{mutesAll: map[string]bool{"u": true}}
	for _, groupID := range []string{"g", "h"} {
		s.know("u", groupID, 1, 9)
		o.set("u", groupID, 9, 8)
	}
	s.untrusted[pairOf("u", "h")] = true
	sync, _, _ := newSync(s, o)
	_, err := sync.User(t.Context(), "u")
	require.NoError(t, err)
	require.True(t, s.isMuted("u", "g"))
	require.False(t, s.isMuted("u", "h"))
}

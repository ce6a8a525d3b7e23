package openimsync_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

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
			wait(time.Second)
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

// Lookups ask at most once an hour for each user, and an hour later they do again.
func TestMutesOfLookupsAreHourly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{muted: map[string][]string{"u": {"g"}}}
		o.set("u", "g", 9, 8)
		o.set("v", "g", 9, 8)
		sync, _, _ := newSync(s, o)
		end := start(t, sync.Run)
		defer end()
		look := func(pairs ...readstate.Pair) {
			for _, pair := range pairs {
				s.queue(pair, time.Time{})
			}
			wait(time.Second)
			require.Zero(t, s.waiting())
		}
		look(pairOf("u", ""))
		require.True(t, s.isMuted("u", "g"))
		require.Equal(t, 2, o.askedMutes())
		o.change(func() { o.muted = nil })
		for range 50 {
			look(pairOf("u", ""), pairOf("u", "g"))
		}
		require.True(t, s.isMuted("u", "g"), "within the hour")
		require.Equal(t, 2, o.askedMutes())
		look(pairOf("v", "g"))
		require.Equal(t, 4, o.askedMutes(), "another user")
		wait(time.Hour)
		require.Equal(t, 4, o.askedMutes(), "no lookup came")
		look(pairOf("u", "g"))
		require.Equal(t, 6, o.askedMutes())
		require.False(t, s.isMuted("u", "g"))
	})
}

// A group that is new to who has muted everything is muted at once, without a call.
func TestNewGroupOfWhoMutesEverything(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{mutesAll: map[string]bool{"u": true}}
		o.set("u", "g", 9, 8)
		o.set("v", "g", 9, 8)
		sync, _, _ := newSync(s, o)
		end := start(t, sync.Run)
		defer end()
		s.queue(pairOf("u", ""), time.Time{})
		s.queue(pairOf("v", ""), time.Time{})
		wait(time.Minute)
		o.set("u", "new", 3, 0)
		o.set("v", "new", 3, 0)
		s.queue(pairOf("u", "new"), time.Time{})
		s.queue(pairOf("v", "new"), time.Time{})
		wait(time.Second)
		require.True(t, s.isMuted("u", "g"))
		require.True(t, s.isMuted("u", "new"))
		require.False(t, s.isMuted("v", "new"))
		require.Equal(t, 4, o.askedMutes())
	})
}

// While OpenIM does not tell what is muted, counts come as ever, no lookup fails or waits, and
// what was known stays.
func TestMutesDoNotDelayCounts(t *testing.T) {
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
				s.know("u0", "g", 1, 9)
				s.change(pairOf("u0", "g"), func(state *readstate.ReadState, _ *readstate.GroupPosition) { state.MutedAt = time.Now() })
				for n := range 40 {
					o.set(fmt.Sprint("u", n), "g", 9, 8)
					s.queue(pairOf(fmt.Sprint("u", n), ""), time.Time{})
				}
				end := start(t, sync.Run)
				wait(2 * time.Second)
				require.Zero(t, s.waiting())
				end()
				require.True(t, s.isMuted("u0", "g"))
				require.Zero(t, s.givenBack())
				require.Zero(t, value(t, registry, "readmark_lookup_failures_total"))
				require.NotContains(t, log.String(), "level=WARN")
				asked, before := o.askedMutes(), time.Now()
				for n := range 40 { // nor do comparisons fail, or wait for each user anew
					_, err := sync.User(t.Context(), fmt.Sprint("u", n))
					require.NoError(t, err)
				}
				require.LessOrEqual(t, time.Since(before), time.Minute)
				require.LessOrEqual(t, o.askedMutes()-asked, 2)
				wait(2 * time.Minute)
				o.muteHook, o.muted = nil, nil
				_, err := sync.User(t.Context(), "u0")
				require.NoError(t, err)
				require.False(t, s.isMuted("u0", "g"), "OpenIM tells again")
				require.NotZero(t, value(t, registry, "readmark_mute_lookup_failures_total"))
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
		compare("u", "v", "w")
		require.Equal(t, 5, o.askedMutes())
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

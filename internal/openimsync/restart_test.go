package openimsync_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// While it is not settled whether a group's seqs began anew, no count of others is exact.
func TestDoubted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": {"owner", "a", "u"}}}
		for _, userID := range o.members["g"] {
			s.know(userID, "g", 7, 9)
		}
		o.set("u", "g", 4, 2)
		sync, _, _ := newSync(s, o)
		s.queue(pairOf("u", "g"), time.Time{})
		end := start(t, sync.Run)
		wait(time.Second)
		end()
		_, exact := s.shows("a")
		require.False(t, exact)
		got, _ := s.shows("u")
		require.EqualValues(t, 2, got, "up to the user's own highest seq")
	})
}

// Seqs that begin anew are found with the first answer, whoever's it is; every member's
// count follows, and a member who stays frozen at an old seq does not bring the old ones back.
func TestSeqsBeginAnew(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"owner", "a", "frozen"} {
		t.Run(first, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": {"owner", "a", "b", "frozen"}}}
				s.lookUps = true
				for _, userID := range o.members["g"] {
					s.know(userID, "g", 7, 57)
					o.set(userID, "g", 4, 1)
				}
				o.set("frozen", "g", 57, 50)
				sync, _, _ := newSync(s, o)
				end := start(t, sync.Run)
				s.queue(pairOf(first, "g"), time.Time{})
				wait(time.Second)
				if first == "frozen" {
					s.queue(pairOf("b", "g"), time.Time{}) // the one answer that tells
				}
				wait(time.Minute)
				for _, l := range s.enqueued { // the fake only notes them
					s.queue(l, time.Time{})
				}
				wait(time.Minute)
				end()
				shows(t, s, map[string]int64{"owner": 3, "a": 3, "b": 3})
				quiet(t, s, sync, "a", "b", "owner", "frozen", "a")
				got, _ := s.shows("frozen")
				require.Zero(t, got)
			})
		})
	}
}

// In a group without other members OpenIM has to say twice that seqs began anew, a second
// apart.
func TestSeqsBeginAnewOfOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": {"u"}}}
		s.lookUps = true
		s.know("u", "g", 7, 57)
		o.set("u", "g", 4, 1)
		sync, _, _ := newSync(s, o)
		started := time.Now()
		s.queue(pairOf("u", "g"), time.Time{})
		end := start(t, sync.Run)
		wait(time.Minute)
		end()
		shows(t, s, map[string]int64{"u": 3})
		last := s.events()[len(s.events())-1]
		require.True(t, last.Restarted)
		require.GreaterOrEqual(t, last.At.Sub(started), time.Second)
	})
}

package openimsync_test

import (
	"maps"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/readstate"
)

// A frozen member's answer does not make the owner's word, or anybody's, one's own: what all
// others say is the group's.
func TestOwnerLeapsWhileOneIsFrozen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": {"owner", "a", "frozen"}}}
		s.lookUps = true
		for _, userID := range o.members["g"] {
			s.know(userID, "g", 7, 100)
			o.set(userID, "g", 1000, 93) // callbacks were off
		}
		o.set("frozen", "g", 50, 40)
		sync, _, _ := newSync(s, o)
		end := start(t, sync.Run)
		s.queue(pairOf("frozen", "g"), time.Time{})
		wait(time.Minute)
		for range 2 {
			for _, userID := range []string{"owner", "a", "frozen"} {
				_, err := sync.User(t.Context(), userID)
				require.NoError(t, err)
			}
			wait(time.Minute)
		}
		end()
		shows(t, s, map[string]int64{"owner": 907, "a": 907})
		quiet(t, s, sync, "owner", "a", "frozen")
	})
}

// The one member of a group may have an endless highest seq: that is the member's own, and
// no doubt stays.
func TestEndlessAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": {"u"}}}
		s.lookUps = true
		s.know("u", "g", 7, 9)
		o.set("u", "g", math.MaxInt64, 2)
		sync, _, _ := newSync(s, o)
		end := start(t, sync.Run)
		s.queue(pairOf("u", "g"), time.Time{})
		wait(time.Hour)
		end()
		require.Zero(t, s.waiting())
		require.Less(t, len(o.called()), 20)
		shows(t, s, map[string]int64{"u": 7})
		quiet(t, s, sync, "u")
	})
}

// A server that lacks a path does not keep a lookup failing for ever.
func TestLackingPaths(t *testing.T) {
	t.Parallel()
	for _, members := range [][]string{nil, {}, {"a"}, {"owner", "u"}, {"u"}} {
		synctest.Test(t, func(t *testing.T) {
			s := newStore()
			s.lookUps = true
			o := &fakeOpenIM{members: map[string][]string{"g": members}, noPath: map[string]bool{
				"who of g": true, "status of g": true, "groups of u": true, "groups of a": true,
			}}
			s.know("u", "g", 7, 57)
			s.know("a", "g", 7, 57)
			s.change(pairOf("a", "g"), func(state *readstate.ReadState, _ *readstate.GroupPosition) {
				state.LeftAt = time.Now().Add(-time.Minute).UTC()
			})
			o.set("u", "g", 4, 2)
			o.set("a", "g", 4, 2)
			sync, _, _ := newSync(s, o)
			end := start(t, sync.Run)
			s.queue(pairOf("u", "g"), time.Time{})
			s.queue(pairOf("a", "g"), time.Time{})
			s.queue(readstate.Pair{GroupID: "g"}, time.Time{})
			wait(time.Hour)
			end()
			require.Less(t, len(o.called()), 60, "%v", members)
			require.Zero(t, s.waiting(), "%v", members)
		})
	}
}

// The first member of a group who is asked about may be frozen: the owner's answer tells.
func TestFirstContactIsFrozen(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"lookup", "comparison"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": {"owner", "a", "frozen"}}}
				s.lookUps = true
				for _, userID := range o.members["g"] {
					o.set(userID, "g", 9, 2)
				}
				o.set("frozen", "g", 6, 2)
				sync, _, _ := newSync(s, o)
				end := start(t, sync.Run)
				for _, userID := range []string{"frozen", "a", "owner"} {
					if by == "lookup" {
						s.queue(pairOf(userID, ""), time.Time{})
						wait(time.Second)
						continue
					}
					_, err := sync.User(t.Context(), userID)
					require.NoError(t, err)
				}
				wait(time.Minute)
				end()
				shows(t, s, map[string]int64{"frozen": 4, "a": 7, "owner": 7})
				quiet(t, s, sync, "frozen", "a", "owner")
			})
		})
	}
}

// The owner, whom OpenIM never freezes, decides which seqs are the group's: as a witness, and
// against one other member.
func TestOwnerDecides(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		members []string
		first   string
	}{
		"as a witness": {[]string{"owner", "a", "frozen"}, "a"}, "against one": {[]string{"owner", "frozen"}, "owner"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": test.members}}
				s.lookUps = true
				want := map[string]int64{}
				for _, userID := range test.members {
					s.know(userID, "g", 7, 57)
					o.set(userID, "g", 4, 1)
					want[userID] = 3
				}
				o.set("frozen", "g", 57, 50) // nobody knows yet that it is
				delete(want, "frozen")
				sync, _, _ := newSync(s, o)
				end := start(t, sync.Run)
				s.queue(pairOf(test.first, "g"), time.Time{})
				wait(time.Minute)
				for _, pair := range s.enqueued {
					s.queue(pair, time.Time{})
				}
				wait(time.Minute)
				end()
				shows(t, s, want)
				s.mu.Lock()
				defer s.mu.Unlock()
				require.EqualValues(t, 4, s.positions["g"].MaxSeq, "the group's, and not only a cap of theirs")
			})
		})
	}
}

// Since v3.7 OpenIM answers with zeros for a group that it does not know and that is asked for
// by its ID: that is no answer.
func TestZerosAreNoAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": {"u"}}}
		s.know("u", "g", 7, 57)
		o.set("u", "g", 0, 0)
		s.queue(pairOf("u", "g"), time.Time{})
		sync, _, _ := newSync(s, o)
		end := start(t, sync.Run)
		wait(time.Minute)
		end()
		require.Empty(t, s.events())
		shows(t, s, map[string]int64{"u": 7})
	})
}

// What a reader waits for is not in the background; the sweep and lookups of members are.
func TestBackground(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": {"reader", "member"}}}
		for _, userID := range []string{"reader", "member", "swept"} {
			s.know(userID, "g", 7, 57)
			o.set(userID, "g", 57, 50)
		}
		s.mu.Lock()
		s.enqueue(readstate.Lookup{Pair: pairOf("reader", "g"), DueAt: time.Now()})
		s.enqueue(readstate.Lookup{Pair: pairOf("member", "g"), DueAt: time.Now(), Background: true})
		s.checks[readstate.Pair{UserID: "swept"}] = time.Now()
		s.mu.Unlock()
		sync, _, _ := newSync(s, o)
		endRun, endSweep := start(t, sync.Run), start(t, sync.Sweep)
		wait(time.Second)
		endRun()
		endSweep()
		seen := map[string]bool{}
		for _, c := range o.called() {
			seen[c.id] = true
			require.Equal(t, c.id != "reader", c.background, c.id)
		}
		require.Subset(t, slices.Collect(maps.Keys(seen)), []string{"reader", "member", "swept"})
	})
}

// Where the server cannot be asked for users one by one, who has left is missing in three
// complete lists.
func TestMissingThreeTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{noPath: map[string]bool{"who of g": true}}
		asMembers(s, o, "stays", "gone")
		o.members["g"] = []string{"stays"}
		sync, _, _ := newSync(s, o)
		for look := 1; look <= 3; look++ {
			_, err := sync.Members(t.Context(), "g")
			require.NoError(t, err)
			require.Equal(t, look == 3, s.hasLeft(pairOf("gone", "g")), "look %d", look)
			wait(10 * time.Second)
		}
	})
}

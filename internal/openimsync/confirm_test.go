package openimsync_test

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/openimsync"
	"readmark/internal/readstate"
)

// quiet holds that one more comparison of each user finds nothing and commits nothing.
func quiet(t *testing.T, s *fakeStore, sync *openimsync.Sync, userIDs ...string) {
	t.Helper()
	before := len(s.events())
	for _, userID := range userIDs {
		d, err := sync.User(t.Context(), userID)
		require.NoError(t, err)
		require.Zero(t, d.Off, "%s: %+v", userID, d)
	}
	require.Len(t, s.events(), before, "what is settled is not committed again")
}

// shows holds counts in the group g against those given, and that they are exact.
func shows(t *testing.T, s *fakeStore, want map[string]int64) {
	t.Helper()
	for userID, count := range want {
		got, exact := s.shows(userID)
		require.Equal(t, count, got, userID)
		require.True(t, exact, userID)
	}
}

// A member whom OpenIM shows another highest seq than the group's is capped, and nobody else
// is touched: neither by a comparison nor by a lookup, in whatever order.
func TestOwnMaxSeq(t *testing.T) {
	t.Parallel()
	for name, frozen := range map[string]struct{ maxSeq, count int64 }{
		"frozen": {6, 4}, "above, by little": {57, 7}, "endless": {math.MaxInt64, 7}, "leapt": {9_000_000, 7}, "nothing": {0, 0},
	} {
		for _, by := range []string{"lookup", "comparison", "all, compared"} {
			t.Run(name+", by "+by, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newStore()
					s.lookUps = true
					o := &fakeOpenIM{members: map[string][]string{"g": {"owner", "a", "b", "frozen"}}}
					want := map[string]int64{"frozen": frozen.count}
					for _, userID := range o.members["g"] {
						s.know(userID, "g", 7, 9)
						o.set(userID, "g", 9, 2)
						if userID != "frozen" {
							want[userID] = 7
						}
					}
					if name == "above, by little" { // OpenIM began anew before, where frozen ones stayed
						s.change(pairOf("a", "g"), func(_ *readstate.ReadState, p *readstate.GroupPosition) { p.RestartedFrom = 57 })
					}
					o.set("frozen", "g", frozen.maxSeq, 2)
					sync, _, _ := newSync(s, o)
					end := start(t, sync.Run)
					switch by {
					case "lookup":
						s.queue(pairOf("frozen", ""), time.Time{})
					case "all, compared":
						for userID := range want {
							_, err := sync.User(t.Context(), userID)
							require.NoError(t, err)
						}
					default:
						_, err := sync.User(t.Context(), "frozen")
						require.NoError(t, err)
					}
					wait(time.Minute)
					end()
					require.Zero(t, s.waiting())
					shows(t, s, want)
					quiet(t, s, sync, "frozen", "a", "owner", "b", "frozen")
					// It is over when OpenIM says so.
					o.set("frozen", "g", 9, 3)
					_, err := sync.User(t.Context(), "frozen")
					require.NoError(t, err)
					shows(t, s, map[string]int64{"frozen": 6, "a": 7})
				})
			})
		}
	}
}

// Who is frozen at a seq that is not known yet agrees with what is known of the group, as long
// as nobody has asked another member. The owner is compared first, so that nothing is off
// in the next run.
func TestFrozenAhead(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"group", "all", "sweep"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": {"frozen", "a", "owner"}}}
				for _, userID := range o.members["g"] {
					s.know(userID, "g", 7, 9)
					o.set(userID, "g", 12, 2)
				}
				o.set("frozen", "g", 11, 2)
				sync, _, _ := newSync(s, o)
				switch by {
				case "group":
					_, err := sync.Group(t.Context(), "g")
					require.NoError(t, err)
				case "all":
					d, err := sync.Position(t.Context(), "g")
					require.NoError(t, err)
					require.EqualValues(t, 1, d.Repaired)
					require.Zero(t, d.Pairs)
				default:
					s.checks[readstate.Pair{GroupID: "g"}] = time.Time{}
					for _, userID := range o.members["g"] {
						s.checks[readstate.Pair{UserID: userID}] = time.Now().Add(time.Hour)
					}
					end := start(t, sync.Sweep)
					wait(time.Minute)
					end()
				}
				for _, userID := range o.members["g"] {
					_, err := sync.User(t.Context(), userID)
					require.NoError(t, err)
				}
				shows(t, s, map[string]int64{"frozen": 9, "a": 10, "owner": 10})
				quiet(t, s, sync, "frozen", "a", "owner")
			})
		})
	}
}

// OpenIM has to say twice, a second apart, that less is read than was known: by lookups or
// in a comparison. What it takes back counts for nothing.
func TestReadSeqFalls(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"lookup", "comparison", "taken back"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": {"u"}}}
				s.lookUps = true
				s.know("u", "g", -4, 5) // read up to 9 of 5
				o.set("u", "g", 8, 5)
				sync, _, _ := newSync(s, o)
				end := start(t, sync.Run)
				started := time.Now()
				if by == "comparison" {
					d, err := sync.User(t.Context(), "u")
					require.NoError(t, err)
					require.Equal(t, readstate.Difference{Pairs: 1, Off: 1, Repaired: 1, Largest: 3}, d)
				} else {
					s.queue(pairOf("u", "g"), time.Time{})
					wait(500 * time.Millisecond)
					got, exact := s.shows("u")
					require.Zero(t, got)
					require.False(t, exact, "it is in doubt")
					if by == "taken back" {
						o.set("u", "g", 8, 9)
					}
					wait(10 * time.Second)
				}
				end()
				want := int64(3)
				if by == "taken back" {
					want = 0
				}
				shows(t, s, map[string]int64{"u": want})
				last := s.events()[len(s.events())-1]
				require.Equal(t, by != "taken back", last.AllowReadDecrease)
				require.GreaterOrEqual(t, last.At.Sub(started), time.Second)
				quiet(t, s, sync, "u")
			})
		})
	}
}

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

// A member who is frozen at what is known does not see what is stored: others are asked in turn.
func TestFrozenWitness(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": {"a", "owner"}}}
		s.lookUps = true
		for _, userID := range o.members["g"] {
			s.know(userID, "g", 0, 9)
			o.set(userID, "g", 9, 9)
		}
		s.change(pairOf("a", "g"), func(_ *readstate.ReadState, p *readstate.GroupPosition) {
			now := time.Now().UTC()
			p.Unsequenced, p.UnsequencedSince, p.UnsequencedAt = 1, now, now
		})
		o.set("owner", "g", 10, 9)
		s.queue(pairOf("a", "g"), time.Now().Add(time.Second))
		sync, _, _ := newSync(s, o)
		end := start(t, sync.Run)
		wait(time.Minute)
		end()
		require.Zero(t, s.waiting())
		got, exact := s.shows("owner")
		require.EqualValues(t, 1, got)
		require.True(t, exact)
	})
}

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

// While OpenIM has not stored what was announced, it is asked again after growing pauses;
// after ten minutes the messages are given up.
func TestStoredLate(t *testing.T) {
	t.Parallel()
	for name, stored := range map[string]time.Duration{"after 5 s": 5 * time.Second, "after 3 min": 3 * time.Minute, "never": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": {"u", "v"}}}
				s.lookUps = true
				s.know("u", "g", 0, 9)
				s.know("v", "g", 0, 9)
				o.set("u", "g", 9, 9)
				o.set("v", "g", 9, 9)
				s.change(pairOf("u", "g"), func(_ *readstate.ReadState, p *readstate.GroupPosition) {
					now := time.Now().UTC()
					p.Unsequenced, p.UnsequencedSince, p.UnsequencedAt = 1, now, now
				})
				s.queue(pairOf("v", "g"), time.Now().Add(time.Second))
				sync, _, _ := newSync(s, o)
				end := start(t, sync.Run)
				check := func(want int64, wantExact bool) {
					t.Helper()
					got, exact := s.shows("u")
					require.Equal(t, want, got)
					require.Equal(t, wantExact, exact)
				}
				wait(4 * time.Second)
				check(1, false)
				if stored > 0 {
					wait(stored - 4*time.Second)
					check(1, false)
					o.set("u", "g", 10, 9)
					o.set("v", "g", 10, 10)
					wait(stored + 2*time.Second)
					check(1, true)
				} else {
					wait(9 * time.Minute)
					check(1, false)
					wait(2 * time.Minute)
					check(0, true)
					lost := int64(0)
					for _, e := range s.kept {
						lost += e.NeverStored
					}
					require.EqualValues(t, 1, lost, "the journal says so")
					require.Less(t, o.asked("u")+o.asked("v"), 20)
					requirePauses(t, o)
				}
				wait(time.Hour)
				end()
				require.Zero(t, s.waiting())
			})
		})
	}
}

// requirePauses has some member asked about after growing pauses, and each minute in the end, in
// turns.
func requirePauses(t *testing.T, o *fakeOpenIM) {
	t.Helper()
	var last time.Time
	pause, asked := time.Second, map[string]int{}
	for _, c := range o.called() {
		if c.id != "u" && c.id != "v" {
			continue
		}
		asked[c.id]++
		if next := c.at.Sub(last); !last.IsZero() && next > 100*time.Millisecond { // what is queued beside is asked at once
			require.GreaterOrEqual(t, next+100*time.Millisecond, min(pause, time.Minute))
			require.LessOrEqual(t, next, 65*time.Second)
			pause = next
		}
		last = c.at
	}
	require.InDelta(t, time.Minute, pause, float64(time.Second))
	require.Greater(t, asked["u"], 3)
	require.Greater(t, asked["v"], 3)
}

// Who has left and is back without a callback is asked for as a member, once for each thing
// that such a user does; so is a sender of whom nothing is known, who may be an admin.
func TestOutsiders(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		left, member, message bool
		silent                bool // OpenIM has no conversation of the user in the group
		many                  bool // OpenIM is asked about all of the user's groups
		shown                 bool
	}{
		"back": {left: true, member: true, shown: true}, "away": {left: true}, "back, in all groups": {left: true, member: true, many: true, shown: true},
		"away, in all groups": {left: true, many: true}, "admin": {message: true}, "admin without a conversation": {message: true, silent: true}, "new member": {message: true, member: true, shown: true},
		"never heard of": {}, "listed nowhere": {many: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": {"owner"}, "h": {"owner", "u"}}}
				s.know("owner", "g", 0, 57)
				o.set("u", "h", 3, 1)
				if !test.silent {
					o.set("u", "g", 58, 40)
				}
				switch {
				case test.left:
					s.know("u", "g", 37, 57)
					s.leave("u", "g")
				case test.message:
					s.change(pairOf("u", "g"), func(state *readstate.ReadState, _ *readstate.GroupPosition) {
						at := time.Now().UTC()
						state.Estimate = readstate.Estimate{At: at, FirstAt: at, Read: 58, ByMessage: true}
					})
				}
				if test.member {
					o.members["g"] = []string{"owner", "u"}
				}
				pair := pairOf("u", "g")
				if test.many {
					pair.GroupID = ""
				}
				sync, _, _ := newSync(s, o)
				end := start(t, sync.Run)
				for range 3 {
					s.queue(pair, time.Time{})
					wait(20 * time.Second)
				}
				end()
				require.Equal(t, test.shown, s.shown(pairOf("u", "g")))
				require.LessOrEqual(t, o.asked("who of g")+o.asked("groups of u"), 1, "asked once")
				if test.shown {
					got, _ := s.shows("u")
					require.EqualValues(t, 18, got)
				}
			})
		})
	}
}

// A server that cannot be asked for single members is asked for the list.
func TestMembersOfAnOlderServer(t *testing.T) {
	t.Parallel()
	for _, member := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": {"owner"}}}
			if member {
				o.members["g"] = []string{"owner", "u"}
			}
			o.noPath = map[string]bool{"who of g": true}
			o.set("u", "g", 58, 40)
			sync, _, _ := newSync(s, o)
			s.queue(pairOf("u", "g"), time.Time{})
			end := start(t, sync.Run)
			wait(time.Second)
			end()
			require.Equal(t, member, s.shown(pairOf("u", "g")))
		})
	}
}

// A group whose ID is in use again after it was dismissed shows its new members.
func TestDismissedAndBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": {"u"}}}
		s.know("u", "g", 7, 57)
		s.dismiss("g")
		o.set("u", "g", 60, 40)
		sync, _, _ := newSync(s, o)
		wait(time.Second)
		s.queue(pairOf("u", ""), time.Time{})
		end := start(t, sync.Run)
		wait(time.Second)
		end()
		require.True(t, s.shown(pairOf("u", "g")))
	})
}

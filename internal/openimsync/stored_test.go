package openimsync_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/readstate"
)

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

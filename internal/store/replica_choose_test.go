package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Whatever replicas show, and whenever they go and come: the floor never goes back, every replica in use has it and is
// close to the freshest, and none is left out without a reason.
func TestSpread(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		epoch := time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC)
		newest := heartbeat{number: 1, at: epoch}
		list := make([]*standing, rapid.IntRange(1, 4).Draw(t, "replicas"))
		for i := range list {
			list[i] = &standing{}
		}
		var floor heartbeat
		for range rapid.IntRange(1, 40).Draw(t, "rounds") {
			newest = heartbeat{number: newest.number + 1, at: newest.at.Add(beatInterval)}
			for _, s := range list {
				back := rapid.Int64Range(0, min(8, newest.number-1)).Draw(t, "behind")
				shown := heartbeat{number: newest.number - back, at: newest.at.Add(-time.Duration(back) * beatInterval)}
				if s.has.before(shown) { // none un-replays
					s.has = shown
				}
				s.fits = rapid.IntRange(0, 9).Draw(t, "fits") > 0
				s.answers = rapid.IntRange(0, 9).Draw(t, "answers") > 0
				s.denied = rapid.IntRange(0, 9).Draw(t, "denied") == 0
			}
			before := floor
			behind := make([]bool, len(list))
			for i, s := range list {
				behind[i] = s.behind
			}
			floor = spread(list, floor)
			require.False(t, floor.before(before), "the floor goes back")
			var freshest time.Time
			permitted := false
			for _, s := range list {
				permitted = permitted || s.answers && s.readable(before) && !s.denied
			}
			able := func(s *standing) bool { return s.answers && s.readable(before) && (!s.denied || !permitted) }
			for _, s := range list {
				if able(s) && s.has.at.After(freshest) {
					freshest = s.has.at
				}
			}
			used, least := false, before
			for i, s := range list {
				if s.inUse && (!used || s.has.before(least)) {
					least = s.has
				}
				used = used || s.inUse
				gap := freshest.Sub(s.has.at)
				if s.inUse {
					require.True(t, gap <= behindLimit/2 || !behind[i], "%+v comes back too early", s)
					require.True(t, able(s) && s.readable(floor) && gap <= behindLimit, "%+v is in use at %+v", s, floor)
				} else {
					require.True(t, !able(s) || gap > behindLimit/2, "%+v is left out at %+v", s, floor)
				}
			}
			require.Equal(t, !freshest.IsZero(), used, "the freshest is in use")
			require.Equal(t, least, floor, "the newest that all in use have")
		}
	})
}

// Reads take turns over what is in use, each at the same rate, whichever others are left out. Who was not asked this
// question comes before who was; who is left out comes last; who must not be read never.
func TestChoose(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		list := make([]candidate, rapid.IntRange(1, 5).Draw(t, "replicas"))
		used, readable := 0, 0
		for i := range list {
			c := &list[i]
			c.readable = rapid.Bool().Draw(t, "readable")
			c.inUse = c.readable && rapid.Bool().Draw(t, "in use")
			c.turn = rapid.Uint64Range(0, 100).Draw(t, "turn")
			if c.inUse {
				used++
			}
			if c.readable {
				readable++
			}
		}
		if readable == 0 {
			require.Negative(t, choose(list))
			return
		}
		counts := make([]int, len(list))
		for turn := range uint64(60) {
			i := choose(list)
			list[i].turn = 1000 + turn
			counts[i]++
		}
		for i, n := range counts {
			switch {
			case list[i].inUse:
				require.Equal(t, 60/used, n)
			case used > 0 || !list[i].readable:
				require.Zero(t, n)
			}
		}
		for left := readable; left > 0; left-- { // a question that fails everywhere
			i := choose(list)
			require.True(t, list[i].readable && !list[i].over)
			list[i].tries, list[i].over = 1, true
		}
		require.Negative(t, choose(list))
	})
	kept := []candidate{{readable: true, inUse: true}, {readable: true, inUse: true, kept: true, turn: 9}}
	require.Equal(t, 1, choose(kept))
	kept[1].tries = 1
	require.Equal(t, 0, choose(kept), "it failed")
	kept[1] = candidate{readable: true, kept: true}
	require.Equal(t, 0, choose(kept), "it is left out")
	failed := []candidate{{readable: true, inUse: true, tries: 1}, {readable: true}}
	require.Equal(t, 0, choose(failed), "rather once more than one that is left out")
}

// Names tell replicas apart and hold nothing but where they are.
func TestReplicaNames(t *testing.T) {
	t.Parallel()
	names, err := replicaNames([]string{
		"postgres://u:hunter2@db1/readmark", "postgres://u:hunter2@db2:6432,db3/readmark?sslmode=prefer", "postgres://v:hunter3@db1:5432/other",
		"postgres://u:hunter2@[::1]:5433/readmark", "postgres:///readmark?host=/run/postgresql&user=u&password=hunter2",
	})
	require.NoError(t, err)
	require.Equal(t, []string{"db1:5432", "db2:6432,db3:5432", "db1:5432 #2", "[::1]:5433", "/run/postgresql/.s.PGSQL.5432"}, names)
	_, err = replicaNames([]string{"postgres://u:hunter2@db1:port/readmark"})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter2")
}

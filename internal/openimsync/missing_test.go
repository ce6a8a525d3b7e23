package openimsync_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/openimsync"
	"readmark/internal/readstate"
)

const doubted = "readmark_member_list_doubted_total"

// shownIn gives the users who are shown in the group g.
func shownIn(t *testing.T, s *fakeStore) (list []string) {
	t.Helper()
	page := readstate.Page{Limit: 1000}
	for {
		states, err := s.GroupStates(t.Context(), "g", page)
		require.NoError(t, err)
		for i := range states {
			list = append(list, states[i].UserID)
		}
		if len(states) < 1000 {
			return list
		}
		page.After.Key = list[len(list)-1]
	}
}

// From a list that is shorter than its total nothing follows about who is missing, however
// often it comes. Who is listed and has no state is listed yet.
func TestIncompleteList(t *testing.T) {
	t.Parallel()
	for _, n := range []int{101, 250} {
		synctest.Test(t, func(t *testing.T) {
			all := ids("m", n)
			s, o := newStore(), &fakeOpenIM{incomplete: map[string]bool{"g": true}}
			asMembers(s, o, all...)
			o.members["g"] = append(slices.Delete(slices.Clone(all), 50, 51), "new")
			sync, registry, _ := newSync(s, o)
			at := time.Now()
			_, err := sync.Members(t.Context(), "g")
			require.NoError(t, err)
			require.Equal(t, []string{"new"}, users(t, s, readstate.EventListed, at))
			for range 5 {
				require.NoError(t, sync.Settle(t.Context()))
				wait(time.Minute)
			}
			require.Len(t, shownIn(t, s), n)
			require.Zero(t, o.asked("who of g"))
			require.LessOrEqual(t, o.asked("members of g"), 13, "it is not looked at for ever")
			require.Zero(t, value(t, registry, doubted))
		})
	}
}

// A member who has slipped between two pages of a complete list stays, and is not waited for.
func TestSlipped(t *testing.T) {
	t.Parallel()
	s, o := newStore(), &fakeOpenIM{unlisted: map[string][]string{"g": {"steady"}}}
	asMembers(s, o, ids("m", 250)...)
	s.know("steady", "g", 3, 4)
	sync, _, _ := newSync(s, o)
	for range 3 {
		_, err := sync.Members(t.Context(), "g")
		require.NoError(t, err)
		require.NoError(t, sync.Settle(t.Context()))
	}
	require.Empty(t, s.events())
	require.Equal(t, 3, o.asked("members of g"), "once each time")
}

// Who is missing is taken out after two looks that are ten seconds apart, and both say so:
// neither by two looks at once, nor when a look between has the user.
func TestMissingTwice(t *testing.T) {
	t.Parallel()
	const ten = 10 * time.Second
	for name, test := range map[string]struct {
		looks    []time.Duration // before each
		back     int             // the look that has the user; 0: none
		unlisted bool
	}{
		"one look":                 {[]time.Duration{0}, 0, false},
		"three looks at once":      {[]time.Duration{0, ten / 2, ten/2 - time.Millisecond}, 0, false},
		"two looks":                {[]time.Duration{0, ten}, 0, true},
		"two looks, much later":    {[]time.Duration{0, time.Hour}, 0, true},
		"three, the second has it": {[]time.Duration{0, ten, ten}, 2, false},
		"four, the second has it":  {[]time.Duration{0, ten, ten, ten}, 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, o := newStore(), &fakeOpenIM{}
				asMembers(s, o, "a", "b", "x")
				sync, _, _ := newSync(s, o)
				for i, pause := range test.looks {
					wait(pause)
					o.change(func() {
						o.members["g"] = []string{"a", "b"}
						if i+1 == test.back {
							o.members["g"] = []string{"a", "b", "x"}
						}
					})
					_, err := sync.Members(t.Context(), "g")
					require.NoError(t, err)
				}
				require.Equal(t, test.unlisted, s.hasLeft(pairOf("x", "g")))
				require.Equal(t, test.unlisted, !slices.Contains(shownIn(t, s), "x"))
			})
		})
	}
}

// A list that would hide more than a tenth of the members, and more than five, waits for a
// third look, and is told of once.
func TestThirdLook(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		known, missing int
		doubted        bool
	}{
		"more than a tenth":            {50, 6, true},
		"nearly all":                   {300, 299, true},
		"a tenth":                      {60, 6, false},
		"five, though half of them":    {10, 5, false},
		"many, less than a tenth":      {250, 24, false},
		"many, just more than a tenth": {250, 26, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				all := ids("m", test.known)
				s, o := newStore(), &fakeOpenIM{}
				asMembers(s, o, all...)
				o.members["g"] = all[test.missing:]
				sync, registry, log := newSync(s, o)
				look := func(shown int) {
					t.Helper()
					_, err := sync.Members(t.Context(), "g")
					require.NoError(t, err)
					require.Len(t, shownIn(t, s), shown)
					wait(10 * time.Second)
				}
				look(test.known)
				require.Zero(t, value(t, registry, doubted))
				if test.doubted {
					look(test.known)
					require.Equal(t, 1, value(t, registry, doubted))
				}
				look(test.known - test.missing)
				look(test.known - test.missing)
				want := 0
				if test.doubted {
					want = 1
				}
				require.Equal(t, want, value(t, registry, doubted))
				require.Equal(t, want, strings.Count(log.String(), "level=WARN"), log.String())
			})
		})
	}
}

// A member list that is wrong for a while takes nobody out, nor makes the doubt last.
func TestWrongForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		all := ids("m", 100)
		s, o := newStore(), &fakeOpenIM{}
		asMembers(s, o, all...)
		o.members["g"] = all[:1]
		sync, registry, _ := newSync(s, o)
		o.hook = func(_ context.Context, id string, _ int) error {
			if id == "members of g" && o.asked(id) == 3 {
				o.change(func() { o.members["g"] = all })
			}
			return nil
		}
		_, err := sync.Members(t.Context(), "g")
		require.NoError(t, err)
		require.NoError(t, sync.Settle(t.Context()))
		require.Equal(t, all, shownIn(t, s))
		require.Empty(t, s.events())
		require.Equal(t, 1, value(t, registry, doubted))
		require.Equal(t, 3, o.asked("members of g"))
	})
}

// Settle looks at all doubtful groups after one wait, and waits no longer than it has to.
func TestSettle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{hook: slow(100 * time.Millisecond), members: map[string][]string{}}
		groups := ids("group", 20)
		for _, groupID := range groups {
			s.know("gone", groupID, 3, 4)
			s.know("stays", groupID, 3, 4)
			o.members[groupID] = []string{"stays"}
		}
		sync, _, _ := newSync(s, o)
		for _, groupID := range groups {
			_, err := sync.Members(t.Context(), groupID)
			require.NoError(t, err)
		}
		started := time.Now()
		require.NoError(t, sync.Settle(t.Context()))
		require.Equal(t, 10*time.Second+20*300*time.Millisecond, time.Since(started), "one wait, and three calls for each group")
		for _, groupID := range groups {
			require.True(t, s.hasLeft(pairOf("gone", groupID)))
			require.False(t, s.hasLeft(pairOf("stays", groupID)))
		}
	})
}

// The wait ends with its context, and a failed look is the caller's to know.
func TestSettleFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{}
		asMembers(s, o, "gone", "stays")
		o.members["g"] = []string{"stays"}
		sync, _, _ := newSync(s, o, func(o *openimsync.Options) { o.MissingFor = time.Minute })
		_, err := sync.Members(t.Context(), "g")
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, sync.Settle(ctx), context.DeadlineExceeded)
		o.hook = func(context.Context, string, int) error { return errFault }
		require.ErrorIs(t, sync.Settle(t.Context()), errFault)
		o.hook = nil
		require.NoError(t, sync.Settle(t.Context()))
		require.True(t, s.hasLeft(pairOf("gone", "g")))
	})
}

// While serving, who is missing in the list of a lookup is taken out some ten seconds later:
// nobody waits for the next check of the sweep.
func TestMissingInLookup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{}
		asMembers(s, o, "gone", "stays")
		sync, _, _ := newSync(s, o)
		end := start(t, sync.Sweep)
		endRun := start(t, sync.Run)
		wait(time.Hour + time.Minute) // the sweep has found nothing
		o.change(func() { o.members["g"] = []string{"stays"} })
		s.queue(readstate.Pair{GroupID: "g"}, time.Time{})
		wait(9 * time.Second)
		require.False(t, s.hasLeft(pairOf("gone", "g")))
		wait(7 * time.Second)
		require.True(t, s.hasLeft(pairOf("gone", "g")))
		require.False(t, s.hasLeft(pairOf("stays", "g")))
		end()
		endRun()
	})
}

// A look whose answer cannot be stored is done again, and nothing is forgotten.
func TestUnlistedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{}
		asMembers(s, o, "gone", "stays")
		o.members["g"] = []string{"stays"}
		sync, _, _ := newSync(s, o)
		_, err := sync.Members(t.Context(), "g")
		require.NoError(t, err)
		s.fault = func(_ context.Context, method string) error {
			if method == "Commit" {
				return readstate.ErrUnavailable
			}
			return nil
		}
		wait(10 * time.Second)
		_, err = sync.Members(t.Context(), "g")
		require.ErrorIs(t, err, readstate.ErrUnavailable)
		s.fault = nil
		_, err = sync.Members(t.Context(), "g")
		require.NoError(t, err)
		require.True(t, s.hasLeft(pairOf("gone", "g")))
	})
}

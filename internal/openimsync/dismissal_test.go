package openimsync_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/openim/client"
	"readmark/internal/readstate"
)

// A group whose dismissal no callback told is gone as soon as OpenIM says so: when it lists
// nobody, does not know the group's list, and when it goes on listing its members.
func TestLostDismissal(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		members []string
		refuses bool // the member list is refused with errCode 1004
		lookup  bool
	}{
		"nobody": {nil, false, false}, "errCode 1004": {nil, true, false}, "still listed": {ids("u", 90), false, false},
		"nobody, in a lookup": {nil, false, true}, "errCode 1004, in a lookup": {nil, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, o := newStore(), &fakeOpenIM{}
				asMembers(s, o, ids("u", 90)...)
				o.members["g"] = test.members
				o.status = map[string]client.GroupStatus{"g": client.GroupDismissed}
				o.hook = func(_ context.Context, id string, _ int) error {
					<-time.After(time.Second)
					if test.refuses && id == "members of g" {
						return errUnknown
					}
					return nil
				}
				sync, _, _ := newSync(s, o)
				started := time.Now()
				if test.lookup {
					s.queue(readstate.Pair{GroupID: "g"}, time.Time{})
					end := start(t, sync.Run)
					wait(5 * time.Second)
					end()
					require.Zero(t, s.waiting())
				} else {
					members, err := sync.Members(t.Context(), "g")
					require.NoError(t, err)
					require.Empty(t, members)
				}
				require.Empty(t, shownIn(t, s))
				events := s.events()
				require.Len(t, events, 1)
				require.Equal(t, readstate.EventDismissed, events[0].Kind)
				require.Equal(t, readstate.Pair{GroupID: "g"}, events[0].Pair())
				require.Equal(t, started.Add(time.Second).UTC(), events[0].At, "the moment before the status was asked for")
				require.NotZero(t, events[0].ID)
				_, err := sync.Members(t.Context(), "g")
				require.NoError(t, err)
				require.Len(t, s.events(), 1, "it is told once")
			})
		})
	}
}

// A group that OpenIM lists nobody of, and calls alive, keeps its states, however often.
func TestNobodyInAGroupThatLives(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{}
		asMembers(s, o, ids("u", 90)...)
		o.members["g"] = nil
		sync, _, _ := newSync(s, o)
		for range 3 {
			_, err := sync.Members(t.Context(), "g")
			require.NoError(t, err)
			wait(time.Minute)
		}
		require.Empty(t, s.events())
	})
}

// A group that OpenIM does not know any more is gone when it says so twice, if it knew the
// group once and still answers for its users.
func TestUnknownGroup(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		seq, answers, second bool // a seq is known; OpenIM answers for a user; it does not know the group then, too
		refuses              bool
		gone                 bool
	}{
		"known once, answered":   {true, true, true, true, true},
		"listed without members": {true, true, true, false, true},
		"never known":            {false, true, true, true, false},
		"no answer for anybody":  {true, false, true, true, false},
		"said once":              {true, true, false, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, o := newStore(), &fakeOpenIM{}
				asMembers(s, o, "a", "b")
				o.members["g"] = nil
				o.status = map[string]client.GroupStatus{"g": client.GroupUnknown}
				if !test.seq {
					s.change(pairOf("a", "g"), noSeq)
				}
				if test.answers {
					o.set("b", "elsewhere", 3, 1)
				}
				o.hook = func(_ context.Context, id string, _ int) error {
					if id == "members of g" && test.refuses {
						return errUnknown
					}
					if id == "status of g" && o.asked(id) == 2 && !test.second {
						o.change(func() { o.status["g"] = client.GroupAlive })
					}
					return nil
				}
				sync, _, _ := newSync(s, o)
				_, err := sync.Members(t.Context(), "g")
				require.NoError(t, err)
				require.Equal(t, []string{"a", "b"}, shownIn(t, s), "said once")
				require.NoError(t, sync.Settle(t.Context()))
				if test.gone {
					require.Empty(t, shownIn(t, s))
					require.Len(t, s.events(), 1)
				} else {
					require.Equal(t, []string{"a", "b"}, shownIn(t, s))
					require.Empty(t, s.events())
				}
			})
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

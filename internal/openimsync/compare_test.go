package openimsync_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/openimsync"
	"readmark/internal/readstate"
)

// The position of an empty group is stored when OpenIM has told it, once.
func TestEmptyGroup(t *testing.T) {
	t.Parallel()
	s, o := newStore(), &fakeOpenIM{}
	s.know("u", "g", 0, 0)
	s.change(pairOf("u", "g"), noSeq)
	o.set("u", "g", 0, 0)
	sync, _, _ := newSync(s, o)
	_, err := sync.User(t.Context(), "u")
	require.NoError(t, err)
	require.Len(t, s.events(), 1)
	s.know("u", "g", 0, 0)
	_, err = sync.User(t.Context(), "u")
	require.NoError(t, err)
	require.Len(t, s.events(), 1)
}

// What is equal is counted and left alone, by one call.
func TestEqual(t *testing.T) {
	t.Parallel()
	s, o := newStore(), &fakeOpenIM{}
	s.know("u", "g", 3, 10)
	s.know("u", "overread", -4, 5)
	o.set("u", "g", 10, 7)
	o.set("u", "overread", 5, 9)
	sync, _, _ := newSync(s, o)
	d, err := sync.User(t.Context(), "u")
	require.NoError(t, err)
	require.Equal(t, readstate.Difference{Pairs: 2}, d)
	require.Empty(t, s.batches)
	require.Len(t, o.called(), 1)
}

// What differs is committed and counted, unless the Sync only checks.
func TestDiffers(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]func(*openimsync.Options){"repairs": nil, "checks": {checkOnly}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, o := newStore(), &fakeOpenIM{members: map[string][]string{"new": {"u"}}, hook: slow(time.Second)}
				s.know("u", "equal", 3, 10)
				s.know("u", "less", 1, 10)
				s.know("u", "more", 9, 10)
				o.set("u", "equal", 10, 7)
				o.set("u", "less", 12, 9)
				o.set("u", "more", 10, 8)
				o.set("u", "new", 40, 0) // a member of whom nothing is known
				sync, registry, _ := newSync(s, o, options...)
				started := time.Now()
				d, err := sync.User(t.Context(), "u")
				require.NoError(t, err)
				want := readstate.Difference{Pairs: 4, Off: 3, Repaired: 3, Largest: 40}
				if options != nil {
					want.Repaired = 0
					at := started.Add(2 * time.Second).UTC() // of the second answer
					want.Left = []readstate.Off{
						{Pair: pairOf("u", "less"), Known: true, UnreadCount: 1, Want: 3, Reason: readstate.OffBehind, At: at},
						{Pair: pairOf("u", "more"), Known: true, UnreadCount: 9, Want: 2, Reason: readstate.OffBehind, At: at},
						{Pair: pairOf("u", "new"), Want: 40, Reason: readstate.OffUnknown, At: at},
					}
					require.Empty(t, s.batches)
				} else {
					require.Len(t, s.batches, 1)
					require.Len(t, s.events(), 3)
					for _, e := range s.events() {
						require.NotEqual(t, "equal", e.GroupID)
						require.Equal(t, readstate.EventSnapshot, e.Kind)
						require.False(t, e.AllowReadDecrease)
						require.Equal(t, started.Add(2*time.Second).UTC(), e.At, "the second answer: one for the seqs, one for the members before")
					}
				}
				require.Equal(t, want, d)
				sync.Observe(d)
				require.EqualValues(t, want.Off, value(t, registry, "readmark_reconcile_pairs_off_total"))
				require.EqualValues(t, want.Repaired, value(t, registry, "readmark_reconcile_pairs_repaired_total"))
				require.Equal(t, 40, value(t, registry, "readmark_reconcile_last_difference"))
			})
		})
	}
}

// What is still off after a repair is named with the reason; what is off in the last look
// only is not.
func TestStaysOff(t *testing.T) {
	t.Parallel()
	never := func(int64, *fakeStore, *fakeOpenIM) {}
	for name, test := range map[string]struct {
		before func(s *fakeStore, o *fakeOpenIM)
		// during runs in the nth answer to the user.
		during func(n int64, s *fakeStore, o *fakeOpenIM)
		want   []readstate.Off
	}{
		"repaired": {func(_ *fakeStore, o *fakeOpenIM) { o.set("u", "g", 14, 7) }, never, nil},
		"less is read each time": {
			func(*fakeStore, *fakeOpenIM) {}, func(n int64, _ *fakeStore, o *fakeOpenIM) { o.set("u", "g", 10, 7-n) },
			[]readstate.Off{{Known: true, UnreadCount: 3, Want: 6, Reason: readstate.OffReadSeq}},
		},
		"messages each time": {
			func(*fakeStore, *fakeOpenIM) {}, func(n int64, _ *fakeStore, o *fakeOpenIM) { o.set("u", "g", 10+n, 7) },
			[]readstate.Off{{Known: true, UnreadCount: 5, Want: 6, Reason: readstate.OffBehind}},
		},
		"a message in the last answer": {
			func(_ *fakeStore, o *fakeOpenIM) { o.set("u", "h", 40, 0) },
			func(n int64, _ *fakeStore, o *fakeOpenIM) {
				if n == 3 {
					o.set("u", "g", 11, 7)
				}
			}, nil,
		},
		"not stored": {
			func(s *fakeStore, _ *fakeOpenIM) {
				s.change(pairOf("u", "g"), func(_ *readstate.ReadState, p *readstate.GroupPosition) {
					now := time.Now().UTC()
					p.Unsequenced, p.UnsequencedSince, p.UnsequencedAt = 2, now, now
				})
			}, never,
			[]readstate.Off{{Known: true, UnreadCount: 5, Want: 3, Reason: readstate.OffUnsequenced}},
		},
		"stored, and more": { // what is announced does not explain that OpenIM has more
			func(s *fakeStore, _ *fakeOpenIM) {
				s.change(pairOf("u", "g"), func(_ *readstate.ReadState, p *readstate.GroupPosition) {
					now := time.Now().UTC()
					p.Unsequenced, p.UnsequencedSince, p.UnsequencedAt = 2, now, now
				})
			}, func(n int64, s *fakeStore, o *fakeOpenIM) {
				o.set("u", "g", 10+4*n, 7)
				s.change(pairOf("u", "g"), func(_ *readstate.ReadState, p *readstate.GroupPosition) { p.Unsequenced = 1 })
			},
			[]readstate.Off{{Known: true, UnreadCount: 12, Want: 15, Reason: readstate.OffBehind}},
		},
		"the group's is in doubt": {
			func(*fakeStore, *fakeOpenIM) {}, func(n int64, s *fakeStore, o *fakeOpenIM) {
				o.set("u", "g", 10+n, 7)
				s.change(pairOf("u", "g"), func(_ *readstate.ReadState, p *readstate.GroupPosition) { p.DoubtedAt = time.Now().UTC() })
			},
			[]readstate.Off{{Known: true, UnreadCount: 5, Want: 6, Reason: readstate.OffMaxSeq}},
		},
		"leaps each time": {
			func(*fakeStore, *fakeOpenIM) {}, func(n int64, _ *fakeStore, o *fakeOpenIM) { o.set("u", "g", 9_000+1_000*n, 7) },
			[]readstate.Off{{Known: true, UnreadCount: 3, Want: 12_993, Reason: readstate.OffMaxSeq}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": {"u"}, "h": {"u"}}}
				s.know("u", "g", 3, 10)
				o.set("u", "g", 10, 7)
				test.before(s, o)
				var n int64
				o.hook = func(_ context.Context, id string, _ int) error {
					if id == "u" {
						n++
						test.during(n, s, o)
					}
					return nil
				}
				sync, _, _ := newSync(s, o)
				d, err := sync.User(t.Context(), "u")
				require.NoError(t, err)
				require.EqualValues(t, len(test.want), d.Stays())
				require.Positive(t, d.Off)
				for i := range test.want {
					require.WithinDuration(t, time.Now(), d.Left[i].At, 0)
					test.want[i].Pair, test.want[i].At = pairOf("u", "g"), d.Left[i].At
				}
				require.Equal(t, test.want, d.Left)
			})
		})
	}
}

// What a callback mends between two answers was never off.
func TestMendedMeanwhile(t *testing.T) {
	t.Parallel()
	s, o := newStore(), &fakeOpenIM{}
	s.know("u", "g", 3, 10)
	o.set("u", "g", 11, 7)
	o.hook = func(_ context.Context, _ string, n int) error {
		if n == 2 {
			s.know("u", "g", 4, 11)
		}
		return nil
	}
	sync, _, _ := newSync(s, o)
	d, err := sync.User(t.Context(), "u")
	require.NoError(t, err)
	require.Equal(t, readstate.Difference{Pairs: 1}, d)
	require.Empty(t, s.batches)
}

// A right count that is an estimate, or rests on another seq, is confirmed and not off.
func TestConfirmed(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(s *fakeStore){
		"estimate": func(s *fakeStore) {
			s.change(pairOf("u", "g"), func(state *readstate.ReadState, _ *readstate.GroupPosition) {
				at := time.Now().Add(-time.Minute).UTC()
				state.Estimate = readstate.Estimate{At: at, FirstAt: at, Read: 7}
			})
		},
		"doubted": func(s *fakeStore) {
			s.change(pairOf("u", "g"), func(_ *readstate.ReadState, position *readstate.GroupPosition) {
				position.DoubtedAt = time.Now().Add(-time.Minute).UTC()
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, o := newStore(), &fakeOpenIM{}
			s.know("u", "g", 3, 10)
			change(s)
			o.set("u", "g", 10, 7)
			sync, _, _ := newSync(s, o)
			d, err := sync.User(t.Context(), "u")
			require.NoError(t, err)
			require.Equal(t, readstate.Difference{Pairs: 1}, d)
			require.Len(t, s.events(), 1)
			require.Len(t, o.called(), 3)
			_, exact := s.shows("u")
			require.True(t, exact)
		})
	}
}

// Left out are groups that the user has left, conversations of groups that the user is no
// member of, who was erased, and what cannot be stored.
func TestLeftOut(t *testing.T) {
	t.Parallel()
	s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": {"v"}, "left": {"v"}, "erased": {"u"}}}
	s.know("u", "left", 3, 10)
	s.leave("u", "left")
	s.untrusted[pairOf("u", "erased")] = true
	for _, groupID := range []string{"left", "not-a-member", "erased", "\x00"} {
		o.set("u", groupID, 99, 0)
	}
	sync, _, _ := newSync(s, o)
	d, err := sync.User(t.Context(), "u")
	require.NoError(t, err)
	require.Equal(t, readstate.Difference{}, d)
	require.Empty(t, s.batches)
}

// A user or group that OpenIM does not know has no difference.
func TestUnknownHasNoDifference(t *testing.T) {
	t.Parallel()
	s, o := newStore(), &fakeOpenIM{hook: func(context.Context, string, int) error { return errUnknown }}
	s.know("u", "g", 3, 10)
	sync, _, _ := newSync(s, o)
	for _, compare := range []func() (readstate.Difference, error){
		func() (readstate.Difference, error) { return sync.User(t.Context(), "u") },
		func() (readstate.Difference, error) { return sync.Group(t.Context(), "g") },
	} {
		d, err := compare()
		require.NoError(t, err)
		require.Equal(t, readstate.Difference{}, d)
	}
	require.Empty(t, s.batches)
}

// A group is compared member by member, in that group only.
func TestGroup(t *testing.T) {
	t.Parallel()
	s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": {"a", "b", "c"}}}
	s.know("a", "g", 3, 10)
	s.know("gone", "g", 3, 10)
	o.set("a", "g", 10, 7)
	o.set("b", "g", 10, 9)
	o.set("c", "g", 10, 0)
	o.set("a", "h", 50, 0)
	sync, _, _ := newSync(s, o)
	d, err := sync.Group(t.Context(), "g")
	require.NoError(t, err)
	require.Equal(t, readstate.Difference{Pairs: 3, Off: 2, Repaired: 2, Largest: 10}, d)
	for _, c := range o.called() {
		if !strings.HasSuffix(c.id, " of g") {
			require.Equal(t, []string{"sg_g"}, c.ids)
		}
	}
	require.Equal(t, 1, o.asked("who of g"), "for who is missing; the list tells of the others")
}

// A member list tells for a minute who is a member.
func TestMemberListIsReused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": {"a"}}}
		o.set("a", "g", 10, 7)
		sync, _, _ := newSync(s, o, checkOnly)
		calls := func() int {
			t.Helper()
			before := len(o.called())
			d, err := sync.User(t.Context(), "a")
			require.NoError(t, err)
			require.EqualValues(t, 1, d.Off)
			return len(o.called()) - before
		}
		require.Equal(t, 3, calls(), "the user twice, the members once")
		_, err := sync.Members(t.Context(), "g")
		require.NoError(t, err)
		wait(time.Minute - time.Microsecond)
		require.Equal(t, 2, calls())
		wait(time.Microsecond)
		require.Equal(t, 3, calls())
	})
}

// An error of any step is the comparison's, and nothing is committed after it.
func TestCompareFails(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"seqs", "members", "FilterTrusted", "ReadStates", "GroupPositions", "Commit"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": {"u"}}}
			o.set("u", "g", 10, 7)
			s.fault = func(_ context.Context, method string) error {
				if method == where {
					return errFault
				}
				return nil
			}
			o.hook = func(_ context.Context, id string, _ int) error {
				if (id == "u") == (where == "seqs") && (where == "seqs" || where == "members") {
					return errFault
				}
				return nil
			}
			sync, _, _ := newSync(s, o)
			_, err := sync.User(t.Context(), "u")
			require.ErrorIs(t, err, errFault)
			require.Empty(t, s.batches)
		})
	}
}

// noSeq has no seq of a group known.
func noSeq(_ *readstate.ReadState, position *readstate.GroupPosition) {
	*position = readstate.GroupPosition{GroupID: position.GroupID}
}

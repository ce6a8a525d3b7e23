package readstate_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/readstate"
)

// Two members' answers of the same microsecond may both have the seqs begin anew, and come
// in any order: what each has read stays.
func TestRestartedTwiceAtOnce(t *testing.T) {
	t.Parallel()
	for name, reverse := range map[string]bool{"in order": false, "late": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, f := newLedger(), &told{}
			c, b := f.snapshot("c", 0, 20, 0), f.snapshot("b", 0, 20, 0)
			c.Restarted, b.Restarted = true, true
			first, second := c, b
			if reverse {
				first, second = b, c
			}
			l.commit([]readstate.Event{first})
			l.commit([]readstate.Event{second})
			for range 2 {
				for _, userID := range []string{"b", "c"} {
					count, exact := l.shows(userID)
					require.EqualValues(t, 10, count, userID)
					require.True(t, exact)
				}
				l = l.replayed()
			}
		})
	}
}

// A server whose seqs began anew may tell only messages: one that was sent later and has a seq
// of before has OpenIM asked, whether its seq or its announcement comes first.
func TestRestartIsToldByMessages(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		seq       int64
		sent      time.Duration
		announced bool // after its seq
		asked     bool
	}{
		"a seq of before":                  {seq: 7, sent: 2 * time.Minute, asked: true},
		"the highest seq":                  {seq: 10, sent: 2 * time.Minute, asked: true},
		"a seq of before, announced later": {seq: 7, sent: 2 * time.Minute, announced: true, asked: true},
		"told late":                        {seq: 7, sent: -time.Minute},
		"a new seq":                        {seq: 11, sent: 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, f := newLedger(), &told{}
			l.commit([]readstate.Event{f.snapshot("u", 0, 10, 0)})
			message := f.message("u", 2*time.Minute, "m", test.seq, test.sent)
			effects := l.commit([]readstate.Event{message})
			if test.announced {
				l.commit([]readstate.Event{f.message("u", 2*time.Minute+time.Second, "m", 0, test.sent)})
			}
			_, exact := l.shows("u")
			require.Equal(t, !test.asked, exact)
			require.Equal(t, test.asked, len(effects.Lookups) == 1, effects.Lookups)
			if test.asked {
				l.commit([]readstate.Event{f.snapshot("u", 2*time.Minute+3*time.Second, 10, 0)})
				_, exact = l.shows("u")
				require.True(t, exact, "OpenIM says that nothing began anew")
			}
			require.Empty(t, l.differences(l.replayed()))
		})
	}
}

// After seqs have begun anew a little below the old ones, a message may get a seq that was known
// when it was announced: no rise of the highest seq covers it, whichever message's seq is told
// first.
func TestMessageWithSeqThatWasKnown(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for name, first := range map[string]int64{"the new seq first": 11, "the known seq first": 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, f := newLedger(), &told{}
			l.commit([]readstate.Event{f.snapshot("a", 0, 10, 0)})
			l.commit([]readstate.Event{f.message("c", time.Minute, "m10", 0, time.Minute), f.message("c", time.Minute+ms, "m11", 0, time.Minute)})
			for i, seq := range []int64{first, 21 - first} {
				l.commit([]readstate.Event{f.message("c", time.Minute+time.Duration(3+i)*ms, "m"+strconv.FormatInt(seq, 10), seq, time.Minute)})
			}
			l.commit([]readstate.Event{f.snapshot("a", 2*time.Minute, 11, time.Minute)})
			for range 2 {
				count, exact := l.shows("a")
				require.EqualValues(t, 1, count, "11, of which 10 are read")
				require.True(t, exact)
				l = l.replayed()
			}
		})
	}
}

// What was announced before the group's seqs began anew is not counted any more: its seq, which is told
// later, takes no other message off the count.
func TestSeqOfMessageAnnouncedBeforeRestart(t *testing.T) {
	t.Parallel()
	l, f := newLedger(), &told{}
	l.commit([]readstate.Event{f.snapshot("a", 0, 10, 0)})
	l.commit([]readstate.Event{f.message("c", time.Minute, "before", 0, time.Minute)})
	restarted := f.snapshot("a", 2*time.Minute, 5, time.Minute)
	restarted.Restarted, restarted.ReadSeq = true, 5
	l.commit([]readstate.Event{restarted})
	l.commit([]readstate.Event{f.message("c", 3*time.Minute, "behind", 0, 3*time.Minute)})
	l.commit([]readstate.Event{f.message("c", 4*time.Minute, "before", 5, time.Minute)})
	for range 2 {
		count, exact := l.shows("a")
		require.EqualValues(t, 1, count, "the one behind")
		require.False(t, exact, "it is not stored")
		l = l.replayed()
	}
}

// Seqs that fell and have come up to the old highest one before anybody asked look as if nothing
// had begun anew: the messages that brought them there wait, nothing is exact, and the count is
// right again when they are given up.
func TestRestartThatIsNoticedTooLate(t *testing.T) {
	t.Parallel()
	l, f := newLedger(), &told{}
	l.commit([]readstate.Event{f.snapshot("a", 0, 10, 0)})
	l.commit([]readstate.Event{f.message("c", time.Minute, "brings 9 to 10", 0, time.Minute)})
	for _, asked := range []struct {
		at    time.Duration
		count int
		exact bool
	}{
		{2 * time.Minute, 1, false},
		{time.Minute + readstate.NeverStored - time.Second, 1, false},
		{time.Minute + readstate.NeverStored, 0, true},
	} {
		l.commit([]readstate.Event{f.snapshot("a", asked.at, 10, time.Minute)})
		for range 2 {
			count, exact := l.shows("a")
			require.EqualValues(t, asked.count, count, asked.at)
			require.Equal(t, asked.exact, exact, asked.at)
			l = l.replayed()
		}
	}
}

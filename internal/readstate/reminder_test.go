package readstate_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"readmark/internal/readstate"
)

// remindedWorld is a user in a group, minute by minute, and what a process does that reminds.
type remindedWorld struct {
	rule   readstate.ReminderRule
	minute int

	position []int64 // at the end of each minute
	read     int64
	readAt   int // the minute of the last read; 0: before everything
	member   bool
	joinedAt int

	before *readstate.Reminded
	due    int // the minute of the next look; 0: none
	told   []int

	// What is expected, from the definition alone: since when enough has been unread, and when that was
	// told last since the last read.
	enoughAt, toldAt int
	expected         []int
}

func minuteOf(n int) time.Time { return time.UnixMicro(0).Add(time.Duration(n) * time.Minute) }

func (w *remindedWorld) at(minute int) int64 { return w.position[max(0, minute)] }

func (w *remindedWorld) unread() (*readstate.Unread, bool) {
	if !w.member {
		return nil, false
	}
	then := w.minute - int(w.rule.After/time.Minute)
	was := readstate.PastPosition{ServedPosition: readstate.ServedPosition{HasSeq: true, MaxSeq: w.at(then)}}
	for m := max(0, then) + 1; m <= w.minute && was.MovedAt == 0; m++ {
		if w.at(m) != w.at(m-1) {
			was.MovedAt = readstate.MomentOf(minuteOf(m))
		}
	}
	v := readstate.Served{Estimated: true, Read: w.read, LastReadAt: readstate.MomentOf(minuteOf(w.readAt)), JoinedAt: readstate.MomentOf(minuteOf(w.joinedAt))}
	u := &readstate.Unread{}
	shown := u.Add(&v, &readstate.ServedPosition{HasSeq: true, MaxSeq: w.at(w.minute)}, &was, true)
	return u, shown
}

// moved has the group be looked at when it may be due for what has happened now.
func (w *remindedWorld) moved() {
	if due := w.minute + int(w.rule.After/time.Minute); w.due == 0 || due < w.due {
		w.due = due
	}
}

func (w *remindedWorld) look() {
	w.due = 0
	u, shown := w.unread()
	if !shown {
		return
	}
	now := minuteOf(w.minute)
	j := w.rule.Judge(u, w.before, now)
	switch {
	case j.Due:
		m := w.rule.Remind(u, now)
		w.before = &m
		w.told = append(w.told, w.minute)
		if m.DueAt != 0 {
			w.due = int(m.DueAt.Time().Sub(minuteOf(0)) / time.Minute)
		}
	case j.Forget:
		w.before = nil
	case !j.LookAt.IsZero():
		w.due = int(j.LookAt.Sub(minuteOf(0)) / time.Minute)
	}
}

// expect does by the definition what the process is to do.
func (w *remindedWorld) expect() {
	if !w.member || w.at(w.minute)-w.read < w.rule.MinUnread {
		w.enoughAt = 0
		return
	}
	if w.enoughAt == 0 {
		w.enoughAt = w.minute
	}
	begin := max(w.enoughAt, w.readAt, w.joinedAt)
	if w.toldAt != 0 {
		begin = w.toldAt
		if !w.rule.Repeat {
			return
		}
	}
	if w.minute-begin >= int(w.rule.After/time.Minute) {
		w.toldAt = w.minute
		w.expected = append(w.expected, w.minute)
	}
}

// TestRemindersAreAsDefined: whoever looks only when something has happened a while ago, or when the look before says to
// look again, reminds at the minute at which the definition has it, and never else.
func TestRemindersAreAsDefined(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := remindedWorld{
			rule: readstate.ReminderRule{
				MinUnread: rapid.Int64Range(1, 4).Draw(t, "min"), After: time.Duration(rapid.IntRange(1, 12).Draw(t, "after")) * time.Minute,
				Repeat: rapid.Bool().Draw(t, "repeat"),
			},
			member: true, position: []int64{0},
		}
		for w.minute = 1; w.minute <= 120; w.minute++ {
			w.position = append(w.position, w.at(w.minute-1))
			switch rapid.IntRange(0, 19).Draw(t, "step") {
			case 0, 1, 2:
				w.position[w.minute] += rapid.Int64Range(1, 3).Draw(t, "messages")
				w.moved()
			case 3, 4:
				if unread := w.at(w.minute) - w.read; w.member && unread > 0 {
					w.read, w.readAt, w.toldAt = w.at(w.minute)-rapid.Int64Range(0, unread-1).Draw(t, "left"), w.minute, 0
					w.enoughAt = 0
					w.moved()
				}
			case 5:
				if w.member = !w.member; w.member {
					w.joinedAt, w.toldAt = w.minute, 0
					w.moved()
				}
			default: // time passes
			}
			if w.due != 0 && w.due <= w.minute {
				w.look()
			}
			w.expect()
			require.Equal(t, w.expected, w.told, "minute %d of %+v", w.minute, w.rule)
		}
	})
}

// asked is a user about whom OpenIM is asked before a reminder.
func asked(read int64, since int, fact bool) *readstate.Unread {
	return &readstate.Unread{Count: 3, Then: 3, Since: readstate.MomentOf(minuteOf(since)), Read: read, Fact: fact, Exact: fact}
}

// OpenIM's answer about a count that was estimated is no read, unless it says that more was read.
func TestReminderAfterOpenIMsWord(t *testing.T) {
	t.Parallel()
	rule := readstate.ReminderRule{MinUnread: 1, After: 4 * time.Hour}
	now := minuteOf(300)
	m, first, wait := rule.Ask(asked(7, 10, false), nil, now)
	require.True(t, first && wait)
	require.Zero(t, m.At)
	require.Equal(t, readstate.MomentOf(now.Add(time.Second)), m.DueAt)

	again, first, wait := rule.Ask(asked(7, 10, false), &m, now.Add(time.Minute))
	require.False(t, first)
	require.True(t, wait)
	require.Equal(t, m.AskedAt, again.AskedAt)
	require.Equal(t, readstate.MomentOf(now.Add(time.Minute+15*time.Second)), again.DueAt)
	_, _, wait = rule.Ask(asked(7, 10, false), &again, now.Add(rule.Wait()))
	require.False(t, wait)

	require.True(t, rule.Judge(asked(7, 300, true), &m, now).Due, "it says the same")
	require.True(t, rule.Judge(asked(6, 300, true), &m, now).Due, "it says that less is read")
	require.Equal(t, readstate.Judgement{LookAt: minuteOf(540).UTC()}, rule.Judge(asked(8, 300, true), &m, now), "it says that more is read")
	require.Equal(t, readstate.Judgement{LookAt: minuteOf(540).UTC()}, rule.Judge(asked(7, 300, false), &m, now), "the user has read")
	read := asked(6, 300, true)
	read.OwnSince = readstate.MomentOf(minuteOf(299))
	require.Equal(t, readstate.Judgement{LookAt: minuteOf(540).UTC()}, rule.Judge(read, &m, now), "the user has read, and OpenIM says that less is read than was known")

	told := rule.Remind(asked(7, 10, false), now)
	require.Equal(t, readstate.Judgement{}, rule.Judge(asked(7, 301, true), &told, now.Add(9*time.Hour)), "told as it was")
	require.True(t, rule.Judge(asked(8, 301, true), &told, now.Add(9*time.Hour)).Due)
	fewer := asked(7, 10, false)
	fewer.Count = 0 // as announced messages were never stored
	require.Equal(t, readstate.Judgement{}, rule.Judge(fewer, &told, now), "it is not told again when they come")
}

// Seqs that begin anew have what was there before count no more.
func TestUnreadThen(t *testing.T) {
	t.Parallel()
	restart := readstate.MomentOf(minuteOf(5))
	for name, test := range map[string]struct {
		served    readstate.Served
		now, then readstate.ServedPosition
		moved     readstate.Moment
		count     int64
		want      int64
	}{
		"nothing has moved": {served: readstate.Served{Read: 3}, now: readstate.ServedPosition{HasSeq: true, MaxSeq: 8}, count: 5, want: 5},
		"two came since":    {served: readstate.Served{Read: 3}, now: readstate.ServedPosition{HasSeq: true, MaxSeq: 8}, then: readstate.ServedPosition{HasSeq: true, MaxSeq: 6}, moved: 1, count: 5, want: 3},
		"it was read since": {served: readstate.Served{Read: 7}, now: readstate.ServedPosition{HasSeq: true, MaxSeq: 8}, then: readstate.ServedPosition{HasSeq: true, MaxSeq: 6}, moved: 1, count: 1},
		"capped":            {served: readstate.Served{Read: 3, Capped: true, MaxSeqCap: 5}, now: readstate.ServedPosition{HasSeq: true, MaxSeq: 8}, then: readstate.ServedPosition{HasSeq: true, MaxSeq: 6}, moved: 1, count: 2, want: 2},
		"before the first seq": {
			served: readstate.Served{Estimated: true, Read: 1, BeforeBaseSeq: true}, now: readstate.ServedPosition{HasSeq: true, MaxSeq: 104, BaseSeq: 100},
			then: readstate.ServedPosition{Unsequenced: 3}, moved: 1, count: 3, want: 2,
		},
		"given up since": {served: readstate.Served{Read: 3}, now: readstate.ServedPosition{HasSeq: true, MaxSeq: 5}, then: readstate.ServedPosition{HasSeq: true, MaxSeq: 5, Unsequenced: 4}, moved: 1, count: 2, want: 2},
		"seqs began anew": {
			served: readstate.Served{Read: 0, ExactAt: restart}, now: readstate.ServedPosition{HasSeq: true, MaxSeq: 8, RestartedAt: restart},
			then: readstate.ServedPosition{HasSeq: true, MaxSeq: 600}, moved: 1, count: 8,
		},
	} {
		var u readstate.Unread
		require.True(t, u.Add(&test.served, &test.now, &readstate.PastPosition{ServedPosition: test.then, MovedAt: test.moved}, true), name)
		require.Equal(t, test.count, u.Count, name)
		require.Equal(t, test.want, u.Then, name)
	}
	var u readstate.Unread
	require.False(t, u.Add(&readstate.Served{}, &readstate.ServedPosition{DismissedAt: 1}, &readstate.PastPosition{}, true), "dismissed")
}

func TestReminderBounds(t *testing.T) {
	t.Parallel()
	for after, good := range map[time.Duration]bool{
		time.Second: true, 4 * time.Hour: true, 720 * time.Hour: true, 0: false, -time.Hour: false, 1500 * time.Millisecond: false, 721 * time.Hour: false,
	} {
		require.Equal(t, good, readstate.CheckReminderAfter(after) == nil, after)
	}
	for after, want := range map[time.Duration][2]time.Duration{
		time.Second: {time.Second, time.Minute}, 4 * time.Hour: {10 * time.Minute, 10 * time.Minute}, time.Hour: {225 * time.Second, 450 * time.Second},
	} {
		rule := readstate.ReminderRule{After: after}
		require.Equal(t, want, [2]time.Duration{rule.Pause(), rule.Wait()}, after)
	}
}

package readstate_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/readstate"
)

// told makes events of the group g, in the order in which they arrive.
type told struct{ n uint16 }

func (f *told) event(kind readstate.EventKind, userID string, after time.Duration) readstate.Event {
	f.n++
	return readstate.Event{Kind: kind, ID: readstate.ID{byte(f.n >> 8), byte(f.n)}, At: epoch().Add(after), UserID: userID, GroupID: "g"}
}

func (f *told) snapshot(userID string, after time.Duration, maxSeq int64, lastSent time.Duration) readstate.Event {
	e := f.event(readstate.EventSnapshot, userID, after)
	e.MaxSeq, e.ReadSeq, e.SentAt = maxSeq, 10, epoch().Add(lastSent)
	return e
}

func (f *told) message(userID string, after time.Duration, id string, seq int64, sent time.Duration) readstate.Event {
	e := f.event(readstate.EventMessage, userID, after)
	e.MessageID, e.ReadSeq, e.SentAt = id, seq, epoch().Add(sent)
	return e
}

func (l *ledger) shows(userID string) (count int64, exact bool) {
	state, position := l.states[readstate.Pair{UserID: userID, GroupID: "g"}], l.positions["g"]
	shown, _ := state.Show(&position)
	return shown.UnreadCount, shown.Exact
}

// A notification whose seq nobody has named may come behind a message that is stored just
// now: the message's seq does not tell that of the notification.
func TestStoredMessageLeavesGap(t *testing.T) {
	t.Parallel()
	l, f := newLedger(), &told{}
	l.commit([]readstate.Event{f.snapshot("a", 0, 10, 0), f.snapshot("b", 0, 10, 0)})
	l.commit([]readstate.Event{f.event(readstate.EventLeft, "b", time.Minute)}) // its notification takes seq 12
	l.commit([]readstate.Event{f.message("c", time.Minute+10*time.Millisecond, "m", 11, time.Minute)})
	_, exact := l.shows("a")
	require.False(t, exact, "OpenIM has 12")
}

// A message that was announced late, and is not counted since its seq is known, must not be
// taken for another one when its seq is told.
func TestUncountedMessageIsNotTakenOff(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	l, f := newLedger(), &told{}
	l.commit([]readstate.Event{f.snapshot("a", 0, 10, -time.Second)})
	l.commit([]readstate.Event{f.snapshot("a", time.Minute, 11, time.Minute-5*ms)})            // m1 is stored
	l.commit([]readstate.Event{f.message("b", time.Minute+5*ms, "m1", 0, time.Minute-10*ms)})  // and announced
	l.commit([]readstate.Event{f.message("b", time.Minute+50*ms, "m2", 0, time.Minute+40*ms)}) // which is stored late
	l.commit([]readstate.Event{f.message("b", time.Minute+100*ms, "m1", 11, time.Minute-10*ms)})
	l.commit([]readstate.Event{f.snapshot("a", time.Minute+2000*ms, 11, time.Minute-5*ms)})
	count, exact := l.shows("a")
	require.EqualValues(t, 2, count, "m1 and m2")
	require.False(t, exact, "m2 is not stored")
}

// A message's seq may leave out one that belongs to a message whose callbacks come later: it
// does not tell that others which were announced are stored.
func TestSeqOfLaterCallback(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	l, f := newLedger(), &told{}
	l.commit([]readstate.Event{f.snapshot("a", 0, 10, -time.Second)})
	l.commit([]readstate.Event{f.message("b", time.Minute, "m2", 0, time.Minute)})
	l.commit([]readstate.Event{f.message("b", time.Minute+10*ms, "m3", 0, time.Minute+10*ms)})
	l.commit([]readstate.Event{f.message("b", time.Minute+50*ms, "m2", 12, time.Minute)}) // 11 is m1's
	_, exact := l.shows("a")
	require.False(t, exact, "m3 is not stored")
}

// While messages go on coming, each stored late, none is given up: those that wait are new.
func TestNewMessagesAreNotNeverStored(t *testing.T) {
	t.Parallel()
	l, f := newLedger(), &told{}
	l.commit([]readstate.Event{f.snapshot("a", 0, 10, 0)})
	for i := range 60 {
		at := time.Minute + time.Duration(i)*12*time.Second
		l.commit([]readstate.Event{f.message("b", at, strconv.Itoa(i), 0, at)})
		asked := at + 11*time.Second
		l.commit([]readstate.Event{f.snapshot("a", asked, 10+max(0, int64(i)-1), asked-31*time.Second)})
		_, exact := l.shows("a")
		require.False(t, exact, "after %s", asked)
	}
}

// An own message that is stored late is read by its sender, though OpenIM does not say so
// yet; it is unread for others.
func TestOwnMessageStoredLate(t *testing.T) {
	t.Parallel()
	l, f := newLedger(), &told{}
	l.commit([]readstate.Event{f.snapshot("a", 0, 10, 0), f.snapshot("b", time.Millisecond, 10, 0)})
	l.commit([]readstate.Event{f.message("a", time.Minute, "m", 0, time.Minute)})
	l.commit([]readstate.Event{f.snapshot("a", time.Minute+3*time.Second, 10, 0), f.snapshot("b", time.Minute+4*time.Second, 10, 0)})
	for userID, want := range map[string]int64{"a": 0, "b": 1} {
		got, exact := l.shows(userID)
		require.Equal(t, want, got, userID)
		require.False(t, exact)
	}
}

// A message that is taken for covered has OpenIM asked until that is exact.
func TestCoveredMessageIsAskedFor(t *testing.T) {
	t.Parallel()
	l, f := newLedger(), &told{}
	l.commit([]readstate.Event{f.snapshot("a", 0, 10, 0)})
	l.now = epoch()
	effects := l.commit([]readstate.Event{f.message("a", time.Second, "m", 0, 0)}) // committed as it comes
	_, exact := l.shows("a")
	require.False(t, exact)
	require.Len(t, effects.Lookups, 1)
	settled := effects.Lookups[0].SettlesAt.Sub(epoch()) // OpenIM is asked until then
	l.commit([]readstate.Event{f.snapshot("a", settled, 10, 0)})
	_, exact = l.shows("a")
	require.True(t, exact)
}

// When the seqs of a group begin anew, nobody's count is exact until OpenIM was asked about
// that user since.
func TestRestartLeavesOthersInexact(t *testing.T) {
	t.Parallel()
	l, f := newLedger(), &told{}
	l.commit([]readstate.Event{f.snapshot("a", 0, 57, 0), f.snapshot("b", time.Second, 57, 0)})
	restart := f.snapshot("a", time.Minute, 12, 0)
	restart.Restarted = true
	l.commit([]readstate.Event{restart})
	for userID, want := range map[string]bool{"a": true, "b": false} {
		_, exact := l.shows(userID)
		require.Equal(t, want, exact, userID)
	}
	l.commit([]readstate.Event{f.snapshot("b", 2*time.Minute, 12, 0)})
	count, exact := l.shows("b")
	require.True(t, exact)
	require.EqualValues(t, 2, count)
}

// What a frozen member's answer, or an admin's message, does not tell of the group, some
// other member is asked for.
func TestOtherMembersAreAskedFor(t *testing.T) {
	t.Parallel()
	l, f := newLedger(), &told{}
	l.commit([]readstate.Event{f.snapshot("a", 0, 10, 0), f.snapshot("b", time.Second, 10, 0)})
	effects := l.commit([]readstate.Event{f.message("admin", time.Minute, "m", 0, time.Minute)})
	require.Equal(t, map[string][]string{"g": {"admin"}}, effects.MemberLookups)
	effects = l.commit([]readstate.Event{f.snapshot("b", 2*time.Minute, 6, 0)})
	require.Equal(t, map[string][]string{"g": {"b"}}, effects.MemberLookups)
}

// A message that was announced and not counted, since it was sent in the same moment as the highest seq's, may get the
// next seq: that covers no other message.
func TestSeqOfUncountedMessage(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	l, f := newLedger(), &told{}
	l.commit([]readstate.Event{f.snapshot("a", 0, 10, -time.Second)})
	l.commit([]readstate.Event{f.message("b", time.Minute, "m11", 11, time.Minute)})
	l.commit([]readstate.Event{f.message("b", time.Minute+ms, "m12", 0, time.Minute)})
	l.commit([]readstate.Event{f.message("b", time.Minute+2999*ms, "m13", 0, time.Minute+2999*ms)})
	l.commit([]readstate.Event{f.message("b", time.Minute+3001*ms, "m12", 12, time.Minute)})
	for range 2 {
		count, exact := l.shows("a")
		require.EqualValues(t, 3, count, "m11, m12 and m13")
		require.False(t, exact, "m13 is not stored")
		l = l.replayed()
	}
}

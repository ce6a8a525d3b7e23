package store_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

// clock gives arrivals as ingest does: now, and later than the one before.
type clock struct{ last time.Time }

func (c *clock) next() time.Time {
	now := time.Now().UTC().Truncate(time.Microsecond)
	if !now.After(c.last) {
		now = c.last.Add(time.Microsecond)
	}
	c.last = now
	return now
}

// answer is what a question about a user, or a user in a group, is answered with, as
// far as it can be asked for later.
type answer struct {
	State readstate.State
	Badge readstate.Badge
	Known bool
}

func (a asserting) live(pair readstate.Pair) answer {
	a.Helper()
	if pair.GroupID == "" {
		badge, err := a.Badge(a.Context(), pair.UserID)
		return a.answer(readstate.State{}, badge, err)
	}
	state, err := a.State(a.Context(), pair)
	return a.answer(state, readstate.Badge{}, err)
}

func (a asserting) past(pair readstate.Pair, at time.Time) answer {
	a.Helper()
	if pair.GroupID == "" {
		badge, err := a.BadgeAt(a.Context(), pair.UserID, at)
		return a.answer(readstate.State{}, badge, err)
	}
	state, err := a.StateAt(a.Context(), pair, at)
	return a.answer(state, readstate.Badge{}, err)
}

func (a asserting) answer(state readstate.State, badge readstate.Badge, err error) answer {
	a.Helper()
	if errors.Is(err, readstate.ErrUnknown) {
		return answer{}
	}
	require.NoError(a, err)
	state.Exact, state.Pending, state.UpdatedAt, badge.UpdatedAt = false, false, time.Time{}, time.Time{}
	badge.Exact, badge.Pending = false, false
	return answer{State: state, Badge: badge, Known: true}
}

// recording is what was answered at a moment.
type recording struct {
	at      time.Time
	step    int
	answers map[readstate.Pair]answer
}

// traffic is what a history is made of, by weight.
type traffic struct{ receipts, unsequenced, stored, snapshots, decreases, members, mutes, dismissals int }

// history has random things happen, and records what is answered meanwhile.
type history struct {
	asserting
	random   *rand.Rand
	clock    clock
	seqs     map[string]int64
	messages int
	asked    []readstate.Batch // snapshots that OpenIM was asked for, and has not given
	spooled  []readstate.Batch // what has arrived, and waits
	spools   bool
	said     []string
	recorded []recording
}

func (h *history) user() string  { return []string{"a", "b", "c"}[h.random.IntN(3)] }
func (h *history) group() string { return []string{"g", "h"}[h.random.IntN(2)] }

// message gives a callback of one of the newest messages, each of which has one sender.
func (h *history) message(group string, seq int64) readstate.Batch {
	n := h.messages - h.random.IntN(3)
	return message([]string{"a", "b", "c"}[(n+3)%3], group, strconv.Itoa(n), seq, 0)
}

// draw gives the next thing that happens.
func (h *history) draw(t traffic) (readstate.Batch, string) {
	g, u, at := h.group(), h.user(), h.clock.next()
	n := h.random.IntN(t.receipts + t.unsequenced + t.stored + t.snapshots + t.decreases + t.members + t.mutes + t.dismissals)
	drawn := func(weight int) bool {
		n -= weight
		return n < 0
	}
	switch {
	case drawn(t.receipts):
		r := documented(u, g, h.random.Int64N(9), 0)
		r.At, r.ContentType = at, h.random.Int64N(3)
		return readstate.Batch{Events: []readstate.Event{r}}, fmt.Sprint("receipt ", u, g, r.UnreadCount)
	case drawn(t.unsequenced):
		h.messages++
		m := h.message(g, 0)
		m.Events[0].At = at
		return m, fmt.Sprint("unsequenced ", m.Events[0].UserID, g, m.Events[0].MessageID)
	case drawn(t.stored):
		h.messages++
		h.seqs[g] += 1 + h.random.Int64N(2)
		m := h.message(g, h.seqs[g])
		m.Events[0].At = at
		return m, fmt.Sprint("stored ", m.Events[0].UserID, g, m.Events[0].MessageID, " seq ", m.Events[0].ReadSeq)
	case drawn(t.snapshots):
		f := snapshot(u, g, h.seqs[g]+h.random.Int64N(3), h.random.Int64N(h.seqs[g]+2), 0)
		f.Events[0].At = at
		h.asked = append(h.asked, f)
		return readstate.Batch{}, "asked"
	case drawn(t.decreases):
		h.seqs[g] -= h.random.Int64N(h.seqs[g]/2 + 1)
		f := snapshot(u, g, h.seqs[g], h.random.Int64N(h.seqs[g]+1), 0)
		f.Events[0].At, f.Events[0].Restarted = at, true
		return f, fmt.Sprint("decrease ", u, g, f.Events[0].MaxSeq, " ", f.Events[0].ReadSeq)
	case drawn(t.members):
		if h.random.IntN(4) == 0 {
			return arrived(listing(g, 0, u), at), "listed " + u + g
		}
		kind := []readstate.EventKind{readstate.EventJoined, readstate.EventJoined, readstate.EventLeft, readstate.EventUnlisted, readstate.EventMembersChanged}[h.random.IntN(5)]
		if kind == readstate.EventMembersChanged {
			u = ""
		}
		c := change(kind, g, 0, u)
		c.Events[0].At = at
		return c, fmt.Sprint("membership ", u, g, kind)
	case drawn(t.mutes):
		c := change([]readstate.EventKind{readstate.EventMuted, readstate.EventUnmuted}[h.random.IntN(2)], g, 0, u)
		c.Events[0].At = at
		return c, fmt.Sprint("mute ", u, g, c.Events[0].Kind)
	default:
		c := change(readstate.EventDismissed, g, 0)
		c.Events[0].At = at
		return c, "dismissed " + g
	}
}

// happen has so many things happen; between them, answers are recorded when OpenIM
// owes none and nothing waits.
func (h *history) happen(t traffic, steps int) {
	h.Helper()
	for range steps {
		batch, what := h.draw(t)
		if len(h.asked) > 0 && h.random.IntN(3) == 0 {
			batch.Append(h.asked[0])
			what += fmt.Sprint(" snapshot ", h.asked[0].Events[0].Pair(), h.asked[0].Events[0].MaxSeq, h.asked[0].Events[0].ReadSeq)
			h.asked = h.asked[1:]
		}
		switch {
		case h.spools && !strings.HasPrefix(what, "mute") && h.random.IntN(8) == 0:
			h.spooled = append(h.spooled, batch)
			h.said = append(h.said, "spooled: "+what)
			continue
		case len(h.spooled) > 0 && h.random.IntN(3) == 0:
			h.tell(h.spooled...)
			h.spooled = nil
			h.said = append(h.said, "drained")
		}
		h.said = append(h.said, fmt.Sprint(len(h.said), " ", h.clock.last.Format("05.000000"), " ", what))
		h.tell(batch)
		if len(h.asked)+len(h.spooled) == 0 && h.random.IntN(3) == 0 {
			h.record()
		}
	}
}

func (h *history) record() {
	h.Helper()
	r := recording{at: h.clock.next(), step: len(h.said), answers: map[readstate.Pair]answer{}}
	for _, user := range []string{"a", "b", "c"} {
		for _, group := range []string{"g", "h", ""} {
			pair := readstate.Pair{UserID: user, GroupID: group}
			r.answers[pair] = h.live(pair)
		}
	}
	h.recorded = append(h.recorded, r)
}

// holds asks for all moments that were recorded.
func (h *history) holds() {
	h.Helper()
	for _, r := range h.recorded {
		for pair, want := range r.answers {
			got := h.past(pair, r.at)
			if got != want {
				for _, line := range h.said {
					h.Log(line)
				}
				require.Equal(h, want, got, "%v at %v, after %d steps", pair, r.at.Format("05.000000"), r.step)
			}
		}
	}
	h.holdsOverTime()
}

// holdsOverTime asks for all moments at once, which gives the same.
func (h *history) holdsOverTime() {
	h.Helper()
	moments := make([]time.Time, len(h.recorded))
	for i := range h.recorded {
		moments[i] = h.recorded[i].at
	}
	for _, user := range []string{"a", "b", "c"} {
		pair := readstate.Pair{UserID: user, GroupID: "g"}
		counts, err := h.CountsAt(h.Context(), pair, moments)
		require.NoError(h, err)
		for i, r := range h.recorded {
			want := r.answers[pair]
			require.Equal(h, want.Known, counts[i] != nil, "%v at %v", pair, r.at)
			if want.Known {
				require.Equal(h, want.State.UnreadCount, *counts[i], "%v at %v", pair, r.at)
			}
		}
	}
}

func newHistory(t *testing.T, url string) *history {
	t.Helper()
	seed := rand.Uint64()
	t.Log("seed", seed)
	return &history{
		asserting: asserting{t, open(t, url)}, random: rand.New(rand.NewPCG(seed, 1)), seqs: map[string]int64{},
	}
}

// Whatever happens, the answer for a moment is the one that was given then.
func TestStatesAtAreWhatWasAnswered(t *testing.T) {
	t.Parallel()
	for name, mix := range map[string]traffic{
		"documented receipts only":   {receipts: 1},
		"messages without seq":       {receipts: 3, unsequenced: 3},
		"stored messages":            {receipts: 2, stored: 3},
		"both callbacks of messages": {receipts: 3, unsequenced: 4, stored: 3},
		"snapshots":                  {snapshots: 3, stored: 1},
		"snapshots among messages":   {receipts: 2, unsequenced: 5, stored: 2, snapshots: 3},
		"everything":                 {receipts: 5, unsequenced: 5, stored: 4, snapshots: 5, decreases: 1, members: 4, mutes: 4, dismissals: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHistory(t, pgtest.New(t))
			h.happen(mix, 120)
			h.holds()
			h.happen(mix, 40)
			h.holds()
		})
		t.Run(name+", some of it late", func(t *testing.T) {
			t.Parallel()
			h := newHistory(t, pgtest.New(t))
			h.spools = true
			h.happen(mix, 160)
			h.holds()
		})
	}
}

// daysAgo is a moment so many days and microseconds before now.
func daysAgo(days, µs int) time.Time {
	return time.Now().UTC().Truncate(time.Microsecond).AddDate(0, 0, -days).Add(time.Duration(µs) * time.Microsecond)
}

// arrived puts the events of a batch at a moment, a microsecond apart.
func arrived(batch readstate.Batch, at time.Time) readstate.Batch {
	for i := range batch.Events {
		batch.Events[i].At = at.Add(time.Duration(i) * time.Microsecond)
	}
	return batch
}

func (a asserting) counted(user string, at time.Time, unread int64, source readstate.Source) {
	a.Helper()
	state, err := a.StateAt(a.Context(), readstate.Pair{UserID: user, GroupID: "g"}, at)
	require.NoError(a, err)
	require.Equal(a, []any{unread, source}, []any{state.UnreadCount, state.Source}, "%+v", state)
}

// What the journal is rid of is answered from what has not changed since; nothing is
// made up for what has.
func TestStatesAtBeyondWhatIsKept(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	a := asserting{t, open(t, url)}
	a.tell(
		arrived(receipt("quiet", "g", 3, 0), daysAgo(9, 0)), arrived(receipt("busy", "g", 2, 0), daysAgo(9, 1)),
		arrived(snapshot("exact", "g", 7, 5, 0), daysAgo(9, 2)), arrived(change(readstate.EventLeft, "g", 0, "gone"), daysAgo(9, 3)),
		arrived(receipt("gone", "g", 1, 0), daysAgo(9, 4)),
		arrived(message("s", "g", "m", 8, 0), daysAgo(3, 0)), arrived(receipt("busy", "g", 1, 0), daysAgo(2, 0)),
		arrived(receipt("exact", "g", 4, 0), daysAgo(2, 1)),
		arrived(change(readstate.EventJoined, "m", 0, "joined"), daysAgo(9, 5)), arrived(receipt("joined", "m", 3, 0), daysAgo(2, 2)),
		arrived(receipt("told then asked", "m", 3, 0), daysAgo(9, 6)), arrived(snapshot("told then asked", "m", 7, 6, 0), daysAgo(8, 0)),
		arrived(snapshot("told then asked", "m", 8, 7, 0), daysAgo(2, 3)),
		arrived(snapshot("asked then told", "m", 7, 5, 0), daysAgo(9, 7)), arrived(receipt("asked then told", "m", 2, 0), daysAgo(8, 1)),
		arrived(receipt("asked then told", "m", 1, 0), daysAgo(2, 4)),
	)
	look := func() {
		t.Helper()
		a.counted("quiet", daysAgo(4, 0), 3, readstate.SourceReceipt)
		a.counted("quiet", daysAgo(2, 0), 4, readstate.SourceReceipt)
		a.counted("exact", daysAgo(4, 0), 2, readstate.SourceFact)
		a.counted("exact", daysAgo(1, 0), 4, readstate.SourceReceipt)
		a.counted("busy", daysAgo(1, 0), 1, readstate.SourceReceipt)
		_, err := a.StateAt(t.Context(), readstate.Pair{UserID: "gone", GroupID: "g"}, daysAgo(4, 0))
		require.ErrorIs(t, err, readstate.ErrUnknown)
		badge, err := a.BadgeAt(t.Context(), "quiet", daysAgo(1, 0))
		require.NoError(t, err)
		badge.UpdatedAt = time.Time{}
		require.Equal(t, readstate.Badge{UserID: "quiet", UnreadCount: 4, UnreadCountUnmuted: 4, UnreadGroups: 1, Groups: 1}, badge)
	}
	look()
	a.counted("busy", daysAgo(4, 0), 2, readstate.SourceReceipt)
	retired, err := a.Retire(t.Context(), store.Retention{Journal: 5 * 24 * time.Hour})
	require.NoError(t, err)
	require.NotEmpty(t, retired.Days)
	look()
	// busy had read, and nobody knows any more how far.
	gone := func(user, group string, at time.Time) {
		t.Helper()
		_, err := a.StateAt(t.Context(), readstate.Pair{UserID: user, GroupID: group}, at)
		require.ErrorIs(t, err, readstate.ErrGone)
		_, err = a.BadgeAt(t.Context(), user, at)
		require.ErrorIs(t, err, readstate.ErrGone)
	}
	gone("busy", "g", daysAgo(4, 0))
	// A group that is known does not make up for one that is gone.
	a.tell(arrived(receipt("busy", "other", 6, 0), daysAgo(4, -1)))
	a.counted("busy", daysAgo(1, 0), 1, readstate.SourceReceipt)
	gone("busy", "g", daysAgo(4, 0))
	// Of who came later nothing was known, and everything is known since.
	a.tell(arrived(receipt("new", "g", 2, 0), daysAgo(2, 2)), arrived(receipt("new", "g", 1, 0), daysAgo(1, 0)))
	_, err = a.StateAt(t.Context(), readstate.Pair{UserID: "new", GroupID: "g"}, daysAgo(4, 0))
	require.ErrorIs(t, err, readstate.ErrUnknown)
	a.counted("new", daysAgo(2, 3), 2, readstate.SourceReceipt)
	// Who had only joined in a dropped day had read nothing.
	joined, err := a.StateAt(t.Context(), readstate.Pair{UserID: "joined", GroupID: "m"}, daysAgo(1, 0))
	require.NoError(t, err)
	require.EqualValues(t, 4, joined.UnreadCount, "and one message since")
	_, err = a.StateAt(t.Context(), readstate.Pair{UserID: "joined", GroupID: "m"}, daysAgo(4, 0))
	require.ErrorIs(t, err, readstate.ErrUnknown)
	// One kind of reading does not make up for a later one of the other kind.
	gone("told then asked", "m", daysAgo(4, 0))
	gone("asked then told", "m", daysAgo(4, 0))
	// A replay makes states without knowing since when.
	conn := pgtest.Connect(t, url)
	_, err = conn.Exec(t.Context(), "DELETE FROM states")
	require.NoError(t, err)
	a.tell(arrived(change(readstate.EventJoined, "m", 0, "joined"), daysAgo(0, 0))) // before the replay
	_, err = a.Replay(t.Context(), store.Replay{}, func(store.ReplayProgress) {})
	require.NoError(t, err)
	gone("new", "g", daysAgo(4, 0))
	gone("joined", "m", daysAgo(4, 0))
	a.counted("new", daysAgo(2, 3), 2, readstate.SourceReceipt)
}

// Where the journal has nothing of a group until a moment, the next row tells the
// position before it.
func TestPositionBeforeTheFirstRow(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]readstate.Batch{
		"receipt":             receipt("v", "g", 5, 0),
		"message without seq": message("s", "g", "next", 0, 0),
		"stored message":      message("s", "g", "next", 9, 0),
		"snapshot":            snapshot("v", "g", 9, 9, 0),
		"members changed":     change(readstate.EventMembersChanged, "g", 0),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAsserting(t)
			a.tell(arrived(receipt("u", "g", 2, 0), daysAgo(9, 0)), arrived(message("s", "g", "before", 0, 0), daysAgo(9, 1)))
			a.counted("u", daysAgo(4, 0), 3, readstate.SourceReceipt)
			_, err := a.Retire(t.Context(), store.Retention{Journal: 5 * 24 * time.Hour})
			require.NoError(t, err)
			a.counted("u", daysAgo(4, 0), 3, readstate.SourceReceipt)
			a.tell(arrived(next, daysAgo(2, 0)))
			a.counted("u", daysAgo(4, 0), 3, readstate.SourceReceipt)
		})
	}
}

// Sums of the past stop at the ends of int64, too.
func TestBadgeAtSaturates(t *testing.T) {
	t.Parallel()
	a := newAsserting(t)
	const most = 1<<63 - 1
	a.tell(receipt("u", "g", most, 1), receipt("u", "h", most, 2))
	badge, err := a.BadgeAt(t.Context(), "u", at(2))
	require.NoError(t, err)
	badge.UpdatedAt = time.Time{}
	require.Equal(t, readstate.Badge{UserID: "u", UnreadCount: most, UnreadCountUnmuted: most, UnreadGroups: 2, Groups: 2}, badge)
}

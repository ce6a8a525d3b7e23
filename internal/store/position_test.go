package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

func identity() readstate.ID { return readstate.ID(uuid.Must(uuid.NewV7())) }

func at(µs int) time.Time { return epoch.Add(time.Duration(µs) * time.Microsecond) }

func uuidText(id readstate.ID) string { return uuid.UUID(id).String() }

// message makes a message callback that arrived µs microseconds after the epoch.
func message(sender, group, id string, seq int64, µs int) readstate.Batch {
	return readstate.Batch{Events: []readstate.Event{{
		Kind: readstate.EventMessage, ID: identity(), At: at(µs), GroupID: group, UserID: sender, MessageID: id, ReadSeq: seq, ContentType: 101,
	}}}
}

func snapshot(user, group string, maxSeq, readSeq int64, µs int) readstate.Batch {
	return readstate.Batch{Events: []readstate.Event{{
		Kind: readstate.EventSnapshot, ID: identity(), At: at(µs), UserID: user, GroupID: group, MaxSeq: maxSeq, ReadSeq: readSeq,
	}}}
}

func listing(group string, µs int, users ...string) readstate.Batch {
	return change(readstate.EventListed, group, µs, users...)
}

func change(kind readstate.EventKind, group string, µs int, users ...string) readstate.Batch {
	if len(users) == 0 {
		users = []string{""} // the whole group
	}
	var batch readstate.Batch
	for _, user := range users {
		batch.Events = append(batch.Events, readstate.Event{Kind: kind, ID: identity(), At: at(µs), UserID: user, GroupID: group})
	}
	return batch
}

func receipt(user, group string, unread int64, µs int) readstate.Batch {
	return readstate.Batch{Events: []readstate.Event{documented(user, group, unread, µs)}}
}

// asserting commits batches, each twice, and looks at counts in group g.
type asserting struct {
	*testing.T
	*store.Store
}

func (a asserting) tell(batches ...readstate.Batch) {
	a.Helper()
	for _, batch := range batches {
		require.NoError(a, a.Commit(a.Context(), batch))
		require.NoError(a, a.Commit(a.Context(), batch)) // a repeat changes nothing
	}
}

func (a asserting) shows(user string, unread int64, source readstate.Source, exact bool) {
	a.Helper()
	a.showsIn("g", user, unread, source, exact)
}

func (a asserting) showsIn(group, user string, unread int64, source readstate.Source, exact bool) {
	a.Helper()
	state, err := a.State(a.Context(), readstate.Pair{UserID: user, GroupID: group})
	require.NoError(a, err)
	require.Equal(a, []any{unread, source, exact}, []any{state.UnreadCount, state.Source, state.Exact}, "%+v", state)
}

func (a asserting) unknown(user string) {
	a.Helper()
	_, err := a.State(a.Context(), readstate.Pair{UserID: user, GroupID: "g"})
	require.ErrorIs(a, err, readstate.ErrUnknown)
	list, err := a.UserStates(a.Context(), user, readstate.Page{Limit: 10})
	require.NoError(a, err)
	for _, state := range list {
		require.NotEqual(a, "g", state.GroupID)
	}
}

func newAsserting(t *testing.T) asserting {
	t.Helper()
	return asserting{t, open(t, pgtest.New(t))}
}

// Documented receipts and messages without a seq: counts rise with each message,
// once, and fall with each receipt.
func TestMessagesWithoutSeq(t *testing.T) {
	t.Parallel()
	a := newAsserting(t)
	a.tell(receipt("u", "g", 3, 1))
	a.shows("u", 3, readstate.SourceReceipt, false)
	a.tell(message("s", "g", "m1", 0, 2), message("s", "g", "m2", 0, 3), message("s", "g", "m1", 0, 4), message("s", "h", "m3", 0, 5))
	a.shows("u", 5, readstate.SourceReceipt, false)
	a.shows("s", 0, readstate.SourceMessage, false)
	a.unknown("x")
	a.tell(receipt("u", "g", 0, 6), message("u", "g", "m4", 0, 7))
	a.shows("u", 0, readstate.SourceMessage, false)
	a.shows("s", 1, readstate.SourceMessage, false)
	// One batch is applied in the order of arrival.
	batch := readstate.Batch{Events: []readstate.Event{documented("u", "g", 1, 11)}}
	for i, µs := range []int{10, 12} {
		batch.Append(message("s", "g", fmt.Sprint("n", i), 0, µs))
	}
	a.tell(batch)
	a.shows("u", 2, readstate.SourceReceipt, false)
}

// Stored messages have seqs: they cover those without, in whatever order they come.
func TestMessagesWithSeq(t *testing.T) {
	t.Parallel()
	a := newAsserting(t)
	a.tell(receipt("u", "g", 2, 1), message("s", "g", "m1", 0, 2), message("s", "g", "m1", 7, 3))
	a.shows("u", 3, readstate.SourceReceipt, false) // its read position moved with the base seq
	a.shows("s", 0, readstate.SourceMessage, true)
	a.tell(message("s", "g", "m2", 8, 4), message("s", "g", "m2", 0, 5), message("s", "g", "m4", 10, 6)) // seqs have gaps
	a.shows("u", 6, readstate.SourceReceipt, false)
	a.tell(receipt("u", "g", 0, 7), message("s", "g", "m5", 11, 8))
	a.shows("u", 1, readstate.SourceReceipt, false)
	a.tell(message("u", "g", "m6", 12, 9), message("s", "g", "m7", 13, 10))
	a.shows("u", 1, readstate.SourceMessage, true)
}

// What OpenIM says replaces estimates in either direction, and only moves forward.
func TestSnapshots(t *testing.T) {
	t.Parallel()
	a := newAsserting(t)
	a.tell(receipt("u", "g", 9, 1), message("s", "g", "m1", 0, 2))
	a.shows("u", 10, readstate.SourceReceipt, false)
	a.tell(snapshot("u", "g", 57, 50, 3_000_000))
	a.shows("u", 7, readstate.SourceFact, true)
	a.tell(snapshot("u", "g", 50, 40, 2_000_000))
	a.shows("u", 7, readstate.SourceFact, true)
	a.tell(message("s", "g", "m2", 0, 5_000_000))
	a.shows("u", 8, readstate.SourceFact, false)
	a.tell(message("s", "g", "m2", 58, 5_000_001), message("s", "g", "m2", 0, 5_000_002))
	a.shows("u", 8, readstate.SourceFact, true)
	a.shows("s", 0, readstate.SourceMessage, true)
	a.tell(message("s", "g", "m4", 60, 5_000_003), message("s", "g", "m3", 0, 5_000_004))
	a.shows("u", 11, readstate.SourceFact, false) // m3 comes late, without its seq
	a.tell(message("s", "g", "m3", 59, 5_000_005))
	a.shows("u", 10, readstate.SourceFact, true)
	a.tell(snapshot("u", "g", 60, 1005, 6_000_000)) // a client may push hasReadSeq above maxSeq
	a.shows("u", 0, readstate.SourceFact, true)
	leapt := snapshot("v", "g", 1006, 0, 7_000_000)
	leapt.Events[0].Confirmed = true
	a.tell(leapt)
	a.shows("u", 1, readstate.SourceFact, true)
	state, err := a.State(t.Context(), readstate.Pair{UserID: "v", GroupID: "g"})
	require.NoError(t, err)
	require.True(t, state.LastReadAt.IsZero(), "never read")
	a.tell(receipt("u", "g", 4, 8_000_000)) // a later estimate
	a.shows("u", 4, readstate.SourceReceipt, false)
	lower := snapshot("u", "g", 10, 3, 9_000_000)
	lower.Events[0].Restarted = true
	a.tell(lower)
	a.shows("u", 7, readstate.SourceFact, true)
}

// Who left, or whose group is gone, is shown nowhere until a join, a creation or a
// member list; snapshots and late receipts bring nobody back.
func TestMembership(t *testing.T) {
	t.Parallel()
	a := newAsserting(t)
	a.tell(change(readstate.EventJoined, "g", 1, "u", "v"))
	a.unknown("u")
	a.tell(snapshot("u", "g", 8, 2, 2), snapshot("v", "g", 8, 8, 3), snapshot("u", "h", 1, 0, 4))
	a.tell(change(readstate.EventLeft, "g", 5, "u"))
	gone := func() {
		t.Helper()
		a.unknown("u")
		badge, err := a.Badge(t.Context(), "u")
		require.NoError(t, err)
		require.Equal(t, []int64{1, 1}, []int64{badge.UnreadCount, badge.Groups})
		sum, err := a.GroupSum(t.Context(), "g")
		require.NoError(t, err)
		require.EqualValues(t, 1, sum.Users)
		states, _, err := a.Snapshot(t.Context(), []readstate.Pair{{UserID: "u", GroupID: "g"}}, nil)
		require.NoError(t, err)
		require.Empty(t, states)
	}
	gone()
	a.tell(snapshot("u", "g", 8, 8, 6), receipt("u", "g", 5, 7), message("u", "g", "late", 0, 8))
	gone()
	a.tell(change(readstate.EventJoined, "g", 4, "u")) // arrived before
	gone()
	list := func(µs int) readstate.Batch {
		return listing("g", µs, "u", "v")
	}
	a.tell(list(4))
	gone()
	a.tell(list(9))
	a.shows("u", 0, readstate.SourceMessage, false)
	a.tell(change(readstate.EventLeft, "g", 10, "u", "v"), change(readstate.EventJoined, "g", 11, "v"))
	gone()
	a.tell(change(readstate.EventDismissed, "g", 12), change(readstate.EventDismissed, "g", 13))
	a.unknown("v")
	_, err := a.GroupSum(t.Context(), "g")
	require.ErrorIs(t, err, readstate.ErrUnknown)
	a.tell(list(14), snapshot("v", "g", 9, 1, 15))
	a.unknown("v")
	a.tell(change(readstate.EventJoined, "g", 16, "v"), snapshot("v", "g", 17, 9, 2_000_000)) // created anew
	a.shows("v", 8, readstate.SourceFact, true)
	a.unknown("u")
}

// A receipt that needs OpenIM enqueues a lookup in the same transaction; finishing one
// ends only what had been asked for before.
func TestLookups(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	a := asserting{t, open(t, url)}
	server := func(ct int64, µs int) readstate.Batch {
		return readstate.Batch{Events: []readstate.Event{{
			ID: identity(), At: at(µs), Kind: readstate.EventServerReceipt, UserID: "u", ReadSeq: 5, ContentType: ct,
		}}}
	}
	pending := func(want bool) {
		t.Helper()
		state, err := a.State(t.Context(), readstate.Pair{UserID: "u", GroupID: "g"})
		require.NoError(t, err)
		require.Equal(t, want, state.Pending)
		require.Equal(t, !want, state.Exact)
	}
	lease := func() (taken []readstate.LeasedLookup) {
		t.Helper()
		require.Eventually(t, func() bool {
			var err error
			taken, err = a.LeaseLookups(t.Context(), false, 10, time.Hour)
			return err == nil && len(taken) > 0
		}, time.Minute, time.Millisecond)
		require.Len(t, taken, 1)
		return taken
	}
	a.tell(snapshot("u", "g", 8, 2, 2), server(1, 3), server(4, 4))
	pending(false)
	a.tell(server(3, 5), server(2, 6))
	pending(true)
	taken := lease()
	require.Equal(t, readstate.Pair{UserID: "u"}, taken[0].Pair, "many receipts, one lookup")
	more, err := a.LeaseLookups(t.Context(), false, 10, time.Hour)
	require.NoError(t, err)
	require.Empty(t, more, "it is another's")
	_, err = pgtest.Connect(t, url).Exec(t.Context(), "UPDATE lookups SET leased_until = $1", time.Now().Add(25*time.Hour))
	require.NoError(t, err)
	require.Equal(t, taken, lease(), "a clock that was wrong gave the lease")
	a.tell(server(3, 7)) // while OpenIM is being asked
	require.NoError(t, a.FinishLookup(t.Context(), taken[0], time.Now()))
	pending(true)
	taken = lease()
	require.NoError(t, a.FinishLookup(t.Context(), taken[0], time.Now()))
	pending(false)
	a.tell(server(3, 8))
	taken = lease()
	require.NoError(t, a.PostponeLookup(t.Context(), taken[0], 0))
	taken = lease()
	require.NoError(t, a.FinishLookup(t.Context(), taken[0], time.Now()))
	pending(false)
}

// An answer about all of a user's groups ends the lookups about single ones, unless OpenIM
// may not have known yet what they are for, or they are asked for again.
func TestAnswerAboutAllGroups(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		after   time.Duration // from when they were asked for until OpenIM was
		waiting int64
	}{"before": {-time.Minute, 2}, "unsettled": {500 * time.Millisecond, 1}, "settled": {time.Minute, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAsserting(t)
			a.EnableLookups()
			a.tell(readstate.Batch{Events: []readstate.Event{{
				ID: identity(), At: at(1), Kind: readstate.EventServerReceipt, UserID: "u", ReadSeq: 5, ContentType: 3,
			}}})
			var taken []readstate.LeasedLookup
			require.Eventually(t, func() bool {
				var err error
				taken, err = a.LeaseLookups(t.Context(), false, 10, time.Hour)
				return err == nil && len(taken) == 1
			}, time.Minute, time.Millisecond)
			a.tell(receipt("u", "g", 0, 2), change(readstate.EventJoined, "h", 3, "u"))
			require.NoError(t, a.FinishLookup(t.Context(), taken[0], time.Now().Add(test.after)))
			waiting, _, err := a.CountLookups(t.Context())
			require.NoError(t, err)
			require.Equal(t, test.waiting, waiting)
		})
	}
}

// Without a REST API only receipts that have no count wait for one.
func TestLookupsWithoutOpenIM(t *testing.T) {
	t.Parallel()
	a := newAsserting(t)
	a.tell(receipt("u", "g", 1, 1), message("u", "g", "m", 0, 2), change(readstate.EventJoined, "g", 3, "v"))
	waiting, _, err := a.CountLookups(t.Context())
	require.NoError(t, err)
	require.Zero(t, waiting)
	b := newAsserting(t)
	b.EnableLookups()
	b.tell(receipt("u", "g", 1, 1), message("s", "g", "m", 0, 2), change(readstate.EventJoined, "g", 3, "v"),
		change(readstate.EventMembersChanged, "g", 4), change(readstate.EventLeft, "g", 5, "s"))
	waiting, _, err = b.CountLookups(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 4, waiting, "(u, g), (s, g), (v, g) and the members of g")
}

// However many users are asked about while a message is announced and not stored, one of
// them is asked about again, one at a time, but not one of a highest seq of its own.
func TestStoreChecks(t *testing.T) {
	t.Parallel()
	a := newAsserting(t)
	a.tell(snapshot("a", "g", 9, 1, 1), snapshot("b", "g", 9, 1, 2), snapshot("c", "g", 9, 1, 3), snapshot("a", "g", 6, 1, 4), message("s", "g", "m", 0, 5))
	a.EnableLookups()
	for i, user := range []string{"c", "b", "c", "d"} {
		a.tell(snapshot(user, "g", 9, int64(2+i), 4_500_000+100_000*i)) // between two checks
	}
	var taken []readstate.LeasedLookup
	require.Eventually(t, func() bool {
		more, err := a.LeaseLookups(t.Context(), true, 10, time.Hour)
		taken = append(taken, more...)
		return err == nil && len(taken) > 0
	}, time.Minute, time.Millisecond)
	require.Len(t, taken, 1)
	require.NotEqual(t, "a", taken[0].UserID)
	waiting, _, err := a.CountLookups(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, waiting)
}

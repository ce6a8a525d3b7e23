package store_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

func identity() readstate.ID { return readstate.ID(uuid.Must(uuid.NewV7())) }

func at(µs int) time.Time { return epoch.Add(time.Duration(µs) * time.Microsecond) }

// message makes a message callback that arrived µs microseconds after the epoch.
func message(sender, group, id string, seq int64, µs int) readstate.Batch {
	return readstate.Batch{Messages: []readstate.Message{{
		ID: identity(), ReceivedAt: at(µs), GroupID: group, UserID: sender, MessageID: id, Seq: seq, ContentType: 101,
	}}}
}

func fact(user, group string, maxSeq, readSeq int64, µs int) readstate.Batch {
	return readstate.Batch{Facts: []readstate.Fact{{
		ID: identity(), AskedAt: at(µs), Pair: readstate.Pair{UserID: user, GroupID: group}, MaxSeq: maxSeq, ReadSeq: readSeq,
	}}}
}

func listing(group string, µs int, users ...string) readstate.Batch {
	return readstate.Batch{Listings: []readstate.Listing{{ID: identity(), GroupID: group, AskedAt: at(µs), UserIDs: users}}}
}

func change(kind readstate.ChangeKind, group string, µs int, users ...string) readstate.Batch {
	return readstate.Batch{Changes: []readstate.Change{{ID: identity(), ReceivedAt: at(µs), Kind: kind, GroupID: group, UserIDs: users}}}
}

func receipt(user, group string, unread int64, µs int) readstate.Batch {
	return readstate.Batch{Receipts: []readstate.Receipt{documented(user, group, unread, µs)}}
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
	// One batch, folded in the order of arrival.
	batch := readstate.Batch{Receipts: []readstate.Receipt{documented("u", "g", 1, 11)}}
	for i, µs := range []int{10, 12} {
		batch.Messages = append(batch.Messages, message("s", "g", fmt.Sprint("n", i), 0, µs).Messages...)
	}
	a.tell(batch)
	a.shows("u", 2, readstate.SourceReceipt, false)
}

// Stored messages have seqs: they cover those without, in whatever order they come.
func TestMessagesWithSeq(t *testing.T) {
	t.Parallel()
	a := newAsserting(t)
	a.tell(receipt("u", "g", 2, 1), message("s", "g", "m1", 0, 2), message("s", "g", "m1", 7, 3))
	a.shows("u", 3, readstate.SourceReceipt, false) // its place moved with the origin
	a.shows("s", 0, readstate.SourceMessage, true)
	a.tell(message("s", "g", "m2", 8, 4), message("s", "g", "m2", 0, 5), message("s", "g", "m4", 10, 6)) // seqs have gaps
	a.shows("u", 6, readstate.SourceReceipt, false)
	a.tell(receipt("u", "g", 0, 7), message("s", "g", "m5", 11, 8))
	a.shows("u", 1, readstate.SourceReceipt, false)
	a.tell(message("u", "g", "m6", 12, 9), message("s", "g", "m7", 13, 10))
	a.shows("u", 1, readstate.SourceMessage, true)
}

// What OpenIM says replaces estimates in either direction, and only moves forward.
func TestFacts(t *testing.T) {
	t.Parallel()
	a := newAsserting(t)
	a.tell(receipt("u", "g", 9, 1), message("s", "g", "m1", 0, 2))
	a.shows("u", 10, readstate.SourceReceipt, false)
	a.tell(fact("u", "g", 57, 50, 3_000_000))
	a.shows("u", 7, readstate.SourceFact, true)
	a.tell(fact("u", "g", 50, 40, 2_000_000), fact("u", "g", 56, 49, 4_000_000))
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
	a.tell(fact("u", "g", 60, 1005, 6_000_000)) // a client may push hasReadSeq above maxSeq
	a.shows("u", 0, readstate.SourceFact, true)
	a.tell(fact("v", "g", 1006, 0, 7_000_000))
	a.shows("u", 1, readstate.SourceFact, true)
	state, err := a.State(t.Context(), readstate.Pair{UserID: "v", GroupID: "g"})
	require.NoError(t, err)
	require.True(t, state.LastReadAt.IsZero(), "never read")
	a.tell(receipt("u", "g", 4, 8_000_000)) // a later estimate
	a.shows("u", 4, readstate.SourceReceipt, false)
	lower := fact("u", "g", 10, 3, 9_000_000)
	lower.Facts[0].Lowers = true
	a.tell(lower)
	a.shows("u", 7, readstate.SourceFact, true)
}

// Who left, or whose group is gone, is shown nowhere until a join, a creation or a
// member list; facts and late receipts bring nobody back.
func TestMembership(t *testing.T) {
	t.Parallel()
	a := newAsserting(t)
	a.tell(change(readstate.ChangeJoined, "g", 1, "u", "v"))
	a.unknown("u")
	a.tell(fact("u", "g", 8, 2, 2), fact("v", "g", 8, 8, 3), fact("u", "h", 1, 0, 4))
	a.tell(change(readstate.ChangeLeft, "g", 5, "u"))
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
	a.tell(fact("u", "g", 8, 8, 6), receipt("u", "g", 5, 7), message("u", "g", "late", 0, 8))
	gone()
	a.tell(change(readstate.ChangeJoined, "g", 4, "u")) // arrived before
	gone()
	list := func(µs int) readstate.Batch {
		return listing("g", µs, "u", "v")
	}
	a.tell(list(4))
	gone()
	a.tell(list(9))
	a.shows("u", 0, readstate.SourceMessage, false)
	a.tell(change(readstate.ChangeLeft, "g", 10, "u", "v"), change(readstate.ChangeJoined, "g", 11, "v"))
	gone()
	a.tell(change(readstate.ChangeDismissed, "g", 12), change(readstate.ChangeDismissed, "g", 13))
	a.unknown("v")
	_, err := a.GroupSum(t.Context(), "g")
	require.ErrorIs(t, err, readstate.ErrUnknown)
	a.tell(list(14), fact("v", "g", 9, 1, 15))
	a.unknown("v")
	a.tell(change(readstate.ChangeJoined, "g", 16, "v"), fact("v", "g", 17, 9, 2_000_000)) // created anew
	a.shows("v", 8, readstate.SourceFact, true)
	a.unknown("u")
}

// A receipt that needs OpenIM marks its user in the same transaction; who resolves
// it ends only what had been asked for before.
func TestPending(t *testing.T) {
	t.Parallel()
	a := newAsserting(t)
	server := func(ct int64, µs int) readstate.Batch {
		return readstate.Batch{Receipts: []readstate.Receipt{{
			ID: identity(), ReceivedAt: at(µs), Dialect: readstate.DialectServer, UserID: "u", ReadSeq: 5, ContentType: ct,
		}}}
	}
	pending := func(want bool) {
		t.Helper()
		state, err := a.State(t.Context(), readstate.Pair{UserID: "u", GroupID: "g"})
		require.NoError(t, err)
		require.Equal(t, want, state.Pending)
		require.Equal(t, !want, state.Exact)
	}
	lease := func() (taken []store.Pending) {
		t.Helper()
		require.Eventually(t, func() bool {
			var err error
			taken, err = a.Lease(t.Context(), 10, time.Hour)
			return err == nil && len(taken) > 0
		}, time.Minute, time.Millisecond)
		require.Len(t, taken, 1)
		return taken
	}
	a.tell(fact("u", "g", 8, 2, 2), server(1, 3), server(4, 4))
	pending(false)
	a.tell(server(3, 5), server(2, 6))
	pending(true)
	taken := lease()
	require.Equal(t, readstate.Pair{UserID: "u"}, taken[0].Pair, "many receipts, one question")
	more, err := a.Lease(t.Context(), 10, time.Hour)
	require.NoError(t, err)
	require.Empty(t, more, "it is another's")
	a.tell(server(3, 7)) // while OpenIM is being asked
	require.NoError(t, a.Resolve(t.Context(), taken[0], time.Now()))
	pending(true)
	taken = lease()
	require.NoError(t, a.Resolve(t.Context(), taken[0], time.Now()))
	pending(false)
	a.tell(server(3, 8))
	taken = lease()
	require.NoError(t, a.Postpone(t.Context(), taken[0], 0))
	taken = lease()
	require.NoError(t, a.Resolve(t.Context(), taken[0], time.Now()))
	pending(false)
}

// Without a REST API only receipts that have no count wait for one.
func TestPendingWithoutOpenIM(t *testing.T) {
	t.Parallel()
	a := newAsserting(t)
	a.tell(receipt("u", "g", 1, 1), message("u", "g", "m", 0, 2), change(readstate.ChangeJoined, "g", 3, "v"))
	marks, _, err := a.CountPending(t.Context())
	require.NoError(t, err)
	require.Zero(t, marks)
	b := newAsserting(t)
	b.AskOpenIM()
	b.tell(receipt("u", "g", 1, 1), message("s", "g", "m", 0, 2), change(readstate.ChangeJoined, "g", 3, "v"),
		change(readstate.ChangeMembers, "g", 4), change(readstate.ChangeLeft, "g", 5, "s"))
	marks, _, err = b.CountPending(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 4, marks, "(u, g), (s, g), (v, g) and the members of g")
}

// The journal is enough: states, positions and messages can be dropped and rebuilt.
func TestReplayRebuildsPositions(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	a := asserting{t, open(t, url)}
	conn := pgtest.Connect(t, url)
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 3))
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	user := func() string { return pick("a", "b", "c") }
	group := func() string { return pick("g", "h") }
	seqs := map[string]int64{}
	for i := range 400 {
		g := group()
		switch random.IntN(8) {
		case 0, 1:
			a.tell(message(user(), g, fmt.Sprint(g, random.IntN(60)), 0, i*10))
		case 2:
			n := 1 + random.IntN(60)
			seqs[g] = max(seqs[g], int64(n))
			a.tell(message(user(), g, fmt.Sprint(g, n), int64(n), i*10))
		case 3, 4:
			a.tell(receipt(user(), g, random.Int64N(20), i*10))
		case 5:
			a.tell(fact(user(), g, seqs[g]+random.Int64N(2), random.Int64N(seqs[g]+2), i*10-5))
		case 6:
			a.tell(change(readstate.ChangeKind(1+random.IntN(2)), g, i*10, user()))
		default:
			if random.IntN(20) == 0 {
				a.tell(change(readstate.ChangeDismissed, g, i*10))
			}
		}
	}
	look := func() []string {
		var all []string
		for _, query := range []string{
			"SELECT s::text FROM (SELECT user_id, group_id, lag, relative, estimate_at, estimate_id, estimate_by_message, content_type, read_seq, exact_at, exact_by_message, read_at, joined_at, left_at, listed_at FROM states) AS s ORDER BY user_id, group_id",
			"SELECT p::text FROM (SELECT group_id, known, counted, origin, stored_at, asked_at, doubt_at, dismissed_at FROM positions) AS p ORDER BY group_id",
			"SELECT m::text FROM messages AS m ORDER BY group_id, message_id",
			"SELECT c::text FROM (SELECT user_id, group_id, unread_count, source, exact, last_read_at FROM current_states) AS c ORDER BY user_id, group_id",
		} {
			rows, err := conn.Query(t.Context(), query)
			require.NoError(t, err)
			list, err := pgx.CollectRows(rows, pgx.RowTo[string])
			require.NoError(t, err)
			all = append(all, list...)
		}
		return all
	}
	before := look()
	_, err := conn.Exec(t.Context(), "TRUNCATE states, positions, messages")
	require.NoError(t, err)
	_, err = a.Replay(t.Context(), store.Replay{BatchRows: 50}, ignore)
	require.NoError(t, err)
	require.Equal(t, before, look())
	result, err := a.Replay(t.Context(), store.Replay{}, ignore)
	require.NoError(t, err)
	require.Zero(t, result.Positions, "nothing to do")
}

// Counts of before live counts are what they were, in either direction.
func TestPositionsMigrateStates(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	a, conn := asserting{t, open(t, url)}, pgtest.Connect(t, url)
	a.tell(receipt("u", "g", 5, 1), receipt("v", "g", 1<<63-1, 2))
	for undone := ""; undone != "00006_positions.sql"; {
		migration, err := a.MigrateDown(t.Context())
		require.NoError(t, err)
		undone = migration.Name
	}
	var unread int64
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT unread_count FROM states WHERE user_id = 'u'").Scan(&unread))
	require.EqualValues(t, 5, unread)
	_, err := a.MigrateUp(t.Context())
	require.NoError(t, err)
	a.shows("u", 5, readstate.SourceReceipt, false)
	a.shows("v", 1<<63-1, readstate.SourceReceipt, false)
	a.tell(message("s", "g", "m", 0, 3))
	a.shows("u", 6, readstate.SourceReceipt, false)
	a.shows("v", 1<<63-1, readstate.SourceReceipt, false)
	result, err := a.Replay(t.Context(), store.Replay{}, ignore)
	require.NoError(t, err)
	require.Zero(t, result.Changed+result.Positions, "older rows of the journal tell the same")
}

package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

func (a asserting) state(user, group string) readstate.State {
	a.Helper()
	state, err := a.State(a.Context(), readstate.Pair{UserID: user, GroupID: group})
	require.NoError(a, err)
	return state
}

// That members changed takes a seq that nobody has named: counts stay inexact, also after
// a replay.
func TestMembersChangedIsReplayed(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	a := asserting{t, open(t, url)}
	a.tell(message("u", "g", "m", 7, 1))
	a.shows("u", 0, readstate.SourceMessage, true)
	a.tell(change(readstate.EventMembersChanged, "g", 2))
	a.shows("u", 0, readstate.SourceMessage, false)
	require.Equal(t, 2, journalRows(t, url))
	rebuild(a, url)
	a.shows("u", 0, readstate.SourceMessage, false)
}

// A receipt that is drained late takes the position at its place: what came after it is
// unread.
func TestLateReceipt(t *testing.T) {
	t.Parallel()
	for name, database := range databases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lateReceipt(t, database(t))
		})
	}
}

func lateReceipt(t *testing.T, url string) {
	t.Helper()
	a := asserting{t, open(t, url)}
	a.tell(message("s", "g", "m0", 1, 1))
	for n := range 10 {
		a.tell(message("s", "g", fmt.Sprint("n", n), int64(n+2), 10+n))
	}
	a.tell(receipt("u", "g", 0, 2))
	a.shows("u", 10, readstate.SourceReceipt, false)
	// The same of a receipt whose user has a later one already: nothing changes.
	a.tell(receipt("v", "g", 3, 40), receipt("v", "g", 0, 5))
	a.shows("v", 3, readstate.SourceReceipt, false)
	// The same in a batch with other things.
	mixed := receipt("w", "g", 1, 4)
	mixed.Append(message("s", "h", "m1", 0, 41))
	a.tell(mixed)
	a.shows("w", 11, readstate.SourceReceipt, false)
	rebuild(a, url)
	a.shows("u", 10, readstate.SourceReceipt, false)
	a.shows("v", 3, readstate.SourceReceipt, false)
	a.shows("w", 11, readstate.SourceReceipt, false)
}

// A batch writes only what it changes: groups in which nothing happened keep their
// position, and their states' UpdatedAt, of which ETags are made.
func TestOnlyWhatChangedIsWritten(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	a, conn := asserting{t, open(t, url)}, pgtest.Connect(t, url)
	a.tell(message("s", "g", "g1", 1, 1), message("s", "h", "h1", 1, 2), receipt("u", "h", 0, 3), receipt("v", "h", 0, 4))
	version := func(table, where string) string {
		return dump(t, conn, "SELECT xmin::text || r::text FROM "+table+" AS r WHERE "+where)[0]
	}
	position, state := version("positions", "group_id = 'h'"), version("states", "user_id = 'v' AND group_id = 'h'")
	before := a.state("v", "h").UpdatedAt
	batch := message("s", "g", "g2", 2, 10)
	batch.Append(receipt("u", "h", 0, 11))
	a.tell(batch)
	require.Equal(t, before, a.state("v", "h").UpdatedAt)
	require.Equal(t, state, version("states", "user_id = 'v' AND group_id = 'h'"))
	require.Equal(t, position, version("positions", "group_id = 'h'"))
	require.True(t, a.state("u", "h").UpdatedAt.After(before), "who read")
}

// What comes again, days later, counts once: an event from an old copy of a spool, and
// another callback of the same message. The journal knows them.
func TestOldEventsCountOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	a := asserting{t, open(t, url)}
	day := func(n int) time.Time { return daysAgo(20-n, 0) }
	sent := day(0).Truncate(time.Millisecond)
	callback := func(seq int64, at time.Time) readstate.Batch {
		batch := arrived(message("s", "g", "m", seq, 0), at)
		batch.Events[0].SentAt = sent
		return batch
	}
	first := callback(0, day(0))
	a.tell(arrived(receipt("u", "g", 0, 0), day(0).Add(-time.Second)), first)
	a.shows("u", 1, readstate.SourceReceipt, false)
	a.tell(arrived(message("s", "g", "m2", 0, 0), day(9)), arrived(receipt("v", "g", 0, 0), day(10)))
	a.shows("u", 2, readstate.SourceReceipt, false)
	a.tell(first)                // from an old copy, after all
	a.tell(callback(0, day(11))) // another callback, eleven days after it was sent
	a.shows("u", 2, readstate.SourceReceipt, false)
	a.shows("v", 0, readstate.SourceReceipt, false)
	a.tell(callback(5, day(12))) // its seq covers all
	a.shows("u", 2, readstate.SourceReceipt, false)
	rebuild(a, url)
	a.shows("u", 2, readstate.SourceReceipt, false)
}

// A replay takes a group in bounded transactions: between two of them events of the group
// are committed.
func TestReplayOfLargeGroupIsBounded(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s, conn := open(t, url), pgtest.Connect(t, url)
	var batch readstate.Batch
	for n := range 400 {
		batch.Append(message("s", "g", fmt.Sprint("m", n), 0, 2*n))
		batch.Append(receipt(fmt.Sprint("u", n%7), "g", int64(n), 2*n+1))
	}
	require.NoError(t, s.Commit(t.Context(), batch))
	_, err := conn.Exec(t.Context(), "TRUNCATE states, positions")
	require.NoError(t, err)
	pages := 0
	result, err := s.Replay(t.Context(), store.Replay{PageRows: 50}, func(store.ReplayProgress) {
		if pages++; pages == 1 {
			return
		}
		// Early in the group, late in it, and at its end: none waits for the replay.
		var between readstate.Batch
		between.Append(message("s", "g", fmt.Sprint("early", pages), 0, pages))
		between.Append(message("s", "g", fmt.Sprint("late", pages), 0, 700+pages))
		between.Append(receipt("x", "g", 0, 900+pages))
		if pages < 10 {
			require.NoError(t, s.Commit(t.Context(), between))
		}
	})
	require.NoError(t, err)
	require.Greater(t, pages, 16)
	require.Greater(t, result.Events, int64(800))
	after := contentOf(t, conn)
	again, err := s.Replay(t.Context(), store.Replay{}, ignore)
	require.NoError(t, err)
	require.Zero(t, again.States+again.Positions)
	require.Equal(t, after, contentOf(t, conn))
	state, err := s.State(t.Context(), readstate.Pair{UserID: "u1", GroupID: "g"})
	require.NoError(t, err)
	require.EqualValues(t, 399, state.UnreadCount, "393 when it read last, and six messages since")
}

// Two processes commit events of the same groups, each late for the other: the journal
// makes the same of them afterwards. Receipts come in batches with other events, which
// lock the positions of their groups.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	for name, database := range databases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := database(t)
			conn := pgtest.Connect(t, url)
			race(t, url, true)
			live := contentOf(t, conn)
			_, err := conn.Exec(t.Context(), "TRUNCATE states, positions")
			require.NoError(t, err)
			_, err = open(t, url).Replay(t.Context(), store.Replay{PageRows: 20}, ignore)
			require.NoError(t, err)
			require.Equal(t, live, contentOf(t, conn))
		})
	}
}

// Receipts alone lock nothing: one that is written at the same instant as a message that
// arrived before it, by another process, may take the position without the message. A
// replay puts it right.
func TestTwoProcessesWithReceiptsAlone(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	conn := pgtest.Connect(t, url)
	race(t, url, false)
	s := open(t, url)
	_, err := s.Replay(t.Context(), store.Replay{}, ignore)
	require.NoError(t, err)
	right := contentOf(t, conn)
	_, err = conn.Exec(t.Context(), "TRUNCATE states, positions")
	require.NoError(t, err)
	_, err = s.Replay(t.Context(), store.Replay{}, ignore)
	require.NoError(t, err)
	require.Equal(t, right, contentOf(t, conn))
}

// race has two processes commit at the same time; receipts come with other events, or
// half of them alone.
func race(t *testing.T, url string, together bool) {
	t.Helper()
	seed := rand.Uint64()
	t.Log("seed", seed)
	var wait sync.WaitGroup
	for writer := range 4 {
		s := open(t, url)
		random := rand.New(rand.NewPCG(seed, uint64(writer)))
		wait.Go(func() {
			for n := range 60 {
				var batch readstate.Batch
				at := func() int { return n*1000 + random.IntN(8000) }
				user, group := []string{"a", "b", "c"}[random.IntN(3)], []string{"g", "h"}[random.IntN(2)]
				if m := random.IntN(40); together || random.IntN(2) == 0 {
					seq := int64(0)
					if random.IntN(2) == 0 {
						seq = int64(m + 1)
					}
					batch.Append(message([]string{"a", "b", "c"}[m%3], group, fmt.Sprint("m", m), seq, at()))
					batch.Append(change([]readstate.EventKind{readstate.EventJoined, readstate.EventLeft}[random.IntN(2)], "h", at(), user))
				}
				batch.Append(receipt(user, group, random.Int64N(9), at()))
				if err := s.Commit(context.Background(), batch); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
}

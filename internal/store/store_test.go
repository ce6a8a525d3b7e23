package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func open(t testing.TB, url string) *store.Store {
	t.Helper()
	s, err := store.Open(store.Options{URL: url, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

var epoch = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// documented makes a receipt that arrived µs microseconds after the epoch.
func documented(user, group string, unread int64, µs int) readstate.Event {
	return readstate.Event{
		ID: readstate.ID(uuid.Must(uuid.NewV7())), At: epoch.Add(time.Duration(µs) * time.Microsecond),
		Kind: readstate.EventReceipt, UserID: user, GroupID: group, UnreadCount: unread, ContentType: 101,
	}
}

func commit(t testing.TB, s *store.Store, receipts ...readstate.Event) {
	t.Helper()
	require.NoError(t, s.Commit(t.Context(), readstate.Batch{Events: receipts}))
}

func journalRows(t testing.TB, url string) (rows int) {
	t.Helper()
	require.NoError(t, pgtest.Connect(t, url).QueryRow(t.Context(), "SELECT count(*) FROM journal").Scan(&rows))
	return rows
}

func TestCommitAndRead(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	ctx := t.Context()

	_, err := s.State(ctx, readstate.Pair{UserID: "u", GroupID: "g"})
	require.ErrorIs(t, err, readstate.ErrUnknown)

	commit(t, s, documented("u", "g", 5, 1), documented("u", "h", 0, 2), documented("v", "g", 7, 3))
	state, err := s.State(ctx, readstate.Pair{UserID: "u", GroupID: "g"})
	require.NoError(t, err)
	require.False(t, state.UpdatedAt.IsZero())
	state.UpdatedAt = time.Time{}
	require.Equal(t, readstate.State{
		Pair: readstate.Pair{UserID: "u", GroupID: "g"}, UnreadCount: 5, ContentType: 101,
		LastReadAt: epoch.Add(time.Microsecond), Source: readstate.SourceReceipt, Numbers: readstate.Numbers{ReadPosition: -5},
	}, state)

	badge, err := s.Badge(ctx, "u")
	require.NoError(t, err)
	require.False(t, badge.UpdatedAt.IsZero())
	badge.UpdatedAt = time.Time{}
	require.Equal(t, readstate.Badge{UserID: "u", UnreadCount: 5, UnreadCountUnmuted: 5, UnreadGroups: 1, Groups: 2}, badge)
	sum, err := s.GroupSum(ctx, "g")
	require.NoError(t, err)
	require.False(t, sum.UpdatedAt.IsZero())
	sum.UpdatedAt = time.Time{}
	require.Equal(t, readstate.GroupSum{
		GroupID: "g", Users: 2, UsersWithUnread: 2, UnreadCount: 12, MaxUnread: 7, LastReadAt: epoch.Add(3 * time.Microsecond),
	}, sum)
	_, err = s.Badge(ctx, "nobody")
	require.ErrorIs(t, err, readstate.ErrUnknown)
	_, err = s.GroupSum(ctx, "none")
	require.ErrorIs(t, err, readstate.ErrUnknown)

	states, badges, err := s.Snapshot(ctx, []readstate.Pair{{UserID: "u", GroupID: "g"}, {UserID: "x", GroupID: "g"}}, []string{"v", "x"})
	require.NoError(t, err)
	require.Len(t, states, 1)
	require.Len(t, badges, 1)
	require.EqualValues(t, 7, badges["v"].UnreadCount)
}

// Sums stop at the ends of int64 instead of failing.
func TestSumsSaturate(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t))
	const most = 1<<63 - 1
	commit(t, s, documented("u", "g", most, 1), documented("u", "h", most, 2), documented("v", "g", most, 3))
	badge, err := s.Badge(t.Context(), "u")
	require.NoError(t, err)
	require.EqualValues(t, most, badge.UnreadCount)
	require.EqualValues(t, most, badge.UnreadCountUnmuted)
	sum, err := s.GroupSum(t.Context(), "g")
	require.NoError(t, err)
	require.EqualValues(t, most, sum.UnreadCount)
}

// A server-dialect receipt is journaled as unattributed and makes no state.
func TestUnattributedReceipt(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	commit(t, s, readstate.Event{
		ID: readstate.ID(uuid.Must(uuid.NewV7())), At: epoch,
		Kind: readstate.EventServerReceipt, UserID: "u", ReadSeq: 42, ContentType: 3,
	})
	var group, count *string
	var seq int64
	err := pgtest.Connect(t, url).QueryRow(t.Context(),
		"SELECT group_id, unread_count::text, read_seq FROM journal WHERE user_id = 'u'").Scan(&group, &count, &seq)
	require.NoError(t, err)
	require.Nil(t, group)
	require.Nil(t, count)
	require.EqualValues(t, 42, seq)
	_, err = s.Badge(t.Context(), "u")
	require.ErrorIs(t, err, readstate.ErrUnknown)
}

// Writing a batch again adds nothing to the journal and changes no state.
func TestCommitTwice(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	batch := []readstate.Event{documented("u", "g", 5, 1), documented("u", "g", 4, 2)}
	commit(t, s, batch...)
	before, err := s.State(t.Context(), readstate.Pair{UserID: "u", GroupID: "g"})
	require.NoError(t, err)
	commit(t, s, batch...)
	commit(t, s, batch[0])
	after, err := s.State(t.Context(), readstate.Pair{UserID: "u", GroupID: "g"})
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.EqualValues(t, 4, after.UnreadCount)
	require.Equal(t, 2, journalRows(t, url))
}

// A batch is durable as a whole or not at all: what fails in the state leaves
// nothing in the journal, nor a neighbour's state.
func TestCommitIsAtomic(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	commit(t, s, documented("u", "g", 5, 1))
	_, err := pgtest.Connect(t, url).Exec(t.Context(), "ALTER TABLE states ADD CONSTRAINT no_poison CHECK (user_id <> 'poison')")
	require.NoError(t, err)
	err = s.Commit(t.Context(), readstate.Batch{
		Events:     []readstate.Event{documented("u", "g", 6, 2), documented("poison", "g", 1, 3)},
		Rejections: []readstate.Rejection{{Reason: "r", ReceivedAt: epoch}},
	})
	require.Error(t, err)
	require.NotErrorIs(t, err, readstate.ErrUnavailable)
	require.Equal(t, 1, journalRows(t, url))
	state, err := s.State(t.Context(), readstate.Pair{UserID: "u", GroupID: "g"})
	require.NoError(t, err)
	require.EqualValues(t, 5, state.UnreadCount)
	var rejected int
	require.NoError(t, pgtest.Connect(t, url).QueryRow(t.Context(), "SELECT count(*) FROM rejected_callbacks").Scan(&rejected))
	require.Zero(t, rejected)
}

// TestOrderNeverGoesBack: however receipts are batched, reordered and
// repeated, each pair ends at its last receipt and the journal holds each once.
func TestOrderNeverGoesBack(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		var all []readstate.Event
		last := map[readstate.Pair]readstate.Event{}
		for i := range rapid.IntRange(1, 12).Draw(rt, "receipts") {
			r := documented(fmt.Sprintf("%d-%s", runs, rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "user")),
				rapid.SampledFrom([]string{"g", "h"}).Draw(rt, "group"), int64(i), rapid.IntRange(0, 4).Draw(rt, "µs"))
			pair := readstate.Pair{UserID: r.UserID, GroupID: r.GroupID}
			if before, ok := last[pair]; !ok || r.Compare(&before) > 0 {
				last[pair] = r
			}
			all = append(all, r)
		}
		sent := rapid.Permutation(append(all, all...)).Draw(rt, "order")
		for len(sent) > 0 {
			n := rapid.IntRange(1, len(sent)).Draw(rt, "batch")
			if err := s.Commit(context.Background(), readstate.Batch{Events: sent[:n]}); err != nil {
				rt.Fatal(err)
			}
			sent = sent[n:]
		}
		for pair, want := range last {
			got, err := s.State(context.Background(), pair)
			if err != nil || got.UnreadCount != want.UnreadCount || !got.LastReadAt.Equal(want.At) {
				rt.Fatalf("%v: got %+v (%v), want receipt %+v", pair, got, err, want)
			}
		}
		var rows int
		if err := pgtest.Connect(t, url).QueryRow(context.Background(),
			"SELECT count(*) FROM journal WHERE starts_with(user_id, $1)", fmt.Sprintf("%d-", runs)).Scan(&rows); err != nil || rows != len(all) {
			rt.Fatalf("journal has %d rows (%v), want %d", rows, err, len(all))
		}
	})
}

// Writers of the same pairs in opposite orders neither deadlock nor lose.
func TestConcurrentWriters(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	var group sync.WaitGroup
	const writers, batches, pairs = 4, 20, 30
	errs := make(chan error, writers*batches)
	for w := range writers {
		s := open(t, url)
		group.Go(func() {
			for b := range batches {
				var batch readstate.Batch
				for i := range pairs {
					if w%2 == 1 {
						i = pairs - 1 - i
					}
					batch.Events = append(batch.Events, documented(fmt.Sprint("u", i), "g", int64(b), w+writers*b))
				}
				errs <- s.Commit(context.Background(), batch)
			}
		})
	}
	group.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	require.Equal(t, writers*batches*pairs, journalRows(t, url))
	sum, err := open(t, url).GroupSum(t.Context(), "g")
	require.NoError(t, err)
	require.EqualValues(t, pairs*(batches-1), sum.UnreadCount)
}

func TestLists(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t))
	ctx := t.Context()
	// Byte order, not a language's: "B" < "a" < "ä".
	commit(t, s, documented("u", "a", 0, 1), documented("u", "B", 2, 2), documented("u", "ä", 3, 3), documented("v", "a", 9, 4))
	groups := func(after string, atLeast int64, limit int32) (ids []string) {
		list, err := s.UserStates(ctx, "u", readstate.Page{After: readstate.Cursor{Key: after}, MinUnread: atLeast, Limit: limit})
		require.NoError(t, err)
		for _, state := range list {
			ids = append(ids, state.GroupID)
		}
		return ids
	}
	require.Equal(t, []string{"B", "a", "ä"}, groups("", 0, 10))
	require.Equal(t, []string{"B", "ä"}, groups("", 1, 10))
	require.Equal(t, []string{"a"}, groups("B", 0, 1))
	require.Empty(t, groups("ä", 0, 10))
	users, err := s.GroupStates(ctx, "a", readstate.Page{Limit: 10})
	require.NoError(t, err)
	require.Len(t, users, 2)
	require.Equal(t, "u", users[0].UserID)
	users, err = s.GroupStates(ctx, "a", readstate.Page{MinUnread: 9, Limit: 10})
	require.NoError(t, err)
	require.Len(t, users, 1)
}

// A rejected callback is recorded with what is legible, never its body.
func TestRejection(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	rejection := readstate.Rejection{
		ID: readstate.ID(uuid.Must(uuid.NewV7())), ReceivedAt: epoch, Command: "callbackGroupMsgReadCommand",
		Code: readstate.CodeInvalidField, Field: "unreadMsgNum", Reason: "unreadMsgNum is negative", Size: 77, UserID: "u",
	}
	for range 2 {
		require.NoError(t, s.Commit(t.Context(), readstate.Batch{Rejections: []readstate.Rejection{rejection}}))
	}
	var field, reason, user string
	var group *string
	var code, size int
	err := pgtest.Connect(t, url).QueryRow(t.Context(),
		"SELECT code, field, reason, body_bytes, user_id, group_id FROM rejected_callbacks").
		Scan(&code, &field, &reason, &size, &user, &group)
	require.NoError(t, err)
	require.Equal(t, []any{40003, "unreadMsgNum", "unreadMsgNum is negative", 77, "u"}, []any{code, field, reason, size, user})
	require.Nil(t, group)
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	s := open(t, "postgres://nobody@127.0.0.1:1/none?connect_timeout=2")
	err := s.Commit(t.Context(), readstate.Batch{Events: []readstate.Event{documented("u", "g", 1, 1)}})
	require.ErrorIs(t, err, readstate.ErrUnavailable)
	_, _, err = s.Check(t.Context())
	require.ErrorIs(t, err, readstate.ErrUnavailable)
	_, err = store.Open(store.Options{URL: "postgres://user:hunter2@[broken", Logger: slog.New(slog.DiscardHandler)})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter2")
}

// What a receipt holds may be refused; whatever else the database answers is an
// outage, in which no receipt is given up.
func TestRefusedOrAway(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	conn := pgtest.Connect(t, url)
	s := open(t, url)
	attempt := func(s *store.Store, user string) error {
		return s.Commit(t.Context(), readstate.Batch{Events: []readstate.Event{documented(user, "g", 1, 1)}})
	}
	_, err := conn.Exec(t.Context(), "ALTER TABLE states ADD CONSTRAINT poison CHECK (user_id <> 'poison')")
	require.NoError(t, err)
	err = attempt(s, "poison")
	require.ErrorContains(t, err, "poison")
	require.NotErrorIs(t, err, readstate.ErrUnavailable)
	err = attempt(s, "nul\x00byte")
	require.Error(t, err)
	require.NotErrorIs(t, err, readstate.ErrUnavailable)
	require.NoError(t, attempt(s, "fine"))

	_, err = conn.Exec(t.Context(), "ALTER TABLE states RENAME TO elsewhere")
	require.NoError(t, err)
	err = attempt(s, "u")
	require.ErrorIs(t, err, readstate.ErrUnavailable)
	require.NotErrorIs(t, err, readstate.ErrRetry, "no use to ask again at once")

	_, err = conn.Exec(t.Context(), "ALTER TABLE elsewhere RENAME TO states")
	require.NoError(t, err)
	require.Eventually(t, func() bool { // the pool looks after connections that were idle for a second
		require.NoError(t, attempt(s, "u"))
		_, err := conn.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "+
			"WHERE datname = current_database() AND pid <> pg_backend_pid()")
		require.NoError(t, err)
		err = attempt(s, "u")
		return errors.Is(err, readstate.ErrRetry) && errors.Is(err, readstate.ErrUnavailable)
	}, time.Minute, time.Millisecond, "a connection that broke after it had been made")
}

func TestCheck(t *testing.T) {
	t.Parallel()
	version, skew, err := open(t, pgtest.Empty(t)).Check(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, version)
	require.Less(t, skew.Abs(), 10*time.Second)
}

// A read looks for lookups by their index, also where the table was empty when
// PostgreSQL looked last: else every row of an answer would read all that has come since.
func TestReadsUseIndexes(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s, conn := open(t, url), pgtest.Connect(t, url)
	_, err := conn.Exec(t.Context(), "VACUUM (ANALYZE) lookups")
	require.NoError(t, err)
	commit(t, s, documented("u", "g", 1, 0))
	scans := func() (whole, byIndex int) {
		require.NoError(t, conn.QueryRow(t.Context(),
			"SELECT seq_scan, idx_scan FROM pg_stat_user_tables WHERE relname = 'lookups'").Scan(&whole, &byIndex))
		return whole, byIndex
	}
	before, _ := scans()
	require.Eventually(t, func() bool { // what is counted is told a little later
		_, err := s.State(t.Context(), readstate.Pair{UserID: "u", GroupID: "g"})
		require.NoError(t, err)
		_, byIndex := scans()
		return byIndex > 0
	}, time.Minute, 10*time.Millisecond)
	whole, _ := scans()
	require.Equal(t, before, whole)
}

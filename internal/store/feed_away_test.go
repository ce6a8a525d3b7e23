package store_test

import (
	"context"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

// The cut snapshot shows, of what the later of two snapshots of a server shows, what the earlier one does
// and the transactions up to one.
func TestCut(t *testing.T) {
	t.Parallel()
	const newest = 40
	snapshotOf := func(xmax uint64, running []uint64) readstate.Snapshot {
		s := readstate.Snapshot{XMin: xmax, XMax: xmax, Running: running}
		if len(running) > 0 {
			s.XMin = running[0]
		}
		return s
	}
	rapid.Check(t, func(t *rapid.T) {
		some := func(name string, of []uint64) (kept []uint64) {
			for _, xid := range of {
				if rapid.Bool().Draw(t, name) {
					kept = append(kept, xid)
				}
			}
			return kept
		}
		between := func(from, to uint64) (list []uint64) {
			for xid := from; xid < to; xid++ {
				list = append(list, xid)
			}
			return list
		}
		first := rapid.Uint64Range(1, newest-1).Draw(t, "xmax of since")
		since := snapshotOf(first, some("runs", between(1, first)))
		// One has ended in between, of those that ran or of those that have begun since.
		last := rapid.Uint64Range(first, newest-1).Draw(t, "xmax of until")
		ended := last
		if len(since.Running) > 0 && rapid.Bool().Draw(t, "one that ran") {
			ended = rapid.SampledFrom(since.Running).Draw(t, "ended")
		} else {
			last++
		}
		mayRun := slices.DeleteFunc(append(slices.Clone(since.Running), between(first, last)...), func(xid uint64) bool { return xid == ended })
		until := snapshotOf(last, some("still runs", mayRun))
		var news []uint64
		for xid := range uint64(newest) {
			if until.Shows(xid) && !since.Shows(xid) {
				news = append(news, xid)
			}
		}
		xid := rapid.SampledFrom(news).Draw(t, "xid")
		cut := store.Cut(&since, &until, xid)
		for x := range uint64(newest + 5) {
			if want := since.Shows(x) || until.Shows(x) && x <= xid; cut.Shows(x) != want {
				t.Fatalf("%d: %v of %+v", x, !want, cut)
			}
		}
		require.True(t, since.Before(&cut))
		require.True(t, xid == news[len(news)-1] || cut.Before(&until), "there is more")
		require.True(t, slices.IsSorted(cut.Running))
		require.LessOrEqual(t, cut.XMin, cut.XMax)
		c := readstate.FeedCursor{Seen: cut}
		back, err := readstate.ParseFeedCursor(c.String())
		require.NoError(t, err)
		require.Equal(t, cut, back.Seen)
	})
}

// all reads to the end and gives what is told.
func (c *consumer) all() (list []readstate.FeedChange) {
	c.t.Helper()
	for {
		page, err := c.store.Changes(c.t.Context(), c.cursor, c.Filter, c.limit)
		require.NoError(c.t, err)
		require.LessOrEqual(c.t, len(page.Changes), c.limit)
		c.pages++
		for i := range page.Changes {
			if i > 0 {
				require.Negative(c.t, page.Changes[i-1].Compare(page.Changes[i].FeedKey), "in order")
			}
		}
		list = append(list, page.Changes...)
		next, err := readstate.ParseFeedCursor(page.Next.String())
		require.NoError(c.t, err)
		c.cursor = &next
		if !page.More {
			return list
		}
	}
}

func keys(list []readstate.FeedChange) (keys []readstate.FeedKey) {
	for i := range list {
		keys = append(keys, list[i].FeedKey)
	}
	return keys
}

type execer interface {
	Exec(ctx context.Context, sql string, arguments ...any) (pgconn.CommandTag, error)
}

// exec runs a statement.
func exec(t testing.TB, conn execer, statement string, arguments ...any) {
	t.Helper()
	_, err := conn.Exec(t.Context(), statement, arguments...)
	require.NoError(t, err)
}

// insertStates inserts states as receipts leave them, of pairs as a query gives them.
func insertStates(t testing.TB, conn execer, pairs string) {
	t.Helper()
	exec(t, conn, `INSERT INTO states (user_id, group_id, estimate_read, estimate_before_base_seq, estimate_at, estimate_id, estimate_by_message,
		content_type, first_estimate_at, updated_at)
		SELECT p.user_id, p.group_id, -1, true, now(), gen_random_uuid(), false, 101, now(), now() FROM (`+pairs+`) AS p (user_id, group_id)`)
}

// Who was away for long is told everything, in pages that are bounded.
func TestFeedAfterLong(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s, conn := open(t, url), pgtest.Connect(t, url)
	commit(t, s, onDay(0, 1)) // the day is there
	wide, narrow := newConsumer(t, s, readstate.FeedFilter{}, 1000), newConsumer(t, s, readstate.FeedFilter{UserPrefix: "u7-"}, 7)
	late := newLate(t, url)
	const rows, pairs = store.FeedRows + 100, 10 // a row is a transaction
	require.Greater(t, rows*pairs, store.FeedKeys)
	exec(t, conn, "SET synchronous_commit = off")
	exec(t, conn, `DO $$ BEGIN FOR i IN 1..1100 LOOP
		INSERT INTO states (user_id, group_id, estimate_read, estimate_before_base_seq, estimate_at, estimate_id, estimate_by_message,
			content_type, first_estimate_at, updated_at)
		SELECT 'u' || n || '-' || i, 'g' || i % 90, -1, true, now(), gen_random_uuid(), false, 101, now(), now() FROM generate_series(1, 10) AS n;
		INSERT INTO positions (group_id, max_seq, base_seq) VALUES ('g' || i % 90, i, 0) ON CONFLICT (group_id) DO UPDATE SET max_seq = excluded.max_seq;
		INSERT INTO changes (recorded_at, everything, pair_user_ids, pair_group_ids, position_group_ids)
		SELECT now(), false, array_agg('u' || n || '-' || i), array_agg('g' || i % 90), array['g' || i % 90] FROM generate_series(1, 10) AS n;
		COMMIT;
	END LOOP; END $$`)
	for _, c := range []*consumer{wide, narrow} {
		told := c.all()
		want := map[readstate.FeedKind]int{readstate.FeedChanged: rows * pairs, readstate.FeedAdvanced: 90}
		if c == narrow {
			want[readstate.FeedChanged] = rows
		}
		seen, repeats := map[readstate.FeedKey]bool{}, 0
		got := map[readstate.FeedKind]int{}
		for i := range told {
			if seen[told[i].FeedKey] {
				repeats++ // a group goes on moving in a later round
				continue
			}
			seen[told[i].FeedKey] = true
			got[told[i].Kind]++
		}
		require.Equal(t, want, got)
		require.LessOrEqual(t, repeats, 90)
		require.LessOrEqual(t, c.pages, len(told)/c.limit+4)
		require.NotEmpty(t, c.cursor.Seen.Running, "one transaction is open still, and others of the server may be")
	}
	// What was open all the time is told when it has ended.
	late.commit()
	for _, c := range []*consumer{wide, narrow} {
		want := []readstate.FeedKey{{UserID: "late", GroupID: "late", Kind: readstate.FeedChanged}}
		if c == narrow {
			want = nil
		}
		require.Equal(t, want, keys(c.all()))
	}
}

// lateTransaction has written a state of user late in group late, and is open.
type lateTransaction struct {
	t  testing.TB
	tx pgx.Tx
}

func newLate(t testing.TB, url string) *lateTransaction {
	t.Helper()
	tx, err := pgtest.Connect(t, url).Begin(t.Context())
	require.NoError(t, err)
	insertStates(t, tx, "SELECT 'late', 'late'")
	exec(t, tx, "INSERT INTO changes (recorded_at, everything, pair_user_ids, pair_group_ids) VALUES (now(), false, ARRAY['late'], ARRAY['late'])")
	return &lateTransaction{t, tx}
}

func (l *lateTransaction) commit() {
	l.t.Helper()
	require.NoError(l.t, l.tx.Commit(l.t.Context()))
}

// A transaction that ends between two pages of a round is told in the next one, once.
func TestFeedTransactionEndsWithinRound(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	commit(t, s, documented("u", "g", 1, 1))
	c := newConsumer(t, s, readstate.FeedFilter{}, 1)
	late := newLate(t, url)
	commit(t, s, documented("u", "g", 2, 2))
	commit(t, s, documented("v", "x", 2, 3))
	page, err := s.Changes(t.Context(), c.cursor, c.Filter, 1)
	require.NoError(t, err)
	require.Equal(t, []readstate.FeedKey{{UserID: "u", GroupID: "g", Kind: readstate.FeedChanged}}, keys(page.Changes))
	require.True(t, page.More)
	late.commit() // its key lies between the two
	c.cursor = &page.Next
	require.Equal(t, []readstate.FeedKey{
		{UserID: "v", GroupID: "x", Kind: readstate.FeedChanged}, {UserID: "late", GroupID: "late", Kind: readstate.FeedChanged},
	}, keys(c.all()))
	require.Empty(t, c.all())
}

// Rows that a restored backup has brought are of transactions to come: they tell nothing, and end nothing.
func TestFeedOfRestoredBackup(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s, conn := open(t, url), pgtest.Connect(t, url)
	commit(t, s, documented("u", "g", 1, 1))
	c := newConsumer(t, s, readstate.FeedFilter{}, 10)
	exec(t, conn, `INSERT INTO changes (recorded_at, xid, user_ids, everything)
		SELECT now(), (pg_snapshot_xmax(pg_current_snapshot())::text::numeric + 1e6 + n)::text::xid8, '{u}', false FROM generate_series(1, 1200) AS n`)
	require.Empty(t, c.all())
	commit(t, s, documented("v", "g", 1, 2))
	require.Equal(t, []readstate.FeedKey{{UserID: "v", GroupID: "g", Kind: readstate.FeedChanged}}, keys(c.all()))
}

package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"readmark/internal/dbclock"
	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

const aDay = 24 * time.Hour

// onDay is a receipt that arrived so many days ago.
func onDay(ago int, unread int64) readstate.Event {
	r := readstate.Event{
		Kind: readstate.EventReceipt, UserID: fmt.Sprint("day-", ago), GroupID: "g", UnreadCount: unread,
		At: time.Now().UTC().Truncate(time.Microsecond).Add(-time.Duration(ago) * aDay),
	}
	r.ID[0], r.ID[1] = byte(ago), byte(unread)
	return r
}

func partitionOf(ago int) string {
	return "journal_" + time.Now().UTC().Add(-time.Duration(ago)*aDay).Format("20060102")
}

// Whole days that are too old are dropped, the others stay, and ingest makes a
// day again when a late receipt needs it.
func TestRetireDropsWholeDays(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	for _, ago := range []int{0, 2, 3, 4, 5, 9} {
		commit(t, s, onDay(ago, 1))
	}
	result, err := s.Retire(t.Context(), store.Retention{Journal: 3 * aDay})
	require.NoError(t, err)
	require.True(t, result.Ran)
	// The day three days ago ends less than three days ago.
	require.ElementsMatch(t, []string{partitionOf(4), partitionOf(5), partitionOf(9)}, result.Days)
	require.Equal(t, 3, journalRows(t, url))
	result, err = s.Retire(t.Context(), store.Retention{Journal: 3 * aDay})
	require.NoError(t, err)
	require.Empty(t, result.Days)
	commit(t, s, onDay(5, 2))
	require.Equal(t, 4, journalRows(t, url))
}

// A long transaction stands in the way: retention gives up in time, ingest
// goes on, and the next call finishes.
func TestRetireNeverStallsIngest(t *testing.T) {
	t.Parallel()
	s, reader := retireBesideReader(t, pgtest.New(t))
	// A late receipt of the day that is being detached cannot be written before
	// the reader ends, and is not given up: the spool would keep it.
	err := s.Commit(t.Context(), readstate.Batch{Events: []readstate.Event{onDay(5, 2)}})
	require.ErrorIs(t, err, readstate.ErrUnavailable)
	retireAfterReader(t, s, reader)
}

// The same where days cannot be detached concurrently. The day stays until its lock is had.
func TestRetireOnCitus(t *testing.T) {
	t.Parallel()
	s, reader := retireBesideReader(t, pgtest.LikeCitus(t, 0))
	commit(t, s, onDay(5, 2))
	retireAfterReader(t, s, reader)
}

// retireBesideReader has retention give up while somebody reads the journal, and receipts be committed all the time.
func retireBesideReader(t *testing.T, url string) (s *store.Store, reader pgx.Tx) {
	t.Helper()
	s = open(t, url)
	commit(t, s, onDay(0, 1), onDay(5, 1))
	reader, err := pgtest.Connect(t, url).Begin(t.Context())
	require.NoError(t, err)
	exec(t, reader, "SELECT count(*) FROM journal")
	failed := make(chan error, 1)
	go func() {
		_, err := s.Retire(t.Context(), store.Retention{Journal: 3 * aDay})
		failed <- err
	}()
	committed := 0
	for len(failed) == 0 {
		started := time.Now()
		commit(t, s, onDay(0, int64(committed+2)))
		require.Less(t, time.Since(started), 1500*time.Millisecond, "waited for the lock, which is asked for longer")
		committed++
	}
	require.ErrorIs(t, <-failed, readstate.ErrUnavailable, "it gave up")
	require.Positive(t, committed)
	return s, reader
}

func retireAfterReader(t *testing.T, s *store.Store, reader pgx.Tx) {
	t.Helper()
	require.NoError(t, reader.Rollback(t.Context()))
	result, err := s.Retire(t.Context(), store.Retention{Journal: 3 * aDay})
	require.NoError(t, err)
	require.Equal(t, []string{partitionOf(5)}, result.Days)
}

// What a crash left between detach and drop is dropped; a late receipt that
// comes before gets its day back.
func TestRetireLeftovers(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s, conn := open(t, url), pgtest.Connect(t, url)
	commit(t, s, onDay(0, 1), onDay(5, 1), onDay(6, 1))
	for _, ago := range []int{5, 6} {
		_, err := conn.Exec(t.Context(), "ALTER TABLE journal DETACH PARTITION "+partitionOf(ago))
		require.NoError(t, err)
	}
	commit(t, s, onDay(6, 2))
	require.Equal(t, 3, journalRows(t, url), "with what the day had")
	result, err := s.Retire(t.Context(), store.Retention{Journal: 3 * aDay})
	require.NoError(t, err)
	require.ElementsMatch(t, []string{partitionOf(5), partitionOf(6)}, result.Days)
}

// A day is dropped when the database's clock and the machine's both say that it is old.
func TestRetireWaitsForBothClocks(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t))
	commit(t, s, onDay(5, 1))
	machine := dbclock.System()
	behind := machine
	behind.Wall = func() time.Time { return time.Now().Add(-5 * aDay) }
	ahead := machine
	ahead.Wall = func() time.Time { return time.Now().Add(50 * aDay) }
	for _, c := range []struct {
		machine dbclock.Machine
		keep    time.Duration
		dropped int
	}{{behind, 3 * aDay, 0}, {ahead, 20 * aDay, 0}, {ahead, 3 * aDay, 1}} {
		clock := dbclock.New(c.machine)
		s.UseClock(clock)
		require.NoError(t, s.MeasureClock(t.Context()))
		result, err := s.Retire(t.Context(), store.Retention{Journal: c.keep})
		require.NoError(t, err)
		require.Len(t, result.Days, c.dropped)
	}
}

// One replica at a time.
func TestRetireOnOneReplica(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s, other := open(t, url), pgtest.Connect(t, url)
	commit(t, s, onDay(5, 1))
	lease := func(until time.Duration) {
		_, err := other.Exec(t.Context(), "UPDATE retention SET leased_by = gen_random_uuid(), leased_until = $1", time.Now().Add(until))
		require.NoError(t, err)
	}
	lease(time.Minute)
	result, err := s.Retire(t.Context(), store.Retention{Journal: 3 * aDay})
	require.NoError(t, err)
	require.Equal(t, store.Retired{}, result)
	lease(aDay) // by a clock that was wrong
	result, err = s.Retire(t.Context(), store.Retention{Journal: 9 * aDay})
	require.NoError(t, err)
	require.True(t, result.Ran)
	lease(-time.Second) // of a process that has ended in the middle
	for _, days := range []int{1, 0} {
		result, err = s.Retire(t.Context(), store.Retention{Journal: 3 * aDay})
		require.NoError(t, err)
		require.True(t, result.Ran, "the lease is given back")
		require.Len(t, result.Days, days)
	}
}

// Rejected callbacks have bounds of their own, in age and number.
func TestRetireRejections(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s, conn := open(t, url), pgtest.Connect(t, url)
	now := time.Now().UTC().Truncate(time.Microsecond)
	var batch readstate.Batch
	for n := range 30 {
		r := readstate.Rejection{Command: "c", Code: readstate.CodeInvalidField, ReceivedAt: now.Add(-time.Duration(n/2) * time.Hour)}
		r.ID[15] = byte(n)
		batch.Rejections = append(batch.Rejections, r)
	}
	require.NoError(t, s.Commit(t.Context(), batch))
	left := func() (n int) {
		require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM rejected_callbacks").Scan(&n))
		return n
	}
	for _, step := range []struct {
		keep          store.Retention
		deleted, left int
	}{
		{store.Retention{Rejections: aDay, MaxRejections: 30}, 0, 30},
		{store.Retention{Rejections: 11*time.Hour - time.Minute, MaxRejections: 30}, 8, 22},
		{store.Retention{Rejections: aDay, MaxRejections: 7}, 15, 7},
		{store.Retention{}, 0, 7},
	} {
		result, err := s.Retire(t.Context(), step.keep)
		require.NoError(t, err)
		require.EqualValues(t, step.deleted, result.Rejections)
		require.Equal(t, step.left, left())
	}
}

// Days of changes are marked first and dropped a while later: who polls at a revision of before
// is told that changes are missing.
func TestRetireChanges(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	commit(t, s, onDay(0, 1))
	poller := s.Poller()
	defer poller.Close()
	first, err := poller.Poll(t.Context(), nil, readstate.Load{})
	require.NoError(t, err)
	require.True(t, first.Reset)
	conn := pgtest.Connect(t, url)
	old := time.Now().UTC().Add(-5 * aDay)
	name := "changes_" + old.Format("20060102")
	_, err = conn.Exec(t.Context(), "CREATE TABLE "+name+" PARTITION OF changes FOR VALUES FROM ('"+old.Format("2006-01-02")+"') TO ('"+old.Add(aDay).Format("2006-01-02")+"')")
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "INSERT INTO changes (recorded_at, user_ids, everything) VALUES ($1, '{u}', false)", old)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "SELECT pg_current_xact_id()") // it is not the last one
	require.NoError(t, err)
	seen, err := poller.Poll(t.Context(), &first.Revision, readstate.Load{})
	require.NoError(t, err)
	require.False(t, seen.Reset)
	require.Equal(t, []string{"u"}, seen.Change.Users)
	last := seen.Revision.XMax
	require.Eventually(t, func() bool { // transactions of other databases end
		seen, err = poller.Poll(t.Context(), &seen.Revision, readstate.Load{})
		return err == nil && seen.Revision.XMin >= last
	}, time.Minute, 10*time.Millisecond)

	keep := store.Retention{Changes: aDay}
	result, err := s.Retire(t.Context(), keep)
	require.NoError(t, err)
	require.NotContains(t, result.Days, name, "marked only")
	missed, err := poller.Poll(t.Context(), &first.Revision, readstate.Load{})
	require.NoError(t, err)
	require.True(t, missed.Reset, "it may have been dropped")
	again, err := poller.Poll(t.Context(), &seen.Revision, readstate.Load{})
	require.NoError(t, err)
	require.False(t, again.Reset, "it was seen before")

	_, err = conn.Exec(t.Context(), "UPDATE retention SET changes_marked_at = changes_marked_at - interval '1 minute'")
	require.NoError(t, err)
	result, err = s.Retire(t.Context(), keep)
	require.NoError(t, err)
	require.Contains(t, result.Days, name)
	missed, err = poller.Poll(t.Context(), &first.Revision, readstate.Load{})
	require.NoError(t, err)
	require.True(t, missed.Reset)
	var left int
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM changes WHERE recorded_at < $1", old.Add(aDay)).Scan(&left))
	require.Zero(t, left)
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM changes").Scan(&left))
	require.Positive(t, left, "those of today stay")
}

// A restored backup brings changes and a mark of transactions that this server has not had: they
// would be told at each poll, and hide what is dropped later. What is of this server stays.
func TestForgetOtherServersChanges(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	commit(t, s, onDay(0, 1))
	conn := pgtest.Connect(t, url)
	_, err := conn.Exec(t.Context(), `INSERT INTO changes (recorded_at, xid, user_ids, everything)
		SELECT now(), (pg_snapshot_xmax(pg_current_snapshot())::text::numeric + 1e6 + n)::text::xid8, '{u}', false FROM generate_series(1, 6000) AS n`)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "UPDATE retention SET changes_dropped_xid = (SELECT max(xid) FROM changes), changes_marked_at = now()")
	require.NoError(t, err)
	poller := s.Poller()
	defer poller.Close()
	first, err := poller.Poll(t.Context(), nil, readstate.Load{})
	require.NoError(t, err)
	next, err := poller.Poll(t.Context(), &first.Revision, readstate.Load{})
	require.NoError(t, err)
	require.True(t, next.Reset, "too many changes, each time")
	_, err = s.Retire(t.Context(), store.Retention{})
	require.NoError(t, err)
	next, err = poller.Poll(t.Context(), &first.Revision, readstate.Load{})
	require.NoError(t, err)
	require.False(t, next.Reset)
	require.True(t, next.Change.Empty())
	require.Zero(t, next.Revision.DroppedXID)
	var left int
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM changes").Scan(&left))
	require.Equal(t, 1, left)
	_, err = conn.Exec(t.Context(), "UPDATE retention SET changes_dropped_xid = (SELECT max(xid) FROM changes), changes_marked_at = now()")
	require.NoError(t, err)
	_, err = s.Retire(t.Context(), store.Retention{})
	require.NoError(t, err)
	next, err = poller.Poll(t.Context(), &next.Revision, readstate.Load{})
	require.NoError(t, err)
	require.Positive(t, next.Revision.DroppedXID, "a mark of this server's stays")
}

// Who restores a backup over a running Readmark makes the tables anew, under the same address
// and server: nothing that was read before holds.
func TestTablesMadeAnew(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	poller := s.Poller()
	defer poller.Close()
	first, err := poller.Poll(t.Context(), nil, readstate.Load{})
	require.NoError(t, err)
	dropChanges(t, migrator(t, url))
	_, err = migrator(t, url).Up(t.Context())
	require.NoError(t, err)
	again, err := poller.Poll(t.Context(), &first.Revision, readstate.Load{})
	require.NoError(t, err)
	require.True(t, again.Reset)
}

package store_test

import (
	"errors"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

// gone looks that a cursor is not kept.
func gone(t testing.TB, s *store.Store, cursor *readstate.FeedCursor) {
	t.Helper()
	_, err := s.Changes(t.Context(), cursor, readstate.FeedFilter{}, 10)
	require.ErrorIs(t, err, readstate.ErrGone)
}

// now gives a cursor of now.
func now(t testing.TB, s *store.Store) *readstate.FeedCursor {
	t.Helper()
	page, err := s.Changes(t.Context(), nil, readstate.FeedFilter{}, 10)
	require.NoError(t, err)
	return &page.Next
}

// Changes that are dropped behind a cursor are missed, from when they are marked on. One that has seen them
// goes on.
func TestFeedOfRetired(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s, conn := open(t, url), pgtest.Connect(t, url)
	commit(t, s, onDay(0, 1))
	old := time.Now().UTC().Add(-5 * aDay)
	name := "changes_" + old.Format("20060102")
	exec(t, conn, "CREATE TABLE "+name+" PARTITION OF changes FOR VALUES FROM ('"+old.Format("2006-01-02")+"') TO ('"+old.Add(aDay).Format("2006-01-02")+"')")
	before := now(t, s)
	running := newLate(t, url)
	open := now(t, s) // the transaction is open
	running.commit()
	exec(t, conn, "UPDATE changes SET recorded_at = $1 WHERE pair_user_ids = '{late}'", old)
	exec(t, conn, "SELECT pg_current_xact_id()") // it is not the last one
	var dropped uint64
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT xid::text::bigint FROM changes WHERE pair_user_ids = '{late}'").Scan(&dropped))
	var after *readstate.FeedCursor
	require.Eventually(t, func() bool { // transactions of other databases end
		after = now(t, s)
		return after.Seen.XMin > dropped
	}, time.Minute, 10*time.Millisecond)
	inRound := *before
	inRound.Until, inRound.After = &after.Seen, readstate.FeedKey{GroupID: "late"}
	for _, c := range []*readstate.FeedCursor{before, open, &inRound, after} {
		_, err := s.Changes(t.Context(), c, readstate.FeedFilter{}, 10)
		require.NoError(t, err)
	}
	for range 2 { // marked, then dropped
		_, err := s.Retire(t.Context(), store.Retention{Changes: aDay})
		require.NoError(t, err)
		for _, c := range []*readstate.FeedCursor{before, open, &inRound} {
			gone(t, s, c)
		}
		_, err = s.Changes(t.Context(), after, readstate.FeedFilter{}, 10)
		require.NoError(t, err)
		exec(t, conn, "UPDATE retention SET changes_marked_at = changes_marked_at - interval '1 minute'")
	}
	var left int
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_class WHERE relname = $1", name).Scan(&left))
	require.Zero(t, left)
}

// A transaction that is open for long, as one that was prepared and forgotten, may be older than what was dropped:
// cursors that begin meanwhile are good, and it is told when it ends.
func TestFeedBesideOldTransaction(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s, conn := open(t, url), pgtest.Connect(t, url)
	commit(t, s, documented("u", "g", 1, 1))
	old, before := newLate(t, url), now(t, s)
	commit(t, s, documented("v", "g", 1, 2))
	exec(t, conn, "UPDATE retention SET changes_dropped_xid = (SELECT max(xid) FROM changes)")
	gone(t, s, before)
	c := now(t, s)
	page, err := s.Changes(t.Context(), c, readstate.FeedFilter{}, 10)
	require.NoError(t, err)
	require.Empty(t, page.Changes)
	old.commit()
	page, err = s.Changes(t.Context(), &page.Next, readstate.FeedFilter{}, 10)
	require.NoError(t, err)
	require.NotEmpty(t, page.Changes)
	restarted := *c
	restarted.Source.StartedAt-- // a thousand transactions before are dropped, and were seen
	_, err = s.Changes(t.Context(), &restarted, readstate.FeedFilter{}, 10)
	require.NoError(t, err)
}

// The numbers of transactions of another database, or of what is to come, mean nothing.
func TestFeedOfElsewhere(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s, copied := open(t, url), open(t, pgtest.New(t)) // both are copies: their tables have the same numbers
	c := now(t, s)
	gone(t, copied, c)
	gone(t, s, now(t, copied))
	for change, change1 := range map[string]func(c *readstate.FeedCursor){
		"another cluster":  func(c *readstate.FeedCursor) { c.Source.SystemID++ },
		"another timeline": func(c *readstate.FeedCursor) { c.Source.Timeline++ },
		"another table":    func(c *readstate.FeedCursor) { c.Source.TableID++ },
		"to come":          func(c *readstate.FeedCursor) { c.Seen.XMax += 1 << 40 },
		"on its way to what is to come": func(c *readstate.FeedCursor) {
			until := c.Seen
			until.XMax += 1 << 40
			c.Until = &until
		},
	} {
		other := *c
		change1(&other)
		_, err := s.Changes(t.Context(), &other, readstate.FeedFilter{}, 10)
		require.ErrorIs(t, err, readstate.ErrGone, change)
	}
	dropChanges(t, migrator(t, url))
	_, err := s.Changes(t.Context(), c, readstate.FeedFilter{}, 10)
	require.ErrorIs(t, err, readstate.ErrUnavailable, "there is no table")
	_, err = migrator(t, url).Up(t.Context())
	require.NoError(t, err)
	gone(t, s, c)
}

// Read caches tell copies of a database apart, too.
func TestPollOfCopiedDatabase(t *testing.T) {
	t.Parallel()
	poller, copied := open(t, pgtest.New(t)).Poller(), open(t, pgtest.New(t)).Poller()
	defer poller.Close()
	defer copied.Close()
	first, err := poller.Poll(t.Context(), nil, readstate.Load{})
	require.NoError(t, err)
	again, err := poller.Poll(t.Context(), &first.Revision, readstate.Load{})
	require.NoError(t, err)
	require.False(t, again.Reset)
	other, err := copied.Poll(t.Context(), &first.Revision, readstate.Load{})
	require.NoError(t, err)
	require.True(t, other.Reset)
}

// A restart loses nothing. Where nobody may ask which history a server has, it may have been a failover;
// where one may, that tells. A standby is not asked.
func TestFeedAfterRestartAndFailover(t *testing.T) {
	t.Parallel()
	primary, kill := pgtest.Own(t)
	conn := pgtest.Connect(t, primary)
	exec(t, conn, "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
	exec(t, conn, `CREATE ROLE plain LOGIN PASSWORD 'plain'`)
	exec(t, conn, `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO plain`)
	u, err := url.Parse(primary)
	require.NoError(t, err)
	u.User = url.UserPassword("plain", "plain")
	name := newAddress(t, primary)
	s, plain := open(t, name.URL), open(t, u.String())
	commit(t, s, documented("u", "g", 1, 1))
	told := func(s *store.Store, c *readstate.FeedCursor) []readstate.FeedKey {
		var page readstate.FeedPage
		eventually(t, "it is told", func() bool {
			var err error
			page, err = s.Changes(t.Context(), c, readstate.FeedFilter{}, 10)
			require.NotErrorIs(t, err, readstate.ErrGone)
			return err == nil
		})
		return keys(page.Changes)
	}
	before, unprivileged := now(t, s), now(t, plain)
	require.NotZero(t, before.Source.SystemID)
	require.Zero(t, unprivileged.Source.SystemID)
	gone(t, open(t, pgtest.New(t)), before)
	commit(t, s, documented("v", "g", 1, 2))
	v, w := readstate.FeedKey{UserID: "v", GroupID: "g", Kind: readstate.FeedChanged}, readstate.FeedKey{UserID: "w", GroupID: "g", Kind: readstate.FeedChanged}
	require.Equal(t, []readstate.FeedKey{v}, told(s, before))
	require.Equal(t, []readstate.FeedKey{v}, told(plain, unprivileged))

	kill()
	commitSoon(t, s, documented("w", "g", 1, 3))
	u0 := readstate.FeedKey{UserID: "u", GroupID: "g", Kind: readstate.FeedChanged}
	eventually(t, "what came last before the restart is told again", func() bool { // some backends outlive the kill
		return slices.Equal([]readstate.FeedKey{u0, v, w}, told(s, before))
	})
	eventually(t, "the restart is noticed", func() bool {
		_, err := plain.Changes(t.Context(), unprivileged, readstate.FeedFilter{}, 10)
		return errors.Is(err, readstate.ErrGone)
	})
	require.Empty(t, told(plain, now(t, plain)))

	standby := pgtest.Standby(t, primary)
	direct := open(t, standby.URL)
	for _, c := range []*readstate.FeedCursor{nil, before} {
		_, err = direct.Changes(t.Context(), c, readstate.FeedFilter{}, 10)
		require.ErrorIs(t, err, readstate.ErrUnavailable)
		require.NotErrorIs(t, err, readstate.ErrGone)
	}
	standby.Promote()
	name.move(standby.URL)
	eventually(t, "the failover is noticed", func() bool {
		_, err := s.Changes(t.Context(), before, readstate.FeedFilter{}, 10)
		return errors.Is(err, readstate.ErrGone)
	})
	gone(t, direct, before)
	promoted := now(t, direct)
	commitSoon(t, s, documented("x", "g", 1, 4))
	require.Equal(t, []readstate.FeedKey{{UserID: "x", GroupID: "g", Kind: readstate.FeedChanged}}, told(s, promoted))
}

// Transactions that were rolled back as the last ones before a crash leave their numbers to others: a
// cursor that has seen them as over must not take the others for seen.
func TestFeedAfterLostTransactions(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t))
	c := now(t, s)
	c.Seen.XMax += 500
	commit(t, s, documented("u", "g", 1, 1))
	gone(t, s, c)
	c.Source.StartedAt--
	page, err := s.Changes(t.Context(), c, readstate.FeedFilter{}, 10)
	require.NoError(t, err)
	require.Equal(t, []readstate.FeedKey{{UserID: "u", GroupID: "g", Kind: readstate.FeedChanged}}, keys(page.Changes))
	page, err = s.Changes(t.Context(), &page.Next, readstate.FeedFilter{}, 10)
	require.NoError(t, err)
	require.Empty(t, page.Changes)
}

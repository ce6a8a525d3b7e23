package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/db"
	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

// nowhere looks for an ID in every text column of every table.
func nowhere(t testing.TB, url, id string) {
	t.Helper()
	conn := pgtest.Connect(t, url)
	rows, err := conn.Query(t.Context(), `
		SELECT table_name, column_name FROM information_schema.columns AS c JOIN information_schema.tables USING (table_schema, table_name)
		WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND c.data_type IN ('text', 'character varying', 'bytea', 'jsonb', 'ARRAY')`)
	require.NoError(t, err)
	var columns [][2]string
	for rows.Next() {
		var column [2]string
		require.NoError(t, rows.Scan(&column[0], &column[1]))
		columns = append(columns, column)
	}
	require.NoError(t, rows.Err())
	require.Greater(t, len(columns), 20)
	require.Contains(t, columns, [2]string{"changes", "erased"}, "sealed")
	for _, column := range columns {
		var found int
		require.NoError(t, conn.QueryRow(t.Context(), fmt.Sprintf(
			"SELECT count(*) FROM %q WHERE strpos(%q::text, $1) > 0 OR strpos(%q::text, encode($1::bytea, 'hex')) > 0", column[0], column[1], column[1]), id).Scan(&found))
		require.Zero(t, found, column)
	}
}

func rejected(user string, µs int) readstate.Batch {
	return readstate.Batch{Rejections: []readstate.Rejection{{ID: identity(), ReceivedAt: at(µs), Field: "body", UserID: user, GroupID: "g"}}}
}

// tellAll has the user of that name do all that can be told of a user.
func tellAll(a asserting, user string) {
	a.Helper()
	a.tell(
		receipt("v", "g", 0, 1), receipt("w", "g", 4, 2),
		message(user, "g", "m1", 0, 3), message("v", "g", "m2", 0, 4), message(user, "g", "m3", 0, 5),
		receipt(user, "g", 2, 6), receipt(user, "other", 9, 7), rejected(user, 8),
		change(readstate.EventJoined, "g", 9, user, "x"), snapshot(user, "h", 50, 40, 10), receipt("v", "h", 3, 11),
	)
	left := []readstate.Off{{Pair: readstate.Pair{UserID: user, GroupID: "g"}, Reason: readstate.OffUnknown, At: at(12)}}
	require.NoError(a, a.SaveCheck(a.Context(), readstate.Pair{UserID: user}, readstate.Difference{Pairs: 1, Off: 1, Left: left}, time.Hour))
	a.shows("v", 1, readstate.SourceMessage, false)
	a.shows("w", 7, readstate.SourceReceipt, false)
}

// rebuild drops states and positions, and replays the journal.
func rebuild(a asserting, url string) {
	a.Helper()
	_, err := pgtest.Connect(a, url).Exec(a.Context(), "TRUNCATE states, positions")
	require.NoError(a, err)
	_, err = a.Replay(a.Context(), store.Replay{}, func(store.ReplayProgress) {})
	require.NoError(a, err)
}

func (a asserting) notIn(user, group string) {
	a.Helper()
	_, err := a.State(a.Context(), readstate.Pair{UserID: user, GroupID: group})
	require.ErrorIs(a, err, readstate.ErrUnknown)
}

func TestEraseUser(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	a := asserting{t, open(t, url)}
	const user = "erased-user"
	tellAll(a, user)
	for range 2 { // once more does no harm
		erased, err := a.EraseUser(t.Context(), user)
		require.NoError(t, err)
		if erased.States > 0 {
			require.EqualValues(t, 3, erased.States)
			require.EqualValues(t, 6, erased.Journal)
			require.EqualValues(t, 1, erased.Rejected)
		}
		a.notIn(user, "g")
		a.notIn(user, "other")
		a.notIn(user, "h")
		_, err = a.Badge(t.Context(), user)
		require.ErrorIs(t, err, readstate.ErrUnknown)
		nowhere(t, url, user)
		a.shows("v", 1, readstate.SourceMessage, false)
		a.shows("w", 7, readstate.SourceReceipt, false)
	}
	// What had arrived before comes late, from a spool.
	a.tell(
		receipt(user, "g", 5, 12), message(user, "g", "m4", 0, 13), rejected(user, 14),
		change(readstate.EventJoined, "g", 15, user, "y"), change(readstate.EventLeft, "g", 16, user),
		readstate.Batch{Events: []readstate.Event{documented(user, "g", 1, 17), documented("z", "g", 2, 18)}},
	)
	a.notIn(user, "g")
	nowhere(t, url, user)
	a.shows("v", 2, readstate.SourceMessage, false)
	a.shows("w", 8, readstate.SourceReceipt, false)
	a.shows("z", 2, readstate.SourceReceipt, false)
	rebuild(a, url)
	nowhere(t, url, user)
	a.shows("v", 2, readstate.SourceMessage, false)
	a.shows("w", 8, readstate.SourceReceipt, false)
	a.shows("z", 2, readstate.SourceReceipt, false)

	// What OpenIM says later of somebody who has not been heard of since is not news.
	later := later()
	a.tell(snapshot(user, "g", 60, 60, later))
	nowhere(t, url, user)
	// What arrives later counts anew.
	a.tell(receipt(user, "g", 6, later+1))
	a.shows(user, 6, readstate.SourceReceipt, false)
	a.tell(snapshot(user, "g", 70, 60, later+2))
	a.shows(user, 10, readstate.SourceFact, true)
}

func TestEraseGroup(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	a := asserting{t, open(t, url)}
	const group = "erased-group"
	a.tell(
		receipt("u", group, 2, 1), message("v", group, "m1", 0, 2), message("v", group, "m2", 9, 3), snapshot("u", group, 10, 8, 4),
		change(readstate.EventJoined, group, 5, "w"), receipt("u", "g", 3, 6),
	)
	drifts := readstate.Difference{Pairs: 2, Off: 2, Left: []readstate.Off{
		{Pair: readstate.Pair{UserID: "u", GroupID: "g"}, Known: true, UnreadCount: 3, Want: 4, Reason: readstate.OffBehind, At: at(7)},
		{Pair: readstate.Pair{UserID: "u", GroupID: group}, Want: 4, Reason: readstate.OffUnknown, At: at(7)},
	}}
	require.NoError(t, a.SaveCheck(t.Context(), readstate.Pair{UserID: "u"}, drifts, time.Hour))
	erased, err := a.EraseGroup(t.Context(), group)
	require.NoError(t, err)
	require.EqualValues(t, 3, erased.States)
	for range 2 { // a comparison that began before the erasure ends after it
		drift, err := a.Drift(t.Context())
		require.NoError(t, err)
		require.Equal(t, drifts.Left[:1], drift.Left)
		require.NoError(t, a.SaveCheck(t.Context(), readstate.Pair{UserID: "u"}, drifts, time.Hour))
	}
	require.EqualValues(t, 5, erased.Journal)
	require.EqualValues(t, 2, erased.Messages)
	look := func() {
		t.Helper()
		nowhere(t, url, group)
		a.notIn("u", group)
		_, err = a.GroupSum(t.Context(), group)
		require.ErrorIs(t, err, readstate.ErrUnknown)
		a.shows("u", 3, readstate.SourceReceipt, false)
	}
	look()
	a.tell(
		receipt("u", group, 5, 12), message("v", group, "m3", 0, 13), snapshot("u", group, 11, 8, 14),
		change(readstate.EventDismissed, group, 15), change(readstate.EventJoined, group, 16, "x"),
	)
	look()
	rebuild(a, url)
	look()
	later := later()
	// OpenIM goes on knowing the group.
	a.tell(snapshot("u", group, 20, 18, later-2), listing(group, later-1, "u", "v"))
	look()
	a.tell(receipt("u", group, 6, later), message("v", group, "m9", 0, later+1))
	state, err := a.State(t.Context(), readstate.Pair{UserID: "u", GroupID: group})
	require.NoError(t, err)
	require.EqualValues(t, 7, state.UnreadCount)
}

// Many rows go in several statements.
func TestEraseMany(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	const rows = 12_000
	batch := readstate.Batch{}
	for i := range rows {
		batch.Events = append(batch.Events, documented("u", fmt.Sprintf("g%d", i), 1, i))
	}
	require.NoError(t, s.Commit(t.Context(), batch))
	erased, err := s.EraseUser(t.Context(), "u")
	require.NoError(t, err)
	require.EqualValues(t, rows, erased.States)
	require.EqualValues(t, rows, erased.Journal)
	require.Zero(t, journalRows(t, url))
}

// later is microseconds from the tests' epoch to behind every erasure that has begun.
func later() int { return int(time.Since(epoch).Microseconds()) + 1_000_000 }

// A released server names no group: what tells of one that was erased is OpenIM's fact
// with the seq of a callback since.
func TestEraseGroupReadSince(t *testing.T) {
	t.Parallel()
	a := asserting{t, open(t, pgtest.New(t))}
	a.tell(snapshot("u", "gone", 10, 8, 1))
	_, err := a.EraseGroup(t.Context(), "gone")
	require.NoError(t, err)
	after := later()
	read := documented("u", "", 0, after)
	read.Kind, read.ReadSeq = readstate.EventServerReceipt, 9
	a.tell(readstate.Batch{Events: []readstate.Event{read}})
	a.tell(snapshot("u", "gone", 10, 8, after+1)) // of another group, then
	a.notIn("u", "gone")
	a.tell(snapshot("u", "gone", 11, 9, after+2))
	a.showsIn("gone", "u", 2, readstate.SourceFact, true)
}

// What is left of an erased user is only what callbacks tell, whatever OpenIM says.
func TestEraseUserWhomOpenIMKnows(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	a := asserting{t, open(t, url)}
	const user = "erased-user"
	a.tell(receipt(user, "g", 3, 5), receipt("v", "g", 3, 6))
	_, err := a.EraseUser(t.Context(), user)
	require.NoError(t, err)
	strangers, err := a.MembersWithoutState(t.Context(), "g", []string{user, "stranger", "v"})
	require.NoError(t, err)
	require.Equal(t, []string{"stranger"}, strangers)
	pair := readstate.Pair{UserID: user, GroupID: "g"}
	believed, err := a.FilterTrusted(t.Context(), []readstate.Pair{{UserID: "v", GroupID: "g"}, pair})
	require.NoError(t, err)
	require.Equal(t, []readstate.Pair{{UserID: "v", GroupID: "g"}}, believed)
	require.NoError(t, a.EnqueueLookups(t.Context(), []readstate.Pair{pair}))
	require.NoError(t, a.SaveCheck(t.Context(), readstate.Pair{UserID: user}, readstate.Difference{
		Pairs: 1, Off: 1, Left: []readstate.Off{{Pair: pair, Reason: readstate.OffUnknown, At: at(7)}},
	}, time.Hour))
	after := later()
	a.tell(change(readstate.EventUnlisted, "g", after, user), listing("g", after+1, user, "v"))
	nowhere(t, url, user)
	drift, err := a.Drift(t.Context())
	require.NoError(t, err)
	require.Zero(t, drift.Off)

	a.tell(receipt(user, "g", 6, after+2), snapshot(user, "g", 20, 10, after+3))
	a.shows(user, 10, readstate.SourceFact, true)
	// The journal is kept for a while only; who came back stays back.
	_, err = pgtest.Connect(t, url).Exec(t.Context(), "DELETE FROM journal")
	require.NoError(t, err)
	a.tell(snapshot(user, "g", 30, 30, after+4))
	a.shows(user, 0, readstate.SourceFact, true)
}

// Rows from before that come back into the journal, as of a day that was set aside, are
// not replayed.
func TestReplayAfterErasure(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	a := asserting{t, open(t, url)}
	const user, group = "erased-user", "erased-group"
	a.tell(receipt(user, "g", 3, 5), receipt("v", "g", 4, 6), receipt("v", group, 3, 7), message("w", group, "m", 9, 8),
		change(readstate.EventDismissed, "nobody-in-it", 9))
	unattributed := documented("erased-reader", "", 0, 10)
	unattributed.Kind, unattributed.ReadSeq = readstate.EventServerReceipt, 7
	a.tell(readstate.Batch{Events: []readstate.Event{unattributed}})
	conn := pgtest.Connect(t, url)
	_, err := conn.Exec(t.Context(), "CREATE TEMPORARY TABLE aside AS SELECT * FROM journal")
	require.NoError(t, err)
	_, err = a.EraseUser(t.Context(), user)
	require.NoError(t, err)
	_, err = a.EraseUser(t.Context(), "erased-reader")
	require.NoError(t, err)
	for _, groupID := range []string{group, "nobody-in-it"} {
		_, err = a.EraseGroup(t.Context(), groupID)
		require.NoError(t, err)
	}
	_, err = conn.Exec(t.Context(), "INSERT INTO journal SELECT * FROM aside ON CONFLICT DO NOTHING")
	require.NoError(t, err)
	rebuild(a, url)
	nowhere(t, url, user)
	nowhere(t, url, "erased-reader")
	nowhere(t, url, group)
	nowhere(t, url, "nobody-in-it")
	a.shows("v", 4, readstate.SourceReceipt, false)
}

// Who is told that all is gone can rely on it, also when another erases the same.
func TestEraseTogether(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	batch := readstate.Batch{}
	for i := range 20_000 {
		batch.Events = append(batch.Events, documented("u", "g", 1, i))
	}
	require.NoError(t, s.Commit(t.Context(), batch))
	conn := pgtest.Connect(t, url)
	done := make(chan error)
	for range 3 {
		go func() {
			_, err := s.EraseUser(t.Context(), "u")
			done <- err
		}()
	}
	for n := range 3 {
		require.NoError(t, <-done)
		if n == 0 { // the first that is answered, whoever that is
			var left int
			require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM journal").Scan(&left))
			require.Zero(t, left)
		}
	}
}

// A writer that is stuck holds an erasure up, and not the other writers.
func TestEraseBehindStuckWriter(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	require.NoError(t, s.Commit(t.Context(), receipt("u", "g", 1, 1)))
	conn := pgtest.Connect(t, url)
	stuck, err := conn.Begin(t.Context())
	require.NoError(t, err)
	_, err = stuck.Exec(t.Context(), "SELECT hold_erasures($1, now())", store.EraseLock)
	require.NoError(t, err)
	erased := make(chan error, 1)
	go func() {
		_, err := s.EraseUser(t.Context(), "u")
		erased <- err
	}()
	for waiting := false; !waiting; {
		require.NoError(t, stuck.QueryRow(t.Context(), `SELECT EXISTS (SELECT 1 FROM pg_locks AS l
			WHERE l.locktype = 'advisory' AND NOT l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))`).Scan(&waiting))
	}
	require.NoError(t, s.Commit(t.Context(), receipt("v", "g", 1, 2)))
	require.Empty(t, erased)
	require.NoError(t, stuck.Rollback(t.Context()))
	require.NoError(t, <-erased)
	_, err = s.State(t.Context(), readstate.Pair{UserID: "u", GroupID: "g"})
	require.ErrorIs(t, err, readstate.ErrUnknown)
}

// What came after an erasure into a state of before keeps no trace of before, not even
// since when the pair is read.
func TestTrimmedStates(t *testing.T) {
	t.Parallel()
	for _, of := range []string{"user", "group"} {
		t.Run(of, func(t *testing.T) {
			t.Parallel()
			url := pgtest.New(t)
			a, conn := asserting{t, open(t, url)}, pgtest.Connect(t, url)
			a.tell(receipt("u", "g", 3, 1), snapshot("u", "g", 9, 4, 2), receipt("u", "g", 2, 4),
				change(readstate.EventMuted, "g", 2, "u"), change(readstate.EventUnmuted, "g", 4, "u"))
			moment := at(3)
			var err error
			params := db.TrimStatesParams{Moment: moment}
			if of == "user" {
				params.UserID = new("u")
			} else {
				params.GroupID = new("g")
			}
			_, err = db.New().TrimStates(t.Context(), conn, params)
			require.NoError(t, err)
			var exact, exactFirst, muted *time.Time
			var estimated, first, unmuted time.Time
			require.NoError(t, conn.QueryRow(t.Context(),
				"SELECT estimate_at, exact_at, first_estimate_at, first_exact_at, muted_at, unmuted_at FROM states").
				Scan(&estimated, &exact, &first, &exactFirst, &muted, &unmuted))
			require.True(t, at(4).Equal(estimated))
			require.Nil(t, exact)
			require.True(t, moment.Equal(first), first)
			require.Nil(t, exactFirst)
			require.Nil(t, muted)
			require.True(t, at(4).Equal(unmuted))
		})
	}
}

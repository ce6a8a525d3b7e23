package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

// allStates gives every column of all states, in key order.
func allStates(t *testing.T, conn *pgx.Conn) []string {
	t.Helper()
	found, err := conn.Query(t.Context(), "SELECT s::text FROM states AS s ORDER BY user_id, group_id")
	require.NoError(t, err)
	list, err := pgx.CollectRows(found, pgx.RowTo[string])
	require.NoError(t, err)
	return list
}

// scatter commits receipts of several days, with late ones, repeats and
// unattributed ones among them.
func scatter(t *testing.T, s *store.Store, n int) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	now := time.Now().UTC().Truncate(time.Microsecond)
	var all []readstate.Event
	for i := range n {
		r := readstate.Event{
			Kind: readstate.EventReceipt, UserID: fmt.Sprintf("u%02d", random.IntN(40)), GroupID: fmt.Sprint("g", random.IntN(3)),
			UnreadCount: int64(i), ContentType: 101, At: now.Add(-time.Duration(random.IntN(5*24*3600)) * time.Second),
		}
		r.ID[0], r.ID[14], r.ID[15] = byte(random.IntN(256)), byte(i>>8), byte(i)
		if i%10 == 0 {
			r.Kind, r.GroupID, r.ReadSeq, r.UnreadCount = readstate.EventServerReceipt, "", 5, 0
		}
		all = append(all, r)
	}
	for len(all) > 0 {
		size := min(1+random.IntN(50), len(all))
		batch := readstate.Batch{Events: all[:size]}
		require.NoError(t, s.Commit(t.Context(), batch))
		require.NoError(t, s.Commit(t.Context(), batch)) // a repeat
		all = all[size:]
	}
}

func ignore(store.ReplayProgress) {}

// The journal is enough: states can be dropped and rebuilt, to the same values.
func TestReplayRebuilds(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s, conn := open(t, url), pgtest.Connect(t, url)
	scatter(t, s, 2000)
	before := allStates(t, conn)
	require.NotEmpty(t, before)
	replay := func(r store.Replay) store.ReplayCount {
		r.PageRows = 100
		result, err := s.Replay(t.Context(), r, ignore)
		require.NoError(t, err)
		return result.ReplayCount
	}
	require.Zero(t, replay(store.Replay{}).States, "nothing to do")

	_, err := conn.Exec(t.Context(), "TRUNCATE states")
	require.NoError(t, err)
	dry := replay(store.Replay{DryRun: true})
	require.Empty(t, allStates(t, conn))
	done := replay(store.Replay{})
	require.EqualValues(t, 1800, done.Events)
	require.GreaterOrEqual(t, done.States, int64(len(before)), "a state is written by each page that changes it")
	require.Equal(t, []int64{done.Events, done.Pairs}, []int64{dry.Events, dry.Pairs})
	require.Equal(t, before, allStates(t, conn))

	// A spoiled value is repaired, a newer state is left alone.
	_, err = conn.Exec(t.Context(), `UPDATE states SET estimate_read = 777 WHERE user_id < 'u20'`)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), `UPDATE states SET estimate_at = $1, estimate_read = 1 WHERE user_id = 'u30'`, epoch.AddDate(1, 0, 0))
	require.NoError(t, err)
	newer := `user_id = 'u30' AND estimate_read = 1`
	dry = replay(store.Replay{DryRun: true})
	require.Positive(t, dry.States)
	require.Equal(t, dry, replay(store.Replay{}))
	var spoiled, left int
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE estimate_read = 777), count(*) FILTER (WHERE `+newer+`) FROM states`).Scan(&spoiled, &left))
	require.Zero(t, spoiled)
	require.Positive(t, left)
}

// A replay that is interrupted goes on where it ended.
func TestReplayResumes(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s, conn := open(t, url), pgtest.Connect(t, url)
	scatter(t, s, 1000)
	before := allStates(t, conn)
	_, err := conn.Exec(t.Context(), "TRUNCATE states")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	pages := 0
	_, err = s.Replay(ctx, store.Replay{PageRows: 100}, func(p store.ReplayProgress) {
		require.False(t, p.Resumed)
		if pages++; pages == 4 {
			cancel()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
	require.NotEqual(t, before, allStates(t, conn))
	first := true
	result, err := s.Replay(t.Context(), store.Replay{PageRows: 100}, func(p store.ReplayProgress) {
		require.True(t, p.Resumed)
		if first {
			require.EqualValues(t, 300, p.Events)
		}
		first = false
	})
	require.NoError(t, err)
	require.EqualValues(t, 900, result.Events, "of both runs, nothing twice")
	require.Equal(t, before, allStates(t, conn))
	var open int
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM replays").Scan(&open))
	require.Zero(t, open)
}

// Callbacks keep arriving during a replay: each state ends as its last receipt.
func TestReplayBesideIngest(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s, conn := open(t, url), pgtest.Connect(t, url)
	scatter(t, s, 2000)
	_, err := conn.Exec(t.Context(), "DELETE FROM states WHERE user_id < 'u20'")
	require.NoError(t, err)
	var wait sync.WaitGroup
	wait.Go(func() {
		for n := range 200 {
			r := readstate.Event{
				Kind: readstate.EventReceipt, UserID: fmt.Sprintf("u%02d", n%40), GroupID: "g1",
				UnreadCount: int64(1_000_000 + n), At: time.Now().UTC().Truncate(time.Microsecond).Add(time.Duration(n) * time.Microsecond),
			}
			r.ID[0], r.ID[15] = 0xff, byte(n)
			if err := s.Commit(context.Background(), readstate.Batch{Events: []readstate.Event{r}}); err != nil && !errors.Is(err, readstate.ErrRetry) {
				t.Error(err)
			}
		}
	})
	_, err = s.Replay(t.Context(), store.Replay{PageRows: 50}, ignore)
	require.NoError(t, err)
	wait.Wait()
	var wrong int
	require.NoError(t, conn.QueryRow(t.Context(), `
		SELECT count(*) FILTER (WHERE s.estimate_id IS DISTINCT FROM j.id OR -s.estimate_read IS DISTINCT FROM j.unread_count)
		FROM (SELECT DISTINCT ON (user_id, group_id) * FROM journal WHERE kind = 'receipt'
			ORDER BY user_id, group_id, received_at DESC, id DESC) AS j
		FULL JOIN states AS s USING (user_id, group_id)`).Scan(&wrong))
	require.Zero(t, wrong)
}

// A page that PostgreSQL takes back because of a deadlock is tried again.
func TestReplaySurvivesDeadlock(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	commit(t, s, documented("a", "g", 1, 1), documented("b", "g", 2, 2))
	conn := pgtest.Connect(t, url)
	before := allStates(t, conn)
	_, err := conn.Exec(t.Context(), "UPDATE states SET estimate_read = 77")
	require.NoError(t, err)
	// Locks b, then, when the replay holds a and waits for b, a. The replay's
	// own patience ends first.
	other, err := conn.Begin(t.Context())
	require.NoError(t, err)
	_, err = other.Exec(t.Context(), "SET LOCAL deadlock_timeout = '1h'; SELECT FROM states WHERE user_id = 'b' FOR UPDATE")
	require.NoError(t, err)
	replayed := make(chan error, 1)
	go func() {
		_, err := s.Replay(t.Context(), store.Replay{}, func(store.ReplayProgress) {})
		replayed <- err
	}()
	watch := pgtest.Connect(t, url)
	require.Eventually(t, func() bool {
		var waiting int
		err := watch.QueryRow(t.Context(), "SELECT count(*) FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid) "+
			"WHERE NOT l.granted AND a.datname = current_database()").Scan(&waiting)
		return err == nil && waiting > 0
	}, time.Minute, time.Millisecond)
	_, err = other.Exec(t.Context(), "SELECT FROM states WHERE user_id = 'a' FOR UPDATE")
	require.NoError(t, err)
	require.NoError(t, other.Rollback(t.Context()))
	require.NoError(t, <-replayed)
	require.Equal(t, before, allStates(t, conn))
}

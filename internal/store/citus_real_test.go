//go:build citus

package store_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/require"

	"readmark/db"
	"readmark/internal/condition"
	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

// These run by make test-citus only.

// distribute spreads a schema, and gives what was told.
func distribute(t testing.TB, m *store.Migrator, shards int) (lines []string) {
	t.Helper()
	require.NoError(t, m.Distribute(t.Context(), shards, func(line string) { lines = append(lines, line) }))
	return lines
}

// A schema is distributed with what it holds, once; what is stored is as before, and goes on.
func TestDistributeFilledSchema(t *testing.T) {
	t.Parallel()
	url, workers := pgtest.Cluster(t)
	s, m := open(t, url), migrator(t, url)
	_, err := m.Up(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.MakeDaysAhead(t.Context()))
	a := asserting{t, s}
	a.tell(receipt("u", "g", 2, 1), message("v", "g", "1", 5, 2), receipt("w", "h", 1, 3), snapshot("u", "h", 8, 6, 4))
	require.NoError(t, s.EnqueueLookups(t.Context(), []readstate.Pair{{UserID: "u"}}))
	conn := pgtest.Connect(t, url)
	states, positions := allStates(t, conn), dump(t, conn, "SELECT to_jsonb(p)::text FROM positions AS p ORDER BY group_id")
	journal := dump(t, conn, "SELECT to_jsonb(j)::text FROM journal AS j ORDER BY received_at, id")
	require.NotEmpty(t, states)

	d, err := m.Distribution(t.Context())
	require.NoError(t, err)
	require.False(t, d.Active())
	lines := distribute(t, m, 3)
	require.Contains(t, lines, fmt.Sprintf("distributed states by user_id, with %d shards on %d nodes", 3*len(workers), len(workers)))
	require.Contains(t, lines, fmt.Sprintf("distributed positions by group_id, with %d shards on %d nodes", 3*len(workers), len(workers)))
	require.Equal(t, states, allStates(t, conn))
	require.Equal(t, positions, dump(t, conn, "SELECT to_jsonb(p)::text FROM positions AS p ORDER BY group_id"))
	require.Equal(t, journal, dump(t, conn, "SELECT to_jsonb(j)::text FROM journal AS j ORDER BY received_at, id"))
	a.tell(message("v", "g", "2", 6, 5))
	state, err := s.State(t.Context(), readstate.Pair{UserID: "u", GroupID: "g"})
	require.NoError(t, err)
	require.EqualValues(t, 4, state.UnreadCount)

	lines = distribute(t, m, 5)
	require.Len(t, lines, 1)
	require.Contains(t, lines[0], "nothing to distribute: Citus ")
	d, err = s.Distribution(t.Context())
	require.NoError(t, err)
	require.Equal(t, 3*len(workers), d.Shards)
	require.Equal(t, []string{"states", "journal", "lookups", "checks", "drifts", "reminders", "positions"}, d.Distributed)
	require.Empty(t, d.Missing)

	for _, worker := range workers {
		_, _, err := open(t, worker).Check(t.Context())
		var unfit *store.UnfitError
		require.ErrorAs(t, err, &unfit)
		require.Equal(t, condition.Worker, unfit.Reason)
	}
}

// Migrations are taken back and applied again on a distributed schema, one by one, and what they make is distributed.
func TestMigrateDistributedSchema(t *testing.T) {
	t.Parallel()
	url, _ := pgtest.Cluster(t)
	m := migrator(t, url)
	_, err := m.Up(t.Context())
	require.NoError(t, err)
	distribute(t, m, 0)
	s := open(t, url)
	require.NoError(t, s.MakeDaysAhead(t.Context()))
	commit(t, s, documented("u", "g", 1, 1))
	schema, err := m.Schema(t.Context())
	require.NoError(t, err)
	for version := schema.Version; version > 2; version-- { // as long as there is a table by whose shards others go
		undone, err := m.Down(t.Context())
		require.NoError(t, err)
		require.Equal(t, version, undone.Version)
	}
	_, err = m.Up(t.Context())
	require.NoError(t, err)
	d, err := m.Distribution(t.Context())
	require.NoError(t, err)
	require.Empty(t, d.Missing)
	commit(t, s, documented("u", "g", 2, 2))
	require.NoError(t, s.EnqueueLookups(t.Context(), []readstate.Pair{{UserID: "u"}}))
	state, err := s.State(t.Context(), readstate.Pair{UserID: "u", GroupID: "g"})
	require.NoError(t, err)
	require.True(t, state.Pending)
	for range schema.Version {
		_, err := m.Down(t.Context())
		require.NoError(t, err)
	}
	d, err = m.Distribution(t.Context())
	require.NoError(t, err)
	require.False(t, d.Active())
	_, err = m.Up(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, distribute(t, m, 0))
}

// What is asked of one user, or of a group's position, visits one shard.
func TestOneUserIsOnOneShard(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t))
	commit(t, s, documented("u", "g", 1, 1), documented("v", "g", 1, 2))
	one, id := []string{"u"}, pgtype.UUID{Bytes: uuid.New(), Valid: true}
	for name, ask := range map[string]func(ctx context.Context, queries *db.Queries, conn db.DBTX) error{
		"a pair": func(ctx context.Context, queries *db.Queries, conn db.DBTX) error {
			return queries.ListServedByPairsApart(ctx, conn, db.ListServedByPairsApartParams{UserIDs: one, GroupIDs: []string{"g"}})
		},
		"a user": func(ctx context.Context, queries *db.Queries, conn db.DBTX) error {
			return queries.ListServedByUsersApart(ctx, conn, db.ListServedByUsersApartParams{UserIDs: one, MaxRows: 10})
		},
		"a group's position": func(ctx context.Context, queries *db.Queries, conn db.DBTX) error {
			return queries.ListServedPositions(ctx, conn, []string{"g"})
		},
		"a group's position for a receipt": func(ctx context.Context, queries *db.Queries, conn db.DBTX) error {
			_, err := queries.ListPositions(ctx, conn, []string{"g"})
			return err
		},
		"the lock of a position": func(ctx context.Context, queries *db.Queries, conn db.DBTX) error {
			_, err := queries.LockPosition(ctx, conn, "g")
			return err
		},
		"a position that is saved": func(ctx context.Context, queries *db.Queries, conn db.DBTX) error {
			return queries.SavePosition(ctx, conn, db.SavePositionParams{GroupID: "g"})
		},
		"a position that is added": func(ctx context.Context, queries *db.Queries, conn db.DBTX) error {
			return queries.AddPosition(ctx, conn, "g")
		},
		"a receipt": func(ctx context.Context, queries *db.Queries, conn db.DBTX) error {
			return queries.InsertReceiptApart(ctx, conn, db.InsertReceiptApartParams{UserID: "u", GroupID: "g", ReceivedAt: time.Now(), RecordedAt: time.Now(), ID: id})
		},
		"the estimate of a receipt": func(ctx context.Context, queries *db.Queries, conn db.DBTX) error {
			return queries.UpsertStateApart(ctx, conn, db.UpsertStateApartParams{UserID: "u", GroupID: "g", EstimateAt: time.Now(), EstimateID: id})
		},
		"a lookup for the cache": func(ctx context.Context, queries *db.Queries, conn db.DBTX) error {
			_, err := queries.ListPendingUsers(ctx, conn, one)
			return err
		},
		"a pair's history": func(ctx context.Context, queries *db.Queries, conn db.DBTX) error {
			_, err := queries.ListReceiptsByPair(ctx, conn, db.ListReceiptsByPairParams{UserID: "u", GroupID: "g", MaxRows: 10})
			return err
		},
		"a user's history": func(ctx context.Context, queries *db.Queries, conn db.DBTX) error {
			_, err := queries.ListReceiptsByUser(ctx, conn, db.ListReceiptsByUserParams{UserID: "u", MaxRows: 10})
			return err
		},
		"a user's past": func(ctx context.Context, queries *db.Queries, conn db.DBTX) error {
			_, err := queries.ListPairJournal(ctx, conn, db.ListPairJournalParams{UserID: "u", Moment: time.Now()})
			return err
		},
		"the states of an event": func(ctx context.Context, queries *db.Queries, conn db.DBTX) error {
			_, err := queries.ListReadStates(ctx, conn, db.ListReadStatesParams{UserIDs: one, GroupIDs: []string{"g"}})
			return err
		},
		"the end of a lookup": func(ctx context.Context, queries *db.Queries, conn db.DBTX) error {
			_, err := queries.EndLookup(ctx, conn, db.EndLookupParams{UserID: "u", FetchedAt: time.Now()})
			return err
		},
		"the takeback of an estimate": func(ctx context.Context, queries *db.Queries, conn db.DBTX) error {
			return queries.ClearEstimate(ctx, conn, db.ClearEstimateParams{UserID: "u", GroupID: "g", EstimateID: id})
		},
	} {
		require.Equal(t, []int{1}, s.Tasks(t, ask), name)
	}
	all := s.Tasks(t, func(ctx context.Context, queries *db.Queries, conn db.DBTX) error {
		return queries.ListServedByGroup(ctx, conn, db.ListServedByGroupParams{GroupID: "g", MaxRows: 10})
	})
	require.Greater(t, slices.Max(all), 1, "a group is on all of them: the count is read rightly")
}

// Who follows changes and loads what they name has, in the end, what is stored: a transaction over several nodes is
// visible on one before it is on the others.
func TestPollOverNodes(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t))
	const users, rounds = 8, 400
	poller := s.Poller()
	defer poller.Close()
	var written []readstate.Event
	for n := range rounds {
		for user := range users {
			written = append(written, documented(fmt.Sprintf("u%d", user), "g", int64(n), n*users+user+1))
		}
	}
	commit(t, s, written[:users]...)
	first, err := poller.Poll(t.Context(), nil, readstate.Load{})
	require.NoError(t, err)
	since, dirty, held := first.Revision, map[readstate.Pair]bool{}, map[readstate.Pair]int64{}
	poll := func() {
		load := readstate.Load{}
		for pair := range dirty {
			load.Pairs = append(load.Pairs, pair)
		}
		answer, err := poller.Poll(t.Context(), &since, load)
		require.NoError(t, err)
		require.False(t, answer.Reset)
		clear(dirty)
		for i := range answer.Pairs {
			held[answer.Pairs[i].Pair] = answer.Pairs[i].Read
		}
		for _, pair := range answer.Change.Pairs {
			dirty[pair] = true
		}
		since = answer.Revision
	}
	for n := 1; n < rounds; n++ {
		done := make(chan error, 1)
		batch := readstate.Batch{Events: written[n*users : (n+1)*users]}
		go func() { done <- s.Commit(t.Context(), batch) }()
		for running := true; running; poll() {
			select {
			case err := <-done:
				require.NoError(t, err)
				running = false
			default:
			}
		}
		for len(dirty) > 0 {
			poll()
		}
		require.Len(t, held, users)
		for pair, position := range held {
			require.EqualValues(t, -n, position, "%v in round %d", pair, n)
		}
	}
}

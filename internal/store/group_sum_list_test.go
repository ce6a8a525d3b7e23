package store_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/db"
	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

// A large group is summed in steps of bounded size; what changes meanwhile has it be summed once more.
func TestGroupSumsInSteps(t *testing.T) {
	t.Parallel()
	w := newSumTest(t, open(t, pgtest.New(t)))
	w.catchUp()
	w.work.SetSummedStates(3)
	for i := range 10 {
		w.read(fmt.Sprint("u", i), "g", 1)
	}
	w.lease()
	_, err := w.work.Follow(t.Context())
	require.NoError(t, err)
	for range 3 {
		summed, more, err := w.work.Sum(t.Context())
		require.NoError(t, err)
		require.True(t, more)
		require.Zero(t, summed)
	}
	w.read("u0", "g", 7)
	_, err = w.work.Follow(t.Context())
	require.NoError(t, err)
	summed, _, err := w.work.Sum(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, summed)
	require.EqualValues(t, 10, w.list(readstate.OrderKey, 10, nil)[0].UnreadCount, "as it was")
	w.catchUp()
	w.compare(t, "", "g")
	require.EqualValues(t, 16, w.list(readstate.OrderKey, 10, nil)[0].UnreadCount)
}

// While OpenIM is asked about a user no sum of the user's groups is exact, also where the change names no group.
func TestGroupSumsFollowLookups(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t))
	s.EnableLookups()
	w := newSumTest(t, s)
	for _, group := range []string{"g", "h"} {
		e := w.event(readstate.EventSnapshot, "u", group)
		e.MaxSeq, e.ReadSeq = 9, 4
		w.commit(e)
	}
	exact := func(want bool) {
		t.Helper()
		w.catchUp()
		w.compare(t, "", "g", "h")
		for _, sum := range w.list(readstate.OrderKey, 10, nil) {
			require.Equal(t, want, sum.Exact, sum.GroupID)
		}
	}
	exact(true)
	e := w.event(readstate.EventServerReceipt, "u", "")
	e.ReadSeq, e.ContentType = 9, readstate.ConversationSuperGroup
	w.commit(e)
	exact(false)
}

// A message or a receipt writes nothing for the sums.
func TestGroupSumsCostMessagesNothing(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	w := newSumTest(t, open(t, url))
	conn := pgtest.Connect(t, url)
	w.read("u", "g", 1)
	w.catchUp()
	rows := func() (n int) {
		require.NoError(t, conn.QueryRow(t.Context(), "SELECT (SELECT count(*) FROM stale_group_sums) + (SELECT sum(unread_count) FROM group_sums)").Scan(&n))
		return n
	}
	before := rows()
	w.message("v", "g")
	w.read("u", "g", 5)
	require.Equal(t, before, rows())
}

func ids(list []readstate.KeptGroupSum) (groups []string) {
	for i := range list {
		groups = append(groups, list[i].GroupID)
	}
	return groups
}

// Both orders list every group that stays on exactly one page while others change; the largest count comes first.
func TestGroupSumsPageByPage(t *testing.T) {
	t.Parallel()
	w := newSumTest(t, open(t, pgtest.New(t)))
	var want []string
	for i := range 9 {
		group := fmt.Sprintf("g%d", i)
		want = append(want, group)
		w.read("u", group, int64(i/2))
	}
	w.read("u", "x", 2)
	w.catchUp()
	n := int64(0)
	between := func() {
		n++
		w.read("u", "x", 4*(n%2))
		w.read("u", fmt.Sprint("a", n), n)
		w.catchUp()
	}
	stay := func(list []readstate.KeptGroupSum) []string {
		return slices.DeleteFunc(ids(list), func(groupID string) bool { return groupID[0] != 'g' })
	}
	require.Equal(t, want, stay(w.list(readstate.OrderKey, 2, between)))
	require.Equal(t, []string{"g8", "g6", "g7", "g4", "g5", "g2", "g3", "g0", "g1"}, stay(w.list(readstate.OrderUnread, 2, between)))
	require.Equal(t, []string{"g8", "g6", "g7", "g4", "g5", "g2", "g3", "g0", "g1"},
		ids(w.pages(readstate.GroupPage{Prefix: "g", Order: readstate.OrderUnread, Limit: 2}, between)))
	list, _, err := w.GroupSums(t.Context(), readstate.GroupPage{Prefix: "g", Order: readstate.OrderUnread, Limit: 2})
	require.NoError(t, err)
	require.Equal(t, []string{"g8", "g6"}, ids(list))
	list, _, err = w.GroupSums(t.Context(), readstate.GroupPage{Prefix: "g", After: readstate.Cursor{Key: "b"}, Limit: 2})
	require.NoError(t, err)
	require.Equal(t, []string{"g0", "g1"}, ids(list))
}

// Lists read what they show; a step of the worker reads the groups that it sums.
func TestGroupSumsDoNotScan(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	w := newSumTest(t, s)
	fill(t, s, 30, 100)
	w.catchUp()
	_, err := pgtest.Connect(t, url).Exec(t.Context(), "VACUUM ANALYZE states, group_sums, stale_group_sums, positions")
	require.NoError(t, err)
	for name, ask := range map[string]func(ctx context.Context, queries *db.Queries, conn db.DBTX) error{
		"by key": func(ctx context.Context, queries *db.Queries, conn db.DBTX) error {
			_, err := queries.ListGroupSums(ctx, conn, db.ListGroupSumsParams{ToGroupID: "~", MaxRows: 10})
			return err
		},
		"by key, with a prefix": func(ctx context.Context, queries *db.Queries, conn db.DBTX) error {
			_, err := queries.ListGroupSums(ctx, conn, db.ListGroupSumsParams{AfterGroupID: "g0050", FromGroupID: "g005", ToGroupID: "g006", MaxRows: 10})
			return err
		},
		"the fullest": func(ctx context.Context, queries *db.Queries, conn db.DBTX) error {
			_, err := queries.ListGroupSumsOrderedByUnread(ctx, conn, db.ListGroupSumsOrderedByUnreadParams{AfterUnreadCount: 1 << 62, MaxRows: 10})
			return err
		},
		"groups": func(ctx context.Context, queries *db.Queries, conn db.DBTX) error {
			_, err := queries.ListGroupIDs(ctx, conn, db.ListGroupIDsParams{AfterGroupID: "g0020", MaxRows: 10})
			return err
		},
	} {
		rows := s.RowsRead(t, ask)
		require.LessOrEqual(t, rows["group_sums"]+rows["states"], int64(10+store.PlannersRows), "%s: %v", name, rows)
	}
	rows := s.RowsRead(t, func(ctx context.Context, queries *db.Queries, conn db.DBTX) error {
		_, err := queries.SumGroupPart(ctx, conn, db.SumGroupPartParams{GroupID: "g0050", AfterUserID: "u0009", MaxRows: 5})
		return err
	})
	require.LessOrEqual(t, rows["states"], int64(5+store.PlannersRows), "%v", rows)
}

package cli_test

import (
	"iter"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/client"
	"readmark/internal/pgtest"
)

func newReader(t testing.TB, s *service, key string) *client.Client {
	t.Helper()
	c, err := client.New(s.URL, client.Options{Key: key, HTTPClient: s.client, Attempts: 1})
	require.NoError(t, err)
	return c
}

func all[T any](t testing.TB, pages iter.Seq2[T, error]) (list []T) {
	t.Helper()
	for one, err := range pages {
		require.NoError(t, err)
		list = append(list, one)
	}
	return list
}

// TestClient uses every method of the Go client on the real program, with IDs that
// are hard to write into a path.
func TestClient(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": pgtest.New(t)})
	c := newReader(t, s, "")
	ctx := t.Context()
	users := []string{"u", "..", ".", "a/b", "a%2Fb", "ü ?#", "a+b;c", "../v1/drift"}
	for i, user := range users {
		s.read(user, "g/..", int64(i))
		s.read(user, "h", 1)
	}
	_, err := c.State(ctx, "nobody", "g")
	require.ErrorIs(t, err, client.ErrUnknown)
	before := time.Now()
	for i, user := range users {
		state, err := c.State(ctx, user, "g/..")
		require.NoError(t, err, user)
		require.Equal(t, user, state.UserID)
		require.EqualValues(t, i, state.UnreadCount)
		state, err = c.StateAt(ctx, user, "g/..", before)
		require.NoError(t, err)
		require.EqualValues(t, i, state.UnreadCount)
		badge, err := c.Badge(ctx, user)
		require.NoError(t, err)
		require.EqualValues(t, i+1, badge.UnreadCount)
		badge, err = c.BadgeAt(ctx, user, before)
		require.NoError(t, err)
		require.EqualValues(t, i+1, badge.UnreadCount)
		require.Len(t, all(t, c.UserGroups(ctx, user, client.ListOptions{PageSize: 1})), 2)
		require.Len(t, all(t, c.Receipts(ctx, user, "g/..", client.HistoryOptions{})), 1)
		require.Len(t, all(t, c.UserReceipts(ctx, user, client.HistoryOptions{PageSize: 1})), 2)
	}
	_, err = c.StateAt(ctx, "u", "h", before.AddDate(-1, 0, 0))
	require.ErrorIs(t, err, client.ErrGone)
	_, err = c.State(ctx, "u", "\x01")
	require.ErrorIs(t, err, client.ErrInvalid)
	sum, err := c.GroupSum(ctx, "h")
	require.NoError(t, err)
	require.EqualValues(t, len(users), sum.UnreadCount)
	list := all(t, c.GroupUsers(ctx, "g/..", client.ListOptions{Sort: client.ByUnreadCount, MinUnread: 5, PageSize: 2}))
	require.Len(t, list, 3)
	require.EqualValues(t, 7, list[0].UnreadCount)
	require.Len(t, all(t, c.GroupReceipts(ctx, "h", client.HistoryOptions{To: before, PageSize: 3})), len(users))
	answer, err := c.Query(ctx, []client.Pair{{UserID: "u", GroupID: "h"}, {UserID: "x", GroupID: "h"}}, []string{"..", "x"})
	require.NoError(t, err)
	require.EqualValues(t, 1, answer.Pairs[0].State.UnreadCount)
	require.EqualValues(t, "unknown", answer.Pairs[1].Status)
	require.Equal(t, client.UserKnown, answer.Users[0].Status)
	answer, err = c.Query(ctx, nil, []string{"u"})
	require.NoError(t, err)
	require.Empty(t, answer.Pairs)
	require.Len(t, answer.Users, 1)
	answer, err = c.Query(ctx, nil, nil)
	require.NoError(t, err)
	require.Empty(t, answer.Users)
	_, err = c.Drift(ctx)
	require.NoError(t, err)
	require.Len(t, all(t, c.Users(ctx, client.UsersOptions{PageSize: 3})), len(users))
	require.Len(t, all(t, c.Users(ctx, client.UsersOptions{Prefix: "a", PageSize: 1})), 3)
	require.Empty(t, all(t, c.Rejections(ctx, 0)))
	stats, err := c.Stats(ctx)
	require.NoError(t, err)
	require.Len(t, stats.NewestCallbacks, min(20, 2*len(users)))

	erased, err := c.EraseUser(ctx, "..")
	require.NoError(t, err)
	require.EqualValues(t, 2, erased.States)
	_, err = c.Badge(ctx, "..")
	require.ErrorIs(t, err, client.ErrUnknown)
	ofGroup, err := c.EraseGroup(ctx, "g/..")
	require.NoError(t, err)
	require.EqualValues(t, len(users)-1, ofGroup.States)
	s.end()
}

// TestClientKeeps: what has not changed is not sent again, and what has is seen.
func TestClientKeeps(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": pgtest.New(t)})
	counting := &countingTransport{next: s.client.Transport}
	c, err := client.New(s.URL, client.Options{HTTPClient: &http.Client{Transport: counting}})
	require.NoError(t, err)
	s.read("u", "g", 3)
	for range 3 {
		badge, err := c.Badge(t.Context(), "u")
		require.NoError(t, err)
		require.EqualValues(t, 3, badge.UnreadCount)
	}
	require.Equal(t, []int{200, 304, 304}, counting.statuses)
	s.read("u", "g", 2)
	badge, err := c.Badge(t.Context(), "u")
	require.NoError(t, err)
	require.EqualValues(t, 2, badge.UnreadCount)
	s.end()
}

type countingTransport struct {
	next     http.RoundTripper
	statuses []int
}

func (c *countingTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := c.next.RoundTrip(request)
	if err == nil {
		c.statuses = append(c.statuses, answer.StatusCode)
	}
	return answer, err
}

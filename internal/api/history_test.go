package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/readstate"
)

// Histories have receipts of all dialects, the newest first, and nothing else; what a
// receipt does not have is null.
func TestHistories(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.read("u", "g", 3)
	s.message("u")
	s.member(readstate.EventJoined, "u")
	s.commit(readstate.Event{Kind: readstate.EventGroupRead, UserID: "u", GroupID: "g", ReadSeq: 7})
	s.commit(readstate.Event{Kind: readstate.EventServerReceipt, UserID: "u", ReadSeq: 9, ContentType: 3})
	s.read("v", "g", 0)
	items := func(target string) (list []map[string]any) {
		for _, one := range s.get(target)["items"].([]any) {
			list = append(list, one.(map[string]any))
		}
		return list
	}
	column := func(list []map[string]any, name string) (values []any) {
		for _, one := range list {
			values = append(values, one[name])
		}
		return values
	}
	pair := items("/v1/users/u/groups/g/receipts")
	require.Equal(t, []any{"conversation", "documented"}, column(pair, "dialect"))
	require.Equal(t, []any{nil, 3.0}, column(pair, "unreadCount"))
	require.Equal(t, []any{7.0, nil}, column(pair, "readSeq"))
	user := items("/v1/users/u/receipts")
	require.Equal(t, []any{"server", "conversation", "documented"}, column(user, "dialect"))
	require.Equal(t, []any{nil, "g", "g"}, column(user, "groupID"))
	require.Equal(t, []any{9.0, 7.0, nil}, column(user, "readSeq"))
	group := items("/v1/groups/g/receipts")
	require.Equal(t, []any{"v", "u", "u"}, column(group, "userID"))

	first, next := s.page("/v1/users/u/receipts?limit=2", "dialect")
	require.Equal(t, []string{"server", "conversation"}, first)
	second, end := s.page("/v1/users/u/receipts"+query("limit", "2", "cursor", next), "dialect")
	require.Equal(t, []string{"documented"}, second)
	require.Empty(t, end)
	require.Equal(t, []string{"query.cursor"}, s.refused("/v1/groups/g/receipts"+query("cursor", next)))
}

// An erasure says what it has removed, and who was erased is unknown after it.
func TestErasures(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.read("u", "g", 3)
	s.read("u", "h", 1)
	s.read("v", "g", 2)
	s.message("u")
	erase := func(target string) map[string]any {
		answer := s.ask(http.MethodDelete, target, "")
		require.Equal(t, http.StatusOK, answer.Code, answer.Body)
		return decoded(t, answer)
	}
	before := time.Now().UTC().Add(-time.Second)
	user := erase("/v1/users/u")
	erasedAt, err := time.Parse(time.RFC3339Nano, user["erasedAt"].(string))
	require.NoError(t, err)
	require.True(t, erasedAt.After(before))
	delete(user, "erasedAt")
	require.Equal(t, map[string]any{
		"userID": "u", "states": 2.0, "journalRows": 3.0, "messages": 0.0, "pending": 0.0, "rejectedCallbacks": 0.0,
	}, user)
	require.Equal(t, http.StatusNotFound, s.ask(http.MethodGet, "/v1/users/u/unread", "").Code)
	require.InDelta(t, 3, s.get("/v1/users/v/groups/g")["unreadCount"], 0, "the message of who was erased counts for others")

	group := erase("/v1/groups/g")
	delete(group, "erasedAt")
	require.Equal(t, map[string]any{
		"groupID": "g", "states": 1.0, "journalRows": 2.0, "messages": 1.0, "pending": 0.0, "rejectedCallbacks": 0.0,
	}, group)
	require.Equal(t, http.StatusNotFound, s.ask(http.MethodGet, "/v1/groups/g/unread", "").Code)
	nobody := erase("/v1/users/nobody")
	require.InDelta(t, 0, nobody["states"], 0)
	require.InDelta(t, 0, nobody["journalRows"], 0)
}

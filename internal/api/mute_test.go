package api_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/readstate"
)

// mute stores that OpenIM said whether a user has muted a group.
func (s *service) mute(user, group string, muted bool) {
	s.t.Helper()
	kind := readstate.EventUnmuted
	if muted {
		kind = readstate.EventMuted
	}
	s.commit(readstate.Event{Kind: kind, UserID: user, GroupID: group})
}

// States say what is muted, lists know the filter, and badges, also those of a batch, sum it
// up on its own. An answer that a caller has is renewed by a mute.
func TestMutedAnswers(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.read("u", "g", 2)
	s.read("u", "h", 3)
	s.read("v", "g", 4)
	const state, badge, group = "/v1/users/u/groups/g", "/v1/users/u/unread", "/v1/groups/g/unread"
	require.Equal(t, false, s.get(state)["muted"])
	require.Subset(t, s.get(badge), map[string]any{"unreadCount": 5., "unreadCountUnmuted": 5., "exact": false, "pending": false})
	etags := map[string]string{}
	for _, target := range []string{state, badge, groupsOfU} {
		etags[target] = s.ask(http.MethodGet, target, "").Header().Get("ETag")
	}
	_, before := s.next()

	s.mute("u", "g", true)
	for target, etag := range etags {
		require.Equal(t, http.StatusOK, s.ask(http.MethodGet, target, "", "If-None-Match", etag).Code, target)
	}
	require.Equal(t, true, s.get(state)["muted"])
	require.Subset(t, s.get(badge), map[string]any{"unreadCount": 5., "unreadCountUnmuted": 3., "unreadGroups": 2., "groups": 2.})
	then := query("at", before.Format("2006-01-02T15:04:05.999999Z"))
	require.Equal(t, false, s.get(state + then)["muted"])
	require.Subset(t, s.get(badge+then), map[string]any{"unreadCountUnmuted": 5., "exact": false, "pending": false})
	_, batch := s.query([]pairOf{{"u", "g"}, {"v", "g"}}, []string{"u", "nobody"})
	pairs, users := batch["pairs"].([]any), batch["users"].([]any)
	require.Equal(t, true, pairs[0].(map[string]any)["state"].(map[string]any)["muted"])
	require.Equal(t, false, pairs[1].(map[string]any)["state"].(map[string]any)["muted"])
	require.Subset(t, users[0], map[string]any{"unreadCount": 5., "unreadCountUnmuted": 3., "exact": false, "pending": false})
	require.Equal(t, map[string]any{"userID": "nobody", "status": "unknown"}, users[1])

	for filter, want := range map[string][2][]string{
		"": {{"g", "h"}, {"u", "v"}}, query("muted", "true"): {{"g"}, {"u"}}, query("muted", "false"): {{"h"}, {"v"}},
		query("muted", "true", "minUnread", "3"): {nil, nil}, query("muted", "false", "sort", "-unreadCount", "limit", "1"): {{"h"}, {"v"}},
	} {
		keys, next := s.page(groupsOfU+filter, "groupID")
		require.Equal(t, want[0], keys, filter)
		require.Empty(t, next)
		keys, _ = s.page(usersOfG+filter, "userID")
		require.Equal(t, want[1], keys, filter)
	}
	for _, list := range []string{groupsOfU, usersOfG} {
		require.Equal(t, []string{"query.muted"}, s.refused(list+"?muted=perhaps"))
	}

	s.mute("u", "g", false)
	require.Equal(t, false, s.get(state)["muted"])
	require.InDelta(t, 5, s.get(badge)["unreadCountUnmuted"], 0)
	require.Equal(t, false, s.get(group)["exact"])
}

// Sums are exact when OpenIM has told all of their parts.
func TestExactSums(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for _, user := range []string{"u", "v"} {
		s.commit(readstate.Event{Kind: readstate.EventSnapshot, UserID: user, GroupID: "g", MaxSeq: 9, ReadSeq: 4})
	}
	for _, target := range []string{"/v1/users/u/unread", "/v1/groups/g/unread"} {
		require.Equal(t, true, s.get(target)["exact"])
	}
	etag := s.ask(http.MethodGet, "/v1/groups/g/unread", "").Header().Get("ETag")
	s.read("v", "g", 5)
	require.Equal(t, http.StatusOK, s.ask(http.MethodGet, "/v1/groups/g/unread", "", "If-None-Match", etag).Code)
	require.Equal(t, false, s.get("/v1/groups/g/unread")["exact"])
	require.Equal(t, true, s.get("/v1/users/u/unread")["exact"])
}

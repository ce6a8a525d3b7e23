package api_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"readmark/internal/auth"
	"readmark/internal/readstate"
)

// The list of users has the badge of everybody who has a current state, in key order, page by page.
func TestUsers(t *testing.T) {
	t.Parallel()
	s := newService(t)
	require.Equal(t, []any{}, s.get("/v1/users")["items"])
	for i, user := range []string{"a", "b1", "b2", "ü/:%", "z"} {
		s.read(user, "h", int64(i))
		s.read(user, "i", 1)
	}
	s.read("left", "g", 3)
	s.member(readstate.EventLeft, "left")
	list := s.get("/v1/users")
	items := list["items"].([]any)
	require.Len(t, items, 5, "who has left has no badge")
	for _, item := range items {
		badge := item.(map[string]any)
		alone := s.get("/v1/users/" + pathEscape(badge["userID"].(string)) + "/unread")
		require.NotEmpty(t, badge["asOf"])
		delete(badge, "asOf")
		delete(alone, "asOf")
		require.Equal(t, alone, badge)
	}
	require.NotEmpty(t, list["asOf"])
	for _, test := range []struct {
		query string
		want  []string
	}{
		{"", []string{"a", "b1", "b2", "z", "ü/:%"}},
		{query("prefix", ""), []string{"a", "b1", "b2", "z", "ü/:%"}},
		{query("prefix", "b"), []string{"b1", "b2"}},
		{query("prefix", "b", "limit", "1"), []string{"b1"}},
		{query("prefix", "ü"), []string{"ü/:%"}},
		{query("prefix", "ü/:%"), []string{"ü/:%"}},
		{query("prefix", "nobody"), nil},
		{query("prefix", "l"), nil},
		{query("limit", "1000"), []string{"a", "b1", "b2", "z", "ü/:%"}},
	} {
		users, _ := s.page("/v1/users"+test.query, "userID")
		require.Equal(t, test.want, users, test.query)
	}
	for cursor, pages := "", 0; ; pages++ {
		users, next := s.page("/v1/users"+query("limit", "2", "cursor", cursor), "userID")
		require.Equal(t, [][]string{{"a", "b1"}, {"b2", "z"}, {"ü/:%"}}[pages], users)
		if cursor = next; next == "" {
			require.Equal(t, 2, pages)
			break
		}
	}
	for wrong, place := range map[string]string{
		"limit=0": "query.limit", "limit=1001": "query.limit", "cursor=x": "query.cursor", "sort=-unreadCount": "query.sort", "prefix=%01": "query.prefix",
	} {
		require.Equal(t, []string{place}, s.refused("/v1/users?"+wrong), wrong)
	}
	_, other := s.page(usersOfG[:len(usersOfG)-len("g/users")]+"h/users"+query("limit", "1"), "userID")
	require.Equal(t, []string{"query.cursor"}, s.refused("/v1/users"+query("cursor", other)), "of another list")
}

// An answer that has not changed is not sent again.
func TestUsersPolled(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.read("u", "g", 1)
	etag := s.ask(http.MethodGet, "/v1/users", "").Header().Get("ETag")
	require.NotEmpty(t, etag)
	require.Equal(t, http.StatusNotModified, s.ask(http.MethodGet, "/v1/users", "", "If-None-Match", etag).Code)
	s.read("u", "g", 2)
	require.Equal(t, http.StatusOK, s.ask(http.MethodGet, "/v1/users", "", "If-None-Match", etag).Code)
}

// Many who have left do not end the list early: a page may be empty, and the next one is there.
func TestUsersWhoHaveLeft(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for i := range 12 {
		user := fmt.Sprintf("l%02d", i)
		s.read(user, "g", 1)
		s.member(readstate.EventLeft, user)
	}
	s.read("z", "g", 1)
	var all []string
	pages := 0
	for cursor := ""; ; pages++ {
		users, next := s.page("/v1/users"+query("limit", "1", "cursor", cursor), "userID")
		all = append(all, users...)
		if cursor = next; next == "" {
			break
		}
	}
	require.Equal(t, []string{"z"}, all)
	require.Positive(t, pages)
}

// While users come between the pages everybody who stays is on exactly one.
func TestUsersWhileRowsChange(t *testing.T) {
	t.Parallel()
	s := newService(t)
	run := 0
	rapid.Check(t, func(r *rapid.T) {
		run++
		prefix := fmt.Sprintf("%d-", run)
		name := func(label string) string { return prefix + rapid.StringMatching("[a-fü]{1,2}").Draw(r, label) }
		there := map[string]bool{}
		for range rapid.IntRange(1, 12).Draw(r, "users") {
			user := name("user")
			there[user] = true
			s.read(user, "g", 1)
		}
		first, seen := slices.Collect(maps.Keys(there)), map[string]int{}
		limit := strconv.Itoa(rapid.IntRange(1, 5).Draw(r, "limit"))
		for cursor := ""; ; {
			users, next := s.page("/v1/users"+query("limit", limit, "prefix", prefix, "cursor", cursor), "userID")
			for _, user := range users {
				seen[user]++
			}
			if cursor = next; next == "" {
				break
			}
			for range rapid.IntRange(0, 3).Draw(r, "more") {
				s.read(name("later"), "g", 2)
			}
		}
		for _, user := range first {
			require.Equal(r, 1, seen[user], user)
		}
		for user, times := range seen {
			require.Equal(r, 1, times, user)
		}
	})
}

// A key that is limited to some users sees those; one that is limited to groups may not see badges.
func TestUsersByKey(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for _, user := range []string{"shop-1", "shop-2", "other"} {
		s.read(user, "g", 1)
	}
	key := s.withKeys()
	limited := key(auth.Grant{Name: "limited", Scopes: []auth.Scope{auth.ScopeRead}, UserPrefix: "shop-"})
	users := func(key, target string) (list []string) {
		answer := s.askAs(key, target)
		require.Equal(t, http.StatusOK, answer.Code, answer.Body)
		for _, item := range decoded(t, answer)["items"].([]any) {
			list = append(list, item.(map[string]any)["userID"].(string))
		}
		return list
	}
	require.Equal(t, []string{"shop-1", "shop-2"}, users(limited, "/v1/users"))
	require.Equal(t, []string{"shop-1", "shop-2"}, users(limited, "/v1/users?prefix=sh"))
	require.Equal(t, []string{"shop-2"}, users(limited, "/v1/users?prefix=shop-2"))
	refused := s.askAs(limited, "/v1/users?prefix=other")
	require.Equal(t, http.StatusForbidden, refused.Code)
	require.Contains(t, refused.Body.String(), `prefix does not begin with \"shop-\"`)
	require.Equal(t, []string{"other", "shop-1", "shop-2"}, users(key(auth.Grant{Name: "all", Scopes: []auth.Scope{auth.ScopeRead}}), "/v1/users"))
	for name, grant := range map[string]auth.Grant{
		"groups": {Scopes: []auth.Scope{auth.ScopeRead}, GroupPrefix: "g"}, "erase": {Scopes: []auth.Scope{auth.ScopeErase}},
		"both": {Scopes: []auth.Scope{auth.ScopeRead}, UserPrefix: "shop-", GroupPrefix: "g"},
	} {
		grant.Name = name
		require.Equal(t, http.StatusForbidden, s.askAs(key(grant), "/v1/users").Code, name)
	}
	require.Equal(t, http.StatusUnauthorized, s.ask(http.MethodGet, "/v1/users", "").Code)
}

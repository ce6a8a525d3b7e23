package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/auth"
	"readmark/internal/readstate"
)

// sumGroups has all groups be summed that have changed.
func (s *service) sumGroups() {
	s.t.Helper()
	work := s.store.GroupSumWork(time.Now, time.Now)
	leads, err := work.Lease(s.t.Context())
	require.NoError(s.t, err)
	require.True(s.t, leads)
	defer work.Release(s.t.Context())
	for more := true; more; {
		follows, err := work.Follow(s.t.Context())
		require.NoError(s.t, err)
		_, sums, err := work.Sum(s.t.Context())
		require.NoError(s.t, err)
		walks, err := work.Walk(s.t.Context())
		require.NoError(s.t, err)
		more = follows || sums || walks
	}
	_, err = work.Save(s.t.Context())
	require.NoError(s.t, err)
}

// The list of groups has the sums that single groups have, by ID or the fullest first, page by page.
func TestGroups(t *testing.T) {
	t.Parallel()
	s := newService(t)
	answer := s.ask(http.MethodGet, "/v1/groups", "")
	require.Equal(t, http.StatusServiceUnavailable, answer.Code, "nothing was summed yet")
	require.Contains(t, answer.Body.String(), "for the first time")
	require.NotEmpty(t, answer.Header().Get("Retry-After"))
	s.sumGroups()
	require.Equal(t, []any{}, s.get("/v1/groups")["items"])
	for i, group := range []string{"a", "b1", "b2", "ü/:%", "z"} {
		s.read("u", group, int64(i%3))
		s.read("v", group, 0)
	}
	s.read("u", "g", 9)
	s.member(readstate.EventDismissed, "")
	s.sumGroups()
	list := s.get("/v1/groups")
	require.NotEmpty(t, list["asOf"])
	for _, item := range list["items"].([]any) {
		sum := item.(map[string]any)
		alone := s.get("/v1/groups/" + pathEscape(sum["groupID"].(string)) + "/unread")
		for _, one := range []map[string]any{sum, alone} {
			require.NotEmpty(t, one["asOf"])
			delete(one, "asOf")
		}
		require.Equal(t, alone, sum)
	}
	for _, test := range []struct {
		query string
		want  []string
	}{
		{"", []string{"a", "b1", "b2", "z", "ü/:%"}},
		{query("sort", "groupID"), []string{"a", "b1", "b2", "z", "ü/:%"}},
		{query("sort", "-unreadCount"), []string{"b2", "b1", "z", "a", "ü/:%"}},
		{query("sort", "-unreadCount", "prefix", "b"), []string{"b2", "b1"}},
		{query("sort", "-unreadCount", "limit", "3"), []string{"b2", "b1", "z"}},
		{query("prefix", "ü"), []string{"ü/:%"}},
		{query("prefix", ""), []string{"a", "b1", "b2", "z", "ü/:%"}},
		{query("prefix", "g"), nil},
	} {
		groups, _ := s.page("/v1/groups"+test.query, "groupID")
		require.Equal(t, test.want, groups, test.query)
	}
	cursors := map[string]string{}
	for order, want := range map[string][]string{"groupID": {"a", "b1", "b2", "z", "ü/:%"}, "-unreadCount": {"b2", "b1", "z", "a", "ü/:%"}} {
		var got []string
		for cursor := ""; ; {
			groups, next := s.page("/v1/groups"+query("sort", order, "limit", "2", "cursor", cursor), "groupID")
			got = append(got, groups...)
			if cursor = next; next == "" {
				break
			}
			cursors[order] = next
		}
		require.Equal(t, want, got, order)
	}
	require.Equal(t, []string{"query.cursor"}, s.refused("/v1/groups"+query("cursor", cursors["-unreadCount"])))
	require.Equal(t, []string{"query.cursor"}, s.refused("/v1/groups"+query("sort", "-unreadCount", "cursor", cursors["groupID"])))
	for wrong, place := range map[string]string{
		"limit=0": "query.limit", "limit=1001": "query.limit", "cursor=x": "query.cursor", "sort=unreadCount": "query.sort", "prefix=%01": "query.prefix",
	} {
		require.Equal(t, []string{place}, s.refused("/v1/groups?"+wrong), wrong)
	}
}

// An answer that has not changed is not sent again, also where it was summed once more.
func TestGroupsPolled(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.read("u", "g", 1)
	s.sumGroups()
	etag := s.ask(http.MethodGet, "/v1/groups", "").Header().Get("ETag")
	s.read("u", "g", 2)
	require.Equal(t, http.StatusNotModified, s.ask(http.MethodGet, "/v1/groups", "", "If-None-Match", etag).Code, "it is not summed yet")
	s.sumGroups()
	require.Equal(t, http.StatusOK, s.ask(http.MethodGet, "/v1/groups", "", "If-None-Match", etag).Code)
}

// A key that is limited to some groups sees those; one that is limited to users may not see sums.
func TestGroupsByKey(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for i, group := range []string{"shop-1", "shop-2", "other"} {
		s.read("u", group, int64(i))
	}
	s.sumGroups()
	key := s.withKeys()
	limited := key(auth.Grant{Name: "limited", Scopes: []auth.Scope{auth.ScopeRead}, GroupPrefix: "shop-"})
	groups := func(key, target string) (list []string) {
		answer := s.askAs(key, target)
		require.Equal(t, http.StatusOK, answer.Code, answer.Body)
		for _, item := range decoded(t, answer)["items"].([]any) {
			list = append(list, item.(map[string]any)["groupID"].(string))
		}
		return list
	}
	require.Equal(t, []string{"shop-1", "shop-2"}, groups(limited, "/v1/groups"))
	require.Equal(t, []string{"shop-2", "shop-1"}, groups(limited, "/v1/groups?sort=-unreadCount&prefix=s"))
	require.Equal(t, []string{"shop-1"}, groups(limited, "/v1/groups?prefix=shop-1"))
	refused := s.askAs(limited, "/v1/groups?prefix=other")
	require.Equal(t, http.StatusForbidden, refused.Code)
	require.Contains(t, refused.Body.String(), `prefix does not begin with \"shop-\"`)
	require.Equal(t, []string{"other", "shop-1", "shop-2"}, groups(key(auth.Grant{Name: "all", Scopes: []auth.Scope{auth.ScopeAdmin}}), "/v1/groups"))
	for name, grant := range map[string]auth.Grant{
		"users": {Scopes: []auth.Scope{auth.ScopeRead}, UserPrefix: "u"}, "erase": {Scopes: []auth.Scope{auth.ScopeErase}},
		"both": {Scopes: []auth.Scope{auth.ScopeRead}, UserPrefix: "u", GroupPrefix: "shop-"},
	} {
		grant.Name = name
		require.Equal(t, http.StatusForbidden, s.askAs(key(grant), "/v1/groups").Code, name)
	}
	require.Equal(t, http.StatusUnauthorized, s.ask(http.MethodGet, "/v1/groups", "").Code)
}

package api_test

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const (
	groupsOfU = "/v1/users/u/groups"
	usersOfG  = "/v1/groups/g/users"
)

// TestListFilters: both lists know the same filters and orders, and they combine.
func TestListFilters(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for i, name := range []string{"a", "b", "c", "d"} {
		s.read("u", name, int64(i))
		s.read(name, "g", int64(i))
	}
	for _, test := range []struct {
		query string
		want  []string
	}{
		{"", []string{"a", "b", "c", "d"}},
		{query("unread", "true"), []string{"b", "c", "d"}},
		{query("unread", "false"), []string{"a", "b", "c", "d"}},
		{query("minUnread", "2"), []string{"c", "d"}},
		{query("unread", "true", "minUnread", "0"), []string{"b", "c", "d"}},
		{query("sort", "-unreadCount"), []string{"d", "c", "b", "a"}},
		{query("sort", "-lastReadAt", "minUnread", "1"), []string{"d", "c", "b"}},
		{query("sort", "-unreadCount", "limit", "2"), []string{"d", "c"}},
	} {
		keys, _ := s.page(groupsOfU+test.query, "groupID")
		require.Equal(t, test.want, keys, test.query)
		keys, _ = s.page(usersOfG+test.query, "userID")
		require.Equal(t, test.want, keys, test.query)
	}
	for _, one := range []string{"minUnread=-1", "limit=0", "limit=1001", "limit=x", "sort=unreadCount", "updatedSince=yesterday", "unread=perhaps", "cursor=x"} {
		name, _, _ := strings.Cut(one, "=")
		require.Equal(t, []string{"query." + name}, s.refused(groupsOfU+"?"+one), one)
		require.Equal(t, []string{"query." + name}, s.refused(usersOfG+"?"+one), one)
	}
}

// TestCursors: a cursor works in its own list and order only.
func TestCursors(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for _, name := range []string{"a", "b", "ü/:%", "z"} {
		s.read("u", name, 1)
		s.read(name, "g", 1)
	}
	orders := []string{"", "-unreadCount", "-lastReadAt"}
	target := func(base, order, cursor string) string {
		values := []string{"limit", "2"}
		if order != "" {
			values = append(values, "sort", order)
		}
		if cursor != "" {
			values = append(values, "cursor", cursor)
		}
		return base + query(values...)
	}
	cursors := map[string]string{} // base and order → cursor
	for _, base := range []string{groupsOfU, usersOfG} {
		key := map[string]string{groupsOfU: "groupID", usersOfG: "userID"}[base]
		for _, order := range orders {
			first, next := s.page(target(base, order, ""), key)
			require.Len(t, first, 2)
			require.NotEmpty(t, next)
			second, end := s.page(target(base, order, next), key)
			require.Empty(t, end)
			require.ElementsMatch(t, []string{"a", "b", "ü/:%", "z"}, append(first, second...))
			cursors[base+order] = next
		}
	}
	for from, cursor := range cursors {
		for _, base := range []string{groupsOfU, usersOfG} {
			for _, order := range orders {
				if base+order != from {
					require.Equal(t, []string{"query.cursor"}, s.refused(target(base, order, cursor)))
				}
			}
		}
		require.Equal(t, []string{"query.cursor"}, s.refused(target(groupsOfU, "-unreadCount", cursor[1:])))
	}
}

// TestPagesWhileRowsChange: while states change and come between the pages, every
// state that stays is on exactly one page in key order, and every state whose value
// does not change in the order of values.
func TestPagesWhileRowsChange(t *testing.T) {
	t.Parallel()
	s := newService(t)
	run := 0
	rapid.Check(t, func(r *rapid.T) {
		run++
		user := fmt.Sprintf("user %d", run)
		unread := map[string]int64{}
		for range rapid.IntRange(1, 12).Draw(r, "groups") {
			group := rapid.StringMatching("[a-f]{1,2}").Draw(r, "group")
			unread[group] = rapid.Int64Range(0, 3).Draw(r, "unread")
			s.read(user, group, unread[group])
		}
		there := slices.Collect(maps.Keys(unread))
		order := rapid.SampledFrom([]string{"", "-unreadCount", "-lastReadAt"}).Draw(r, "order")
		limit := strconv.Itoa(rapid.IntRange(1, 5).Draw(r, "limit"))
		changed, seen := map[string]bool{}, map[string]int{}
		for cursor := ""; ; {
			values := []string{"limit", limit}
			if order != "" {
				values = append(values, "sort", order)
			}
			if cursor != "" {
				values = append(values, "cursor", cursor)
			}
			var keys []string
			keys, cursor = s.page("/v1/users/"+url.PathEscape(user)+"/groups"+query(values...), "groupID")
			for _, key := range keys {
				seen[key]++
			}
			if cursor == "" {
				break
			}
			for range rapid.IntRange(0, 3).Draw(r, "changes") {
				group := rapid.StringMatching("[a-f]{1,2}").Draw(r, "changed")
				s.read(user, group, rapid.Int64Range(0, 3).Draw(r, "count"))
				changed[group] = true
			}
		}
		for _, group := range there {
			if order == "" || !changed[group] {
				require.Equal(r, 1, seen[group], group)
			}
		}
		for group, times := range seen {
			if order == "" {
				require.Equal(r, 1, times, group)
			}
		}
	})
}

// TestUpdatedSince follows the later of state and position.
func TestUpdatedSince(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.read("u", "quiet", 1)
	s.read("u", "g", 1)
	s.read("v", "g", 1)
	before := s.get("/v1/users/u/groups/g")["updatedAt"].(string)
	since := func(base, moment, key string) []string {
		keys, _ := s.page(base+query("updatedSince", moment), key)
		return keys
	}
	require.Equal(t, []string{"g"}, since(groupsOfU, before, "groupID"), "the moment itself belongs to it")
	moment, err := time.Parse(time.RFC3339Nano, before)
	require.NoError(t, err)
	after := moment.Add(time.Microsecond).Format(time.RFC3339Nano)
	require.Empty(t, since(groupsOfU, after, "groupID"))
	s.message("w") // moves the position, and no state of u or v
	require.Equal(t, []string{"g"}, since(groupsOfU, after, "groupID"))
	require.Subset(t, since(usersOfG, after, "userID"), []string{"u", "v"})
	require.Greater(t, s.get("/v1/users/u/groups/g")["updatedAt"], before)
	require.InDelta(t, 2, s.get("/v1/users/u/groups/g")["unreadCount"], 0)
}

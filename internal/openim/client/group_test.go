package client_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/openim/client"
)

const (
	groupsInfo  = "/group/get_groups_info"
	membersInfo = "/group/get_group_members_info"
)

// memberPages answers one page after the other: the numbers of each, and its total.
func memberPages(pages ...struct {
	total int
	list  []int
},
) *fake {
	return loggedIn(func(_ string, request map[string]any) (int, string) {
		var items []string
		page := pages[min(pageNumber(request), len(pages))-1]
		for _, i := range page.list {
			items = append(items, fmt.Sprintf(`{"userID":"m%d","roleLevel":20}`, i))
		}
		return 200, fmt.Sprintf(`{"errCode":0,"data":{"total":%d,"members":[%s]}}`, page.total, strings.Join(items, ","))
	})
}

// to gives the numbers from one and before another, but for some.
func to(from, before int, without ...int) (list []int) {
	for i := from; i < before; i++ {
		if !slices.Contains(without, i) {
			list = append(list, i)
		}
	}
	return list
}

// A page that is short in the middle does not end the list. A list is complete only when it
// has as many members as OpenIM says there are, on every page.
func TestShortPages(t *testing.T) {
	t.Parallel()
	type page = struct {
		total int
		list  []int
	}
	for name, test := range map[string]struct {
		pages    []page
		size     int
		complete bool
		calls    int
	}{
		"101, one row is missing":       {[]page{{101, to(0, 100, 50)}, {101, to(100, 101)}}, 100, false, 2},
		"250, one row is missing":       {[]page{{250, to(0, 100, 99)}, {250, to(100, 200)}, {250, to(200, 250)}}, 249, false, 3},
		"250, all are there":            {[]page{{250, to(0, 100)}, {250, to(100, 200)}, {250, to(200, 250)}}, 250, true, 3},
		"one leaves between two pages":  {[]page{{150, to(0, 100)}, {149, to(101, 150)}}, 149, false, 2},
		"a page is empty":               {[]page{{250, to(0, 100)}, {250, nil}, {250, to(200, 250)}}, 100, false, 2},
		"the total is larger":           {[]page{{99, to(0, 98)}}, 98, false, 1},
		"the total is smaller":          {[]page{{98, to(0, 99)}}, 99, false, 1},
		"nobody, though there are some": {[]page{{3, nil}}, 0, false, 1},
		"nobody":                        {[]page{{0, nil}}, 0, true, 1},
		"no total, a short page":        {[]page{{0, to(0, 99)}, {0, to(100, 150)}, {0, nil}}, 149, false, 3},
		"no total":                      {[]page{{0, to(0, 100)}, {0, to(100, 150)}, {0, nil}}, 150, true, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := memberPages(test.pages...)
			c, _ := newClient(f, 1e6)
			defer c.Close()
			got, err := c.Members(t.Context(), "g")
			require.NoError(t, err)
			require.Len(t, got.Members, test.size)
			require.Equal(t, test.complete, got.Complete)
			require.Equal(t, test.calls, f.count(members))
		})
	}
}

// The owner is told from the others, and the order stays.
func TestOwner(t *testing.T) {
	t.Parallel()
	f := loggedIn(func(string, map[string]any) (int, string) {
		return 200, `{"errCode":0,"data":{"total":3,"members":[
			{"userID":"b","roleLevel":20},{"userID":"c","roleLevel":100},{"userID":"a","roleLevel":60}]}}`
	})
	c, _ := newClient(f, 1e6)
	defer c.Close()
	got, err := c.Members(t.Context(), "g")
	require.NoError(t, err)
	require.Equal(t, client.MemberList{Members: []client.Member{{UserID: "b"}, {UserID: "c", Owner: true}, {UserID: "a"}}, Complete: true}, got)
}

// Only the status of the group itself counts; that OpenIM does not know it is an answer.
func TestGroupStatus(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]client.GroupStatus{
		`{"errCode":0,"data":{"groupInfos":[{"groupID":"g","status":0,"memberCount":3}]}}`:                  client.GroupAlive,
		`{"errCode":0,"data":{"groupInfos":[{"groupID":"g","status":3,"memberCount":3}]}}`:                  client.GroupAlive,
		`{"errCode":0,"data":{"groupInfos":[{"groupID":"g","ownerUserID":"","status":2,"memberCount":0}]}}`: client.GroupDismissed,
		`{"errCode":0,"data":{"groupInfos":[{"groupID":"h","status":2}]}}`:                                  client.GroupUnknown,
		`{"errCode":0,"data":{"groupInfos":null}}`:                                                          client.GroupUnknown,
		`{"errCode":0,"data":{}}`:                                     client.GroupUnknown,
		`{"errCode":1004,"errMsg":"RecordNotFoundError","errDlt":""}`: client.GroupUnknown,
	} {
		f := loggedIn(func(path string, request map[string]any) (int, string) {
			require.Equal(t, groupsInfo, path)
			require.Equal(t, map[string]any{"groupIDs": []any{"g"}}, request)
			return 200, answer
		})
		c, _ := newClient(f, 1e6)
		got, err := c.GroupStatus(t.Context(), "g")
		require.NoError(t, err)
		require.Equal(t, want, got, answer)
		c.Close()
	}
	f := loggedIn(func(string, map[string]any) (int, string) { return 200, refusal(1002) })
	c, _ := newClient(f, 1e6)
	defer c.Close()
	_, err := c.GroupStatus(t.Context(), "g")
	var refused *client.Error
	require.ErrorAs(t, err, &refused)
}

// Of many users a hundred are asked for at once. A refusal of a hundred says nothing of each.
func TestAreMembers(t *testing.T) {
	t.Parallel()
	for _, refuses := range []bool{false, true} {
		f := loggedIn(func(_ string, request map[string]any) (int, string) {
			asked, _ := request["userIDs"].([]any)
			require.Equal(t, "g", request["groupID"])
			require.LessOrEqual(t, len(asked), 100)
			items := []map[string]any{{"userID": "somebody else"}}
			for _, userID := range asked {
				if userID == "u7" || userID == "u130" {
					if refuses {
						return 200, refusal(1004)
					}
					continue
				}
				items = append(items, map[string]any{"userID": userID})
			}
			data, err := json.Marshal(map[string]any{"members": items})
			require.NoError(t, err)
			return 200, `{"errCode":0,"data":` + string(data) + `}`
		})
		c, _ := newClient(f, 1e6)
		var users []string
		for i := range 150 {
			users = append(users, fmt.Sprint("u", i))
		}
		are, err := c.AreMembers(t.Context(), "g", users...)
		require.NoError(t, err)
		require.Len(t, are, 148)
		require.False(t, are["u7"] || are["u130"] || are["somebody else"])
		if !refuses {
			require.Equal(t, 2, f.count(membersInfo))
		}
		are, err = c.AreMembers(t.Context(), "g")
		require.NoError(t, err)
		require.Empty(t, are)
		c.Close()
	}
	f := loggedIn(func(string, map[string]any) (int, string) { return 200, `{"errCode":0,"data":{"members":null}}` })
	c, _ := newClient(f, 1e6)
	defer c.Close()
	are, err := c.AreMembers(t.Context(), "g", "u")
	require.NoError(t, err)
	require.Empty(t, are)
}

package cli_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"readmark/client"
	"readmark/internal/pgtest"
)

// callbackStats gives the stats of a command and result; nil: there are none.
func (s *service) callbackStats(command, result string) map[string]any {
	s.t.Helper()
	status, answer := s.get("/v1/stats")
	require.Equal(s.t, http.StatusOK, status, answer)
	for _, item := range answer["callbacks"].([]any) {
		one := item.(map[string]any)
		if one["command"] == command && one["result"] == result {
			return one
		}
	}
	return nil
}

func total(counts any) (all float64) {
	for _, n := range counts.([]any) {
		all += n.(float64)
	}
	return all
}

// What came, what was refused and who is known is told by the process that took it; one that begins later knows
// it from the journal.
func TestStatsAndUsers(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"READMARK_DATABASE_URL": pgtest.New(t), "READMARK_AUTH": "off"}
	one := serve(t, environment)
	one.read("u1", "g", 5)
	one.read("u2", "g", 0)
	one.read("u2", "h", 2)
	status, _ := one.post("/callbackGroupMsgReadCommand", `{"sendID":"u","receiveID":"g","unreadMsgNum":-3,"note":"private"}`)
	require.Equal(t, http.StatusBadRequest, status)
	status, _ = one.post("/callbackMadeUpCommand", `{}`)
	require.Equal(t, http.StatusOK, status)

	const command = "callbackAfterGroupMsgReadCommand"
	accepted := one.callbackStats(command, "accepted")
	require.EqualValues(t, 3, accepted["total"])
	require.InDelta(t, 3, total(accepted["lastHour"]), 0)
	require.InDelta(t, 3, total(accepted["lastDay"]), 0)
	require.Positive(t, accepted["perSecond"])
	require.EqualValues(t, 1, one.callbackStats(command, "rejected")["total"])
	require.EqualValues(t, 1, one.callbackStats("other", "acknowledged")["total"])

	_, users := one.get("/v1/users?prefix=u")
	items := users["items"].([]any)
	require.Len(t, items, 2)
	require.EqualValues(t, 2, items[1].(map[string]any)["unreadCount"])
	_, rejections := one.get("/v1/rejections")
	rejected := rejections["items"].([]any)
	require.Len(t, rejected, 1)
	require.Equal(t, "unreadMsgNum is negative", rejected[0].(map[string]any)["reason"])
	require.EqualValues(t, 40003, rejected[0].(map[string]any)["errCode"])

	other := serve(t, environment)
	require.Eventually(t, func() bool {
		past := other.callbackStats(command, "accepted")
		return past != nil && total(past["lastHour"]) == 3 && past["total"] == 0.0
	}, time.Minute, 10*time.Millisecond)
	require.InDelta(t, 1, total(other.callbackStats(command, "rejected")["lastDay"]), 0)
	_, answer := other.get("/v1/stats")
	newest := answer["newestCallbacks"].([]any)
	require.Len(t, newest, 4)
	require.Equal(t, "rejected", newest[0].(map[string]any)["result"])
	require.Equal(t, "u2", newest[1].(map[string]any)["userID"])
	reads := answer["reads"].(map[string]any)
	require.Positive(t, reads["total"])
	require.Positive(t, reads["p95Seconds"])
	for _, item := range answer["conditions"].([]any) {
		require.Equal(t, "database_settings", item.(map[string]any)["part"], "the tests' server is not durable; all else is well")
	}
	other.end()
	one.end()
}

// While the database is away the stats say so, and what to do.
func TestStatsWhileAway(t *testing.T) {
	t.Parallel()
	s := launch(t, map[string]string{"READMARK_DATABASE_URL": "postgres://127.0.0.1:1/nowhere", "READMARK_AUTH": "off", "READMARK_COMMIT_BUDGET": "50ms"})
	s.read("u", "g", 1)
	var conditions map[string]map[string]any
	require.Eventually(t, func() bool {
		status, answer := s.get("/v1/stats")
		require.Equal(t, http.StatusOK, status, answer)
		conditions = map[string]map[string]any{}
		for _, item := range answer["conditions"].([]any) {
			one := item.(map[string]any)
			conditions[one["part"].(string)] = one
		}
		return conditions["database"] != nil
	}, time.Minute, 10*time.Millisecond)
	require.Equal(t, "refused", conditions["database"]["reason"])
	require.Contains(t, conditions["database"]["advice"], "Check that the server runs")
	require.EqualValues(t, 1, s.callbackStats("callbackAfterGroupMsgReadCommand", "accepted")["total"])
	s.end()
}

// sums gives the list of groups as texts; nil while they are summed for the first time.
func (s *service) sums(query string) []string {
	s.t.Helper()
	status, answer := s.get("/v1/groups" + query)
	if status == http.StatusServiceUnavailable {
		return nil
	}
	require.Equal(s.t, http.StatusOK, status, answer)
	list := []string{}
	for _, item := range answer["items"].([]any) {
		one := item.(map[string]any)
		list = append(list, fmt.Sprintf("%s: %v of %v users, %v", one["groupID"], one["usersWithUnread"], one["users"], one["unreadCount"]))
	}
	return list
}

// awaitSums waits until groups have been summed for the first time.
func (s *service) awaitSums() {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return s.sums("") != nil }, time.Minute, 10*time.Millisecond)
}

// Groups are listed, the fullest first, soon after something has changed, by every process; another process goes on
// where the one that kept the sums has ended. Who was erased is in no sum.
func TestGroupsAreListed(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"READMARK_DATABASE_URL": pgtest.New(t), "READMARK_AUTH": "off"}
	one, other := serve(t, environment), serve(t, environment)
	is := func(s *service, query string, want ...string) {
		t.Helper()
		require.EventuallyWithT(t, func(t *assert.CollectT) {
			assert.Equal(t, want, s.sums(query))
		}, time.Minute, 20*time.Millisecond)
	}
	one.read("u1", "g", 5)
	one.read("u2", "g", 0)
	other.read("u1", "h", 7)
	is(one, "", "g: 1 of 2 users, 5", "h: 1 of 1 users, 7")
	is(other, "?sort=-unreadCount", "h: 1 of 1 users, 7", "g: 1 of 2 users, 5")
	one.end()
	other.read("u2", "g", 4)
	other.read("u3", "i", 1)
	is(other, "?sort=-unreadCount&limit=2", "g: 2 of 2 users, 9", "h: 1 of 1 users, 7")
	status, _ := other.do(http.MethodDelete, other.URL+"/v1/users/u1", "")
	require.Equal(t, http.StatusOK, status)
	is(other, "", "g: 1 of 1 users, 4", "i: 1 of 1 users, 1")
	status, _ = other.do(http.MethodDelete, other.URL+"/v1/groups/g", "")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, []string{"i: 1 of 1 users, 1"}, other.sums(""), "at once")
	require.NotEmpty(t, all(t, newReader(t, other, "").Groups(t.Context(), client.GroupsOptions{Sort: client.ByUnreadCount, Prefix: "i", PageSize: 1})))
	other.end()
}

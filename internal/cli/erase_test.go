package cli_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/openimsim"
	"readmark/internal/pgtest"
)

// TestErase: what waits in the spool of one program while another erases does not
// come back; what arrives later does.
func TestErase(t *testing.T) {
	t.Parallel()
	database := pgtest.New(t)
	proxy, through := proxied(t, database)
	cutOff := serve(t, map[string]string{"READMARK_DATABASE_URL": through})
	other := serve(t, map[string]string{"READMARK_DATABASE_URL": database})
	cutOff.read("u", "g", 3)
	cutOff.read("v", "g", 4)
	cutOff.read("v", "gone", 5)
	cutOff.settled() // what a slow machine has spooled is in the database
	proxy.Stop()
	cutOff.read("u", "g", 1) // to the spool
	cutOff.read("u", "h", 1)
	cutOff.read("v", "gone", 6)
	cutOff.read("v", "g", 7)
	require.Equal(t, "degraded", cutOff.ready())

	remove := func(path string) map[string]any {
		t.Helper()
		status, body := other.do(http.MethodDelete, other.URL+path, "")
		require.Equal(t, http.StatusOK, status, body)
		var answer map[string]any
		require.NoError(t, json.Unmarshal([]byte(body), &answer))
		return answer
	}
	answer := remove("/v1/users/u")
	require.Equal(t, "u", answer["userID"])
	require.InDelta(t, 1, answer["states"], 0)
	require.InDelta(t, 1, answer["journalRows"], 0)
	answer = remove("/v1/groups/gone")
	require.Equal(t, "gone", answer["groupID"])
	require.InDelta(t, 1, answer["states"], 0)

	pgtest.ListenAgain(t, proxy.Start)
	cutOff.settled()
	require.Eventually(t, func() bool {
		_, state := other.get("/v1/users/v/groups/g")
		return state["unreadCount"] == 7.0
	}, 30*time.Second, 20*time.Millisecond, "the spool is drained")
	for _, path := range []string{"/v1/users/u/groups/g", "/v1/users/u/groups/h", "/v1/users/u/unread", "/v1/users/v/groups/gone", "/v1/groups/gone/unread"} {
		status, _ := other.get(path)
		require.Equal(t, http.StatusNotFound, status, path)
	}
	cutOff.read("u", "g", 2)
	_, badge := other.get("/v1/users/u/unread")
	require.InDelta(t, 2, badge["unreadCount"], 0)

	answer = remove("/v1/users/nobody%2F%25")
	require.Equal(t, "nobody/%", answer["userID"])
	require.InDelta(t, 0, answer["states"], 0)
	require.NotContains(t, other.log.String(), "nobody")
	cutOff.end()
	other.end()
}

// TestEraseWhatOpenIMKnows: OpenIM goes on listing who was erased here. Neither asking
// about others nor comparing brings the erased back or calls them wrong; a callback does.
func TestEraseWhatOpenIMKnows(t *testing.T) {
	t.Parallel()
	model := openimsim.New(openimsim.Options{Webhooks: []string{"callbackAfterGroupMsgReadCommand"}})
	for _, group := range []string{"gone", "other"} {
		model.CreateGroup(group, "erased", "v")
		for range 5 {
			model.Send(group, "erased")
		}
	}
	environment := withOpenIM(t, model)
	s := serve(t, environment)
	read := func(group, user string, seq int64) {
		t.Helper()
		model.Read(group, user, seq)
		s.deliver(model.Take(inOrder(), 1, 0))
		resolved(t, environment["DATABASE_URL"])
	}
	status := func(path string) int {
		t.Helper()
		status, _ := s.get(path)
		return status
	}
	read("gone", "v", 2)
	read("gone", "erased", 2)
	require.Equal(t, http.StatusOK, status("/v1/users/v/groups/gone"))
	for _, path := range []string{"/v1/groups/gone", "/v1/users/erased"} {
		answer, body := s.do(http.MethodDelete, s.URL+path, "")
		require.Equal(t, http.StatusOK, answer, body)
	}
	read("other", "v", 3)
	for range 2 {
		code, out, errs := run(t, environment, "reconcile", "--all")
		require.Equal(t, 0, code, out+errs)
	}
	code, out, errs := run(t, environment, "reconcile", "--all", "--check")
	require.Equal(t, 0, code, out+errs)
	_, drift := s.get("/v1/drift")
	require.InDelta(t, 0, drift["pairsOff"], 0)
	require.Equal(t, http.StatusNotFound, status("/v1/users/v/groups/gone"))
	require.Equal(t, http.StatusNotFound, status("/v1/users/erased/unread"))
	require.Equal(t, http.StatusOK, status("/v1/users/v/groups/other"))

	read("gone", "v", 4)
	_, state := s.get("/v1/users/v/groups/gone")
	require.InDelta(t, model.MaxSeq("gone")-4, state["unreadCount"], 0)
	read("other", "erased", 4)
	require.Equal(t, http.StatusOK, status("/v1/users/erased/groups/other"))
	s.end()
}

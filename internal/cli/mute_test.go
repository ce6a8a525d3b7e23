package cli_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/openimtest"
)

const (
	mutedPath = "/conversation/get_not_notify_conversation_ids"
	usersPath = "/user/get_users_info"
)

// muteService serves with a user who has 2 and 3 unread messages in two groups, and whom
// OpenIM has been asked about. The sweep does not come in between.
func muteService(t *testing.T, prepare func(*openimtest.Server)) (*service, *openimtest.Server, map[string]string) {
	t.Helper()
	model := openimtest.New(openimtest.Options{})
	for groupID, unread := range map[string]int{"g": 2, "h": 3} {
		model.CreateGroup(groupID, "u", "v")
		for range 5 {
			model.Send(groupID, "v")
		}
		model.SetRead(groupID, "u", model.MaxSeq(groupID)-int64(unread))
	}
	prepare(model)
	environment := withOpenIM(t, model)
	environment["READMARK_RECONCILE_INTERVAL"] = "24h"
	s := serve(t, environment)
	s.look("u")
	resolved(t, environment["DATABASE_URL"])
	return s, model, environment
}

// look posts a receipt of the server dialect, which has OpenIM asked about a user.
func (s *service) look(userID string) {
	s.t.Helper()
	status, _ := s.post("/callbackAfterGroupMsgReadCommand", `{"callbackCommand":"callbackAfterGroupMsgReadCommand","sendID":"`+userID+
		`","receiveID":"`+userID+`","unreadMsgNum":4,"contentType":3}`)
	require.Equal(s.t, http.StatusOK, status)
}

// mutes gives what the badge and the two states say, as soon as OpenIM's answer is there.
func (s *service) mutes(unmuted float64, g, h bool) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		_, badge := s.get("/v1/users/u/unread")
		_, inG := s.get("/v1/users/u/groups/g")
		_, inH := s.get("/v1/users/u/groups/h")
		return badge["unreadCount"] == 5. && badge["unreadCountUnmuted"] == unmuted && badge["exact"] == true &&
			inG["muted"] == g && inH["muted"] == h
	}, time.Minute, 10*time.Millisecond)
}

// What a user mutes and unmutes at OpenIM, a group or everything, is in states, badge and
// lists after the next comparison, and a replay gives it again.
func TestMutesAreReconciled(t *testing.T) {
	t.Parallel()
	s, model, environment := muteService(t, func(*openimtest.Server) {})
	s.mutes(5, false, false)
	reconcile := func() {
		t.Helper()
		status, _, errs := run(t, environment, "reconcile", "--user", "u")
		require.Equal(t, 0, status, errs)
	}
	model.Mute("g", "u", true)
	reconcile()
	s.mutes(3, true, false)
	for query, want := range map[string]string{"?muted=true": "g", "?muted=false": "h"} {
		_, list := s.get("/v1/users/u/groups" + query)
		items, _ := list["items"].([]any)
		require.Len(t, items, 1)
		require.Equal(t, want, items[0].(map[string]any)["groupID"])
	}
	model.GlobalMute("u", true)
	reconcile()
	s.mutes(0, true, true)
	model.GlobalMute("u", false)
	reconcile()
	s.mutes(3, true, false)
	status, _, errs := run(t, environment, "replay")
	require.Equal(t, 0, status, errs)
	s.mutes(3, true, false)
	model.Mute("g", "u", false)
	model.Mute("h", "u", true)
	status, _, errs = run(t, environment, "reconcile", "--user", "u", "--check")
	require.Equal(t, 0, status, "a mute is no drift: %s", errs)
	s.mutes(3, true, false)
	reconcile()
	s.mutes(2, false, true)
	s.end()
}

// A lookup asks along what is muted: not again within the hour, however often the user reads.
func TestMutesOfLookups(t *testing.T) {
	t.Parallel()
	s, model, environment := muteService(t, func(model *openimtest.Server) { model.Mute("h", "u", true) })
	s.mutes(2, false, true)
	for range 5 {
		s.look("u")
		resolved(t, environment["DATABASE_URL"])
	}
	require.Equal(t, []int{1, 1}, []int{model.CallsOf(mutedPath), model.CallsOf(usersPath)})
	s.end()
}

// A server that does not know the path, as those before v3.8.2, is asked once; counts come
// as ever, and it is no failure.
func TestServerWithoutMutedConversations(t *testing.T) {
	t.Parallel()
	s, model, environment := muteService(t, func(model *openimtest.Server) {
		model.Mute("g", "u", true)
		model.Fail = func(path string) int {
			if path == mutedPath {
				return http.StatusNotFound
			}
			return 0
		}
	})
	s.mutes(5, false, false)
	s.look("v")
	resolved(t, environment["DATABASE_URL"])
	require.Eventually(t, func() bool { return model.CallsOf(usersPath) == 2 }, time.Minute, 10*time.Millisecond)
	require.Equal(t, 1, model.CallsOf(mutedPath))
	_, metrics := s.do(http.MethodGet, s.Ops+"/metrics", "")
	require.Contains(t, metrics, "readmark_mute_lookup_failures_total 0")
	s.end()
}

package cli_test

import (
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/openimsim"
)

const (
	mutedPath = "/conversation/get_not_notify_conversation_ids"
	usersPath = "/user/get_users_info"
)

// muteService serves with a user who has 2 and 3 unread messages in two groups, and whom
// OpenIM has been asked about, and sweeps once an interval.
func muteService(t *testing.T, interval string, prepare func(*openimsim.Server)) (*service, *openimsim.Server, map[string]string) {
	t.Helper()
	model := openimsim.New(openimsim.Options{})
	for groupID, unread := range map[string]int{"g": 2, "h": 3} {
		model.CreateGroup(groupID, "u", "v")
		for range 5 {
			model.Send(groupID, "v")
		}
		model.SetRead(groupID, "u", model.MaxSeq(groupID)-int64(unread))
	}
	prepare(model)
	environment := withOpenIM(t, model)
	environment["READMARK_RECONCILE_INTERVAL"] = interval
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
	s, model, environment := muteService(t, "24h", func(*openimsim.Server) {})
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

// Lookups never ask what is muted.
func TestMutesOfLookups(t *testing.T) {
	t.Parallel()
	s, model, environment := muteService(t, "24h", func(model *openimsim.Server) { model.Mute("h", "u", true) })
	for range 5 {
		s.look("u")
		resolved(t, environment["DATABASE_URL"])
	}
	s.mutes(5, false, false)
	require.Zero(t, model.CallsOf(mutedPath)+model.CallsOf(usersPath))
	s.end()
}

// The sweep finds what is muted, and asks once within the hour however often it comes.
// reconcile asks at once.
func TestMutesAreSwept(t *testing.T) {
	t.Parallel()
	s, model, environment := muteService(t, "200ms", func(model *openimsim.Server) { model.Mute("h", "u", true) })
	s.mutes(2, false, true)
	require.Eventually(t, func() bool {
		_, metrics := s.do(http.MethodGet, s.Ops+"/metrics", "")
		return regexp.MustCompile(`readmark_reconcile_users_total [1-9]\d`).MatchString(metrics)
	}, time.Minute, 10*time.Millisecond)
	require.LessOrEqual(t, model.CallsOf(mutedPath), 2, "of u, and of v when the sweep has found that member")
	require.LessOrEqual(t, model.CallsOf(usersPath), 2)
	model.Mute("g", "u", true)
	status, _, errs := run(t, environment, "reconcile", "--user", "u")
	require.Equal(t, 0, status, errs)
	s.mutes(0, true, true)
	s.end()
}

// A server that does not know the path, as those before v3.8.2, is no failure: counts come as
// ever, and who has muted everything is still found.
func TestServerWithoutMutedConversations(t *testing.T) {
	t.Parallel()
	s, model, environment := muteService(t, "24h", func(model *openimsim.Server) {
		model.Mute("g", "u", true)
		model.Fail = func(path string) int {
			if path == mutedPath {
				return http.StatusNotFound
			}
			return 0
		}
	})
	reconcile := func() {
		t.Helper()
		status, _, errs := run(t, environment, "reconcile", "--all")
		require.Equal(t, 0, status, errs)
	}
	s.look("v")
	resolved(t, environment["DATABASE_URL"])
	reconcile()
	s.mutes(5, false, false)
	require.Equal(t, []int{1, 2}, []int{model.CallsOf(mutedPath), model.CallsOf(usersPath)}, "of two users")
	model.GlobalMute("u", true)
	reconcile()
	s.mutes(0, true, true)
	s.end()
}

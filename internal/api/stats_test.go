package api_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"readmark/internal/api"
	"readmark/internal/auth"
	"readmark/internal/readstate"
	"readmark/internal/server"
)

func pathEscape(id string) string { return url.PathEscape(id) }

// reject stores that a callback was refused.
func (s *service) reject(reason string) readstate.Rejection {
	s.t.Helper()
	id, at := s.next()
	r := readstate.Rejection{
		ID: id, ReceivedAt: at, Command: "callbackAfterGroupMsgReadCommand", Code: readstate.CodeMissingField, Field: "sendID", Reason: reason, UserID: "u",
	}
	require.NoError(s.t, s.store.Commit(s.t.Context(), readstate.Batch{Rejections: []readstate.Rejection{r}}))
	return r
}

// Rejected callbacks come the newest first, page by page, whatever comes meanwhile; never who sent them.
func TestRejections(t *testing.T) {
	t.Parallel()
	s := newService(t)
	require.Equal(t, []any{}, s.get("/v1/rejections")["items"])
	var want []string
	for i := range 5 {
		want = append([]string{fmt.Sprint("reason ", i)}, want...)
		last := s.reject(want[0])
		if i == 4 {
			require.Equal(t, map[string]any{
				"id": uuid.UUID(last.ID).String(), "at": last.ReceivedAt.Format(time.RFC3339Nano), "command": last.Command,
				"errCode": float64(readstate.CodeMissingField), "reason": last.Reason,
			}, s.get("/v1/rejections?limit=1")["items"].([]any)[0])
		}
	}
	var got []string
	for cursor := ""; ; {
		reasons, next := s.page("/v1/rejections"+query("limit", "2", "cursor", cursor), "reason")
		got = append(got, reasons...)
		if cursor = next; next == "" {
			break
		}
		s.reject("later")
	}
	require.Equal(t, want, got)
	require.NotEmpty(t, s.get("/v1/rejections")["asOf"])
	for wrong, place := range map[string]string{"limit=0": "query.limit", "limit=1001": "query.limit", "cursor=x": "query.cursor", "userID=u": "query.userID"} {
		require.Equal(t, []string{place}, s.refused("/v1/rejections?"+wrong), wrong)
	}
}

// The stats name the newest callbacks, accepted and rejected, without what they told.
func TestStats(t *testing.T) {
	t.Parallel()
	s := newService(t)
	require.Equal(t, []any{}, s.get("/v1/stats")["newestCallbacks"])
	s.commit(readstate.Event{Kind: readstate.EventServerReceipt, UserID: "v", ReadSeq: 4})
	for range 30 {
		s.message("w")
	}
	s.reject("bad")
	s.read("u", "g", 3)
	answer := s.get("/v1/stats")
	newest := answer["newestCallbacks"].([]any)
	require.Len(t, newest, 20)
	require.Equal(t, map[string]any{
		"at": s.arrival.Format(time.RFC3339Nano), "command": "callbackAfterGroupMsgReadCommand", "userID": "u", "groupID": "g", "result": "accepted",
	}, newest[0])
	require.Equal(t, map[string]any{
		"at": s.arrival.Add(-time.Microsecond).Format(time.RFC3339Nano), "command": "callbackAfterGroupMsgReadCommand", "userID": "u", "groupID": nil, "result": "rejected",
	}, newest[1])
	require.Equal(t, "callbackAfterSendGroupMsgCommand", newest[19].(map[string]any)["command"])
	require.Equal(t, []any{}, answer["conditions"])
	reads := answer["reads"].(map[string]any)
	require.Nil(t, reads["p50Seconds"])
	require.Len(t, reads["lastHour"], 60)
	require.NotEmpty(t, answer["since"])
	require.NotEmpty(t, answer["asOf"])
}

// While nothing can be read the stats say what is known of the process, and why.
func TestStatsWhileNothingCanBeRead(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.read("u", "g", 3)
	logger := slog.New(slog.DiscardHandler)
	away := server.New(server.Options{Registry: prometheus.NewRegistry(), Logger: logger, API: api.Options{
		Reader: direct(s.store), Database: s.store, Eraser: s.store, Stats: reporting(s.store, logger), Now: time.Now, Logger: logger,
		AsOf: func() time.Time { return time.Time{} },
	}})
	s.handler = away
	require.Equal(t, http.StatusServiceUnavailable, s.ask(http.MethodGet, "/v1/rejections", "").Code)
	s.store.Close()
	answer := s.get("/v1/stats")
	require.Equal(t, []any{}, answer["newestCallbacks"])
}

// Rejections and stats are about everybody: a key with a prefix, or without the scope, may see neither.
func TestStatsNeedUnlimitedKey(t *testing.T) {
	t.Parallel()
	s := newService(t)
	key := s.withKeys()
	for name, test := range map[string]struct {
		grant auth.Grant
		want  int
	}{
		"read": {auth.Grant{Scopes: []auth.Scope{auth.ScopeRead}}, http.StatusOK}, "admin": {auth.Grant{Scopes: []auth.Scope{auth.ScopeAdmin}}, http.StatusOK},
		"erase":  {auth.Grant{Scopes: []auth.Scope{auth.ScopeErase}}, http.StatusForbidden},
		"users":  {auth.Grant{Scopes: []auth.Scope{auth.ScopeRead}, UserPrefix: "u"}, http.StatusForbidden},
		"groups": {auth.Grant{Scopes: []auth.Scope{auth.ScopeRead}, GroupPrefix: "g"}, http.StatusForbidden},
	} {
		test.grant.Name = name
		text := key(test.grant)
		for _, target := range []string{"/v1/rejections", "/v1/stats"} {
			require.Equal(t, test.want, s.askAs(text, target).Code, "%s %s", name, target)
		}
	}
}

package server_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"readmark/internal/server"
)

// TestWrongMethod: a path that is there, asked for with a method that it does not have, is answered with those that it
// has; a path that is not there stays a 404, and a callback a callback.
func TestWrongMethod(t *testing.T) {
	t.Parallel()
	for _, token := range []string{"", "s3cret"} {
		f := newFixture(token, true) // no key is asked for first
		for _, test := range []struct{ method, target, allow string }{
			{"PUT", "/v1/users/u/groups/g", "GET, HEAD"},
			{"DELETE", "/v1/users/u/groups/g", "GET, HEAD"},
			{"POST", "/v1/users/u/groups/g", "GET, HEAD"},
			{"POST", "/v1/users/u/groups/g?x=%zz", "GET, HEAD"},
			{"OPTIONS", "/v1/users/u/unread", "GET, HEAD"},
			{"PUT", "/v1/users//unread", "GET, HEAD"},
			{"PUT", "/v1/users/a%2Fb/unread", "GET, HEAD"},
			{"GET", "/v1/unread/query", "POST"},
			{"HEAD", "/v1/unread/query", "POST"},
			{"DELETE", "/v1/unread/query", "POST"},
			{"GET", "/v1/users/u", "DELETE"},
			{"POST", "/v1/users/u", "DELETE"},
			{"POST", "/v1/changes", "GET, HEAD"},
			{"PUT", "/v1/webhooks", "GET, HEAD, POST"},
			{"POST", "/v1/webhooks/x", "DELETE, GET, HEAD, PATCH"},
			{"GET", "/v1/webhooks/x/test", "POST"},
			{"PATCH", "/v1/reminders", "GET, HEAD, POST"},
			{"DELETE", "/openapi.json", "GET, HEAD"},
			{"POST", "/openapi.json", "GET, HEAD"},
			{"POST", "/openapi-3.0.yaml", "GET, HEAD"},
			{"PUT", "/docs", "GET, HEAD"},
			{"POST", "/docs", "GET, HEAD"},
			{"DELETE", "/docs/swagger-ui.css", "GET, HEAD"},
			{"POST", "/docs/a/b/c", "GET, HEAD"},
			{"POST", "/v1/users/u/groups/callbackGroupMsgReadCommand", "GET, HEAD"}, // a group's ID
		} {
			got := f.do(test.method, test.target, "")
			where := test.method + " " + test.target
			require.Equal(t, 405, got.Code, where)
			require.Equal(t, []string{test.allow}, got.Header().Values("Allow"), where)
			require.Contains(t, detail(t, got), "takes "+test.allow, where)
			require.NotEmpty(t, got.Header().Get("Content-Security-Policy"), where)
		}
		for _, test := range []struct{ method, target string }{
			{"PUT", "/v1"},
			{"PUT", "/v1/"},
			{"PUT", "/v1/nothing"},
			{"PUT", "/v1/members"},
			{"DELETE", "/v1/users/"},
			{"PUT", "/v1/users/u/groups/g/"},
			{"PUT", "/v1/users/u/groups/g/h"},
			{"PUT", "/callbackGroupMsgReadCommand"},
			{"PUT", "/nothing"},
			{"PUT", "/docsx"},
		} {
			got := f.do(test.method, test.target, "")
			require.Equal(t, 404, got.Code, "%s %s", test.method, test.target)
			require.Empty(t, got.Header().Values("Allow"))
		}
	}
	f := newFixture("docs", false)
	for _, target := range []string{"/docs/callbackGroupMsgReadCommand", "/docs//callbackGroupMsgReadCommand/"} {
		require.Equal(t, successBody, f.do("POST", target, documentedBody).Body.String(), target)
	}
	require.Len(t, f.sink.events, 2)
	requireFailure(t, f.do("POST", "/v1/nothing", ""))
}

func TestWrongMethodOnOps(t *testing.T) {
	t.Parallel()
	ops := server.NewOps(server.NewReadiness(func(context.Context) server.Condition {
		return server.Condition{Status: server.Ready}
	}), prometheus.NewRegistry(), nil)
	for _, target := range []string{"/livez", "/readyz", "/metrics", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/pprof/profile", "/debug/pprof/trace"} {
		for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
			got := ask(ops, method, target, "")
			require.Equal(t, 405, got.Code, method+" "+target)
			require.Equal(t, "GET, HEAD", got.Header().Get("Allow"), method+" "+target)
			require.Contains(t, detail(t, got), "takes GET, HEAD")
			var problem struct{ Status int }
			require.NoError(t, json.Unmarshal(got.Body.Bytes(), &problem))
			require.Equal(t, 405, problem.Status)
		}
	}
	require.Equal(t, "GET, HEAD, POST", ask(ops, "PUT", "/debug/pprof/symbol", "").Header().Get("Allow"))
	require.Equal(t, 200, ask(ops, "POST", "/debug/pprof/symbol", "0x1").Code)
	require.Equal(t, 200, ask(ops, "HEAD", "/readyz", "").Code)
	require.Equal(t, 404, ask(ops, "POST", "/nothing", "").Code)
}

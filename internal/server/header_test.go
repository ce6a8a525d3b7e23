package server_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"readmark/internal/server"
)

func ask(handler http.Handler, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return recorder
}

// TestSecurityHeaders: no answer is taken for another type; what is not OpenIM's is
// shown in no frame, loads nothing and tells nobody where it was; errors are kept by
// nobody; nothing says what serves.
func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	handler := newHandler(&sink{})
	const nothing = "default-src 'none'; frame-ancestors 'none'"
	for _, test := range []struct {
		method, target, body string
		status               int
		policy, cache        string
	}{
		{"GET", "/v1/users/u/groups/g", "", 200, nothing, "no-cache"},
		{"POST", "/v1/unread/query", "{}", 200, nothing, ""},
		{"POST", "/v1/unread/query", "{", 400, nothing, "no-store"},
		{"POST", "/v1/unread/query", `{"userIDs":[""]}`, 422, nothing, "no-store"},
		{"GET", "/v1/users//unread", "", 422, nothing, "no-store"},
		{"GET", "/v1/users/u/groups?limit=%zz", "", 422, nothing, "no-store"},
		{"GET", "/v1/users/u/groups?limit=1&limit=2", "", 422, nothing, "no-store"},
		{"GET", "/v1/users/u/groups?minunread=1", "", 422, nothing, "no-store"},
		{"GET", "/v1/nothing", "", 404, nothing, "no-store"},
		{"PUT", "/v1/users/u/unread", "", 405, nothing, "no-store"},
		{"POST", "/v1/users/u/unread", "", 405, nothing, "no-store"},
		{"GET", "/nothing", "", 404, nothing, "no-store"},
		{"GET", "/openapi.json", "", 200, nothing, ""},
		{"GET", "/docs", "", 200, "default-src 'self'; ", ""},
		{"GET", "/docs/swagger-ui.css", "", 200, "default-src 'self'; ", ""},
		{"POST", "/callbackGroupMsgReadCommand", documentedBody, 200, "", ""},
		{"POST", "/callbackGroupMsgReadCommand", "{", 400, "", ""},
		{"POST", "/nothing", "", 404, "", ""},
	} {
		got := ask(handler, test.method, test.target, test.body)
		require.Equal(t, test.status, got.Code, test.target)
		header := got.Header()
		require.Equal(t, []string{"nosniff"}, header.Values("X-Content-Type-Options"), test.target)
		require.Equal(t, test.cache, header.Get("Cache-Control"), test.target)
		require.Empty(t, header.Get("Server"))
		if test.policy == "" {
			require.Empty(t, header.Get("Content-Security-Policy"), "callbacks are answered with no more than is needed")
			continue
		}
		require.Contains(t, header.Get("Content-Security-Policy"), test.policy, test.target)
		require.Contains(t, header.Get("Content-Security-Policy"), "frame-ancestors 'none'", test.target)
		require.Equal(t, "DENY", header.Get("X-Frame-Options"), test.target)
		require.Equal(t, "no-referrer", header.Get("Referrer-Policy"), test.target)
	}
	require.Equal(t, successBody, ask(handler, "POST", "/callbackGroupMsgReadCommand", documentedBody).Body.String())

	f := newFixture("", false)
	for target, status := range map[string]int{"/v1/users/u/unread": 503, "/v1/users/u/groups/g": 500, "/v1/groups/g/unread": 500} {
		got := f.do("GET", target, "")
		require.Equal(t, status, got.Code)
		require.Equal(t, "no-store", got.Header().Get("Cache-Control"), target)
	}
	ops := server.NewOps(server.NewReadiness(func(context.Context) server.Condition {
		return server.Condition{Status: server.Ready}
	}), prometheus.NewRegistry(), nil)
	for _, target := range []string{"/livez", "/readyz", "/metrics", "/debug/pprof/", "/nothing"} {
		header := ask(ops, "GET", target, "").Header()
		require.Equal(t, []string{"nosniff"}, header.Values("X-Content-Type-Options"), target)
		require.Equal(t, "no-store", header.Get("Cache-Control"), target)
		require.Contains(t, header.Get("Content-Security-Policy"), "default-src 'none'", target)
		require.Equal(t, "DENY", header.Get("X-Frame-Options"), target)
	}
}

// corsHeaders gives the names of an answer's CORS headers, and Vary.
func corsHeaders(header http.Header) (names []string) {
	for name := range header {
		if strings.HasPrefix(name, "Access-Control-") || name == "Vary" && strings.Contains(strings.Join(header[name], ","), "Origin") {
			names = append(names, name)
		}
	}
	return names
}

var preflight = []string{
	"Origin", "https://app.example", "Access-Control-Request-Method", "GET",
	"Access-Control-Request-Headers", "authorization,if-none-match",
}

// TestCORSOff: by default no page of another origin gets anything.
func TestCORSOff(t *testing.T) {
	t.Parallel()
	handler := newHandler(&sink{})
	got := ask(handler, "GET", "/v1/users/u/groups/g", "", "Origin", "https://app.example")
	require.Equal(t, 200, got.Code)
	require.Empty(t, corsHeaders(got.Header()))
	got = ask(handler, "OPTIONS", "/v1/users/u/groups/g", "", preflight...)
	require.Equal(t, 405, got.Code)
	require.Empty(t, corsHeaders(got.Header()))
}

// TestCORS: pages of the origins given may use the read API with a key, and see what
// they need of its headers; others may not. The rest of the server takes no part.
func TestCORS(t *testing.T) {
	t.Parallel()
	handler := newHandler(&sink{}, "https://app.example", "http://localhost:3000")
	const state = "/v1/users/u/groups/g"
	for _, target := range []string{state, "/v1/unread/query", "/v1/users/u", "/v1/no/such/route"} {
		got := ask(handler, "OPTIONS", target, "", preflight...)
		require.Equal(t, 204, got.Code, "answered without a key")
		require.Empty(t, got.Body.String())
		header := got.Header()
		require.Equal(t, "https://app.example", header.Get("Access-Control-Allow-Origin"))
		require.Equal(t, "GET", header.Get("Access-Control-Allow-Methods"))
		require.Equal(t, "authorization,if-none-match", header.Get("Access-Control-Allow-Headers"))
		require.Equal(t, "3600", header.Get("Access-Control-Max-Age"))
		require.Empty(t, header.Get("Access-Control-Allow-Credentials"))
		require.Contains(t, strings.Join(header.Values("Vary"), ","), "Origin")
	}
	for _, method := range []string{"GET", "POST", "DELETE"} {
		got := ask(handler, "OPTIONS", state, "", "Origin", "http://localhost:3000", "Access-Control-Request-Method", method,
			"Access-Control-Request-Headers", "authorization,content-type")
		require.Equal(t, method, got.Header().Get("Access-Control-Allow-Methods"))
	}
	for name, headers := range map[string][]string{
		"another origin": {"Origin", "https://evil.example", "Access-Control-Request-Method", "GET"},
		"a longer one":   {"Origin", "https://app.example.evil.example", "Access-Control-Request-Method", "GET"},
		"another scheme": {"Origin", "http://app.example", "Access-Control-Request-Method", "GET"},
		"another port":   {"Origin", "https://app.example:444", "Access-Control-Request-Method", "GET"},
		"null":           {"Origin", "null", "Access-Control-Request-Method", "GET"},
		"a method":       {"Origin", "https://app.example", "Access-Control-Request-Method", "PUT"},
		"a header":       {"Origin", "https://app.example", "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "x-other"},
	} {
		got := ask(handler, "OPTIONS", state, "", headers...)
		require.Equal(t, []string{"Vary"}, corsHeaders(got.Header()), name)
	}

	for target, status := range map[string]int{state: 200, "/v1/users//unread": 422, "/v1/nothing": 404} {
		got := ask(handler, "GET", target, "", "Origin", "https://app.example")
		require.Equal(t, status, got.Code)
		require.Equal(t, "https://app.example", got.Header().Get("Access-Control-Allow-Origin"), "errors are told, too")
		for _, exposed := range []string{"ETag", "Ratelimit-Limit", "Ratelimit-Remaining", "Ratelimit-Reset", "Retry-After", "X-Request-Id", "WWW-Authenticate"} {
			require.Contains(t, strings.ToLower(got.Header().Get("Access-Control-Expose-Headers")), strings.ToLower(exposed))
		}
	}
	// A cache must not give one origin what was answered to another, or to none.
	for _, headers := range [][]string{nil, {"Origin", "https://evil.example"}} {
		got := ask(handler, "GET", state, "", headers...)
		require.Equal(t, 200, got.Code)
		require.Equal(t, []string{"Vary"}, corsHeaders(got.Header()))
		require.Contains(t, strings.Join(got.Header().Values("Vary"), ","), "Origin")
	}
	for _, target := range []string{"/docs", "/openapi.json", "/callbackGroupMsgReadCommand"} {
		require.Empty(t, corsHeaders(ask(handler, "OPTIONS", target, "", preflight...).Header()), target)
		require.Empty(t, ask(handler, "GET", target, "", "Origin", "https://app.example").Header().Get("Access-Control-Allow-Origin"), target)
	}
	require.Empty(t, corsHeaders(ask(handler, "POST", "/v1/callbackGroupMsgReadCommand", documentedBody).Header()))

	anybody := newHandler(&sink{}, "*")
	require.Equal(t, "*", ask(anybody, "OPTIONS", state, "", preflight...).Header().Get("Access-Control-Allow-Origin"))
	require.Equal(t, "*", ask(anybody, "GET", state, "", "Origin", "https://any.example").Header().Get("Access-Control-Allow-Origin"))
}

// A preflight carries no key, and is answered where keys are required.
func TestCORSWithKeys(t *testing.T) {
	t.Parallel()
	f := newFixture("", true, "https://app.example")
	require.Equal(t, 204, f.do("OPTIONS", "/v1/users/u/unread", "", preflight...).Code)
	refused := f.do("GET", "/v1/users/u/unread", "", "Origin", "https://app.example")
	require.Equal(t, 401, refused.Code)
	require.Equal(t, "https://app.example", refused.Header().Get("Access-Control-Allow-Origin"))
}

// TestPagesCannotCallBack: a browser that sends a callback for a page of another site
// is refused, whatever is allowed to use the read API; OpenIM and tools are not.
func TestPagesCannotCallBack(t *testing.T) {
	t.Parallel()
	s := &sink{}
	handler := newHandler(s, "*")
	for _, headers := range [][]string{
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"},
		{"Origin", "https://evil.example"},
		{"Origin", "null"},
	} {
		got := ask(handler, "POST", "/callbackGroupMsgReadCommand", documentedBody, append(headers, "Content-Type", "text/plain")...)
		require.Equal(t, 403, got.Code)
		require.Equal(t, "callback comes from a web page of another site", requireFailure(t, got))
	}
	require.Empty(t, s.events)
	for _, headers := range [][]string{nil, {"Sec-Fetch-Site", "same-origin"}, {"Sec-Fetch-Site", "none"}, {"Origin", "http://example.com"}} {
		require.Equal(t, 200, ask(handler, "POST", "/callbackGroupMsgReadCommand", documentedBody, headers...).Code)
	}
	require.Len(t, s.events, 4)
}

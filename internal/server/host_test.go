package server_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"readmark/internal/api"
	"readmark/internal/readstate"
	"readmark/internal/server"
)

// eraser remembers who was erased.
type eraser struct {
	api.Eraser

	users []string
}

func (e *eraser) EraseUser(_ context.Context, userID string) (readstate.Erased, error) {
	e.users = append(e.users, userID)
	return readstate.Erased{}, nil
}

// guarded is a server that asks for no keys, with a rule of hosts.
type guarded struct {
	sink        *sink
	eraser      *eraser
	public, ops http.Handler
}

func newGuarded(t *testing.T, hosts, origins []string) *guarded {
	t.Helper()
	rule, err := server.NewHostRule(hosts, origins)
	require.NoError(t, err)
	g := &guarded{sink: &sink{}, eraser: &eraser{}}
	logger, registry := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	g.public = server.New(server.Options{
		Sink: g.sink, Registry: registry, Logger: logger, CORSOrigins: origins, Hosts: rule,
		API: api.Options{Reader: echo{}, Eraser: g.eraser, Now: time.Now, Logger: logger},
	})
	g.ops = server.NewOps(server.NewReadiness(func(context.Context) server.Condition {
		return server.Condition{Status: server.Ready}
	}), registry, rule)
	return g
}

// askAs sends a request that names a host.
func askAs(handler http.Handler, host, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, target, strings.NewReader(body))
	request.Host = host
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return recorder
}

func detail(t *testing.T, answer *httptest.ResponseRecorder) string {
	t.Helper()
	require.Equal(t, "application/problem+json", answer.Header().Get("Content-Type"))
	require.Equal(t, "no-store", answer.Header().Get("Cache-Control"))
	var problem struct{ Detail string }
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &problem))
	return problem.Detail
}

// TestHosts: where no key is asked for, only a Host that nobody else can make is answered.
func TestHosts(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, []string{"readmark.internal", "10.1.2.3", "fd00::1"}, nil)
	for host, allowed := range map[string]bool{
		"localhost": true, "localhost:8080": true, "LOCALHOST:8080": true, "localhost.:80": true, "app.localhost": true, "a.b.localhost:1": true,
		"127.0.0.1": true, "127.0.0.1:8080": true, "127.9.8.7": true, "[::1]": true, "[::1]:8080": true, "[::ffff:127.0.0.1]:80": true,
		"readmark.internal": true, "Readmark.Internal.:8080": true, "10.1.2.3:8080": true, "[fd00::1]:1": true, "[FD00:0::1]": true,
		"":         true, // no browser
		"evil.com": false, "evil.com:8080": false, "127.0.0.1.evil.com": false, "localhost.evil.com": false, "evillocalhost": false, "evil-localhost:8080": false,
		"a.readmark.internal": false, "readmark.internal.evil.com": false, "xreadmark.internal": false, "localhost:80:evil.com": false,
		"127.1": false, "2130706433": false, "0x7f.0.0.1": false, "0.0.0.0:8080": false, "10.1.2.4": false, "[fd00::2]": false,
		"127.0.0.1@evil.com": false, ".": false, "[localhost": false,
	} {
		status := map[bool]int{true: 200, false: 403}[allowed]
		for _, target := range []string{"/v1/users/u/groups/g", "/docs", "/docs/swagger-ui.css", "/openapi.json", "/openapi.yaml", "/openapi-3.0.json"} {
			require.Equal(t, status, askAs(g.public, host, "GET", target, "").Code, "%q %s", host, target)
		}
		if !allowed {
			got := askAs(g.public, host, "GET", "/v1/users/u/groups/g", "")
			require.Contains(t, detail(t, got), `the Host "`+host+`" is not allowed`)
			require.Contains(t, detail(t, got), "READMARK_ALLOWED_HOSTS")
			require.NotContains(t, got.Body.String(), "unreadCount")
			for _, method := range []string{"GET", "HEAD", "DELETE", "OPTIONS", "PUT"} {
				require.Equal(t, 403, askAs(g.public, host, method, "/v1/users/u", "", preflight...).Code, method)
			}
			for _, target := range []string{"/v1", "/v1/", "/v1/no/such/route", "/console", "/console/", "/console/users/u"} {
				require.Equal(t, 403, askAs(g.public, host, "GET", target, "").Code, target)
			}
			require.Equal(t, 403, askAs(g.public, host, "POST", "/v1/unread/query", "{}").Code)
		}
		// Callbacks come from OpenIM, whatever it calls this host.
		require.Equal(t, 200, askAs(g.public, host, "POST", "/callbackGroupMsgReadCommand", documentedBody).Code, host)
		require.Equal(t, 200, askAs(g.public, host, "POST", "/v1/callbackGroupMsgReadCommand", documentedBody).Code, host)
	}
	require.Empty(t, g.eraser.users)
	require.Less(t, askAs(g.public, strings.Repeat("é", 10_000), "GET", "/docs", "").Body.Len(), 1000, "a long Host is not repeated")
	require.Equal(t, 404, askAs(g.public, "evil.com", "GET", "/v1x", "").Code)
	_, err := server.NewHostRule(nil, []string{"app.example"})
	require.ErrorContains(t, err, "allow pages of app.example")
}

// TestHostsOfOps: probes and scrapers ask by an IP address or an allowed name; a page's own name is refused.
func TestHostsOfOps(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, []string{"readmark-0.readmark-headless"}, nil)
	for host, status := range map[string]int{
		"localhost:8081": 200, "127.0.0.1:8081": 200, "[::1]:8081": 200, "": 200,
		"10.244.1.17:8081": 200, "192.168.1.5": 200, "[fd00::17]:8081": 200, // as the kubelet and Prometheus ask a pod
		"readmark-0.readmark-headless:8081": 200,
		"evil.com":                          403, "10.244.1.17.evil.com:8081": 403, "127.1:8081": 403,
	} {
		for _, target := range []string{"/livez", "/readyz", "/metrics", "/debug/pprof/"} {
			require.Equal(t, status, askAs(g.ops, host, "GET", target, "").Code, "%q %s", host, target)
		}
	}
	got := askAs(g.ops, "evil.com", "GET", "/debug/pprof/goroutine?debug=1", "")
	require.Equal(t, "text/plain; charset=utf-8", got.Header().Get("Content-Type"))
	require.Regexp(t, `^the Host "evil.com" is not allowed .*READMARK_ALLOWED_HOSTS`, got.Body.String())
	require.Equal(t, 403, askAs(g.ops, "127.0.0.1:8081", "POST", "/debug/pprof/symbol", "", "Sec-Fetch-Site", "cross-site").Code)
}

// TestPagesCannotErase: a page of another site can neither erase nor change anything where no key is asked for.
func TestPagesCannotErase(t *testing.T) {
	t.Parallel()
	const local = "127.0.0.1:8080"
	g := newGuarded(t, nil, []string{"https://app.example"})
	for name, headers := range map[string][]string{
		"a page of evil.com":       {"Origin", "https://evil.com", "Sec-Fetch-Site", "cross-site"},
		"an older browser":         {"Origin", "http://evil.com"},
		"a page that hides itself": {"Origin", "null", "Sec-Fetch-Site", "cross-site"},
		"another port":             {"Origin", "http://127.0.0.1:3000", "Sec-Fetch-Site", "same-site"},
		"another port, older":      {"Origin", "http://127.0.0.1:3000"},
		"no origin":                {"Sec-Fetch-Site", "cross-site"},
		"a longer origin":          {"Origin", "https://app.example.evil.com", "Sec-Fetch-Site", "cross-site"},
	} {
		got := askAs(g.public, local, "DELETE", "/v1/users/u", "", headers...)
		require.Equal(t, 403, got.Code, name)
		require.Contains(t, detail(t, got), "a web page of another site", name)
		require.Contains(t, detail(t, got), "READMARK_CORS_ORIGINS", name)
		require.Equal(t, 403, askAs(g.public, local, "POST", "/v1/unread/query", "{}", append(headers, "Content-Type", "text/plain")...).Code, name)
		// Reading is left to browsers, which keep the answer from the page.
		got = askAs(g.public, local, "GET", "/v1/users/u/groups/g", "", headers...)
		require.Equal(t, 200, got.Code, name)
		require.Empty(t, got.Header().Get("Access-Control-Allow-Origin"), name)
	}
	require.Empty(t, g.eraser.users)
	for user, headers := range map[string][]string{
		"program":     nil,
		"docs":        {"Origin", "http://" + local, "Sec-Fetch-Site", "same-origin"},
		"docs, older": {"Origin", "http://" + local},
		"typed":       {"Sec-Fetch-Site", "none"},
		"allowed":     {"Origin", "https://app.example", "Sec-Fetch-Site", "cross-site"},
	} {
		require.Equal(t, 200, askAs(g.public, local, "DELETE", "/v1/users/"+strings.ReplaceAll(user, " ", "%20"), "", headers...).Code, user)
		require.Equal(t, user, g.eraser.users[len(g.eraser.users)-1])
	}
	// Whoever allows all origins has said so.
	anybody := newGuarded(t, nil, []string{"*"})
	require.Equal(t, 200, askAs(anybody.public, local, "DELETE", "/v1/users/u", "", "Origin", "https://any.example", "Sec-Fetch-Site", "cross-site").Code)
	require.Equal(t, 403, askAs(anybody.public, "evil.com", "DELETE", "/v1/users/u", "").Code)
}

// TestHostsWithKeys: where keys are asked for, a page has none, and any Host will do.
func TestHostsWithKeys(t *testing.T) {
	t.Parallel()
	f := newFixture("", true)
	require.Equal(t, 401, askAs(f.handler, "evil.com", "GET", "/v1/users/u/unread", "").Code)
	require.Equal(t, 200, askAs(f.handler, "readmark.example", "GET", "/docs", "").Code)
}

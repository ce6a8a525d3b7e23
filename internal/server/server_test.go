package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"readmark/internal/api"
	"readmark/internal/auth"
	"readmark/internal/auth/guard"
	"readmark/internal/readstate"
	"readmark/internal/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink remembers what was made durable.
type sink struct {
	mu       sync.Mutex
	err      error
	hold     chan struct{} // Submit waits for it when set
	entered  chan struct{} // and tells so here
	receipts []readstate.Receipt
	messages []readstate.Message
	changes  []readstate.Change
	rejected []readstate.Rejection
}

func (s *sink) Submit(_ context.Context, r readstate.Receipt) error {
	if s.hold != nil {
		s.entered <- struct{}{}
		<-s.hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.receipts = append(s.receipts, r)
	}
	return s.err
}

func (s *sink) SubmitMessage(_ context.Context, m readstate.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = append(s.messages, m)
	return s.err
}

func (s *sink) SubmitChange(_ context.Context, c readstate.Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes = append(s.changes, c)
	return s.err
}

func (s *sink) Reject(_ context.Context, r readstate.Rejection) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rejected = append(s.rejected, r)
	return s.err
}

// reader stands for a database that cannot be reached.
type reader struct{ api.Reader }

func (reader) Badge(context.Context, string) (readstate.Badge, error) {
	return readstate.Badge{}, readstate.ErrUnavailable
}

func (reader) State(context.Context, readstate.Pair) (readstate.State, error) {
	return readstate.State{}, errors.New("secret cause")
}

func (reader) GroupSum(context.Context, string) (readstate.GroupSum, error) { panic("secret cause") }

// noKeys stands for a database without keys.
type noKeys struct{}

func (noKeys) Find(context.Context, auth.Hash) (*auth.Key, error) { return nil, auth.ErrUnknownKey }

type fixture struct {
	sink     *sink
	registry *prometheus.Registry
	log      *bytes.Buffer
	handler  http.Handler
}

func newFixture(token string, authRequired bool, origins ...string) *fixture {
	f := &fixture{sink: &sink{}, registry: prometheus.NewRegistry(), log: &bytes.Buffer{}}
	logger := slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var g *guard.Guard
	if authRequired {
		g = guard.New(guard.Options{Keys: noKeys{}, Now: time.Now, Registry: f.registry, Logger: logger})
	}
	f.handler = server.New(server.Options{
		Sink: f.sink, CallbackToken: token, CORSOrigins: origins, Registry: f.registry, Logger: logger,
		API: api.Options{Reader: reader{}, Guard: g, Now: time.Now, Logger: logger},
	})
	return f
}

func (f *fixture) do(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	recorder := httptest.NewRecorder()
	f.handler.ServeHTTP(recorder, request)
	return recorder
}

const (
	documentedBody = `{"callbackCommand":"callbackGroupMsgReadCommand","sendID":"user123","receiveID":"group789","unreadMsgNum":5,"contentType":101}`
	successBody    = `{"actionCode":0,"errCode":0,"errMsg":"","errDlt":"","nextCode":0}`
	basicSecret    = "Basic YW55OnMzY3JldA==" // any:s3cret
	basicWrong     = "Basic czNjcmV0OndyMG5n" // s3cret:wr0ng
)

// TestCallbackPaths: every form of path and token that is pinned, and what
// each is answered.
func TestCallbackPaths(t *testing.T) {
	t.Parallel()
	const read = "/callbackAfterGroupMsgReadCommand"
	for name, test := range map[string]struct {
		token, target, basic string
		status               int
	}{
		"plain":                      {"", read + "?contenttype=json", "", 200},
		"other name":                 {"", "/callbackGroupMsgReadCommand", "", 200},
		"OpenIM's default base":      {"", "/callbackExample" + read, "", 200},
		"double slash":               {"", "/" + read, "", 200},
		"double slash behind base":   {"", "/callbackExample/" + read, "", 200},
		"trailing slash":             {"", read + "/", "", 200},
		"escaped":                    {"", "/callback%41fterGroupMsgReadCommand", "", 200},
		"two segments before":        {"", "/a/b" + read, "", 404},
		"no command":                 {"", "/hello", "", 404},
		"root":                       {"", "/", "", 404},
		"below the read api":         {"", "/v1/nothing", "", 404},
		"deep below the read api":    {"", "/v1/users/a/callbackAfterGroupMsgReadCommand", "", 404},
		"read api, no token":         {"s3cret", "/v1/users/a/b", "", 401},
		"double slashes everywhere":  {"s3cret", "//s3cret///callbackAfterGroupMsgReadCommand//", "", 200},
		"token":                      {"s3cret", "/s3cret" + read, "", 200},
		"token and double slash":     {"s3cret", "//s3cret/" + read, "", 200},
		"basic":                      {"s3cret", read, basicSecret, 200},
		"basic behind base":          {"s3cret", "/callbackExample" + read, basicSecret, 200},
		"token missing":              {"s3cret", read, "", 401},
		"token wrong":                {"s3cret", "/s3cre" + read, "", 401},
		"token as base only":         {"s3cret", "/callbackExample" + read, "", 401},
		"basic wrong":                {"s3cret", read, basicWrong, 401},
		"token then base":            {"s3cret", "/s3cret/callbackExample" + read, "", 404},
		"token without command":      {"s3cret", "/s3cret", "", 404},
		"token and another path":     {"s3cret", "/s3cret/hello", "", 404},
		"another path without token": {"s3cret", "/hello", "", 401},
		"deep path without token":    {"s3cret", "/a/b/c/d", "", 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(test.token, false)
			got := f.do("POST", test.target, documentedBody, "Authorization", test.basic, "Operationid", "op-1")
			require.Equal(t, test.status, got.Code, got.Body)
			require.Equal(t, "application/json; charset=utf-8", got.Header().Get("Content-Type"))
			if test.status == 200 {
				require.Equal(t, successBody, got.Body.String())
				require.Len(t, f.sink.receipts, 1)
				require.Equal(t, "group789", f.sink.receipts[0].GroupID)
			} else {
				requireFailure(t, got)
				require.Empty(t, f.sink.receipts)
			}
			require.Empty(t, f.sink.rejected, "neither a 401 nor a 404 is recorded")
			require.NotContains(t, f.log.String(), "s3cret")
			require.NotContains(t, f.log.String(), "contenttype")
		})
	}
}

// requireFailure checks OpenIM's shape: all five fields, codes as numbers.
func requireFailure(t *testing.T, got *httptest.ResponseRecorder) (message string) {
	t.Helper()
	var answer map[string]any
	require.NoError(t, json.Unmarshal(got.Body.Bytes(), &answer))
	require.Len(t, answer, 5)
	require.EqualValues(t, 1, answer["actionCode"])
	require.EqualValues(t, 0, answer["nextCode"])
	require.Greater(t, answer["errCode"], float64(0))
	require.NotEmpty(t, answer["errDlt"])
	message, _ = answer["errMsg"].(string)
	require.NotEmpty(t, message)
	return message
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	f := newFixture("", false)
	got := f.do("POST", "/callbackGroupMsgReadCommand", `{"sendID":"u","receiveID":"g","unreadMsgNum":-1,"secretField":"do not keep"}`,
		"Operationid", "op-77")
	require.Equal(t, http.StatusBadRequest, got.Code)
	require.Equal(t, "unreadMsgNum is negative", requireFailure(t, got))
	require.Empty(t, f.sink.receipts)
	require.Equal(t, []readstate.Rejection{{
		Command: "callbackGroupMsgReadCommand", Code: readstate.CodeInvalidField, Field: "unreadMsgNum",
		Reason: "unreadMsgNum is negative", Size: 76, UserID: "u", GroupID: "g",
	}}, f.sink.rejected)
	require.Contains(t, f.log.String(), "op-77")
	require.Contains(t, f.log.String(), got.Header().Get("X-Request-Id"))
	require.NotContains(t, f.log.String(), "do not keep")
}

func TestBodyTooLarge(t *testing.T) {
	t.Parallel()
	f := newFixture("", false)
	pad := func(size int) string { return documentedBody + strings.Repeat(" ", size-len(documentedBody)) }
	require.Equal(t, 200, f.do("POST", "/callbackGroupMsgReadCommand", pad(1<<20)).Code)
	got := f.do("POST", "/callbackGroupMsgReadCommand", pad(1<<20+1))
	require.Equal(t, http.StatusRequestEntityTooLarge, got.Code)
	require.Equal(t, "body is too large", requireFailure(t, got))
	require.Len(t, f.sink.rejected, 1)
}

// Other commands are acknowledged without a look at their body.
func TestOtherCommands(t *testing.T) {
	t.Parallel()
	f := newFixture("", false)
	for _, command := range []string{"callbackBeforeSendGroupMsgCommand", "callbackMadeUpCommand"} {
		got := f.do("POST", "/"+command, "not json")
		require.Equal(t, 200, got.Code)
		require.Equal(t, successBody, got.Body.String())
	}
	require.Empty(t, f.sink.receipts)
	require.NoError(t, testutil.GatherAndCompare(f.registry, strings.NewReader(`
# HELP readmark_callbacks_total Callbacks by command, dialect and what became of them.
# TYPE readmark_callbacks_total counter
readmark_callbacks_total{command="callbackBeforeSendGroupMsgCommand",dialect="none",result="acknowledged"} 1
readmark_callbacks_total{command="other",dialect="none",result="acknowledged"} 1
`), "readmark_callbacks_total"))
}

// A receipt that could not be made durable is not answered with success.
func TestNotDurable(t *testing.T) {
	t.Parallel()
	f := newFixture("", false)
	f.sink.err = errors.New("disk on fire")
	got := f.do("POST", "/callbackGroupMsgReadCommand", documentedBody)
	require.Equal(t, http.StatusServiceUnavailable, got.Code)
	require.NotContains(t, requireFailure(t, got), "fire")
	require.Contains(t, f.log.String(), "disk on fire")
}

// The log tells of unknown paths once a minute, the metric always.
func TestUnknownPathsAreLoggedOnce(t *testing.T) {
	t.Parallel()
	f := newFixture("", false)
	for range 3 {
		f.do("POST", "/callbackless/hello?key=s3cret", "")
	}
	require.Equal(t, 1, strings.Count(f.log.String(), "unknown path"))
	require.Contains(t, f.log.String(), "last_segment=hello")
	require.NotContains(t, f.log.String(), "s3cret")
	require.NoError(t, testutil.GatherAndCompare(f.registry, strings.NewReader(`
# HELP readmark_callbacks_total Callbacks by command, dialect and what became of them.
# TYPE readmark_callbacks_total counter
readmark_callbacks_total{command="other",dialect="none",result="unknown_path"} 3
`), "readmark_callbacks_total"))
}

func TestServerDialectIsCounted(t *testing.T) {
	t.Parallel()
	f := newFixture("", false)
	f.do("POST", "/callbackGroupMsgReadCommand", `{"sendID":"u","receiveID":"u","unreadMsgNum":42,"contentType":3}`)
	require.Len(t, f.sink.receipts, 1)
	require.EqualValues(t, 42, f.sink.receipts[0].ReadSeq)
	require.NoError(t, testutil.GatherAndCompare(f.registry, strings.NewReader(`
# HELP readmark_unattributed_receipts_total Receipts in the server dialect: journaled, their group not known yet.
# TYPE readmark_unattributed_receipts_total counter
readmark_unattributed_receipts_total 1
`), "readmark_unattributed_receipts_total"))
}

func TestReadAPIErrors(t *testing.T) {
	t.Parallel()
	f := newFixture("", false)
	problem := func(got *httptest.ResponseRecorder, status int) {
		t.Helper()
		require.Equal(t, status, got.Code, got.Body)
		require.Equal(t, "application/problem+json", got.Header().Get("Content-Type"))
		require.NotContains(t, got.Body.String(), "secret cause")
		require.NotContains(t, got.Body.String(), "$schema")
		var body struct{ Status int }
		require.NoError(t, json.Unmarshal(got.Body.Bytes(), &body))
		require.Equal(t, status, body.Status)
	}
	unavailable := f.do("GET", "/v1/users/u/unread", "")
	problem(unavailable, 503)
	require.NotEmpty(t, unavailable.Header().Get("Retry-After"))
	problem(f.do("GET", "/v1/users/u/groups/g", ""), 500)
	problem(f.do("GET", "/v1/groups/g/unread", ""), 500) // panics
	problem(f.do("GET", "/v1/nothing", ""), 404)
	problem(f.do("DELETE", "/v1/users/u/unread", ""), 404)
	problem(f.do("GET", "/no/such/path", ""), 404)
	problem(f.do("GET", "/v1/users/u/groups?limit=%zz", ""), 422)
	problem(f.do("GET", "/v1/users/u/groups?unread=true;limit=0", ""), 422)
	problem(f.do("GET", "/v1/users//groups/unread", ""), 422)
	require.Contains(t, f.log.String(), "secret cause")
}

func TestAuthRequired(t *testing.T) {
	t.Parallel()
	f := newFixture("", true)
	got := f.do("GET", "/v1/users/u/unread", "", "Authorization", "Bearer anything")
	require.Equal(t, http.StatusUnauthorized, got.Code)
	require.Contains(t, got.Header().Get("WWW-Authenticate"), "Bearer")
	require.Equal(t, 200, f.do("POST", "/callbackGroupMsgReadCommand", documentedBody).Code, "callbacks have their own token")
	require.Equal(t, 200, f.do("GET", "/openapi.json", "").Code)
}

// The docs page and its document name no outside host.
func TestDocs(t *testing.T) {
	t.Parallel()
	f := newFixture("", false)
	page := f.do("GET", "/docs", "")
	require.Equal(t, 200, page.Code)
	require.Contains(t, page.Body.String(), "/openapi.json")
	require.NotRegexp(t, `(https?:)?//[a-z0-9]`, page.Body.String())
	require.Contains(t, page.Header().Get("Content-Security-Policy"), "default-src 'self'")
	require.Equal(t, 200, f.do("GET", "/docs/swagger-ui-bundle.js", "", "Accept-Encoding", "gzip").Code)

	document := f.do("GET", "/openapi.json", "")
	var openapi struct {
		OpenAPI string         `json:"openapi"`
		Paths   map[string]any `json:"paths"`
	}
	require.NoError(t, json.Unmarshal(document.Body.Bytes(), &openapi))
	require.True(t, strings.HasPrefix(openapi.OpenAPI, "3.1"))
	for _, path := range []string{
		"/v1/users/{userID}/groups/{groupID}", "/v1/users/{userID}/groups", "/v1/users/{userID}/unread",
		"/v1/groups/{groupID}/users", "/v1/groups/{groupID}/unread", "/v1/unread/query",
	} {
		require.Contains(t, openapi.Paths, path)
	}
	for path, item := range openapi.Paths { // each says which key it needs, and how it refuses
		operations, _ := item.(map[string]any)
		for method, operation := range operations {
			text, err := json.Marshal(operation)
			require.NoError(t, err)
			scope := map[bool]string{true: "erase", false: "read"}[method == "delete"]
			require.Contains(t, string(text), `"security":[{"apiKey":["`+scope+`"]}]`, method+path)
			var described struct {
				Responses map[string]struct {
					Headers map[string]any
					Content map[string]struct {
						Schema map[string]string
					}
				}
			}
			require.NoError(t, json.Unmarshal(text, &described))
			for status, header := range map[string]string{"401": "WWW-Authenticate", "403": "WWW-Authenticate", "429": "RateLimit-Reset"} {
				require.Contains(t, described.Responses[status].Headers, header, method+path)
				require.Equal(t, map[string]string{"$ref": "#/components/schemas/ErrorModel"},
					described.Responses[status].Content["application/problem+json"].Schema)
			}
		}
	}
	require.Contains(t, document.Body.String(), `"securitySchemes":{"apiKey":{`)
	require.NotContains(t, document.Body.String(), "$schema")
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body)
}

func TestOps(t *testing.T) {
	t.Parallel()
	told := make(chan server.Condition, 10)
	readiness := server.NewReadiness(func(context.Context) server.Condition { return <-told }, slog.New(slog.DiscardHandler))
	ops := httptest.NewServer(server.NewOps(readiness, prometheus.NewRegistry()))
	defer ops.Close()
	status, body := get(t, ops.URL+"/livez")
	require.Equal(t, 200, status)
	require.Equal(t, "live\n", body)
	for _, c := range []struct {
		condition server.Condition
		status    int
		body      string
	}{
		{server.Condition{Word: server.Ready}, 200, "ready\n"},
		{server.Condition{Word: server.Degraded, Notes: []string{"a", "b"}}, 200, "degraded\na\nb\n"},
		{server.Condition{Word: server.NotReady}, 503, "not ready\n"},
	} {
		told <- c.condition
		status, body = get(t, ops.URL+"/readyz")
		require.Equal(t, c.status, status)
		require.Equal(t, c.body, body)
	}
	readiness.Stop()
	status, _ = get(t, ops.URL+"/readyz")
	require.Equal(t, 503, status)
	status, _ = get(t, ops.URL+"/debug/pprof/goroutine?debug=1")
	require.Equal(t, 200, status)
}

// Shutdown finishes what is under way and takes nothing new.
func TestShutdownFinishesRequests(t *testing.T) {
	t.Parallel()
	f := newFixture("", false)
	f.sink.hold, f.sink.entered = make(chan struct{}), make(chan struct{})
	listener, err := server.Listen(t.Context(), "test", "127.0.0.1:0", f.handler, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	listener.Serve(func(err error) { t.Error(err) })
	addr := listener.Addr()

	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "POST /callbackGroupMsgReadCommand HTTP/1.1\r\nHost: x\r\nContent-Length: "+
		strconv.Itoa(len(documentedBody))+"\r\n\r\n"+documentedBody)
	require.NoError(t, err)
	answered := make(chan string)
	go func() {
		all, _ := io.ReadAll(conn)
		answered <- string(all)
	}()
	<-f.sink.entered
	stopped := make(chan error)
	go func() { stopped <- listener.Shutdown(context.Background()) }()
	require.Eventually(t, func() bool {
		probe, err := net.Dial("tcp", addr)
		if err == nil {
			probe.Close()
		}
		return err != nil
	}, 10*time.Second, 5*time.Millisecond, "still accepting")
	close(f.sink.hold)
	require.Contains(t, <-answered, "200 OK")
	require.NoError(t, <-stopped)
}

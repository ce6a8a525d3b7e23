package server_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"readmark/internal/api"
	"readmark/internal/body"
	"readmark/internal/readstate"
	"readmark/internal/server"
)

// echo knows every pair and user, and answers with what it was asked for.
type echo struct{ api.Reader }

func (echo) State(_ context.Context, pair readstate.Pair) (readstate.State, time.Time, error) {
	return readstate.State{Pair: pair, UnreadCount: 1, Source: readstate.SourceReceipt}, time.Time{}, nil
}

func (e echo) Snapshot(ctx context.Context, pairs []readstate.Pair, userIDs []string) (
	map[readstate.Pair]readstate.State, map[string]readstate.Badge, time.Time, error,
) {
	states, badges := map[readstate.Pair]readstate.State{}, map[string]readstate.Badge{}
	for _, pair := range pairs {
		states[pair], _, _ = e.State(ctx, pair)
	}
	for _, userID := range userIDs {
		badges[userID] = readstate.Badge{UserID: userID, UnreadCount: 1, UnreadGroups: 1, Groups: 1}
	}
	return states, badges, time.Time{}, nil
}

// handler gives the real engine in front of what is in memory.
func newHandler(s *sink, origins ...string) http.Handler {
	return newBoundedHandler(s, body.Bounds{}, origins...)
}

// newBoundedHandler is newHandler with other bounds of bodies.
func newBoundedHandler(s *sink, bodies body.Bounds, origins ...string) http.Handler {
	logger := slog.New(slog.DiscardHandler)
	return server.New(server.Options{
		Sink: s, Registry: prometheus.NewRegistry(), Logger: logger, CORSOrigins: origins, CallbackBodies: bodies,
		API: api.Options{Reader: echo{}, Now: time.Now, Logger: logger, Bodies: bodies},
	})
}

// listen serves the handler until the test ends.
func listen(t *testing.T, handler http.Handler, options ...server.ListenOption) *server.Listener {
	t.Helper()
	opened, err := server.Open(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	l := server.NewListener("test", opened, handler, slog.New(slog.DiscardHandler), options...)
	l.Serve(func(err error) { t.Error(err) })
	t.Cleanup(func() {
		ending, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		require.NoError(t, l.Shutdown(ending))
	})
	return l
}

// wire is one connection, used byte by byte.
type wire struct {
	t testing.TB
	net.Conn

	answers *bufio.Reader
}

func dial(t testing.TB, l *server.Listener) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", l.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	return &wire{t: t, Conn: conn, answers: bufio.NewReader(conn)}
}

func (w *wire) send(text string) {
	w.t.Helper()
	_, err := io.WriteString(w.Conn, text)
	require.NoError(w.t, err)
}

// reply is an answer without its body.
type reply struct {
	StatusCode int
	Header     http.Header
	Close      bool
}

// answer reads the next answer.
func (w *wire) answer() (head reply, text string) {
	w.t.Helper()
	response, err := http.ReadResponse(w.answers, nil)
	require.NoError(w.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(w.t, err)
	return reply{response.StatusCode, response.Header, response.Close}, string(body)
}

// closed waits until the server has closed the connection, and gives what it sent
// before.
func (w *wire) closed() string {
	w.t.Helper()
	rest, err := io.ReadAll(w.answers)
	require.NotErrorIs(w.t, err, os.ErrDeadlineExceeded, "the connection stays open") // a reset is an end, too
	return string(rest)
}

func callback(user string) string {
	body := fmt.Sprintf(`{"sendID":%q,"receiveID":"g","unreadMsgNum":5}`, user)
	return fmt.Sprintf("POST /callbackGroupMsgReadCommand HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func getState(user string) string {
	return "GET /v1/users/" + user + "/groups/g HTTP/1.1\r\nHost: x\r\n\r\n"
}

// TestPipelining: many requests in one write are answered in order, each with its own
// answer.
func TestPipelining(t *testing.T) {
	t.Parallel()
	s := &sink{}
	w := dial(t, listen(t, newHandler(s)))
	var all strings.Builder
	const rounds = 50
	for i := range rounds {
		all.WriteString(getState(fmt.Sprint("u", i)))
		all.WriteString(callback(fmt.Sprint("r", i)))
		all.WriteString("GET /v1/users//unread HTTP/1.1\r\nHost: x\r\n\r\n")
		query := fmt.Sprintf(`{"userIDs":["q%d"]}`, i)
		fmt.Fprintf(&all, "POST /v1/unread/query HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(query), query)
	}
	w.send(all.String())
	for i := range rounds {
		response, body := w.answer()
		require.Equal(t, 200, response.StatusCode)
		require.Contains(t, body, fmt.Sprintf(`"userID":"u%d"`, i))
		response, body = w.answer()
		require.Equal(t, 200, response.StatusCode)
		require.Equal(t, successBody, body)
		response, _ = w.answer()
		require.Equal(t, 422, response.StatusCode)
		response, body = w.answer()
		require.Equal(t, 200, response.StatusCode)
		require.Contains(t, body, fmt.Sprintf(`"userID":"q%d"`, i))
	}
	require.Len(t, s.events, rounds)
	for i, event := range s.events {
		require.Equal(t, fmt.Sprint("r", i), event.UserID)
	}
}

// TestFraming: requests whose end can be read in two ways are refused, or read in the
// one way that RFC 9112 tells, so that nothing can be hidden in a body.
func TestFraming(t *testing.T) {
	t.Parallel()
	const (
		head   = "POST /callbackGroupMsgReadCommand HTTP/1.1\r\nHost: x\r\n"
		body   = `{"sendID":"u","receiveID":"g","unreadMsgNum":5}` // 47 bytes, 2f
		length = "Content-Length: 47\r\n"
		chunks = "2f\r\n" + body + "\r\n0\r\n\r\n"
		te     = "Transfer-Encoding: chunked\r\n"
	)
	next := getState("next")
	for name, test := range map[string]struct {
		request  string
		statuses []int // of all answers, with one more request sent behind
	}{
		"as it should be":             {head + length + "\r\n" + body, []int{200, 200}},
		"chunked":                     {head + te + "\r\n" + chunks, []int{200, 200}},
		"both: the chunks count":      {head + length + te + "\r\n" + chunks, []int{200, 200}},
		"both, the other way round":   {head + te + "Content-Length: 4\r\n\r\n" + chunks, []int{200, 200}},
		"equal lengths":               {head + length + length + "\r\n" + body, []int{200, 200}},
		"two lengths":                 {head + length + "Content-Length: 46\r\n\r\n" + body, []int{400}},
		"a list of lengths":           {head + "Content-Length: 47, 46\r\n\r\n" + body, []int{400}},
		"a signed length":             {head + "Content-Length: +47\r\n\r\n" + body, []int{400}},
		"a negative length":           {head + "Content-Length: -47\r\n\r\n" + body, []int{400}},
		"a length beyond int64":       {head + "Content-Length: 99999999999999999999\r\n\r\n" + body, []int{400}},
		"chunked twice":               {head + te + te + "\r\n" + chunks, []int{501}},
		"another coding":              {head + "Transfer-Encoding: gzip, chunked\r\n\r\n" + chunks, []int{501}},
		"identity":                    {head + "Transfer-Encoding: identity\r\n\r\n" + chunks, []int{501}},
		"a disguised coding":          {head + "Transfer-Encoding: \x0bchunked\r\n\r\n" + chunks, []int{400}},
		"a space before the colon":    {head + "Transfer-Encoding : chunked\r\n\r\n" + chunks, []int{400}},
		"a space in a name":           {head + "Content Length: 47\r\n\r\n" + body, []int{400}},
		"NUL in a value":              {head + "X: a\x00b\r\n" + length + "\r\n" + body, []int{400}},
		"CR in a value":               {head + "X: a\rb\r\n" + length + "\r\n" + body, []int{400}},
		"no host":                     {"POST /callbackGroupMsgReadCommand HTTP/1.1\r\n" + length + "\r\n" + body, []int{400}},
		"two hosts":                   {head + "Host: y\r\n" + length + "\r\n" + body, []int{400}},
		"a first line that goes on":   {"POST /callbackGroupMsgReadCommand HTTP/1.1\r\n folded\r\nHost: x\r\n" + length + "\r\n" + body, []int{400}},
		"a chunk's bare line feed":    {head + te + "\r\n" + "2f\n" + body + "\r\n0\r\n\r\n", []int{400}},
		"a chunk longer than told":    {head + te + "\r\n" + "2e\r\n" + body + "\r\n0\r\n\r\n", []int{400}},
		"a signed chunk length":       {head + te + "\r\n" + "+2f\r\n" + body + "\r\n0\r\n\r\n", []int{400}},
		"a chunk with 0x":             {head + te + "\r\n" + "0x2f\r\n" + body + "\r\n0\r\n\r\n", []int{400}},
		"no version":                  {"POST /callbackGroupMsgReadCommand\r\n\r\n", []int{400}},
		"an unknown version":          {"POST /callbackGroupMsgReadCommand HTTP/3.0\r\nHost: x\r\n\r\n", []int{505}},
		"HTTP/2 with prior knowledge": {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{404}},
		"TLS":                         {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", []int{400}},
		// Old forms that net/http reads as RFC 9112 allows a recipient to.
		"a folded header":          {head + "X: a\r\n  b\r\n" + length + "\r\n" + body, []int{200, 200}},
		"a folded length":          {head + "Content-Length: 4\r\n 7\r\n\r\n" + body, []int{400}},
		"bare line feeds in front": {strings.ReplaceAll(head+length+"\r\n", "\r\n", "\n") + body, []int{200, 200}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &sink{}
			w := dial(t, listen(t, newHandler(s)))
			w.send(test.request + next)
			accepted := 0
			for i, want := range test.statuses {
				response, answer := w.answer()
				require.Equal(t, want, response.StatusCode, answer)
				if i == 0 && want == 200 {
					accepted++
					require.Equal(t, successBody, answer)
				}
				if i == 1 {
					require.Contains(t, answer, `"userID":"next"`, "what follows is a request of its own")
				}
			}
			if len(test.statuses) == 1 {
				require.Empty(t, w.closed(), "nothing behind it is answered")
			}
			require.Len(t, s.events, accepted)
		})
	}
}

// TestMethodsAndTargets: what no route is made for is answered 404, a wrong method on one 405, and nothing ends a
// connection's goroutine.
func TestMethodsAndTargets(t *testing.T) {
	t.Parallel()
	l := listen(t, newHandler(&sink{}))
	const state = "/v1/users/u/groups/g"
	for _, test := range []struct {
		method, target string
		status         int
	}{
		{"HEAD", state, 200},
		{"HEAD", "/v1/nothing", 404},
		{"OPTIONS", state, 405},
		{"TRACE", state, 405},
		{"PUT", state, 405},
		{"PATCH", state, 405},
		{"QUERY", state, 405},
		{"get", state, 405},
		{"G@T", state, 400},
		{"CONNECT", "x:80", 404},
		{"CONNECT", state, 405},
		{"OPTIONS", "*", 200}, // net/http's own, empty
		{"GET", "*", 404},
		{"POST", "*", 404},
		{"GET", "http://elsewhere.example" + state, 200}, // the form for proxies: the path counts
		{"GET", "http://elsewhere.example", 404},
		{"POST", "http://elsewhere.example", 404},
		{"GET", "//v1/users/u/groups/g", 404},
		{"GET", "/v%31/users/u/groups/g", 404},
		{"GET", "/v1/../v1/users/u/groups/g", 404},
		{"GET", "/./v1/users/u/groups/g", 404},
		{"GET", state + "/", 404},
		{"GET", state + "%2F", 200}, // the group "g/"
		{"GET", state + ";x=1", 200},
		{"GET", state + "?a=1&a=2", 422},
		{"GET", state + "?limit=" + strings.Repeat("9", 4000), 422},
		{"GET", "/v1/users/u/groups/%zz", 400},
		{"POST", "/v1/unread/query/", 404},
		{"POST", "/v1/unread%2Fquery", 404},
		{"POST", "/V1/unread/query", 404},
		{"POST", "/v1/callbackMadeUpCommand", 200}, // one segment before a command is free
		{"GET", "/callbackGroupMsgReadCommand", 404},
		{"GET", "/docs/../../../etc/passwd", 404},
		{"GET", "/docs/..%2f..%2f..%2fetc%2fpasswd", 404},
	} {
		w := dial(t, l)
		w.send(test.method + " " + test.target + " HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		response, err := http.ReadResponse(w.answers, &http.Request{Method: test.method})
		require.NoError(t, err, "%s %s", test.method, test.target)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.Equal(t, test.status, response.StatusCode, "%s %.100s: %s", test.method, test.target, body)
		require.NotContains(t, string(body), "root:")
		if test.method == "TRACE" {
			require.NotContains(t, string(body), "Host", "nothing is sent back")
		}
		require.NoError(t, response.Body.Close())
	}
}

// TestOversized: a header, a target or a body that is too large is refused before it
// is taken in.
func TestOversized(t *testing.T) {
	t.Parallel()
	s := &sink{}
	l := listen(t, newHandler(s))
	long := strings.Repeat("x", 80<<10)
	for name, test := range map[string]struct {
		request string
		status  int
		shape   string
	}{
		"header":      {"GET /v1/users/u/groups/g HTTP/1.1\r\nHost: x\r\nX: " + long + "\r\n\r\n", 431, "text/plain; charset=utf-8"},
		"headers":     {"GET /v1/users/u/groups/g HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", 20_000) + "\r\n", 431, "text/plain; charset=utf-8"},
		"target":      {"GET /v1/users/" + long + "/groups/g HTTP/1.1\r\nHost: x\r\n\r\n", 431, "text/plain; charset=utf-8"},
		"query":       {"GET /v1/users/u/groups/g?" + long + " HTTP/1.1\r\nHost: x\r\n\r\n", 431, "text/plain; charset=utf-8"},
		"of the API":  {"POST /v1/unread/query HTTP/1.1\r\nHost: x\r\nContent-Length: 8388609\r\n\r\n{}", 413, "application/problem+json"},
		"to OpenIM":   {"POST /callbackGroupMsgReadCommand HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n100001\r\n" + strings.Repeat(" ", 1<<20+1) + "\r\n", 413, "application/json; charset=utf-8"},
		"API, chunks": {"POST /v1/unread/query HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n800001\r\n" + strings.Repeat(" ", 8<<20+1) + "\r\n", 413, "application/problem+json"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := dial(t, l)
			sent := make(chan struct{})
			go func() { // it may be refused before all is sent
				_, _ = io.WriteString(w.Conn, test.request)
				close(sent)
			}()
			response, body := w.answer()
			require.Equal(t, test.status, response.StatusCode, body)
			require.Equal(t, test.shape, response.Header.Get("Content-Type"))
			require.NoError(t, w.Close())
			<-sent
		})
	}
}

package server_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/body"
	"readmark/internal/server"
)

// brief is limits that a test can wait for, on a busy machine, too.
func brief() server.ListenOption {
	limits := server.DefaultLimits()
	limits.Header, limits.Body = time.Second, 3*time.Second/2
	limits.Idle, limits.Write = 2*time.Second, 5*time.Second/2
	return server.WithLimits(limits)
}

// dribble sends the text, and then a byte at a time until the other side has had
// enough or stop is closed.
func (w *wire) dribble(text string, stop <-chan struct{}) {
	if _, err := io.WriteString(w.Conn, text); err != nil {
		return
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		if _, err := io.WriteString(w.Conn, "x"); err != nil {
			return
		}
	}
}

// TestSlowRequests: who sends a header or a body a byte at a time is cut off, however
// it goes on, and others are served meanwhile.
func TestSlowRequests(t *testing.T) {
	t.Parallel()
	s := &sink{}
	l := listen(t, newBoundedHandler(s, body.Bounds{Arrival: time.Second}), brief())
	const post = "POST /callbackGroupMsgReadCommand HTTP/1.1\r\nHost: x\r\n"
	for name, test := range map[string]struct{ first, answer string }{
		"a method":          {"", "400 Bad Request"},
		"a first line":      {"GET /v1/users/", "400 Bad Request"},
		"a header":          {"GET /v1/users/u/groups/g HTTP/1.1\r\nHost: x\r\nX: ", ""},
		"a callback's body": {post + "Content-Length: 100000\r\n\r\n{", "408 Request Timeout"},
		"a chunk":           {post + "Transfer-Encoding: chunked\r\n\r\n10000\r\n{", "408 Request Timeout"},
		"a body unread":     {"POST /callbackMadeUpCommand HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{", "200 OK"},
		"the API's body":    {"POST /v1/unread/query HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{", "408 Request Timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := dial(t, l)
			stop := make(chan struct{})
			var sending sync.WaitGroup
			sending.Go(func() { w.dribble(test.first, stop) })
			other := dial(t, l)
			other.send(getState("u"))
			response, _ := other.answer()
			require.Equal(t, 200, response.StatusCode)
			answer := w.closed()
			close(stop)
			sending.Wait()
			status, _, _ := strings.Cut(answer, "\r\n")
			require.Equal(t, test.answer, strings.TrimPrefix(status, "HTTP/1.1 "), answer)
		})
	}
}

// TestSilence: a connection on which nothing is said is closed.
func TestSilence(t *testing.T) {
	t.Parallel()
	require.Empty(t, dial(t, listen(t, newHandler(&sink{}), brief())).closed())
}

// TestSilentReader: a client that asks and asks and never reads an answer is cut off.
func TestSilentReader(t *testing.T) {
	t.Parallel()
	l := listen(t, newHandler(&sink{}), brief())
	w := dial(t, l)
	id := strings.Repeat("u", 255)
	query := `{"userIDs":[` + strings.TrimSuffix(strings.Repeat(`"`+id+`",`, 1000), ",") + `]}`
	request := fmt.Sprintf("POST /v1/unread/query HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(query), query)
	var err error
	for err == nil { // until what is sent fills all buffers, and then until the cut
		_, err = io.WriteString(w.Conn, request)
	}
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection stays open")
}

// TestRest: a connection on which nothing but the read API was asked, or callbacks
// were refused, is closed when it rests; one that carries callbacks is kept.
func TestRest(t *testing.T) {
	t.Parallel()
	s := &sink{}
	l := listen(t, newHandler(s), brief())
	kept := dial(t, l)
	kept.send(callback("u"))
	response, _ := kept.answer()
	require.Equal(t, 200, response.StatusCode)
	var strangers []*wire
	for _, request := range []string{
		getState("u"),
		strings.Replace(callback("u"), "sendID", "sentID", 1),
		strings.Replace(callback("u"), "/callback", "/", 1),
		"POST /v1/unread/query HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
	} {
		stranger := dial(t, l)
		stranger.send(request)
		response, _ := stranger.answer()
		require.False(t, response.Close, "it may be used again")
		strangers = append(strangers, stranger)
	}
	for _, stranger := range strangers {
		require.Empty(t, stranger.closed())
	}
	// It has rested for longer than all of these.
	kept.send(callback("v") + getState("w") + callback("x"))
	for range 3 {
		response, _ = kept.answer()
		require.Equal(t, 200, response.StatusCode)
	}
	require.Len(t, s.events, 3)
}

// TestStopLosesNothing: while a server says that it stops, every request on a kept
// connection is answered; when it has stopped, what was answered with success is
// durable and nothing was taken twice.
func TestStopLosesNothing(t *testing.T) {
	t.Parallel()
	s := &sink{}
	l := listen(t, newHandler(s))
	var acknowledged sync.Map
	var stopping, stopped atomic.Bool
	var sent, afterSign atomic.Int64
	var clients sync.WaitGroup
	signed := make(chan struct{}) // closed when enough was sent after the sign
	busy := make(chan struct{})   // closed when enough was sent before it
	for client := range 8 {
		clients.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			h := &http.Client{Transport: transport, Timeout: 20 * time.Second}
			for i := 0; ; i++ {
				user := fmt.Sprintf("%d-%d", client, i)
				response, err := h.Post("http://"+l.Addr()+"/callbackGroupMsgReadCommand", "application/json",
					strings.NewReader(fmt.Sprintf(`{"sendID":%q,"receiveID":"g","unreadMsgNum":5}`, user)))
				if err != nil {
					if !stopped.Load() {
						t.Errorf("request %s: %v", user, err)
					}
					return
				}
				body, err := io.ReadAll(response.Body)
				_ = response.Body.Close()
				if err != nil || response.StatusCode != http.StatusOK || string(body) != successBody {
					t.Errorf("request %s: %d %s %v", user, response.StatusCode, body, err)
					return
				}
				acknowledged.Store(user, true)
				if sent.Add(1) == 200 {
					close(busy)
				}
				if stopping.Load() && afterSign.Add(1) == 200 {
					close(signed)
				}
			}
		})
	}
	<-busy
	stopping.Store(true)
	l.CloseAfterAnswer()
	<-signed
	stopped.Store(true)
	require.NoError(t, l.Shutdown(t.Context()))
	clients.Wait()
	taken := map[string]int{}
	for _, event := range s.events {
		taken[event.UserID]++
		require.Equal(t, 1, taken[event.UserID])
	}
	acknowledged.Range(func(user, _ any) bool {
		require.Equal(t, 1, taken[user.(string)], user)
		return true
	})
}

// Who has no key is refused before the body has come, and waits for nothing.
func TestRefusalBeforeBody(t *testing.T) {
	t.Parallel()
	w := dial(t, listen(t, newFixture("", true).handler))
	w.send("POST /v1/unread/query HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	answer, err := http.ReadResponse(w.answers, nil)
	require.NoError(t, err)
	defer answer.Body.Close()
	require.Equal(t, http.StatusUnauthorized, answer.StatusCode)
	require.True(t, answer.Close)
}

package server_test

import (
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"readmark/internal/api"
	"readmark/internal/console"
	"readmark/internal/server"
)

// source is a console's that nobody asks for more than the time and conditions.
type source struct{ console.Source }

func (source) Now() time.Time              { return time.Now() }
func (source) Conditions() []api.Condition { return nil }

func newConsoleFixture(token string) *fixture {
	f := &fixture{sink: &sink{}, registry: prometheus.NewRegistry()}
	logger := slog.New(slog.DiscardHandler)
	f.handler = server.New(server.Options{
		Sink: f.sink, CallbackToken: token, Registry: f.registry, Logger: logger, Console: source{},
		API: api.Options{Reader: reader{}, Now: time.Now, Logger: logger},
	})
	return f
}

// The root leads browsers to the console and tells probes that readmark is up; what is posted there stays
// a callback to an unknown path.
func TestRootPath(t *testing.T) {
	t.Parallel()
	f := newConsoleFixture("")
	answer := f.do(http.MethodGet, "/", "", "Accept", "text/html,*/*")
	require.Equal(t, http.StatusSeeOther, answer.Code)
	require.Equal(t, "/console", answer.Header().Get("Location"))
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		require.Equal(t, http.StatusOK, f.do(method, "/", "").Code, method)
	}
	answer = f.do(http.MethodPost, "/", documentedBody, "Accept", "text/html")
	require.Equal(t, http.StatusNotFound, answer.Code)
	require.Contains(t, answer.Body.String(), `"actionCode":1`)
}

// Nothing below the console's path is taken for a callback, and the console asks the API behind it.
func TestConsoleIsNoCallback(t *testing.T) {
	t.Parallel()
	f := newConsoleFixture("")
	for _, path := range []string{"/console/callbackAfterGroupMsgReadCommand", "/console/x/callbackAfterGroupMsgReadCommand"} {
		answer := f.do(http.MethodPost, path, documentedBody)
		require.Equal(t, http.StatusNotFound, answer.Code, path)
		require.Contains(t, answer.Body.String(), "There is no such page", path)
	}
	require.Equal(t, http.StatusMethodNotAllowed, f.do(http.MethodPost, "/console", documentedBody).Code)
	require.Empty(t, f.sink.events)
	require.Empty(t, f.sink.rejected)
	require.Equal(t, http.StatusOK, f.do(http.MethodPost, "/consolex/callbackAfterGroupMsgReadCommand", documentedBody).Code)
	require.Len(t, f.sink.events, 1)

	answer := f.do(http.MethodGet, "/console/user?id=a", "", "Accept-Encoding", "gzip")
	require.Equal(t, http.StatusServiceUnavailable, answer.Code, "as the API says")
	require.Equal(t, "gzip", answer.Header().Get("Content-Encoding"))
	require.Contains(t, answer.Header().Get("Content-Security-Policy"), "style-src 'self'")
	require.Equal(t, "nosniff", answer.Header().Get("X-Content-Type-Options"))
}

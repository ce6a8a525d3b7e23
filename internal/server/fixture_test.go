package server_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
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
	events   []readstate.Event
	rejected []readstate.Rejection
}

func (s *sink) Submit(_ context.Context, events []readstate.Event) error {
	if s.hold != nil {
		s.entered <- struct{}{}
		<-s.hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.events = append(s.events, events...)
	}
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

func (reader) Badge(context.Context, string) (readstate.Badge, time.Time, error) {
	return readstate.Badge{}, time.Time{}, readstate.ErrUnavailable
}

func (reader) State(context.Context, readstate.Pair) (readstate.State, time.Time, error) {
	return readstate.State{}, time.Time{}, errors.New("secret cause")
}

func (reader) GroupSum(context.Context, string) (readstate.GroupSum, time.Time, error) {
	panic("secret cause")
}

// noKeys stands for a database without keys.
type noKeys struct{}

func (noKeys) Find(context.Context, auth.Hash) (*auth.Key, error) { return nil, auth.ErrUnknownKey }

type fixture struct {
	sink     *sink
	registry *prometheus.Registry
	log      *bytes.Buffer
	handler  http.Handler
	// latencies are those of reads.
	latencies func() (bounds []float64, counts []uint64)
}

func newFixture(token string, authRequired bool, origins ...string) *fixture {
	f := &fixture{sink: &sink{}, registry: prometheus.NewRegistry(), log: &bytes.Buffer{}}
	logger := slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var g *guard.Guard
	if authRequired {
		g = guard.New(guard.Options{Keys: noKeys{}, Now: time.Now, Registry: f.registry, Logger: logger})
	}
	handler := server.New(server.Options{
		Sink: f.sink, CallbackToken: token, CORSOrigins: origins, Registry: f.registry, Logger: logger,
		API: api.Options{Reader: reader{}, Guard: g, Now: time.Now, Logger: logger},
	})
	f.handler, f.latencies = handler, handler.ReadLatencies
	return f
}

// requireMetric checks that a line of the metrics is there.
func (f *fixture) requireMetric(t *testing.T, line string) {
	t.Helper()
	recorder := httptest.NewRecorder()
	promhttp.HandlerFor(f.registry, promhttp.HandlerOpts{}).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.Contains(t, strings.Split(recorder.Body.String(), "\n"), line)
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

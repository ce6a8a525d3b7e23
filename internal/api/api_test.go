package api_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"readmark/internal/api"
	"readmark/internal/auth"
	"readmark/internal/auth/guard"
	"readmark/internal/condition"
	"readmark/internal/feed"
	"readmark/internal/openim"
	"readmark/internal/pgtest"
	"readmark/internal/readcache"
	"readmark/internal/readstate"
	"readmark/internal/server"
	"readmark/internal/stats"
	"readmark/internal/store"
	"readmark/internal/webhookout/delivery"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// service is the read API on a real store; events are committed to the store
// itself.
type service struct {
	t       testing.TB
	url     string // of the database
	store   *store.Store
	handler http.Handler
	arrival time.Time // of the last event
}

func newService(t testing.TB) *service {
	t.Helper()
	s := &service{t: t, url: pgtest.New(t), arrival: time.Now().UTC().Truncate(time.Microsecond)}
	s.open()
	require.NoError(t, s.store.MakeDaysAhead(t.Context()))
	return s
}

// replica gives another service on the same database.
func (s *service) replica() *service {
	s.t.Helper()
	other := &service{t: s.t, url: s.url, arrival: s.arrival}
	other.open()
	return other
}

func (s *service) open() {
	s.t.Helper()
	logger := slog.New(slog.NewTextHandler(s.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	var err error
	s.store, err = store.Open(store.Options{URL: s.url, Logger: logger})
	require.NoError(s.t, err)
	s.t.Cleanup(s.store.Close)
	s.handler = server.New(server.Options{
		Registry: prometheus.NewRegistry(), Logger: logger,
		API: api.Options{
			Reader: direct(s.store), Database: s.store, Eraser: s.store, Feed: following(s.t, s.store), Now: time.Now, Logger: logger,
			Stats:    reporting(s.store, logger),
			Webhooks: &delivery.Manager{Store: s.store, Client: delivery.NewClient(nil), Types: api.ChangeTypes(), Now: time.Now},
		},
	})
}

// reporting tells of what the journal has.
func reporting(s *store.Store, logger *slog.Logger) *stats.Recorder {
	return stats.New(stats.Options{
		Past: s, Journal: s, Board: condition.New(time.Now, logger), CommandOf: openim.CommandOf, Label: openim.Newest, Now: time.Now, Logger: logger,
	})
}

// withKeys has the API ask for keys, and gives a function that makes one.
func (s *service) withKeys() (key func(grant auth.Grant) string) {
	s.t.Helper()
	known, logger := keys{}, slog.New(slog.DiscardHandler)
	s.handler = server.New(server.Options{Registry: prometheus.NewRegistry(), Logger: logger, API: api.Options{
		Reader: direct(s.store), Database: s.store, Eraser: s.store, Stats: reporting(s.store, logger), Now: time.Now, Logger: logger,
		Guard: guard.New(guard.Options{Keys: known, Now: time.Now, Registry: prometheus.NewRegistry(), Logger: logger}),
	}})
	return func(grant auth.Grant) string {
		text := auth.NewText()
		known[text] = &auth.Key{Grant: grant}
		return text
	}
}

// askAs sends a GET request with a key.
func (s *service) askAs(key, target string) *httptest.ResponseRecorder {
	s.t.Helper()
	return s.ask(http.MethodGet, target, "", "Authorization", "Bearer "+key)
}

// direct answers from the database.
func direct(s *store.Store) api.Reader {
	return readcache.New(readcache.Options{Database: s, AsOf: time.Now, Now: time.Now})
}

func (s *service) next() (readstate.ID, time.Time) {
	s.arrival = s.arrival.Add(time.Microsecond)
	return readstate.ID(uuid.Must(uuid.NewV7())), s.arrival
}

// commit gives an event its identity and arrival, and stores it.
func (s *service) commit(event readstate.Event) {
	s.t.Helper()
	event.ID, event.At = s.next()
	require.NoError(s.t, s.store.Commit(s.t.Context(), readstate.Batch{Events: []readstate.Event{event}}))
}

// read stores that a user has read a group.
func (s *service) read(user, group string, unread int64) {
	s.t.Helper()
	s.commit(readstate.Event{
		Kind: readstate.EventReceipt, UserID: user, GroupID: group, UnreadCount: unread, ContentType: 101,
	})
}

// member stores what happened to a member of the group g; without a user, to the group.
func (s *service) member(kind readstate.EventKind, user string) {
	s.t.Helper()
	s.commit(readstate.Event{Kind: kind, GroupID: "g", UserID: user})
}

// message stores that somebody has written to the group g.
func (s *service) message(sender string) {
	s.t.Helper()
	s.commit(readstate.Event{
		Kind: readstate.EventMessage, UserID: sender, GroupID: "g", MessageID: uuid.NewString(), ContentType: 101,
	})
}

// ask sends a request and gives the answer as it is.
func (s *service) ask(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	s.t.Helper()
	request := httptest.NewRequest(method, target, strings.NewReader(body))
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	recorder := httptest.NewRecorder()
	s.handler.ServeHTTP(recorder, request)
	return recorder
}

// get asks for an answer with status 200.
func (s *service) get(target string) map[string]any {
	s.t.Helper()
	answer := s.ask(http.MethodGet, target, "")
	require.Equal(s.t, http.StatusOK, answer.Code, answer.Body)
	return decoded(s.t, answer)
}

func decoded(t testing.TB, answer *httptest.ResponseRecorder) (value map[string]any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &value), answer.Body)
	return value
}

// page gives the keys on one page and its cursor.
func (s *service) page(target, key string) (keys []string, next string) {
	s.t.Helper()
	answer := s.get(target)
	for _, one := range answer["items"].([]any) {
		keys = append(keys, one.(map[string]any)[key].(string))
	}
	return keys, answer["nextCursor"].(string)
}

// refused asks for something wrong and gives the places that are named.
func (s *service) refused(target string) (places []string) {
	s.t.Helper()
	answer := s.ask(http.MethodGet, target, "")
	require.Equal(s.t, http.StatusUnprocessableEntity, answer.Code, "%s: %s", target, answer.Body)
	require.Equal(s.t, "application/problem+json", answer.Header().Get("Content-Type"))
	var problem struct {
		Errors []struct{ Location string }
	}
	require.NoError(s.t, json.Unmarshal(answer.Body.Bytes(), &problem))
	for _, one := range problem.Errors {
		places = append(places, one.Location)
	}
	return places
}

func query(values ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(values); i += 2 {
		q.Set(values[i], values[i+1])
	}
	return "?" + q.Encode()
}

// following is a feed of what a store writes.
func following(t testing.TB, s *store.Store) *feed.Feed {
	t.Helper()
	f := feed.New(feed.Options{Source: s, AsOf: time.Now, Logger: slog.New(slog.DiscardHandler)})
	s.OnChange(f.Touch)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return f
}

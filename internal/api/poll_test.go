package api_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"readmark/internal/api"
	"readmark/internal/logtest"
	"readmark/internal/readstate"
	"readmark/internal/server"
)

// TestPolling: an answer has a weak ETag that asOf is no part of; who has it is
// answered 304 without a body, until a receipt or a message of somebody changes what
// is answered.
func TestPolling(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.read("u", "g", 1)
	s.read("u", "h", 0)
	s.read("v", "g", 0)
	targets := []string{
		"/v1/users/u/groups/g", "/v1/users/u/unread", "/v1/users/u/groups", "/v1/users/u/groups?sort=-unreadCount",
		"/v1/groups/g/users", "/v1/groups/g/unread",
	}
	etags := map[string]string{}
	look := func() (changed []string) {
		t.Helper()
		for _, target := range targets {
			full := s.ask(http.MethodGet, target, "")
			require.Equal(t, http.StatusOK, full.Code)
			etag := full.Header().Get("ETag")
			require.Regexp(t, `^W/"[0-9a-z]+"$`, etag)
			require.Equal(t, "no-cache", full.Header().Get("Cache-Control"))
			require.Contains(t, full.Body.String(), `"asOf":`)
			for _, header := range []string{etag, strings.TrimPrefix(etag, "W/"), `"x", ` + etag + `,"y"`, "*"} {
				same := s.ask(http.MethodGet, target, "", "If-None-Match", header)
				require.Equal(t, http.StatusNotModified, same.Code, header)
				require.Empty(t, same.Body.String())
				require.Equal(t, etag, same.Header().Get("ETag"))
				require.Equal(t, "no-cache", same.Header().Get("Cache-Control"))
			}
			if was := etags[target]; was != "" && was != etag {
				news := s.ask(http.MethodGet, target, "", "If-None-Match", was)
				require.Equal(t, http.StatusOK, news.Code)
				require.Equal(t, etag, news.Header().Get("ETag"))
				changed = append(changed, target)
			}
			etags[target] = etag
		}
		return changed
	}
	require.Empty(t, look())
	require.Empty(t, look(), "nothing has happened")
	s.read("u", "g", 4)
	require.Equal(t, targets, look(), "a receipt")
	s.message("w")
	require.Equal(t, targets, look(), "a message of somebody else")
	s.read("w", "other", 3)
	require.Empty(t, look(), "another group")
	s.read("u", "h", 0)
	require.Subset(t, look(), []string{"/v1/users/u/unread", "/v1/users/u/groups"}, "the same count again: it was read later")

	for _, target := range []string{"/v1/users/u/receipts", "/v1/groups/g/receipts", "/v1/users/u/groups/g/receipts", "/v1/drift"} {
		answer := s.ask(http.MethodGet, target, "", "If-None-Match", "*")
		require.Equal(t, http.StatusOK, answer.Code, "what has no version cannot be asked about")
		require.Empty(t, answer.Header().Get("ETag"))
		require.Equal(t, "no-cache", answer.Header().Get("Cache-Control"))
	}
	posted := s.ask(http.MethodPost, "/v1/unread/query", `{"userIDs":["u"]}`, "If-None-Match", "*")
	require.Equal(t, http.StatusOK, posted.Code)
	require.Empty(t, posted.Header().Get("ETag"))
	unknown := s.ask(http.MethodGet, "/v1/users/nobody/unread", "", "If-None-Match", "*")
	require.Equal(t, http.StatusNotFound, unknown.Code)
	require.Empty(t, unknown.Header().Get("ETag"))
}

// Two services on one database give the same ETags: callers may be sent to either.
func TestETagsOfReplicas(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.read("u", "g", 1)
	other := s.replica()
	for _, target := range []string{"/v1/users/u/groups/g", "/v1/users/u/unread", "/v1/users/u/groups", "/v1/groups/g/users"} {
		etag := s.ask(http.MethodGet, target, "").Header().Get("ETag")
		require.Equal(t, http.StatusNotModified, other.ask(http.MethodGet, target, "", "If-None-Match", etag).Code, target)
	}
}

// What is large is compressed for who accepts it, and says so to caches; what is
// small is not.
func TestCompression(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for i := range 50 {
		s.read("u", fmt.Sprintf("g%d", i), 1)
	}
	const list = "/v1/users/u/groups"
	plain := s.ask(http.MethodGet, list, "")
	require.Empty(t, plain.Header().Get("Content-Encoding"))
	require.Equal(t, "Accept-Encoding", plain.Header().Get("Vary"))
	packed := s.ask(http.MethodGet, list, "", "Accept-Encoding", "gzip")
	require.Equal(t, "gzip", packed.Header().Get("Content-Encoding"))
	require.Less(t, packed.Body.Len(), plain.Body.Len()/3)
	unpacking, err := gzip.NewReader(packed.Body)
	require.NoError(t, err)
	var answer, want api.StateList
	require.NoError(t, json.NewDecoder(unpacking).Decode(&answer))
	require.NoError(t, json.Unmarshal(plain.Body.Bytes(), &want))
	require.Equal(t, want.Items, answer.Items)
	require.Equal(t, plain.Header().Get("ETag"), packed.Header().Get("ETag"))
	same := s.ask(http.MethodGet, list, "", "Accept-Encoding", "gzip", "If-None-Match", packed.Header().Get("ETag"))
	require.Equal(t, http.StatusNotModified, same.Code)
	require.Empty(t, same.Body.String())
	small := s.ask(http.MethodGet, "/v1/users/u/unread", "", "Accept-Encoding", "gzip")
	require.Empty(t, small.Header().Get("Content-Encoding"))
	posted := s.ask(http.MethodPost, "/v1/unread/query", `{"userIDs":[`+strings.Repeat(`"u",`, 99)+`"u"]}`, "Accept-Encoding", "gzip")
	require.Equal(t, "gzip", posted.Header().Get("Content-Encoding"))
}

// What drops out of an answer changes its ETag, also where what is left was not written.
func TestPollingDropouts(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for _, user := range []string{"u", "v", "w"} {
		s.read(user, "g", 2)
		s.read(user, "h", 1)
	}
	targets := []string{"/v1/users/u/unread", "/v1/users/u/groups", "/v1/groups/g/users", "/v1/groups/g/unread"}
	versions := func() (etags []string) {
		t.Helper()
		for _, target := range targets {
			answer := s.ask(http.MethodGet, target, "")
			require.Equal(t, http.StatusOK, answer.Code, target)
			etags = append(etags, answer.Header().Get("ETag"))
		}
		return etags
	}
	seen := versions()
	for _, change := range []func(){
		func() { s.member(readstate.EventLeft, "u") },
		func() { s.member(readstate.EventJoined, "u") },
		func() {
			_, err := s.store.EraseUser(t.Context(), "u")
			require.NoError(t, err)
			s.arrival = time.Now().UTC().Add(time.Second)
			s.read("u", "h", 1)
		},
	} {
		change()
		now := versions()
		for i := range targets {
			require.NotEqual(t, seen[i], now[i], targets[i])
		}
		seen = now
	}
	s.member(readstate.EventDismissed, "")
	require.Equal(t, http.StatusNotFound, s.ask(http.MethodGet, "/v1/groups/g/unread", "", "If-None-Match", seen[3]).Code)
	require.Equal(t, http.StatusOK, s.ask(http.MethodGet, "/v1/groups/g/users", "", "If-None-Match", seen[2]).Code)
}

// A replica that lags does not say what it knew of a moment that it has not come to.
func TestMomentAheadOfReplica(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.read("u", "g", 3)
	now := time.Now().UTC()
	lagging := now.Add(-time.Hour)
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	s.handler = server.New(server.Options{Registry: prometheus.NewRegistry(), Logger: logger, API: api.Options{
		Reader: direct(s.store), Database: s.store, Eraser: s.store, Now: func() time.Time { return now }, AsOf: func() time.Time { return lagging }, Logger: logger,
	}})
	for _, target := range []string{"/v1/users/u/unread?at=", "/v1/users/u/groups/g?at="} {
		answer := s.ask(http.MethodGet, target+now.Add(-time.Minute).Format(time.RFC3339), "")
		require.Equal(t, http.StatusServiceUnavailable, answer.Code, answer.Body)
		require.Equal(t, "1", answer.Header().Get("Retry-After"))
		require.Equal(t, http.StatusNotFound, s.ask(http.MethodGet, target+lagging.Add(-time.Minute).Format(time.RFC3339), "").Code)
	}
	lagging = time.Time{} // it cannot be reached; erasures need it not
	require.Equal(t, http.StatusServiceUnavailable, s.ask(http.MethodGet, "/v1/users/u/unread", "").Code)
	require.Equal(t, http.StatusOK, s.ask(http.MethodDelete, "/v1/users/u", "").Code)
}

// Before the year 1 nothing is, though a program's zero time may mean no bound to it.
func TestHistoryBeforeEverything(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.read("u", "g", 3)
	for _, list := range []string{"/v1/users/u/receipts", "/v1/groups/g/receipts", "/v1/users/u/groups/g/receipts"} {
		require.Contains(t, s.ask(http.MethodGet, list, "").Body.String(), `"unreadCount":3`)
		answer := s.ask(http.MethodGet, list+"?to=0001-01-01T00:00:00Z", "")
		require.Equal(t, http.StatusOK, answer.Code)
		require.Contains(t, answer.Body.String(), `"items":[],"nextCursor":""`)
	}
}

// A caller who goes away is no trouble with the database, and the log does not say so.
func TestCallerGone(t *testing.T) {
	t.Parallel()
	s := newService(t)
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	handler := server.New(server.Options{
		Registry: prometheus.NewRegistry(), Logger: logger,
		API: api.Options{Reader: direct(s.store), Database: s.store, Eraser: s.store, Now: time.Now, Logger: logger},
	})
	gone, leave := context.WithCancel(t.Context())
	leave()
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(gone, http.MethodGet, "/v1/groups/g/unread", nil))
	require.Empty(t, log.String())
	late, end := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer end()
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(late, http.MethodGet, "/v1/groups/g/unread", nil))
	require.Contains(t, log.String(), "read api cannot reach the database")
}

// An outage is told once, not with each read that fails.
func TestFailedReadsAreToldOnce(t *testing.T) {
	t.Parallel()
	s := newService(t)
	var log logtest.Log
	logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	handler := server.New(server.Options{
		Registry: prometheus.NewRegistry(), Logger: logger,
		API: api.Options{Reader: direct(s.store), Database: s.store, Eraser: s.store, Now: time.Now, Logger: logger},
	})
	late, end := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer end()
	for range 20 {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequestWithContext(late, http.MethodGet, "/v1/groups/g/unread", nil))
		require.Equal(t, 503, answer.Code)
	}
	require.Len(t, log.Lines("read api cannot reach the database"), 1)
}

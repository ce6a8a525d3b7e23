package console_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"readmark/internal/api"
	"readmark/internal/auth"
	"readmark/internal/auth/guard"
	"readmark/internal/console"
	"readmark/internal/readstate"
)

// hostile is an ID that would run a script where it is not escaped, and is another parameter where it is
// not encoded.
const hostile = `<img src=x onerror=alert(1)>"'&id=other#%2F/..`

func now() time.Time { return time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC) }

// source is what the console of a test shows beside the API.
type source struct {
	conditions []api.Condition
	keys       []auth.Key
	added      []auth.Grant
	revoked    []string
	journal    []readstate.Entry
	asked      []readstate.History
	report     console.Report
	err        error // of what is read over time, the journal and the keys
}

// Now implements console.Source.
func (s *source) Now() time.Time { return now() }

// Conditions implements console.Source.
func (s *source) Conditions() []api.Condition { return s.conditions }

// Counts implements console.Source.
func (s *source) Counts(_ context.Context, _ readstate.Pair, moments []time.Time) ([]console.Number, error) {
	return rising(len(moments)), s.err
}

// Positions implements console.Source.
func (s *source) Positions(_ context.Context, _ string, moments []time.Time) ([]console.Number, error) {
	return rising(len(moments)), s.err
}

// rising is not known in its first half.
func rising(n int) []console.Number {
	list := make([]console.Number, n)
	for i := n / 2; i < n; i++ {
		list[i] = console.Number{Known: true, Value: int64(i)}
	}
	return list
}

// Journal implements console.Source.
func (s *source) Journal(_ context.Context, page readstate.History) ([]readstate.Entry, error) {
	s.asked = append(s.asked, page)
	return s.journal, s.err
}

// Keys implements console.Source.
func (s *source) Keys(context.Context) ([]auth.Key, error) { return s.keys, s.err }

// AddKey implements console.Source.
func (s *source) AddKey(_ context.Context, grant auth.Grant, _ time.Time) (string, error) {
	if grant.Name == "taken" {
		return "", auth.ErrNameTaken
	}
	s.added = append(s.added, grant)
	return "rmk_made", nil
}

// RevokeKey implements console.Source.
func (s *source) RevokeKey(_ context.Context, name string) error {
	s.revoked = append(s.revoked, name)
	return nil
}

// Check implements console.Source.
func (s *source) Check(context.Context) (console.Report, error) { return s.report, nil }

// keyring are the keys of a test by their hash.
type keyring map[auth.Hash]*auth.Key

// Find implements guard.Keys.
func (k keyring) Find(_ context.Context, hash auth.Hash) (*auth.Key, error) {
	switch key := k[hash]; {
	case key == nil:
		return nil, auth.ErrUnknownKey
	case key.Name == "old":
		return nil, auth.ErrExpiredKey
	default:
		return key, nil
	}
}

// add makes a key and gives its text.
func (k keyring) add(t *testing.T, grant auth.Grant) string {
	t.Helper()
	text := auth.NewText()
	hash, err := auth.Parse(text)
	require.NoError(t, err)
	k[hash] = &auth.Key{Hash: hash, Grant: grant}
	return text
}

// world is a console and a fake API below it.
type world struct {
	t       *testing.T
	engine  *gin.Engine
	source  *source
	answers map[string]any // by path, as the API is asked for it; missing ones are a 404
	asked   []*http.Request
	bodies  []string
}

// failing is an answer with another status.
type failing struct {
	status int
	detail string
}

func newWorld(t *testing.T, keys guard.Keys) *world {
	t.Helper()
	gin.SetMode(gin.ReleaseMode)
	w := &world{t: t, engine: gin.New(), answers: answers()}
	w.source = fullSource()
	options := console.Options{API: http.HandlerFunc(w.api), Source: w.source, Logger: slog.New(slog.DiscardHandler)}
	options.Guard = guard.New(guard.Options{Keys: keys, Now: time.Now, Registry: prometheus.NewRegistry(), Logger: options.Logger})
	w.engine.NoRoute(console.Register(w.engine, options))
	return w
}

func (w *world) api(writer http.ResponseWriter, r *http.Request) {
	w.asked = append(w.asked, r)
	content, err := io.ReadAll(r.Body)
	assert.NoError(w.t, err)
	w.bodies = append(w.bodies, string(content))
	answer, found := w.answers[r.URL.EscapedPath()]
	if !found {
		answer = failing{http.StatusNotFound, "there is nothing at this path"}
	}
	if answers, depends := answer.(func(url.Values) any); depends {
		answer = answers(r.URL.Query())
	}
	if f, isFailing := answer.(failing); isFailing {
		writer.Header().Set("Content-Type", "application/problem+json")
		writer.Header().Set("Retry-After", "7")
		writer.WriteHeader(f.status)
		answer = map[string]any{"status": f.status, "detail": f.detail}
	}
	_ = json.NewEncoder(writer).Encode(answer)
}

// visit is a request of a browser, with a cookie where there is a key.
func (w *world) visit(method, path, key string, form url.Values, headers ...string) *httptest.ResponseRecorder {
	w.t.Helper()
	request := httptest.NewRequestWithContext(w.t.Context(), method, path, strings.NewReader(form.Encode()))
	request.Header.Set("Accept", "text/html")
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if key != "" {
		request.AddCookie(&http.Cookie{Name: "readmark_key", Value: key})
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	answer := httptest.NewRecorder()
	w.engine.ServeHTTP(answer, request)
	return answer
}

// page is a page that is there.
func (w *world) page(path string) string {
	w.t.Helper()
	answer := w.visit(http.MethodGet, path, "", nil)
	require.Equal(w.t, http.StatusOK, answer.Code, "%s: %s", path, answer.Body)
	return answer.Body.String()
}

// escaped is a segment of a path of the API.
func escaped(id string) string { return strings.ReplaceAll(url.PathEscape(id), ".", "%2E") }

// answers are those of an API that knows one user and one group, both called hostile.
func answers() map[string]any {
	id := escaped(hostile)
	at := now().Format(time.RFC3339)
	state := map[string]any{
		"userID": hostile, "groupID": hostile, "unreadCount": 12345, "lastReadAt": at, "source": "receipt", "exact": true, "updatedAt": at, "asOf": at,
	}
	never := map[string]any{"userID": hostile + "2", "groupID": hostile, "unreadCount": 3, "source": "fact", "pending": true, "updatedAt": at}
	badge := map[string]any{"userID": hostile, "unreadCount": 12345, "unreadGroups": 1, "groups": 1, "exact": true, "asOf": at}
	sum := map[string]any{"groupID": hostile, "users": 2, "usersWithUnread": 2, "unreadCount": 12348, "maxUnread": 12345, "lastReadAt": at}
	hook := map[string]any{"id": "h1", "url": "https://" + hostile, "types": []string{}, "state": "failing", "description": hostile, "lastError": hostile, "failingSince": at, "behindSince": now().Add(-3 * time.Hour).Format(time.RFC3339)}
	hour, day := make([]int, 60), make([]int, 96)
	hour[59], day[95] = 9, 9
	items := func(list ...any) map[string]any { return map[string]any{"items": list, "nextCursor": "", "asOf": at} }
	return map[string]any{
		"/v1/users": items(badge), "/v1/users/" + id + "/unread": badge, "/v1/users/" + id + "/groups": items(state),
		"/v1/users/" + id + "/groups/" + id: state,
		"/v1/users/" + id + "/groups/" + id + "/receipts": items(map[string]any{
			"id": uuid.NewString(), "unreadCount": 5, "receivedAt": at, "dialect": "documented",
		}),
		"/v1/groups": items(sum), "/v1/groups/" + id + "/unread": sum, "/v1/groups/" + id + "/users": items(state, never),
		"/v1/changes":  items(map[string]any{"cursor": "c", "type": "state.changed", "at": at, "userID": hostile, "groupID": hostile, "state": state}),
		"/v1/webhooks": items(hook), "/v1/webhooks/h1": hook, "/v1/webhooks/h1/attempts": items(map[string]any{"at": at, "error": hostile, "answer": hostile}),
		"/v1/reminders":  items(map[string]any{"id": "r1", "name": hostile, "minUnread": 1, "after": "4h", "usersPrefix": hostile, "scope": "group", "createdAt": at}),
		"/v1/rejections": items(map[string]any{"id": "1", "at": at, "command": hostile, "errCode": 10001, "reason": hostile}),
		"/v1/drift": map[string]any{"users": 1, "usersChecked": 1, "pairs": 1, "pairsOff": 1, "staysOff": 1, "newestCheckAt": at, "items": []any{
			map[string]any{"userID": hostile, "groupID": hostile, "openimUnreadCount": 7, "reason": "behind", "explanation": hostile, "checkedAt": at},
		}},
		"/v1/stats": map[string]any{
			"asOf": at, "since": at,
			"conditions": []any{map[string]any{"part": "database", "reason": "refused", "detail": hostile, "advice": "start it", "since": at}},
			"callbacks": []any{
				map[string]any{"command": hostile, "result": "accepted", "total": 5, "perSecond": 12.34, "lastHour": hour, "lastDay": day},
				map[string]any{"command": hostile, "result": "rejected", "total": 5, "perSecond": 0, "lastHour": hour, "lastDay": day},
			},
			"reads":           map[string]any{"total": 7, "perSecond": 1, "p50Seconds": 0.0004, "p95Seconds": 0.002, "lastHour": hour},
			"newestCallbacks": []any{map[string]any{"at": at, "command": hostile, "userID": hostile, "groupID": hostile, "result": "accepted"}},
		},
	}
}

// fullSource has hostile texts wherever the console shows some.
func fullSource() *source {
	return &source{
		conditions: []api.Condition{{Part: "database", Reason: "refused", Detail: hostile, Advice: "start it", Since: now().Add(-time.Minute)}},
		keys:       []auth.Key{{Grant: auth.Grant{Name: "badge", Scopes: []auth.Scope{auth.ScopeRead}, UserPrefix: hostile, GroupPrefix: hostile}, CreatedAt: now()}},
		journal: []readstate.Entry{{Event: readstate.Event{
			Kind: readstate.EventReceipt, At: now(), UserID: hostile, GroupID: hostile, UnreadCount: 4,
		}}},
		report: console.Report{Findings: []console.Finding{{Level: "fail", Topic: hostile, Text: hostile}, {Level: "ok", Topic: "schema", Text: "it is current"}}},
	}
}

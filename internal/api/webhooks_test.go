package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// webhooks asks for something below /v1/webhooks.
func (s *service) webhooks(method, path, body string) (status int, answer map[string]any) {
	s.t.Helper()
	request := httptest.NewRequest(method, "/v1/webhooks"+path, strings.NewReader(body))
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	recorder := httptest.NewRecorder()
	s.handler.ServeHTTP(recorder, request)
	if recorder.Body.Len() > 0 {
		require.NoError(s.t, json.Unmarshal(recorder.Body.Bytes(), &answer), recorder.Body)
	}
	return recorder.Code, answer
}

// A webhook is made, read, changed, paused, resumed and deleted, and its secret is shown once.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	s := newService(t)
	status, made := s.webhooks(http.MethodPost, "", `{"url":"https://example.com/a","types":["state.removed","state.changed"],"usersPrefix":"shop-","description":"ü"}`)
	require.Equal(t, http.StatusCreated, status, made)
	require.Regexp(t, `^whsec_[A-Za-z0-9+/]{43}=$`, made["secret"])
	require.Equal(t, []any{"state.changed", "state.removed"}, made["types"])
	require.Equal(t, true, made["batch"])
	require.Equal(t, "active", made["state"])
	require.Contains(t, made, "lastSuccessAt")
	id := "/" + made["id"].(string)
	secret := made["secret"]
	delete(made, "secret")
	status, read := s.webhooks(http.MethodGet, id, "")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, made, read)
	_, list := s.webhooks(http.MethodGet, "", "")
	require.Equal(t, map[string]any{"items": []any{made}}, list)

	status, changed := s.webhooks(http.MethodPatch, id, `{"batch":false,"types":[],"paused":true}`)
	require.Equal(t, http.StatusOK, status, changed)
	require.Equal(t, false, changed["batch"])
	require.Empty(t, changed["types"])
	require.Equal(t, "https://example.com/a", changed["url"])
	require.Equal(t, "shop-", changed["usersPrefix"])
	require.Equal(t, "paused", changed["state"])
	require.Equal(t, "requested", changed["pauseReason"])
	_, changed = s.webhooks(http.MethodPatch, id, `{"paused":false,"usersPrefix":""}`)
	require.Equal(t, "active", changed["state"])
	require.Nil(t, changed["pausedAt"])
	require.Empty(t, changed["usersPrefix"])

	status, rotated := s.webhooks(http.MethodPost, id+"/rotate", `{"overlap":"2h"}`)
	require.Equal(t, http.StatusOK, status, rotated)
	require.NotEqual(t, secret, rotated["secret"])
	until, err := time.Parse(time.RFC3339, rotated["previousSecretUntil"].(string))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(2*time.Hour), until, time.Minute)

	status, replayed := s.webhooks(http.MethodPost, id+"/replay", `{"from":"2026-01-01T00:00:00Z"}`)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, map[string]any{"from": "2026-01-01T00:00:00Z", "complete": true}, replayed)

	// A name that leads nowhere: what is tried is noted.
	_, changed = s.webhooks(http.MethodPatch, id, `{"url":"http://localhost:1/x"}`)
	require.Equal(t, "http://localhost:1/x", changed["url"])
	status, tested := s.webhooks(http.MethodPost, id+"/test", "")
	require.Equal(t, http.StatusOK, status, tested)
	require.Nil(t, tested["status"])
	require.Contains(t, tested["error"], "no public address")
	_, attempts := s.webhooks(http.MethodGet, id+"/attempts?limit=1", "")
	require.Equal(t, map[string]any{"items": []any{tested}}, attempts)

	status, _ = s.webhooks(http.MethodDelete, id, "")
	require.Equal(t, http.StatusNoContent, status)
	for method, path := range map[string]string{
		http.MethodGet: id, http.MethodDelete: id, http.MethodPost: id + "/test", http.MethodHead: id + "/attempts",
	} {
		if status, _ = s.webhooks(method, path, ""); method != http.MethodHead {
			require.Equal(t, http.StatusNotFound, status, path)
		}
	}
	for path, body := range map[string]string{"/replay": `{"from":"2026-01-01T00:00:00Z"}`, "/rotate": `{}`} {
		status, _ = s.webhooks(http.MethodPost, id+path, body)
		require.Equal(t, http.StatusNotFound, status, path)
	}
	status, _ = s.webhooks(http.MethodPatch, id, `{}`)
	require.Equal(t, http.StatusNotFound, status)
	_, list = s.webhooks(http.MethodGet, "", "")
	require.Equal(t, map[string]any{"items": []any{}}, list)
}

// What cannot be taken is named.
func TestWebhooksInvalid(t *testing.T) {
	t.Parallel()
	s := newService(t)
	_, made := s.webhooks(http.MethodPost, "", `{"url":"https://example.com/a"}`)
	id := "/" + made["id"].(string)
	for body, location := range map[string]string{
		`{}`:                                     body(""),
		`{"url":""}`:                             body("url"),
		`{"url":"http://10.1.2.3/x"}`:            body("url"),
		`{"url":"http://u:hunter2@example.com"}`: body("url"),
		`{"url":"https://example.com","types":["all"]}`:          body("types"),
		`{"url":"https://example.com","usersPrefix":"a\u0000"}`:  body("usersPrefix"),
		`{"url":"https://example.com","secret":"whsec_x"}`:       body(""),
		`{"url":"https://example.com","description":"a\u0007b"}`: body("description"),
	} {
		status, problem := s.webhooks(http.MethodPost, "", body)
		require.Equal(t, http.StatusUnprocessableEntity, status, body)
		text, err := json.Marshal(problem)
		require.NoError(t, err)
		require.Contains(t, string(text), location)
		require.NotContains(t, string(text), "hunter2")
	}
	for path, list := range map[string][]string{
		"/replay": {`{}`, `{"from":""}`, `{"from":"yesterday"}`, `{"from":"2999-01-01T00:00:00Z"}`},
		"/rotate": {`{"overlap":"-1s"}`, `{"overlap":"721h"}`, `{"overlap":"soon"}`},
	} {
		for _, body := range list {
			status, _ := s.webhooks(http.MethodPost, id+path, body)
			require.Equal(t, http.StatusUnprocessableEntity, status, body)
		}
	}
	status, _ := s.webhooks(http.MethodPost, id+"/replay", `{"from":"YcvxkKOxkZWEawIA"}`)
	require.Equal(t, http.StatusUnprocessableEntity, status)
	status, _ = s.webhooks(http.MethodGet, "/nothing", "")
	require.Equal(t, http.StatusUnprocessableEntity, status)
	// A form on somebody's page may post without asking: it has no JSON.
	request := httptest.NewRequest(http.MethodPost, "/v1/webhooks"+id+"/rotate", strings.NewReader(`{}`))
	request.Header.Set("Content-Type", "text/plain")
	recorder := httptest.NewRecorder()
	s.handler.ServeHTTP(recorder, request)
	require.Equal(t, http.StatusUnsupportedMediaType, recorder.Code)
	request = httptest.NewRequest(http.MethodPost, "/v1/webhooks"+id+"/rotate", http.NoBody)
	recorder = httptest.NewRecorder()
	s.handler.ServeHTTP(recorder, request)
	require.GreaterOrEqual(t, recorder.Code, 400)
}

func body(field string) string {
	if field == "" {
		return `"location":"body`
	}
	return `"location":"body.` + field
}

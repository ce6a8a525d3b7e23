package server_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

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
	problem(f.do("DELETE", "/v1/users/u/unread", ""), 405)
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
			if strings.HasPrefix(path, "/v1/webhooks") || strings.HasPrefix(path, "/v1/reminders") {
				scope = "admin"
			}
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

// Reads are counted by how long they took; what waits, writes or is no route is none.
func TestReadLatencies(t *testing.T) {
	t.Parallel()
	f := newFixture("", false)
	read := func() (sum uint64) {
		bounds, counts := f.latencies()
		require.Len(t, counts, len(bounds)+1)
		for _, n := range counts {
			sum += n
		}
		return sum
	}
	require.Zero(t, read())
	f.do(http.MethodGet, "/v1/users/u/unread", "")
	f.do(http.MethodGet, "/v1/users/u/unread?x=1", "")
	f.do(http.MethodPost, "/v1/unread/query", "{")
	require.EqualValues(t, 3, read(), "also those that fail")
	f.do(http.MethodGet, "/v1/changes?limit=0", "")
	f.do(http.MethodPost, "/v1/reminders", "{")
	f.do(http.MethodGet, "/v1/nothing", "")
	f.do(http.MethodPost, "/callbackMadeUpCommand", "")
	require.EqualValues(t, 3, read())
}

package console_test

import (
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/auth"
)

// cookie is the one that an answer sets.
func cookie(t *testing.T, answer *httptest.ResponseRecorder) *http.Cookie {
	t.Helper()
	lines := answer.Header().Values("Set-Cookie")
	require.Len(t, lines, 1)
	parsed, err := http.ParseSetCookie(lines[0])
	require.NoError(t, err)
	return parsed
}

// Signing in keeps the key in a cookie that scripts and other sites do not have, and asks the API with it.
func TestSignIn(t *testing.T) {
	t.Parallel()
	keys := keyring{}
	key := keys.add(t, auth.Grant{Name: "reader", Scopes: []auth.Scope{auth.ScopeRead}})
	w := newWorld(t, keys)
	answer := w.visit(http.MethodGet, "/console/user?id=a%2Fb&x=1", "", nil)
	require.Equal(t, http.StatusSeeOther, answer.Code)
	to := answer.Header().Get("Location")
	require.Equal(t, "/console/sign-in?next="+url.QueryEscape("/console/user?id=a%2Fb&x=1"), to)
	require.Contains(t, w.visit(http.MethodGet, to, "", nil).Body.String(), `value="/console/user?id=a%2Fb&amp;x=1"`)

	answer = w.visit(http.MethodPost, "/console/sign-in", "", url.Values{"key": {" " + key + "\n"}, "next": {"/console/user?id=a%2Fb&x=1"}})
	require.Equal(t, http.StatusSeeOther, answer.Code)
	require.Equal(t, "/console/user?id=a%2Fb&x=1", answer.Header().Get("Location"))
	set := cookie(t, answer)
	require.Equal(t, key, set.Value)
	require.Equal(t, "/console", set.Path)
	require.True(t, set.HttpOnly)
	require.Equal(t, http.SameSiteStrictMode, set.SameSite)
	require.False(t, set.Secure)
	require.Zero(t, set.MaxAge, "until the browser is closed")
	secure := w.visit(http.MethodPost, "/console/sign-in", "", url.Values{"key": {key}}, "X-Forwarded-Proto", "https")
	require.True(t, cookie(t, secure).Secure)

	answer = w.visit(http.MethodGet, "/console/users", key, nil)
	require.Equal(t, http.StatusOK, answer.Code)
	require.Contains(t, answer.Body.String(), "reader")
	require.NotContains(t, answer.Body.String(), key)
	asked := w.asked[len(w.asked)-1]
	require.Equal(t, []string{"Bearer " + key}, asked.Header["Authorization"])
	require.Equal(t, "example.com", asked.Host, "as the browser has named it")

	answer = w.visit(http.MethodPost, "/console/sign-out", key, url.Values{})
	require.Equal(t, "/console/sign-in", answer.Header().Get("Location"))
	require.Negative(t, cookie(t, answer).MaxAge)
}

// A key that is not good leads to the sign-in page, which says why; the API is not asked.
func TestBadKeys(t *testing.T) {
	t.Parallel()
	keys := keyring{}
	expired := keys.add(t, auth.Grant{Name: "old"})
	w := newWorld(t, keys)
	for key, reason := range map[string]string{
		"rmk_x": "it is cut off or mistyped", auth.NewText(): "unknown or revoked", expired: "has expired",
	} {
		answer := w.visit(http.MethodPost, "/console/sign-in", "", url.Values{"key": {key}, "next": {"/console/users"}})
		require.Equal(t, http.StatusUnauthorized, answer.Code)
		require.Empty(t, answer.Header().Values("Set-Cookie"))
		require.Contains(t, answer.Body.String(), reason)
		require.NotContains(t, answer.Body.String(), key)
		answer = w.visit(http.MethodGet, "/console/users?prefix=a", key, nil)
		require.Equal(t, http.StatusUnauthorized, answer.Code)
		require.Negative(t, cookie(t, answer).MaxAge)
		require.Contains(t, answer.Body.String(), reason)
		require.Contains(t, answer.Body.String(), `value="/console/users?prefix=a"`)
	}
	require.Equal(t, http.StatusUnprocessableEntity, w.visit(http.MethodPost, "/console/sign-in", "", url.Values{}).Code)
	require.Equal(t, http.StatusUnauthorized, w.visit(http.MethodPost, "/console/keys", "", url.Values{}).Code)
	require.Empty(t, w.asked)
}

// Signing in leads to a page of the console and nowhere else.
func TestNextStaysHere(t *testing.T) {
	t.Parallel()
	keys := keyring{}
	key := keys.add(t, auth.Grant{Name: "reader", Scopes: []auth.Scope{auth.ScopeRead}})
	w := newWorld(t, keys)
	for _, next := range []string{
		"", "https://evil.example/console", "//evil.example/console", "/\\evil.example", "/console\\@evil.example", "/v1/users", "/console/../v1/users", "/console/%2e%2e/v1/users", "/consolex",
		"javascript:alert(1)", "/console/sign-in", "%zz",
	} {
		answer := w.visit(http.MethodPost, "/console/sign-in", "", url.Values{"key": {key}, "next": {next}})
		require.Equal(t, "/console", answer.Header().Get("Location"), next)
	}
}

// What another site's page sends is refused, and changes nothing.
func TestOtherSites(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, headers := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}} {
		for _, path := range []string{"/console/keys", "/console/keys/revoke", "/console/webhook", "/console/sign-in", "/console/reminders/delete"} {
			answer := w.visit(http.MethodPost, path, "", url.Values{"name": {"x"}, "scope": {"admin"}, "do": {"pause"}}, headers...)
			require.Equal(t, http.StatusForbidden, answer.Code, path)
		}
	}
	require.Empty(t, w.asked)
	require.Empty(t, w.source.added)
	require.Empty(t, w.source.revoked)
	require.Equal(t, http.StatusCreated, w.visit(http.MethodPost, "/console/keys", "", url.Values{"name": {"x"}, "scope": {"read"}}, "Sec-Fetch-Site", "same-origin").Code)
}

// What is no part of the API is closed to keys without the scope admin, and to prefixes.
func TestScopesAndPrefixes(t *testing.T) {
	t.Parallel()
	keys := keyring{}
	read := keys.add(t, auth.Grant{Name: "read", Scopes: []auth.Scope{auth.ScopeRead}})
	admin := keys.add(t, auth.Grant{Name: "admin", Scopes: []auth.Scope{auth.ScopeAdmin}})
	users := keys.add(t, auth.Grant{Name: "users", Scopes: []auth.Scope{auth.ScopeAdmin}, UserPrefix: "u-"})
	w := newWorld(t, keys)
	for _, c := range []struct {
		path                string
		read, admin, prefix int
	}{
		{"/console/keys", 403, 200, 403},
		{"/console/doctor", 403, 200, 403},
		{"/console/journal", 403, 200, 200},
		{"/console/journal?user=u-1", 403, 200, 200},
		{"/console/journal?user=x", 403, 200, 403},
		{"/console/journal?group=g", 403, 200, 403},
		{"/console/journal?user=u-1&group=g", 403, 200, 200},
		{"/console", 200, 200, 200},
	} {
		for key, status := range map[string]int{read: c.read, admin: c.admin, users: c.prefix} {
			answer := w.visit(http.MethodGet, c.path, key, nil)
			require.Equal(t, status, answer.Code, c.path)
			if status == http.StatusForbidden {
				require.Contains(t, answer.Body.String(), "This key may not")
			}
		}
	}
	for _, path := range []string{"/console/keys", "/console/keys/revoke"} {
		for _, key := range []string{read, users} {
			require.Equal(t, http.StatusForbidden, w.visit(http.MethodPost, path, key, url.Values{"name": {"x"}, "scope": {"admin"}}).Code)
		}
	}
	require.Empty(t, w.source.added)
	require.Empty(t, w.source.revoked)
	// The menu has what the key opens, and the conditions are for keys without prefixes.
	require.NotContains(t, w.visit(http.MethodGet, "/console", read, nil).Body.String(), "/console/keys")
	require.Contains(t, w.visit(http.MethodGet, "/console", admin, nil).Body.String(), "/console/keys")
	overview := w.visit(http.MethodGet, "/console", users, nil).Body.String()
	require.Contains(t, overview, "limited to users that begin with u-")
	require.NotContains(t, overview, "refused</span>")
}

// A key is made as the form says, shown once, and revoked.
func TestMakeKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	answer := w.visit(http.MethodPost, "/console/keys", "", url.Values{
		"name": {"badge"}, "scope": {"read", "erase"}, "users": {"u-"}, "groups": {""}, "expires": {"30d"},
	})
	require.Equal(t, http.StatusCreated, answer.Code)
	require.Equal(t, 1, strings.Count(answer.Body.String(), "rmk_made"))
	require.Equal(t, "no-store", answer.Header().Get("Cache-Control"))
	require.Equal(t, []auth.Grant{{Name: "badge", Scopes: []auth.Scope{auth.ScopeRead, auth.ScopeErase}, UserPrefix: "u-"}}, w.source.added)
	require.NotContains(t, w.page("/console/keys"), "rmk_made")
	for _, c := range []struct {
		form   url.Values
		status int
		says   string
	}{
		{url.Values{"name": {""}, "scope": {"read"}}, 422, "The name must be"},
		{url.Values{"name": {"a b"}, "scope": {"read"}}, 422, "The name must be"},
		{url.Values{"name": {"a"}}, 422, "Choose at least one scope"},
		{url.Values{"name": {"a"}, "scope": {"root"}}, 422, "The scopes must be"},
		{url.Values{"name": {"a"}, "scope": {"read"}, "users": {"\x00"}}, 422, "The beginning of the IDs of users"},
		{url.Values{"name": {"a"}, "scope": {"read"}, "expires": {"1y"}}, 422, "how long the key is good"},
		{url.Values{"name": {"taken"}, "scope": {"read"}}, 409, "There is a key of this name"},
	} {
		answer := w.visit(http.MethodPost, "/console/keys", "", c.form)
		require.Equal(t, c.status, answer.Code, c.says)
		require.Contains(t, answer.Body.String(), c.says)
	}
	require.Len(t, w.source.added, 1)
	require.Equal(t, http.StatusSeeOther, w.visit(http.MethodPost, "/console/keys/revoke", "", url.Values{"name": {"badge"}}).Code)
	require.Equal(t, []string{"badge"}, w.source.revoked)
}

// Buttons of webhooks and reminders do what the API does.
func TestActions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.answers["/v1/webhooks/h1/test"] = map[string]any{"status": 204, "durationMs": 12}
	w.answers["/v1/webhooks/h1/replay"] = map[string]any{"complete": true}
	w.answers["/v1/reminders/r1"] = map[string]any{}
	last := func() string {
		for i := len(w.asked) - 1; i >= 0; i-- {
			if w.asked[i].Method != http.MethodGet {
				return w.asked[i].Method + " " + w.asked[i].URL.Path + " " + w.bodies[i]
			}
		}
		return ""
	}
	for _, c := range []struct {
		path   string
		form   url.Values
		status int
		asked  string
	}{
		{"/console/webhook", url.Values{"id": {"h1"}, "do": {"pause"}}, 303, `PATCH /v1/webhooks/h1 {"paused":true}`},
		{"/console/webhook", url.Values{"id": {"h1"}, "do": {"resume"}}, 303, `PATCH /v1/webhooks/h1 {"paused":false}`},
		{"/console/webhook", url.Values{"id": {"h1"}, "do": {"test"}}, 200, `POST /v1/webhooks/h1/test `},
		{"/console/webhook", url.Values{"id": {"h1"}, "do": {"replay"}, "from": {"2026-11-26T10:00:00Z"}}, 303, `POST /v1/webhooks/h1/replay {"from":"2026-11-26T10:00:00Z"}`},
		{
			"/console/reminders",
			url.Values{"name": {"n"}, "after": {"4h"}, "minUnread": {"2"}, "scope": {"user"}, "usersPrefix": {"u"}},
			303,
			`POST /v1/reminders {"after":"4h","minUnread":2,"name":"n","scope":"user","usersPrefix":"u"}`,
		},
		{"/console/reminders/delete", url.Values{"id": {"r1"}}, 303, `DELETE /v1/reminders/r1 `},
	} {
		answer := w.visit(http.MethodPost, c.path, "", c.form)
		require.Equal(t, c.status, answer.Code, answer.Body)
		require.Equal(t, c.asked, last())
	}
	require.Equal(t, http.StatusUnprocessableEntity, w.visit(http.MethodPost, "/console/webhook", "", url.Values{"id": {"h1"}, "do": {"x"}}).Code)
	w.answers["/v1/webhooks/h1/replay"] = failing{http.StatusUnprocessableEntity, "from is no moment"}
	answer := w.visit(http.MethodPost, "/console/webhook", "", url.Values{"id": {"h1"}, "do": {"replay"}})
	require.Equal(t, http.StatusUnprocessableEntity, answer.Code)
	require.Contains(t, answer.Body.String(), "From is no moment.")
	require.Contains(t, answer.Body.String(), "Attempts")
}

// The stream is the API's, with the key and the filters of whoever looks.
func TestEvents(t *testing.T) {
	t.Parallel()
	keys := keyring{}
	key := keys.add(t, auth.Grant{Name: "reader", Scopes: []auth.Scope{auth.ScopeRead}})
	w := newWorld(t, keys)
	answer := w.visit(http.MethodGet, "/console/events?userID=a%2Fb&types=&other=1&after=c1", key, nil, "Last-Event-ID", "c9")
	require.Equal(t, http.StatusOK, answer.Code)
	asked := w.asked[0]
	require.Equal(t, "/v1/changes?after=c1&userID=a%2Fb", asked.URL.RequestURI())
	require.Equal(t, "text/event-stream", asked.Header.Get("Accept"))
	require.Equal(t, "c9", asked.Header.Get("Last-Event-ID"))
	require.Equal(t, "Bearer "+key, asked.Header.Get("Authorization"))
	require.Equal(t, http.StatusSeeOther, w.visit(http.MethodGet, "/console/events", "", nil).Code)
}

// Without scripts, the list of changes grows from where the page was loaded first until it is full, and goes on
// from there; the stream begins where the list ends.
func TestLiveList(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	addresses := func(path string) (refresh, events string) {
		t.Helper()
		page := html.UnescapeString(w.page(path))
		_, after, found := strings.Cut(page, `<a class="button" href="`)
		require.True(t, found)
		refresh, _, _ = strings.Cut(after, `"`)
		_, after, _ = strings.Cut(page, `data-events="`)
		events, _, _ = strings.Cut(after, `"`)
		return refresh, events
	}
	list := func(n int) {
		changes := make([]any, n)
		for i := range changes {
			changes[i] = map[string]any{"cursor": "c", "type": "state.changed", "at": now().Format(time.RFC3339), "userID": "u", "groupID": "g"}
		}
		w.answers["/v1/changes"] = map[string]any{"items": changes, "nextCursor": "c2"}
	}
	list(0)
	refresh, events := addresses("/console/live?userID=u")
	require.Equal(t, "/console/live?after=c2&userID=u", refresh)
	require.Equal(t, "/console/events?after=c2&userID=u", events)
	list(49)
	refresh, events = addresses("/console/live?after=c1")
	require.Equal(t, "/console/live?after=c1", refresh)
	require.Equal(t, "/console/events?after=c2", events)
	list(50)
	refresh, _ = addresses("/console/live?after=c1")
	require.Equal(t, "/console/live?after=c2", refresh)
	w.answers["/v1/changes"] = failing{http.StatusGone, "not kept"}
	require.Equal(t, http.StatusGone, w.visit(http.MethodGet, "/console/live?after=c1", "", nil).Code)
	w.answers["/v1/changes"] = func(query url.Values) any { // what came after the place is not kept any more
		if query.Has("after") {
			return failing{http.StatusGone, "not kept"}
		}
		return map[string]any{"items": []any{}, "nextCursor": "c9"}
	}
	refresh, _ = addresses("/console/live?after=c1")
	require.Equal(t, "/console/live?after=c9", refresh)
}

// Where nobody is asked for a key there is nothing to sign in to.
func TestOpen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	require.Equal(t, "/console", w.visit(http.MethodGet, "/console/sign-in", "", nil).Header().Get("Location"))
	require.NotContains(t, w.page("/console"), "Sign out")
	require.Contains(t, w.page("/console/keys"), "Keys are not asked for here")
	require.NotContains(t, w.asked[0].Header, "Authorization")
}

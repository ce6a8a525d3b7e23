package cli_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
)

// attack is an ID that would run a script where it is not escaped.
const attack = "<img src=x onerror=alert(1)>"

// browser visits the console and keeps its cookie.
type browser struct {
	t      *testing.T
	url    string
	client *http.Client
}

func (s *service) browser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &browser{t: t, url: s.URL, client: &http.Client{Transport: transport, Jar: jar}}
}

// visit gets a page, or posts a form where there is one.
func (b *browser) visit(path string, form url.Values) (status int, page string) {
	b.t.Helper()
	method := http.MethodGet
	if form != nil {
		method = http.MethodPost
	}
	request, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(form.Encode()))
	require.NoError(b.t, err)
	request.Header.Set("Accept", "text/html")
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("Origin", b.url)
	}
	response, err := b.client.Do(request)
	require.NoError(b.t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	require.NoError(b.t, err)
	return response.StatusCode, string(content)
}

// shows gets a page that is there and has some texts.
func (b *browser) shows(path string, texts ...string) string {
	b.t.Helper()
	status, page := b.visit(path, nil)
	require.Equal(b.t, http.StatusOK, status, "%s: %s", path, page)
	for _, text := range texts {
		require.Contains(b.t, page, text, path)
	}
	return page
}

// The console shows what callbacks have told: the root leads to it, and no ID becomes a part of a page.
func TestConsoleShowsWhatArrived(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": pgtest.Empty(t)})
	s.message("callbackAfterMsgSaveDBCommand", "sender", "team", 1, 41)
	s.read("user123", "team", 5)
	s.read(attack, attack, 7)
	s.read(attack, "team", 9)
	b := s.browser(t)
	b.shows("/", "<h1>Overview</h1>")
	id := url.QueryEscape(attack)
	b.shows("/console/user?id=user123", "<b>5</b>", "estimate", "team")
	b.shows("/console/group?id=team", "<b>14</b>", "Number of the last message: between 41 and 41, now 41", "sender")
	b.shows("/console/pair?span=1h&user=user123&group=team", "Unread messages: between 5 and 5, now 5", "documented")
	b.shows("/console/journal?group=team", "4", "seq 41", "5 unread")
	b.shows("/console/doctor", "schema", "It is ready.")
	for _, path := range []string{
		"/console", "/console/users?prefix=" + id, "/console/user?id=" + id, "/console/groups?prefix=" + id, "/console/group?id=" + id,
		"/console/group?id=team", "/console/pair?user=" + id + "&group=" + id, "/console/live?userID=" + id, "/console/webhooks",
		"/console/keys", "/console/journal?user=" + id + "&group=" + id, "/console/doctor",
	} {
		require.NotContains(t, b.shows(path), "<img src=x", path)
	}
	status, page := b.visit("/console/user?id="+id+"2", nil)
	require.Equal(t, http.StatusNotFound, status)
	require.Contains(t, page, "Unknown is not zero")
	require.Contains(t, page, "&lt;img src=x onerror=alert(1)&gt;2")
	s.end()
}

// Keys hold in the console as in the API: by their scopes, prefixes and life.
func TestConsoleHoldsKeys(t *testing.T) {
	t.Parallel()
	environment := withKeys(t)
	reader := makeKey(t, environment, "--name", "reader", "--scope", "read")
	narrow := makeKey(t, environment, "--name", "narrow", "--scope", "admin", "--users", "u-")
	admin := makeKey(t, environment, "--name", "admin", "--scope", "admin")
	s := serve(t, environment)
	s.read("u-1", "g", 3)
	s.read("x", "g", 4)

	signedIn := func(key string) *browser {
		b := s.browser(t)
		status, page := b.visit("/console", nil)
		require.Equal(t, http.StatusOK, status)
		require.Contains(t, page, "<h1>Sign in</h1>")
		status, page = b.visit("/console/sign-in", url.Values{"key": {key}, "next": {"/console"}})
		require.Equal(t, http.StatusOK, status, page)
		require.Contains(t, page, "<h1>Overview</h1>")
		return b
	}
	forbidden := func(b *browser, path string) {
		t.Helper()
		status, page := b.visit(path, nil)
		require.Equal(t, http.StatusForbidden, status, path)
		require.Contains(t, page, "This key may not", path)
	}
	b := signedIn(reader)
	b.shows("/console/user?id=x", "<b>4</b>")
	for _, path := range []string{"/console/keys", "/console/journal?user=x", "/console/doctor", "/console/webhooks"} {
		forbidden(b, path)
	}
	status, _ := b.visit("/console/keys", url.Values{"name": {"more"}, "scope": {"admin"}})
	require.Equal(t, http.StatusForbidden, status)

	b = signedIn(narrow)
	b.shows("/console/user?id=u-1", "<b>3</b>")
	b.shows("/console/journal?user=u-1", "3 unread")
	for _, path := range []string{"/console/user?id=x", "/console/group?id=g", "/console/journal?user=x", "/console/keys", "/console/doctor"} {
		forbidden(b, path)
	}
	status, _ = b.visit("/console/keys", url.Values{"name": {"more"}, "scope": {"admin"}})
	require.Equal(t, http.StatusForbidden, status)

	b = signedIn(admin)
	status, page := b.visit("/console/keys", url.Values{"name": {"made-here"}, "scope": {"read"}, "users": {"u-"}, "expires": {"30d"}})
	require.Equal(t, http.StatusCreated, status)
	made := regexp.MustCompile(`rmk_[0-9A-Za-z]{49}`).FindString(page)
	require.NotEmpty(t, made)
	require.NotContains(t, b.shows("/console/keys", "made-here", "u-…"), made)
	require.Equal(t, http.StatusOK, s.ask(made, http.MethodGet, "/v1/users/u-1/unread", "").status)
	require.Equal(t, http.StatusForbidden, s.ask(made, http.MethodGet, "/v1/users/x/unread", "").status)
	guest := signedIn(made)
	status, page = b.visit("/console/keys/revoke", url.Values{"name": {"made-here"}})
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, page, "revoked")
	require.Eventually(t, func() bool { // within five seconds, says the CLI
		status, page = guest.visit("/console/user?id=u-1", nil)
		return status == http.StatusUnauthorized
	}, time.Minute, 10*time.Millisecond)
	require.Contains(t, page, "unknown or revoked")

	status, page = s.browser(t).visit("/console/sign-in", url.Values{"key": {reader[:20]}})
	require.Equal(t, http.StatusUnauthorized, status)
	require.Contains(t, page, "cut off or mistyped")
	for _, key := range []string{reader, narrow, admin, made} {
		require.NotContains(t, s.log.String(), key)
	}
	s.end()
}

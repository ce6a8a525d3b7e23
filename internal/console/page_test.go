package console_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"readmark/internal/console"
	"readmark/internal/readstate"
)

// allPages are all pages of the console, about what the fake API knows.
func allPages() []string {
	id := url.QueryEscape(hostile)
	return []string{
		"/console", "/console/users", "/console/users?prefix=" + id, "/console/user?id=" + id, "/console/pair?user=" + id + "&group=" + id,
		"/console/groups", "/console/groups?prefix=" + id, "/console/group?id=" + id, "/console/group?span=7d&id=" + id,
		"/console/live", "/console/live?userID=" + id + "&groupID=" + id + "&usersPrefix=" + id,
		"/console/webhooks", "/console/webhook?id=h1", "/console/keys", "/console/journal", "/console/journal?user=" + id + "&group=" + id, "/console/doctor",
	}
}

// element is an element of a page, with its attributes.
type element struct {
	*html.Node
	attributes map[string]string
}

// elements lists all elements of a page.
func elements(t *testing.T, page string) (list []element) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	require.NoError(t, err)
	for node := range root.Descendants() {
		if node.Type == html.ElementNode {
			e := element{node, map[string]string{}}
			for _, attribute := range node.Attr {
				e.attributes[attribute.Key] = attribute.Val
			}
			list = append(list, e)
		}
	}
	return list
}

// text is all text within an element.
func (e element) text() string {
	var b strings.Builder
	for node := range e.Descendants() {
		if node.Type == html.TextNode {
			b.WriteString(node.Data)
		}
	}
	return b.String()
}

// No ID, and no other text from outside, becomes a part of the page; nothing is loaded from elsewhere, and
// nothing would have to be allowed inline.
func TestPagesAreInert(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, path := range allPages() {
		answer := w.visit(http.MethodGet, path, "", nil)
		require.Equal(t, http.StatusOK, answer.Code, "%s: %s", path, answer.Body)
		policy := answer.Header().Get("Content-Security-Policy")
		require.Contains(t, policy, "default-src 'none'")
		require.NotContains(t, policy, "unsafe")
		require.Equal(t, "no-store", answer.Header().Get("Cache-Control"))
		scripts, images := 0, 0
		for _, e := range elements(t, answer.Body.String()) {
			switch e.Data {
			case "script":
				scripts++
				require.Empty(t, e.text(), path)
			case "img":
				images++
			case "style", "iframe", "object", "embed", "base":
				t.Fatalf("%s has %s", path, e.Data)
			}
			for name, value := range e.attributes {
				require.False(t, strings.HasPrefix(name, "on"), "%s: %s", path, name)
				require.NotEqual(t, "style", name, path)
				if name == "href" || name == "src" || name == "action" {
					require.True(t, strings.HasPrefix(value, "/console") || value == "#main" || value == "/docs", "%s: %s", path, value)
				}
			}
		}
		require.Equal(t, []int{1, 1}, []int{scripts, images}, path)
	}
}

// Links lead to the user, group or pair that they are named after.
func TestLinksCarryIDs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	found := map[string]bool{}
	for _, path := range allPages() {
		for _, e := range elements(t, w.page(path)) {
			link, err := url.Parse(e.attributes["href"])
			require.NoError(t, err)
			if e.Data != "a" || !strings.HasPrefix(link.Path, console.Path) {
				continue
			}
			for _, name := range []string{"id", "user", "group"} {
				if id := link.Query().Get(name); id != "" && id != "h1" {
					require.Contains(t, []string{hostile, hostile + "2"}, id, path)
					found[link.Path+" "+name] = true
				}
			}
		}
	}
	for _, want := range []string{"/console/user id", "/console/group id", "/console/pair user", "/console/pair group"} {
		require.True(t, found[want], want)
	}
	// The API is asked for exactly that ID, also where it would be another path.
	w.answers["/v1/users/"+escaped("..")+"/unread"] = w.answers["/v1/users/"+escaped(hostile)+"/unread"]
	w.answers["/v1/users/"+escaped("..")+"/groups"] = w.answers["/v1/users/"+escaped(hostile)+"/groups"]
	require.Contains(t, w.page("/console/user?id=.."), "12\u202f345")
}

// What a screen reader needs: landmarks, one heading of the first level, a name for each field and table
// column, and where one is.
func TestPagesAreAccessible(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, path := range allPages() {
		list := elements(t, w.page(path))
		count, ids, labelled := map[string]int{}, map[string]int{}, map[string]bool{}
		for _, e := range list {
			count[e.Data]++
			if id := e.attributes["id"]; id != "" {
				ids[id]++
			}
			if e.Data == "label" {
				labelled[e.attributes["for"]] = true
			}
			if e.attributes["aria-current"] == "page" {
				count["current"]++
			}
		}
		for _, name := range []string{"main", "header", "footer", "h1", "current"} {
			require.Equal(t, 1, count[name], "%s: %s", path, name)
		}
		for id, n := range ids {
			require.Equal(t, 1, n, "%s: %s", path, id)
		}
		for _, e := range list {
			switch e.Data {
			case "html":
				require.Equal(t, "en", e.attributes["lang"])
			case "th":
				require.Contains(t, []string{"col", "row"}, e.attributes["scope"], "%s: %s", path, e.text())
				require.NotEmpty(t, e.text(), path)
			case "input", "select":
				if kind := e.attributes["type"]; kind != "hidden" && e.Parent.Data != "label" {
					require.True(t, labelled[e.attributes["id"]], "%s: %s", path, e.attributes["name"])
				}
			case "svg":
				require.Equal(t, "img", e.attributes["role"], path)
				require.NotEmpty(t, e.attributes["aria-label"], path)
			case "img":
				require.Contains(t, e.attributes, "alt", path)
			case "a", "button":
				require.NotEmpty(t, strings.TrimSpace(e.text()), path)
			}
			for _, name := range []string{"aria-labelledby", "aria-describedby"} {
				if id := e.attributes[name]; id != "" {
					require.Equal(t, 1, ids[id], "%s: %s", path, id)
				}
			}
		}
	}
}

// Pages say what they are about.
func TestPagesShow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	id := url.QueryEscape(hostile)
	for path, wanted := range map[string][]string{
		"/console":                {"12.3", "400 µs", "2.0 ms", "Callbacks per minute in the last hour", "accepted", "rejected", "10001", "unknown", "Start it.", "By command and result"},
		"/console/users":          {"12\u202f345", "exact", "What exact, pending and source mean"},
		"/console/groups":         {"12\u202f348", "estimate", "The fullest first"},
		"/console/user?id=" + id:  {"12\u202f345", "History", "a read callback that named the count"},
		"/console/group?id=" + id: {"Never read", "over 1\u202f000", "Who never read", "pending", "Number of the last message: between 48 and 96, now 96"},
		"/console/webhook?id=h1":  {"Lag</dt><dd>3 h<", "Send a test", "Pause", "Replay"},
		"/console/webhooks":       {"failing", "<td>3 h</td>", "1 message has been unread for 4h in one group"},
		"/console/keys":           {"badge", "Revoke", "Make a key"},
		"/console/journal?user=u": {"read, with a count", "4 unread"},
		"/console/doctor":         {"Not all is well", "It is current."},
		"/console/live":           {"state.changed", "/console/events"},
		"/console/pair?span=1h&user=" + id + "&group=" + id: {"Unread messages: between 48 and 96, now 96", "documented"},
	} {
		page := html.UnescapeString(w.page(path))
		for _, text := range wanted {
			require.Contains(t, page, text, path)
		}
	}
	w.source.conditions = nil
	w.answers["/v1/stats"] = failing{http.StatusServiceUnavailable, "away"}
	require.Contains(t, w.page("/console"), "All is well.")
}

// A part that cannot be had, or the key does not open, is a sentence; the rest is shown.
func TestPartsMayBeMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, path := range []string{"/v1/stats", "/v1/rejections", "/v1/users", "/v1/groups"} {
		w.answers[path] = failing{http.StatusServiceUnavailable, "away: " + path}
	}
	w.answers["/v1/drift"] = failing{http.StatusForbidden, "the API key is limited by a prefix"}
	page := w.page("/console")
	require.Contains(t, page, "Away: /v1/stats.")
	require.Contains(t, page, "Away: /v1/rejections.")
	require.Contains(t, page, "The API key is limited by a prefix.")
	require.Contains(t, w.page("/console/users"), "Away: /v1/users.")
	require.Contains(t, w.page("/console/groups?prefix=a"), "Away: /v1/groups.")
	w.answers["/v1/stats"] = failing{http.StatusServiceUnavailable, "the database cannot be reached"}
	require.Contains(t, w.page("/console"), "for 60 s", "conditions are told while nothing can be read")
}

// While the database is away, pages that ask more than the read API say so, too.
func TestSourceAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.source.err = fmt.Errorf("count: %w", readstate.ErrUnavailable)
	id := url.QueryEscape(hostile)
	for _, path := range []string{"/console/pair?user=" + id + "&group=" + id, "/console/group?id=" + id, "/console/journal?user=u", "/console/keys"} {
		answer := w.visit(http.MethodGet, path, "", nil)
		require.Equal(t, http.StatusServiceUnavailable, answer.Code, path)
		require.Contains(t, answer.Body.String(), "Nothing can be read at the moment", path)
	}
}

// What the API refuses is a page of the same status, in words.
func TestFailures(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for status, text := range map[int]string{
		http.StatusNotFound: "Unknown is not zero", http.StatusForbidden: "This key may not see or do this",
		http.StatusTooManyRequests: "READMARK_RATE_LIMIT", http.StatusServiceUnavailable: "Nothing can be read at the moment",
		http.StatusUnprocessableEntity: "This cannot be looked up", http.StatusInternalServerError: "did not answer as expected",
	} {
		w.answers["/v1/users/u/unread"] = failing{status, "the reason is <b>this</b>"}
		answer := w.visit(http.MethodGet, "/console/user?id=u", "", nil)
		require.Equal(t, status, answer.Code)
		require.Contains(t, answer.Body.String(), text)
		require.NotContains(t, answer.Body.String(), "<b>this")
		if status == http.StatusTooManyRequests {
			require.Equal(t, "7", answer.Header().Get("Retry-After"))
		}
	}
	for path, status := range map[string]int{
		"/console/nothing": 404, "/console/user": 422, "/console/user?id=a%00": 422, "/console/pair?user=a": 422, "/console/user?id=%zz": 400,
		"/console/journal?user=u&from=yesterday": 422, "/console/journal?user=u&before=x": 422,
		"/console/journal?user=u&from=2026-11-26T12:00:00&to=2026-11-26T11:00:00": 422,
	} {
		answer := w.visit(http.MethodGet, path, "", nil)
		require.Equal(t, status, answer.Code, path)
		require.Contains(t, answer.Body.String(), "<main", path)
	}
}

func TestRoot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	answer := w.visit(http.MethodGet, "/", "", nil)
	require.Equal(t, http.StatusSeeOther, answer.Code)
	require.Equal(t, "/console", answer.Header().Get("Location"))
	require.Equal(t, "/console", w.visit(http.MethodGet, "/console/", "", nil).Header().Get("Location"))
	answer = w.visit(http.MethodGet, "/", "", nil, "Accept", "*/*")
	require.Equal(t, http.StatusOK, answer.Code)
	require.Equal(t, "readmark is up; API at /v1, docs at /docs\n", answer.Body.String())
	require.Equal(t, "text/plain; charset=utf-8", answer.Header().Get("Content-Type"))
}

// Files may be kept for long under the address that pages load them from, and only there.
func TestStatic(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	loaded := 0
	for _, e := range elements(t, w.page("/console")) {
		for _, name := range []string{"src", "href"} {
			path := e.attributes[name]
			if !strings.HasPrefix(path, "/console/static/") {
				continue
			}
			loaded++
			answer := w.visit(http.MethodGet, path, "", nil)
			require.Equal(t, http.StatusOK, answer.Code)
			require.Contains(t, answer.Header().Get("Cache-Control"), "immutable")
			plain, _, _ := strings.Cut(path, "?")
			require.Equal(t, "no-cache", w.visit(http.MethodGet, plain, "", nil).Header().Get("Cache-Control"))
			require.NotContains(t, strings.ReplaceAll(answer.Body.String(), "http://www.w3.org/2000/svg", ""), "://", "nothing from elsewhere")
		}
	}
	require.Equal(t, 4, loaded)
	require.Equal(t, http.StatusNotFound, w.visit(http.MethodGet, "/console/static/..%2Fconsole.go", "", nil).Code)
}

// The journal is asked for the range and the place that the address names, and older rows follow.
func TestJournalRange(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.source.journal = make([]readstate.Entry, 51)
	for i := range w.source.journal {
		w.source.journal[i] = readstate.Entry{Event: readstate.Event{
			Kind: readstate.EventMessage, ID: readstate.ID{byte(i)}, At: now().Add(-time.Duration(i) * time.Microsecond), UserID: "u", GroupID: hostile,
		}}
	}
	page := w.page("/console/journal?group=" + url.QueryEscape(hostile) + "&from=2026-11-26T10:00&to=2026-11-26T12:00:01")
	require.Equal(t, readstate.History{
		GroupID: hostile, From: now().Add(-2 * time.Hour), To: now().Add(time.Second), Limit: 51,
	}, w.source.asked[0])
	older := ""
	for _, e := range elements(t, page) {
		if e.attributes["rel"] == "next" {
			older = e.attributes["href"]
		}
	}
	require.Equal(t, 50, strings.Count(page, "no seq yet"))
	w.page(older)
	last := &w.source.journal[49]
	want := w.source.asked[0]
	want.Before = readstate.EventCursor{At: last.At, ID: last.ID}
	require.Equal(t, want, w.source.asked[1])
	require.Contains(t, w.page("/console/journal"), "Name a user, a group, or both.")
	require.Len(t, w.source.asked, 2)
}

// Lists lead to their next page, and back to the first.
func TestListsHavePages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	id := escaped(hostile)
	for path, page := range map[string]string{
		"/v1/users": "/console/users?prefix=a%26b", "/v1/groups": "/console/groups?prefix=a%26b",
		"/v1/users/" + id + "/groups":                     "/console/user?id=" + url.QueryEscape(hostile),
		"/v1/groups/" + id + "/users":                     "/console/group?id=" + url.QueryEscape(hostile),
		"/v1/users/" + id + "/groups/" + id + "/receipts": "/console/pair?user=" + url.QueryEscape(hostile) + "&group=" + url.QueryEscape(hostile),
	} {
		answer := w.answers[path].(map[string]any)
		answer["nextCursor"] = "c+/=&"
		require.Contains(t, html.UnescapeString(w.page(page)), page+"&cursor=c%2B%2F%3D%26", path)
		w.asked = nil
		require.Contains(t, html.UnescapeString(w.page(page+"&cursor=c%2B%2F%3D%26")), `href="`+page+`">First page`, path)
		found := false
		for _, r := range w.asked {
			found = found || r.URL.EscapedPath() == path && r.URL.Query().Get("cursor") == "c+/=&"
		}
		require.True(t, found, path)
	}
}

package client_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/client"
)

// answers gives a server that answers with these statuses, one after the other.
func answers(t testing.TB, asked *[]*http.Request, statuses ...int) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r)
		status := statuses[min(len(*asked), len(statuses))-1]
		w.Header().Set("Retry-After", "0")
		if status != http.StatusOK {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(`{"type":"urn:readmark:problem:unknown","title":"T","status":1,"detail":"why","errors":[{"location":"query.limit","message":"is wrong"}]}`))
			return
		}
		_, _ = w.Write([]byte(`{"userID":"u","unreadCount":3,"unreadGroups":1,"groups":1,"asOf":"2026-11-24T00:00:00Z"}`))
	}))
	t.Cleanup(server.Close)
	return server
}

// Reads are tried again where that may help, writes never.
func TestRetries(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		statuses []int
		tried    int
		err      error
	}{
		{[]int{200}, 1, nil},
		{[]int{503, 429, 502, 200}, 4, nil},
		{[]int{503}, 4, client.ErrUnavailable},
		{[]int{429}, 4, client.ErrTooManyRequests},
		{[]int{404}, 1, client.ErrUnknown},
		{[]int{401}, 1, client.ErrUnauthorized},
		{[]int{403}, 1, client.ErrForbidden},
		{[]int{410}, 1, client.ErrGone},
		{[]int{422}, 1, client.ErrInvalid},
	} {
		var asked []*http.Request
		c, err := client.New(answers(t, &asked, test.statuses...).URL+"/", client.Options{Key: "rmk_x"})
		require.NoError(t, err)
		badge, err := c.Badge(t.Context(), "u")
		require.ErrorIs(t, err, test.err)
		require.Len(t, asked, test.tried)
		require.Equal(t, "Bearer rmk_x", asked[0].Header.Get("Authorization"))
		if test.err == nil {
			require.EqualValues(t, 3, badge.UnreadCount)
			continue
		}
		require.Nil(t, badge)
		var problem *client.Error
		require.ErrorAs(t, err, &problem)
		require.Equal(t, test.statuses[len(test.statuses)-1], problem.Status)
		require.ErrorContains(t, err, "T: why; query.limit is wrong")
	}
	var asked []*http.Request
	c, err := client.New(answers(t, &asked, 503).URL, client.Options{})
	require.NoError(t, err)
	_, err = c.EraseUser(t.Context(), "u")
	require.ErrorIs(t, err, client.ErrUnavailable)
	_, err = c.Query(t.Context(), nil, []string{"u"})
	require.ErrorIs(t, err, client.ErrUnavailable)
	require.Len(t, asked, 2)
}

func TestBaseURL(t *testing.T) {
	t.Parallel()
	for _, wrong := range []string{"", "readmark:8080", "ftp://h", "http://", "http://h?x=1", "http://h\x00"} {
		_, err := client.New(wrong, client.Options{})
		require.Error(t, err, wrong)
	}
	var asked []*http.Request
	server := answers(t, &asked, 200)
	c, err := client.New(server.URL+"/v1/behind%2Fa/proxy/", client.Options{})
	require.NoError(t, err)
	_, err = c.Badge(t.Context(), "v1")
	require.NoError(t, err)
	_, err = c.State(t.Context(), "a/v1/b", "..")
	require.NoError(t, err)
	_, err = c.Drift(t.Context())
	require.NoError(t, err)
	for i, want := range []string{"/users/v1/unread", "/users/a%2Fv1%2Fb/groups/%2E%2E", "/drift"} {
		require.Equal(t, "/v1/behind%2Fa/proxy/v1"+want, asked[i].URL.EscapedPath())
	}
}

// serving gives a client of a server that answers as told.
func serving(t testing.TB, handler http.HandlerFunc) *client.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	c, err := client.New(server.URL, client.Options{})
	require.NoError(t, err)
	return c
}

// What is not Readmark's answer is neither unknown nor zero.
func TestOthersAnswers(t *testing.T) {
	t.Parallel()
	c := serving(t, func(w http.ResponseWriter, _ *http.Request) { http.NotFound(w, nil) })
	_, err := c.Badge(t.Context(), "u")
	require.Error(t, err)
	require.NotErrorIs(t, err, client.ErrUnknown)
	c = serving(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"ok":true}`)) })
	badge, err := c.Badge(t.Context(), "u")
	require.Error(t, err)
	require.Nil(t, badge)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	c, err = client.New(gone.URL, client.Options{Attempts: 2})
	require.NoError(t, err)
	_, err = c.Badge(t.Context(), "u")
	require.ErrorIs(t, err, client.ErrUnavailable)
}

// An answer that breaks off is read again, as a connection that breaks is.
func TestBrokenAnswer(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	c := serving(t, func(w http.ResponseWriter, _ *http.Request) {
		const body = `{"userID":"u","unreadCount":3,"unreadGroups":1,"groups":1,"asOf":"2026-11-24T00:00:00Z"}`
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		if asked.Add(1) == 1 {
			_, _ = w.Write([]byte(body[:20])) // and the connection is closed
			return
		}
		_, _ = w.Write([]byte(body))
	})
	badge, err := c.Badge(t.Context(), "u")
	require.NoError(t, err)
	require.EqualValues(t, 3, badge.UnreadCount)
	require.EqualValues(t, 2, asked.Load())
}

// A wait that the context does not allow is not begun: the answer is the error.
func TestRetryAfterBehindDeadline(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	c := serving(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	_, err := c.Badge(ctx, "u")
	require.ErrorIs(t, err, client.ErrTooManyRequests)
	require.EqualValues(t, 1, asked.Load())
}

// First pages are kept and asked for with their ETags; other pages and what is large
// are not, so that a walk through a long list does not push out what is polled.
func TestKept(t *testing.T) {
	t.Parallel()
	var polled atomic.Int32
	next := strings.NewReplacer(`"nextCursor":""`, `"nextCursor":"second"`)
	c := serving(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") != "" {
			polled.Add(1)
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("ETag", `W/"1"`)
		body := `{"items":[],"nextCursor":"","asOf":"2026-11-24T00:00:00Z"}`
		if !r.URL.Query().Has("cursor") {
			body = next.Replace(body)
		}
		if strings.Contains(r.URL.Path, "large") {
			body += strings.Repeat(" ", 70_000)
		}
		_, _ = w.Write([]byte(body))
	})
	walk := func(user string) {
		for _, err := range c.UserGroups(t.Context(), user, client.ListOptions{}) {
			require.NoError(t, err)
		}
	}
	walk("u")
	walk("u")
	require.EqualValues(t, 1, polled.Load(), "of two pages the first")
	walk("large")
	walk("large")
	require.EqualValues(t, 1, polled.Load())
}

// Whether groups are muted is asked for only where the options say so.
func TestMutedOption(t *testing.T) {
	t.Parallel()
	var queries []string
	c := serving(t, func(w http.ResponseWriter, r *http.Request) {
		queries = append(queries, r.URL.RawQuery)
		_, _ = w.Write([]byte(`{"items":[],"nextCursor":"","asOf":"2026-11-24T00:00:00Z"}`))
	})
	for _, muted := range []*bool{nil, new(true), new(false)} {
		for _, err := range c.UserGroups(t.Context(), "u", client.ListOptions{Muted: muted}) {
			require.NoError(t, err)
		}
		for _, err := range c.GroupUsers(t.Context(), "g", client.ListOptions{Muted: muted}) {
			require.NoError(t, err)
		}
	}
	require.Equal(t, []string{"", "", "muted=true", "muted=true", "muted=false", "muted=false"}, queries)
}

package client_test

import (
	"context"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/client"
)

// inOrder takes the changes from..to, and fails where one is left out or comes twice.
func inOrder(t testing.TB, changes iter.Seq2[client.Change, error], from, to int) {
	t.Helper()
	for change, err := range changes {
		require.NoError(t, err)
		require.Equal(t, from, place(t, change.Cursor))
		require.EqualValues(t, from, *change.Position)
		if from++; from > to {
			return
		}
	}
	require.Fail(t, "the iterator ended without an error")
}

// A connection that breaks anywhere, again and again, costs no change and doubles none.
func TestChangesBreakAnywhere(t *testing.T) {
	t.Parallel()
	feed := newFeed(t)
	server := httptest.NewServer(feed)
	t.Cleanup(server.Close)
	var connections atomic.Int32
	c := dialed(t, func(ctx context.Context) (net.Conn, error) {
		connections.Add(1)
		return dialBreaking(ctx, server.Listener.Addr().String(), 4000)
	})
	const changes = 500
	feed.grow(changes / 2)
	go func() {
		for range changes / 2 {
			feed.grow(1)
		}
	}()
	inOrder(t, c.Changes(t.Context(), client.ChangesOptions{After: "c0"}), 1, changes)
	require.Greater(t, connections.Load(), int32(changes*200/4000), "the connections have broken")
}

// A server that is away for a while, and comes back elsewhere, is found again.
func TestChangesServerRestarts(t *testing.T) {
	t.Parallel()
	feed := newFeed(t)
	var mu sync.Mutex
	var server *httptest.Server // nil: it is away
	refused := make(chan struct{}, 100)
	c := dialed(t, func(ctx context.Context) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		if server == nil {
			refused <- struct{}{}
			return nil, syscall.ECONNREFUSED
		}
		return new(net.Dialer).DialContext(ctx, "tcp", server.Listener.Addr().String())
	})
	set := func(s *httptest.Server) (before *httptest.Server) {
		mu.Lock()
		defer mu.Unlock()
		before, server = server, s
		return before
	}
	set(httptest.NewServer(feed))
	next, stop := iter.Pull2(c.Changes(t.Context(), client.ChangesOptions{After: "c0"}))
	defer stop()
	for n := 1; n <= 4; n++ {
		feed.grow(1)
		change, err, more := next()
		require.NoError(t, err)
		require.True(t, more)
		require.Equal(t, n, place(t, change.Cursor))
		old := set(nil)
		old.CloseClientConnections()
		old.Close()
		go func() { // while the next change is waited for
			<-refused
			<-refused
			set(httptest.NewServer(feed))
		}()
	}
	feed.grow(1)
	change, err, _ := next()
	require.NoError(t, err)
	require.Equal(t, 5, place(t, change.Cursor))
	stop()
	set(nil).Close()
}

// Who breaks out of the loop, or panics in it, closes the connection and gets nothing more.
func TestChangesBreakOut(t *testing.T) {
	t.Parallel()
	feed := newFeed(t)
	server := httptest.NewServer(feed)
	t.Cleanup(server.Close)
	c, err := client.New(server.URL, client.Options{})
	require.NoError(t, err)
	feed.grow(10)
	changes := c.Changes(t.Context(), client.ChangesOptions{After: "c0"})
	inOrder(t, changes, 1, 3)
	<-feed.ended
	inOrder(t, changes, 1, 10) // each loop begins anew
	<-feed.ended
	require.Panics(t, func() {
		for range changes {
			panic("the caller's")
		}
	})
	<-feed.ended

	// Also where the context ends with it.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, err := range c.Changes(ctx, client.ChangesOptions{After: "c0"}) {
		require.NoError(t, err)
		cancel()
		break
	}
	<-feed.ended
}

// When the context ends, so does the iterator, with its error, and the connection.
func TestChangesContextEnds(t *testing.T) {
	t.Parallel()
	feed := newFeed(t)
	server := httptest.NewServer(feed)
	t.Cleanup(server.Close)
	c, err := client.New(server.URL, client.Options{})
	require.NoError(t, err)
	feed.grow(10)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	given := 0
	var last error
	for _, err := range c.Changes(ctx, client.ChangesOptions{After: "c0"}) {
		require.NoError(t, last, "an error is the last of all")
		if last = err; err == nil {
			if given++; given == 3 {
				cancel() // the others have come already, as a rule
			}
		}
	}
	require.Equal(t, 3, given)
	require.ErrorIs(t, last, context.Canceled)
	<-feed.ended

	// While it waits for a change.
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	for _, err = range c.Changes(ctx, client.ChangesOptions{After: "c9"}) {
		go cancel()
	}
	require.ErrorIs(t, err, context.Canceled)
	<-feed.ended

	// Before it begins.
	for _, err = range c.Changes(ctx, client.ChangesOptions{}) {
	}
	require.ErrorIs(t, err, context.Canceled)
}

// A cursor of now, then the lists, then what came meanwhile: nothing is missed.
func TestChangesCursor(t *testing.T) {
	t.Parallel()
	feed := newFeed(t)
	server := httptest.NewServer(feed)
	t.Cleanup(server.Close)
	c, err := client.New(server.URL, client.Options{})
	require.NoError(t, err)
	feed.grow(5)
	o := client.ChangesOptions{After: "c2"}
	o.After, err = c.ChangesCursor(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, "c5", o.After)
	feed.grow(2)
	inOrder(t, c.Changes(t.Context(), o), 6, 7)

	for _, body := range []string{`{"items":[],"asOf":"` + changesAt + `"}`, `{"nextCursor":"c1"}`} {
		c = serving(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) })
		_, err = c.ChangesCursor(t.Context(), o)
		require.ErrorContains(t, err, "not Readmark's")
	}
}

// Requests say what is wanted, whose they are, and that a stream is.
func TestChangesRequest(t *testing.T) {
	t.Parallel()
	var asked []*http.Request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r)
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(server.Close)
	c, err := client.New(server.URL+"/behind%2Fa/proxy/", client.Options{Key: "rmk_x"})
	require.NoError(t, err)
	all := client.ChangesOptions{
		After: "c1", Types: []client.ChangeType{client.StateChanged, client.StateRemoved, client.GroupAdvanced, client.Resync},
		UserID: "a,b&c", GroupID: "ü #", UsersPrefix: "u+", GroupsPrefix: "g/",
	}
	for _, o := range []client.ChangesOptions{all, {}} {
		for _, err := range c.Changes(t.Context(), o) {
			require.ErrorIs(t, err, client.ErrForbidden)
		}
		_, err := c.ChangesCursor(t.Context(), o)
		require.ErrorIs(t, err, client.ErrForbidden)
	}
	require.Len(t, asked, 4)
	for i, r := range asked {
		require.Equal(t, "Bearer rmk_x", r.Header.Get("Authorization"))
		require.Equal(t, "/behind%2Fa/proxy/v1/changes", r.URL.EscapedPath())
		require.Equal(t, i%2 == 0, r.Header.Get("Accept") == "text/event-stream")
	}
	query := asked[0].URL.Query()
	require.Equal(t, "c1", query.Get("after"))
	require.False(t, asked[1].URL.Query().Has("after"), "a cursor of now is asked for")
	for _, r := range asked[:2] {
		query := r.URL.Query()
		require.Equal(t, "state.changed,state.removed,group.advanced,resync", query.Get("types"))
		require.Equal(t, "a,b&c", query.Get("userID"))
		require.Equal(t, "ü #", query.Get("groupID"))
		require.Equal(t, "u+", query.Get("usersPrefix"))
		require.Equal(t, "g/", query.Get("groupsPrefix"))
	}
	for _, r := range asked[2:] {
		require.Empty(t, r.URL.RawQuery, "what is empty would be refused")
	}
}

// A certificate that is not trusted will not be so a second later.
func TestChangesUntrusted(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = quiet()
	server.StartTLS()
	t.Cleanup(server.Close)
	c, err := client.New(server.URL, client.Options{})
	require.NoError(t, err)
	var last error
	for _, err := range c.Changes(t.Context(), client.ChangesOptions{}) {
		require.NoError(t, last)
		last = err
	}
	require.ErrorIs(t, last, client.ErrUnavailable)
	require.ErrorContains(t, last, "certificate")
	require.NotErrorIs(t, last, context.Canceled)
}

package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"readmark/internal/api"
	"readmark/internal/auth"
	"readmark/internal/auth/guard"
	"readmark/internal/readstate"
	"readmark/internal/server"
)

// changes asks for a page, and gives what it tells: type, user and group of each.
func (s *service) changes(query string, headers ...string) (told []string, list api.ChangeList) {
	s.t.Helper()
	answer := s.ask(http.MethodGet, "/v1/changes?"+query, "", headers...)
	require.Equal(s.t, http.StatusOK, answer.Code, answer.Body)
	require.Equal(s.t, "no-store", answer.Header().Get("Cache-Control"))
	require.NoError(s.t, json.Unmarshal(answer.Body.Bytes(), &list))
	require.NotEmpty(s.t, list.NextCursor)
	require.NotZero(s.t, list.AsOf)
	for _, change := range list.Items {
		told = append(told, strings.TrimSpace(change.Type+" "+change.UserID+" "+change.GroupID))
	}
	return told, list
}

func TestChanges(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.read("before", "g", 1)
	told, begun := s.changes("")
	require.Empty(t, told, "without a cursor, from now on")
	after := func(query string) []string {
		told, _ := s.changes("after=" + begun.NextCursor + query)
		return told
	}
	s.read("u1", "g", 3)
	s.read("u1", "h", 4)
	s.read("v2", "g", 5)
	s.read("v2", "g", 6)
	s.message("w")
	s.member(readstate.EventLeft, "before")
	all := []string{
		"group.advanced  g", "state.removed before g", "state.changed u1 g", "state.changed v2 g", "state.changed w g", "state.changed u1 h",
	}
	told, list := s.changes("after=" + begun.NextCursor)
	require.Equal(t, all, told, "several changes of one pair come as one")
	changed := list.Items[3]
	require.Equal(t, "v2", changed.State.UserID)
	require.EqualValues(t, 7, changed.State.UnreadCount)
	require.EqualValues(t, 7, *changed.Position-*changed.ReadPosition)
	require.Equal(t, *changed.Position, *list.Items[0].Position)
	require.Nil(t, changed.PositionCap)
	require.False(t, *changed.ReadExact)
	require.False(t, *changed.PositionExact)
	require.NotZero(t, changed.At)

	for i := range list.Items { // each is a place to go on from
		rest, _ := s.changes("after=" + list.Items[i].Cursor)
		require.Equal(t, all[i+1:], append([]string{}, rest...), i)
	}
	require.Equal(t, list.NextCursor, list.Items[5].Cursor)
	rest, _ := s.changes("after="+begun.NextCursor, "Last-Event-ID", list.Items[4].Cursor)
	require.Equal(t, all[5:], rest, "it goes before after")

	var paged []string
	for cursor := begun.NextCursor; ; {
		page, list := s.changes("limit=2&after=" + cursor)
		require.LessOrEqual(t, len(page), 2)
		if paged, cursor = append(paged, page...), list.NextCursor; len(page) == 0 {
			break
		}
	}
	require.Equal(t, all, paged)

	require.Equal(t, []string{"state.removed before g"}, after("&types=state.removed"))
	require.Equal(t, []string{"group.advanced  g", "state.removed before g"}, after("&types=group.advanced,state.removed"))
	require.Equal(t, []string{"state.changed u1 g", "state.changed u1 h"}, after("&userID=u1"))
	require.Equal(t, []string{"state.changed u1 h"}, after("&groupID=h"))
	require.Equal(t, []string{"state.changed u1 h"}, after("&groupsPrefix=h"))
	require.Equal(t, []string{"group.advanced  g", "state.changed v2 g"}, after("&usersPrefix=v"))
	require.Empty(t, after("&userID=v2&groupID=h"))

	s.message("w")
	told, list = s.changes("userID=u1&after=" + list.NextCursor)
	require.Equal(t, []string{"state.changed u1 g"}, told, "a group that moves is the user's change")
	require.EqualValues(t, 5, list.Items[0].State.UnreadCount)
}

// With positions=true the lists give what a consumer counts on with.
func TestListsWithPositions(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.read("u", "g", 3)
	s.message("w")
	for _, target := range []string{"/v1/users/u/groups", "/v1/groups/g/users"} {
		item := s.get(target + "?positions=true")["items"].([]any)[0].(map[string]any)
		require.EqualValues(t, 4, item["unreadCount"])
		require.Equal(t, 4, int(item["position"].(float64))-int(item["readPosition"].(float64)))
		require.Equal(t, false, item["positionExact"])
		require.Equal(t, false, item["readExact"])
		require.NotContains(t, item, "positionCap")
		require.NotContains(t, s.get(target)["items"].([]any)[0], "position")
	}
}

// A wait ends with the first change that is wanted, or with its time, and keeps the place.
func TestChangesAreAwaited(t *testing.T) {
	t.Parallel()
	s := newService(t)
	_, begun := s.changes("")
	var waiting sync.WaitGroup
	var told []string
	waiting.Go(func() { told, _ = s.changes("wait=60s&types=state.changed&userID=u&after=" + begun.NextCursor) })
	s.read("other", "g", 1)
	s.read("u", "g", 1)
	waiting.Wait()
	require.Equal(t, []string{"state.changed u g"}, told)
	told, list := s.changes("wait=50ms&userID=nobody&after=" + begun.NextCursor)
	require.Empty(t, told)
	told, _ = s.changes("after=" + list.NextCursor)
	require.Empty(t, told, "it is behind what was not wanted")
}

func TestChangesRefused(t *testing.T) {
	t.Parallel()
	s := newService(t)
	_, begun := s.changes("")
	for query, location := range map[string]string{
		"after=x": "query.after", "limit=0": "query.limit", "limit=1001": "query.limit", "wait=61s": "query.wait", "wait=61": "query.wait", "wait=-1s": "query.wait",
		"wait=soon": "query.wait", "types=state": "query.types", "types=resync,": "query.types", "userID=": "query.userID", "groupID=": "query.groupID",
		"usersPrefix=": "query.usersPrefix", "after=": "query.after", "userID=a%00b": "query.userID", "groupsPrefix=" + strings.Repeat("g", 256): "query.groupsPrefix",
		"after=" + begun.NextCursor + "A": "query.after",
	} {
		answer := s.ask(http.MethodGet, "/v1/changes?"+query, "")
		require.Equal(t, http.StatusUnprocessableEntity, answer.Code, query)
		require.Contains(t, answer.Body.String(), `"`+location+`"`, query)
	}
	answer := s.ask(http.MethodGet, "/v1/changes", "", "Last-Event-ID", "x")
	require.Equal(t, http.StatusUnprocessableEntity, answer.Code)
	require.Contains(t, answer.Body.String(), "Last-Event-ID")
	require.Equal(t, http.StatusUnprocessableEntity, s.ask(http.MethodGet, "/v1/changes?userId=u", "").Code)
	for _, wait := range []string{"wait=0", "wait=1ms"} {
		s.changes(wait)
	}
	cursor, err := readstate.ParseFeedCursor(begun.NextCursor)
	require.NoError(t, err)
	cursor.Source.TableID++
	answer = s.ask(http.MethodGet, "/v1/changes?after="+cursor.String(), "")
	require.Equal(t, http.StatusGone, answer.Code)
	require.Equal(t, "application/problem+json", answer.Header().Get("Content-Type"))
}

// event is one of a stream; a block of comments and an id alone has no name.
type event struct {
	name, id, data string
	comment        bool
}

// listen opens a stream, and gives its events one by one; a stream that has ended gives none.
func listen(t testing.TB, base, query string, headers ...string) (next func() (event, bool)) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/v1/changes?"+query, http.NoBody)
	require.NoError(t, err)
	request.Header.Set("Accept", "text/event-stream")
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
	require.Empty(t, response.Header.Get("Content-Encoding"))
	lines := bufio.NewScanner(response.Body)
	return func() (e event, more bool) {
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ":")
			value = strings.TrimPrefix(value, " ")
			switch {
			case lines.Text() == "":
				return e, true
			case name == "":
				e.comment = true
			case name == "event":
				e.name = value
			case name == "id":
				e.id = value
			case name == "data":
				e.data = value
			}
		}
		return e, false
	}
}

// named gives the next event that is a change.
func named(t testing.TB, next func() (event, bool)) event {
	t.Helper()
	for {
		e, more := next()
		require.True(t, more, "the stream has ended")
		if e.name != "" {
			return e
		}
	}
}

func TestStream(t *testing.T) {
	t.Parallel()
	s := newService(t)
	site := httptest.NewServer(s.handler)
	defer site.Close()
	defer site.CloseClientConnections()
	next := listen(t, site.URL, "", "Accept-Encoding", "gzip")
	begun, more := next()
	require.True(t, more)
	require.True(t, begun.comment)
	_, err := readstate.ParseFeedCursor(begun.id)
	require.NoError(t, err, "it can be resumed before anything has come")
	s.read("u", "g", 1)
	first := named(t, next)
	s.read("v", "g", 2)
	decode := func(e event) (change api.Change) {
		require.NoError(t, json.Unmarshal([]byte(e.data), &change))
		return change
	}
	second := named(t, next)
	for decode(second).UserID == "u" { // who waits may be told of a change twice
		second = named(t, next)
	}
	require.Equal(t, "state.changed", first.name)
	change := decode(first)
	require.Equal(t, []string{"state.changed", first.id, "u", "g"}, []string{change.Type, change.Cursor, change.UserID, change.GroupID})

	resumed := decode(named(t, listen(t, site.URL, "after="+begun.id, "Last-Event-ID", first.id)))
	require.Equal(t, decode(second).State, resumed.State)
	told, _ := s.changes("after=" + first.id)
	require.Equal(t, []string{"state.changed v g"}, told, "the same cursors")
	filtered := decode(named(t, listen(t, site.URL, "usersPrefix=v&types=state.changed&after="+begun.id)))
	require.Equal(t, resumed.State, filtered.State)

	cursor, err := readstate.ParseFeedCursor(begun.id)
	require.NoError(t, err)
	cursor.Source.SystemID++
	next = listen(t, site.URL, "userID=u&after="+cursor.String())
	gone := named(t, next)
	require.Equal(t, "resync", gone.name)
	require.Equal(t, "resync", decode(gone).Type)
	s.read("u", "g", 5)
	require.Equal(t, "state.changed", named(t, next).name, "it goes on from now")
}

// A stream without changes says that it lives, with the newest cursor, and ends when its key is taken back.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	s := newService(t)
	text := auth.NewText()
	held := &changingKeys{keys: keys{text: &auth.Key{Grant: auth.Grant{Name: "reader", Scopes: []auth.Scope{auth.ScopeRead}}}}}
	site := httptest.NewServer(s.guarded(held, 10*time.Millisecond))
	defer site.Close()
	defer site.CloseClientConnections()
	next := listen(t, site.URL, "userID=nobody", "Authorization", "Bearer "+text)
	first, _ := next()
	s.read("u", "g", 1)
	require.Eventually(t, func() bool { // the cursor moves beside what is not wanted
		e, more := next()
		return more && e.comment && e.name == "" && e.id != first.id
	}, time.Minute, time.Millisecond)
	held.revoke()
	require.Eventually(t, func() bool {
		_, more := next()
		return !more
	}, time.Minute, time.Millisecond)
}

// changingKeys are keys that may be revoked.
type changingKeys struct {
	mu sync.Mutex
	keys
}

// Find implements guard.Keys.
func (k *changingKeys) Find(ctx context.Context, hash auth.Hash) (*auth.Key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keys.Find(ctx, hash)
}

func (k *changingKeys) revoke() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.keys)
}

// guarded is the service behind keys.
func (s *service) guarded(held guard.Keys, heartbeat time.Duration) http.Handler {
	s.t.Helper()
	registry, logger := prometheus.NewRegistry(), slog.New(slog.DiscardHandler)
	return server.New(server.Options{
		Registry: registry, Logger: logger, API: api.Options{
			Reader: direct(s.store), Database: s.store, Eraser: s.store, Feed: following(s.t, s.store), Heartbeat: heartbeat, Now: time.Now, Logger: logger,
			Guard: guard.New(guard.Options{Keys: held, Now: time.Now, Registry: registry, Logger: logger}),
		},
	})
}

// Keys that are limited by prefixes are told of their users and groups alone, whatever they ask for.
func TestChangesOfPrefixes(t *testing.T) {
	t.Parallel()
	s := newService(t)
	held := keys{}
	key := func(users, groups string, scope auth.Scope) string {
		text := auth.NewText()
		held[text] = &auth.Key{Grant: auth.Grant{Name: users + groups, Scopes: []auth.Scope{scope}, UserPrefix: users, GroupPrefix: groups}}
		return text
	}
	ofUsers, ofGroups, eraser := key("shop-", "", auth.ScopeRead), key("", "team-", auth.ScopeRead), key("", "", auth.ScopeErase)
	s.handler = s.guarded(held, 0)
	_, begun := s.changes("", "Authorization", "Bearer "+ofUsers)
	s.read("shop-1", "g", 1)
	s.read("other", "g", 1)
	s.read("other", "team-1", 1)
	s.read("shop-2", "team-1", 1)
	s.message("other")
	s.member(readstate.EventDismissed, "")
	s.read("other", "h", 1)
	for _, one := range []struct {
		key, query string
		told       []string
	}{
		{ofUsers, "", []string{"state.removed  g", "state.removed shop-1 g", "state.changed shop-2 team-1"}},
		{ofUsers, "&usersPrefix=shop-2", []string{"state.changed shop-2 team-1"}},
		{ofUsers, "&usersPrefix=s", []string{"state.removed  g", "state.removed shop-1 g", "state.changed shop-2 team-1"}},
		{ofUsers, "&groupID=team-1", []string{"state.changed shop-2 team-1"}},
		{ofUsers, "&userID=shop-1", []string{"state.removed shop-1 g"}},
		{ofGroups, "", []string{"state.changed other team-1", "state.changed shop-2 team-1"}},
		{ofGroups, "&userID=other", []string{"state.changed other team-1"}},
	} {
		told, _ := s.changes("after="+begun.NextCursor+one.query, "Authorization", "Bearer "+one.key)
		require.Equal(t, one.told, told, "%s", one.query)
	}
	for _, one := range []struct{ key, query string }{
		{ofUsers, "userID=other"}, {ofUsers, "usersPrefix=other"}, {ofUsers, "usersPrefix=o"}, {ofGroups, "groupID=g"}, {ofGroups, "groupsPrefix=g"}, {eraser, ""},
	} {
		for _, accept := range []string{"application/json", "text/event-stream"} {
			answer := s.ask(http.MethodGet, "/v1/changes?"+one.query, "", "Authorization", "Bearer "+one.key, "Accept", accept)
			require.Equal(t, http.StatusForbidden, answer.Code, one.query)
		}
	}
	require.Equal(t, http.StatusUnauthorized, s.ask(http.MethodGet, "/v1/changes", "").Code)
}

// While nothing can be read, neither can changes.
func TestChangesWithoutDatabase(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.store.Close()
	answer := s.ask(http.MethodGet, "/v1/changes", "")
	require.Equal(t, http.StatusServiceUnavailable, answer.Code)
	require.NotEmpty(t, answer.Header().Get("Retry-After"))
}

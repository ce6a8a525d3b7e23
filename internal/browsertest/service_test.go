//go:build browser

package browsertest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"readmark/internal/cli"
	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

// attack is an ID that would run a script where it is not escaped.
const attack = `<img src=x onerror=alert(1)>`

// The IDs of what is looked at.
const (
	reader = "ada.lovelace"
	team   = "design-weekly"
)

// service is a serving readmark.
type service struct {
	t           *testing.T
	url         string
	environment map[string]string
}

// serve runs the real command on a database with some hours of a few groups, until the test ends.
func serve(t *testing.T, settings ...string) *service {
	t.Helper()
	database := pgtest.New(t)
	fill(t, database, attack)
	return serveOn(t, append([]string{"DATABASE_URL", database, "READMARK_DATA_DIR", t.TempDir()}, settings...)...)
}

func serveOn(t *testing.T, settings ...string) *service {
	t.Helper()
	environment := map[string]string{
		"READMARK_ADDR": "127.0.0.1:0", "READMARK_OPS_ADDR": "127.0.0.1:0",
		"READMARK_COMMIT_BUDGET": "10s", "READMARK_LOG_FORMAT": "json", "READMARK_WEBHOOK_ALLOW_PRIVATE": "127.0.0.0/8",
	}
	for i := 0; i+1 < len(settings); i += 2 {
		environment[settings[i]] = settings[i+1]
	}
	s := &service{t: t, environment: environment}
	ctx, stop := context.WithCancel(context.Background())
	log, write := io.Pipe()
	ended, told := make(chan int, 1), make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(log)
		for lines.Scan() {
			var line struct{ Msg, API string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "readmark serves" {
				told <- strings.TrimSuffix(line.API, "/v1")
			}
		}
	}()
	go func() {
		ended <- cli.Run(ctx, []string{"serve"}, cli.Environment{Lookup: s.lookup, Stdout: io.Discard, Stderr: write})
		_ = write.Close()
	}()
	t.Cleanup(func() {
		stop()
		require.Zero(t, <-ended)
	})
	select {
	case s.url = <-told:
	case <-time.After(patience):
		t.Fatal("serve does not say where it listens")
	}
	return s
}

func (s *service) lookup(name string) (string, bool) {
	value, found := s.environment[name]
	return value, found
}

// key makes an API key with the real command.
func (s *service) key(args ...string) string {
	s.t.Helper()
	var out, errs bytes.Buffer
	status := cli.Run(s.t.Context(), append([]string{"key", "create"}, args...), cli.Environment{Lookup: s.lookup, Stdout: &out, Stderr: &errs})
	require.Zero(s.t, status, errs.String())
	return strings.TrimSpace(out.String())
}

// callback posts a callback, which is taken or not.
func (s *service) callback(command, body string, status int) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+"/"+command, strings.NewReader(body))
	require.NoError(s.t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(s.t, err)
	require.NoError(s.t, response.Body.Close())
	require.Equal(s.t, status, response.StatusCode)
}

// reads posts a read callback.
func (s *service) reads(user, group string, unread int) {
	s.t.Helper()
	body, err := json.Marshal(map[string]any{"sendID": user, "receiveID": group, "unreadMsgNum": unread, "contentType": 101})
	require.NoError(s.t, err)
	s.callback("callbackAfterGroupMsgReadCommand", string(body), http.StatusOK)
}

// webhook makes a webhook whose receiver fails every time, and gives its identity.
func (s *service) webhook(key string) string {
	s.t.Helper()
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "not today", http.StatusInternalServerError)
	}))
	s.t.Cleanup(receiver.Close)
	var made struct{ ID string }
	s.post(key, "/v1/webhooks", map[string]any{"url": receiver.URL + "/readmark", "description": "push gateway"}, &made)
	s.post(key, "/v1/reminders", map[string]any{"name": "after four hours", "after": "4h", "minUnread": 3}, nil)
	return made.ID
}

func (s *service) post(key, path string, body, into any) {
	s.t.Helper()
	text, err := json.Marshal(body)
	require.NoError(s.t, err)
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+path, bytes.NewReader(text))
	require.NoError(s.t, err)
	request.Header.Set("Content-Type", "application/json")
	if key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(s.t, err)
	defer func() { _ = response.Body.Close() }()
	require.Equal(s.t, http.StatusCreated, response.StatusCode)
	if into != nil {
		require.NoError(s.t, json.NewDecoder(response.Body).Decode(into))
	}
}

// fill writes a day of messages and reads, always the same ones; odd is the ID of a user and a group.
func fill(t *testing.T, database, odd string) {
	t.Helper()
	s, err := store.Open(store.Options{URL: database})
	require.NoError(t, err)
	defer s.Close()
	people := []string{reader, "grace.hopper", "alan.turing", "katherine.j", "linus", "margaret.h", "donald.knuth", "barbara.l", "edsger", "радия", odd}
	groups := []string{team, "release-2026", "support/emea", "купе №7", "lunch", odd}
	random := rand.New(rand.NewPCG(7, 7))
	seqs := map[string]int64{}
	const much = 2000
	now := time.Now().UTC().Truncate(time.Microsecond)
	moments := make([]time.Time, much)
	for i := range moments {
		long := 20 * time.Hour
		if i%2 == 0 { // the last hours were busy
			long = 3 * time.Hour
		}
		moments[i] = now.Add(-time.Duration(random.Int64N(long.Microseconds()))*time.Microsecond - time.Second)
	}
	slices.SortFunc(moments, time.Time.Compare)
	var events []readstate.Event
	for i, at := range moments {
		group := groups[min(random.IntN(len(groups)), random.IntN(len(groups)))]
		who := people[min(random.IntN(len(people)), random.IntN(len(people)))]
		if i%100 == 99 {
			group, who = odd, odd
		}
		e := readstate.Event{ID: readstate.ID(uuid.Must(uuid.NewV7())), At: at, UserID: who, GroupID: group, ContentType: 101}
		if random.IntN(5) < 3 {
			seqs[group]++
			e.Kind, e.ReadSeq, e.MessageID = readstate.EventMessage, seqs[group], group+strconv.FormatInt(seqs[group], 10)
		} else {
			e.Kind, e.UnreadCount = readstate.EventReceipt, random.Int64N(4)*random.Int64N(3)
		}
		events = append(events, e)
	}
	for len(events) > 0 {
		n := min(len(events), 200)
		require.NoError(t, s.Commit(t.Context(), readstate.Batch{Events: events[:n]}))
		events = events[n:]
	}
}

// pages are all pages of the console, about what is known.
func pages(webhook string) []string {
	var list []string
	for _, page := range []string{"", "/users", "/groups", "/live", "/webhooks", "/keys", "/doctor"} {
		list = append(list, "/console"+page)
	}
	for _, pair := range [][2]string{{reader, team}, {attack, attack}} {
		user, group := url.QueryEscape(pair[0]), url.QueryEscape(pair[1])
		list = append(list, "/console/user?id="+user, "/console/group?id="+group, fmt.Sprintf("/console/pair?span=1h&user=%s&group=%s", user, group),
			fmt.Sprintf("/console/journal?user=%s&group=%s", user, group), "/console/live?userID="+user, "/console/users?prefix="+user, "/console/groups?prefix="+group)
	}
	return append(list, "/console/webhook?id="+webhook)
}

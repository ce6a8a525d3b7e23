package demo_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"readmark/internal/demo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiver is the public address of a Readmark that keeps what comes.
type receiver struct {
	mu       sync.Mutex
	commands map[string]int
	groups   map[string]bool
	users    map[string]bool
	under    int // requests that are being answered
	most     int
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	r.under++
	r.most = max(r.most, r.under)
	r.mu.Unlock()
	var body struct{ CallbackCommand, GroupID, SendID string }
	err := json.NewDecoder(request.Body).Decode(&body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.under--
	if err != nil || "/"+body.CallbackCommand != request.URL.Path {
		http.Error(w, "a callback is wrong", http.StatusBadRequest)
		return
	}
	r.commands[body.CallbackCommand]++
	if body.GroupID != "" {
		r.groups[body.GroupID] = true
	}
	if body.SendID != "" {
		r.users[body.SendID] = true
	}
}

// play runs a simulation until it has stopped writing, and gives what it sent and logged.
func play(t *testing.T, s *demo.Simulation) (r *receiver, log string) {
	t.Helper()
	r = &receiver{commands: map[string]int{}, groups: map[string]bool{}, users: map[string]bool{}}
	server := httptest.NewServer(r)
	defer server.Close()
	var text strings.Builder
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stopped := false
	s.Run(ctx, server.URL, slog.New(slog.NewTextHandler(&text, nil)), func() {
		stopped = true
		cancel()
	})
	require.True(t, stopped, "it stops writing by itself")
	return r, text.String()
}

// What is promised is played: groups, users, messages, reads; and each callback is posted as OpenIM does.
func TestPlay(t *testing.T) {
	t.Parallel()
	s := demo.New(demo.Options{WriteFor: 300 * time.Millisecond, Seed: 7})
	r, log := play(t, s)
	require.Empty(t, log, "every callback was taken")
	require.Len(t, r.groups, 20)
	require.Greater(t, len(r.users), 100)
	require.LessOrEqual(t, len(r.users), 200)
	require.LessOrEqual(t, r.most, 2, "OpenIM has two workers")
	require.Equal(t, 20, r.commands["callbackAfterCreateGroupCommand"])
	require.Greater(t, r.commands["callbackAfterSendGroupMsgCommand"], 100)
	require.Equal(t, r.commands["callbackAfterSendGroupMsgCommand"], r.commands["callbackAfterMsgSaveDBCommand"])
	require.Greater(t, r.commands["callbackAfterGroupMsgReadCommand"], 100)
	read, unread := 0, 0
	someone := false
	for pair, count := range s.Counts() {
		someone = someone || pair.UserID == demo.Someone
		if count == 0 {
			read++
		} else {
			unread++
		}
	}
	require.Positive(t, read)
	require.Positive(t, unread)
	require.True(t, someone)
}

// The REST API is away while an outage lasts, and there when nobody writes any more.
func TestOutage(t *testing.T) {
	t.Parallel()
	s := demo.New(demo.Options{WriteFor: 400 * time.Millisecond, OutageEvery: 150 * time.Millisecond, Seed: 7})
	status := func() int {
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/auth/get_admin_token", strings.NewReader(`{}`)))
		return w.Code
	}
	seen, ended := map[int]bool{}, make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		for tick := time.NewTicker(time.Millisecond); ; {
			select {
			case <-ended:
				tick.Stop()
				return
			case <-tick.C:
				seen[status()] = true
			}
		}
	})
	_, log := play(t, s)
	close(ended)
	asking.Wait()
	require.Equal(t, map[int]bool{200: true, 503: true}, seen)
	require.Equal(t, 200, status())
	require.Contains(t, log, "simulated outage of openim's rest api begins")
	require.Contains(t, log, "simulated outage of openim's rest api is over")
	require.Contains(t, demo.New(demo.Options{OutageEvery: 3 * time.Minute}).Summary(), "is away for 20s in every 3m")
	require.Contains(t, s.Summary(), "20 groups and 200 users")
	require.Contains(t, s.Summary(), "its REST API is away for 50ms in every 150ms")
}

// A receiver that fails is told of once, and nothing is sent again.
func TestReceiverFails(t *testing.T) {
	t.Parallel()
	requests := 0
	var mu sync.Mutex
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		requests++
		http.Error(w, "away", http.StatusServiceUnavailable)
	}))
	defer server.Close()
	var text strings.Builder
	ctx, cancel := context.WithCancel(t.Context())
	demo.New(demo.Options{WriteFor: time.Millisecond, Seed: 7}).Run(ctx, server.URL, slog.New(slog.NewTextHandler(&text, nil)), cancel)
	require.Equal(t, 1, strings.Count(text.String(), "a simulated callback failed"))
	require.Contains(t, text.String(), "503: away")
	require.Greater(t, requests, 1000)
}

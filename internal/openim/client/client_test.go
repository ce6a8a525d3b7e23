package client_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/openim/client"
	"readmark/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const secret = "openIM123"

// recorded is one line of the recorded session.
type recorded struct {
	Path     string          `json:"path"`
	Request  json.RawMessage `json:"request"`
	Response json.RawMessage `json:"response"`
}

func session(t *testing.T) (list []recorded) {
	t.Helper()
	file, err := os.Open("testdata/rest.jsonl")
	require.NoError(t, err)
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var r recorded
		require.NoError(t, json.Unmarshal(lines.Bytes(), &r))
		if r.Path != "" {
			list = append(list, r)
		}
	}
	require.NoError(t, lines.Err())
	return list
}

// fake is an OpenIM whose answers a test gives, without a network.
type fake struct {
	mu     sync.Mutex
	calls  []string
	answer func(path, token string, n int, request map[string]any) (status int, body string)
}

func (f *fake) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	var request map[string]any
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		return nil, err
	}
	if r.Header.Get("operationID") == "" || r.Method != http.MethodPost {
		return nil, errors.New("not as OpenIM wants it")
	}
	f.mu.Lock()
	f.calls = append(f.calls, r.URL.Path)
	n := len(f.calls)
	f.mu.Unlock()
	status, body := f.answer(r.URL.Path, r.Header.Get("token"), n, request)
	if status == 0 {
		if body == "hang" {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}, Request: r}, nil
}

func (f *fake) count(path string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, call := range f.calls {
		if call == path {
			n++
		}
	}
	return n
}

const (
	adminToken = "/auth/get_admin_token"
	userToken  = "/auth/user_token"
	seqsPath   = "/msg/get_conversations_has_read_and_max_seq"
	members    = "/group/get_group_member_list"
	noSeqs     = `{"errCode":0,"errMsg":"","errDlt":"","data":{"seqs":{},"pinnedConversationIDs":null}}`
)

func login(token string, seconds int) string {
	return fmt.Sprintf(`{"errCode":0,"errMsg":"","errDlt":"","data":{"token":%q,"expireTimeSeconds":%d}}`, token, seconds)
}

func refusal(code int) string {
	return fmt.Sprintf(`{"errCode":%d,"errMsg":"SomeError","errDlt":"detail"}`, code)
}

// newClient gives a client of the fake; its log is kept.
func newClient(transport http.RoundTripper, rps float64) (*client.Client, *bytes.Buffer) {
	log := &bytes.Buffer{}
	c := client.New(client.Options{
		URL: "http://openim.test/", AdminUserID: "imAdmin", Secret: secret, MaxRPS: rps, Transport: transport, Timeout: 5 * time.Second,
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	return c, log
}

// The recorded session of a real server: what was asked for is understood.
func TestRecordedAnswers(t *testing.T) {
	t.Parallel()
	var current recorded
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == adminToken {
			_, _ = io.WriteString(w, login("t", 7776000))
			return
		}
		got, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("token") != "t" || r.URL.Path != current.Path {
			http.Error(w, "wrong", http.StatusBadRequest)
			return
		}
		var asked, want any
		if json.Unmarshal(got, &asked) != nil || json.Unmarshal(current.Request, &want) != nil || fmt.Sprint(asked) != fmt.Sprint(want) {
			http.Error(w, "asked for something else", http.StatusBadRequest)
			return
		}
		_, _ = w.Write(current.Response)
	}))
	defer server.Close()
	c := client.New(client.Options{URL: server.URL, AdminUserID: "imAdmin", Secret: secret, MaxRPS: 1e6, Logger: slog.New(slog.DiscardHandler)})
	defer c.Close()
	asked := 0
	for _, current = range session(t) {
		if current.Path != seqsPath {
			continue
		}
		asked++
		var request struct {
			UserID          string
			ConversationIDs []string
		}
		require.NoError(t, json.Unmarshal(current.Request, &request))
		var response struct {
			Data struct {
				Seqs map[string]struct{ MaxSeq, HasReadSeq, MaxSeqTime int64 }
			}
		}
		require.NoError(t, json.Unmarshal(current.Response, &response))
		got, err := c.Conversations(t.Context(), request.UserID, request.ConversationIDs...)
		require.NoError(t, err)
		require.NotEmpty(t, got)
		require.Len(t, got, len(response.Data.Seqs))
		for id, want := range response.Data.Seqs {
			require.Equal(t, client.Seqs(want), got[id])
		}
	}
	require.Greater(t, asked, 10)
}

func TestTokens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		valid := "1"
		f := &fake{}
		f.answer = func(path, token string, n int, request map[string]any) (int, string) {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case path == adminToken && request["secret"] == secret && request["userID"] == "imAdmin":
				valid = strconv.Itoa(n)
				return 200, login(valid, 600)
			case token != valid:
				return 200, refusal(1501)
			default:
				return 200, noSeqs
			}
		}
		c, log := newClient(f, 1e6)
		defer c.Close()
		ask := func() {
			t.Helper()
			_, err := c.Conversations(t.Context(), "u")
			require.NoError(t, err)
		}
		ask()
		ask()
		require.Equal(t, 1, f.count(adminToken), "the token is kept")
		time.Sleep(541 * time.Second) //nolint:forbidigo // the bubble's clock: shortly before the end
		ask()
		require.Equal(t, 2, f.count(adminToken), "renewed before it expires")
		mu.Lock()
		valid = "another's" // and 1501 to all
		mu.Unlock()
		var many sync.WaitGroup
		for range 20 {
			many.Go(ask)
		}
		many.Wait()
		require.Equal(t, 3, f.count(adminToken), "many callers, one login")
		require.NotContains(t, log.String(), secret)
	})
}

// Codes that mean an ended token cause one login and one repeat, no more.
func TestTokenRefusedForGood(t *testing.T) {
	t.Parallel()
	for code := 1501; code <= 1507; code++ {
		f := &fake{answer: func(path, _ string, _ int, _ map[string]any) (int, string) {
			if path == adminToken {
				return 200, login("t", 600)
			}
			return 200, refusal(code)
		}}
		c, _ := newClient(f, 1e6)
		_, err := c.Conversations(t.Context(), "u")
		var refused *client.Error
		require.ErrorAs(t, err, &refused)
		require.Equal(t, code, refused.Code)
		require.Equal(t, 2, f.count(adminToken))
		require.Equal(t, 2, f.count(seqsPath))
		c.Close()
	}
}

// Servers before v3.8.1 know user_token only.
func TestOlderServer(t *testing.T) {
	t.Parallel()
	f := &fake{answer: func(path, _ string, _ int, request map[string]any) (int, string) {
		switch path {
		case adminToken:
			return 404, "404 page not found"
		case userToken:
			if request["platformID"] != 10.0 {
				return 200, refusal(1001)
			}
			return 200, login("t", 1)
		default:
			return 200, noSeqs
		}
	}}
	c, _ := newClient(f, 1e6)
	defer c.Close()
	require.NoError(t, c.Login(t.Context()))
	require.NoError(t, c.Login(t.Context()))
	require.Equal(t, 1, f.count(adminToken), "it is remembered")
	require.Equal(t, 2, f.count(userToken))
}

func TestWrongSecret(t *testing.T) {
	t.Parallel()
	f := &fake{answer: func(string, string, int, map[string]any) (int, string) { return 200, refusal(1001) }}
	c, log := newClient(f, 1e6)
	defer c.Close()
	err := c.Login(t.Context())
	var refused *client.Error
	require.ErrorAs(t, err, &refused)
	require.NotErrorIs(t, err, client.ErrUnavailable)
	require.Len(t, f.calls, 1, "not retried")
	require.NotContains(t, err.Error()+log.String(), secret)
}

// What may pass is tried three times; the last answer counts.
func TestRetries(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]struct {
		status int
		body   string
	}{
		"no connection": {0, ""}, "slow": {0, "hang"}, "500": {500, "oops"}, "503": {503, ""}, "429": {429, ""}, "redirect": {302, ""},
		"garbage": {200, "<html>"}, "cut": {200, `{"errCode":0,"data":{"seqs":`}, "no errCode": {200, `{"data":{"seqs":{}}}`},
		"no data": {200, `{"errCode":0}`}, "wrong type": {200, `{"errCode":0,"data":{"seqs":["sg_g"]}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				failures := 2
				f := &fake{}
				f.answer = func(path, _ string, _ int, _ map[string]any) (int, string) {
					if path == adminToken {
						return 200, login("t", 600)
					}
					if f.count(seqsPath) <= failures {
						return answer.status, answer.body
					}
					return 200, `{"errCode":0,"data":{"seqs":{"sg_g":{"maxSeq":9,"hasReadSeq":3}}}}`
				}
				c, _ := newClient(f, 1e6)
				defer c.Close()
				got, err := c.Conversations(t.Context(), "u")
				require.NoError(t, err)
				require.Equal(t, map[string]client.Seqs{"sg_g": {MaxSeq: 9, HasReadSeq: 3}}, got)
				failures = 100
				_, err = c.Conversations(t.Context(), "u")
				require.ErrorIs(t, err, client.ErrUnavailable)
				require.Equal(t, 6, f.count(seqsPath))
			})
		})
	}
}

func TestMembersArePaged(t *testing.T) {
	t.Parallel()
	for _, total := range []int{0, 1, 99, 100, 101, 200, 250} {
		f := &fake{answer: func(path, _ string, _ int, request map[string]any) (int, string) {
			if path == adminToken {
				return 200, login("t", 600)
			}
			page, _ := request["pagination"].(map[string]any)
			number, _ := page["pageNumber"].(float64)
			size, _ := page["showNumber"].(float64)
			var list []string
			for i := int((number - 1) * size); i < min(int(number*size), total); i++ {
				list = append(list, fmt.Sprintf(`{"userID":"u%d"}`, i))
			}
			if number == 1 && total > 1 {
				list[len(list)-1] = list[0] // a repeat
			}
			return 200, fmt.Sprintf(`{"errCode":0,"data":{"total":%d,"members":[%s]}}`, total, strings.Join(list, ","))
		}}
		c, _ := newClient(f, 1e6)
		got, err := c.Members(t.Context(), "g")
		require.NoError(t, err)
		require.Len(t, got.Members, total-min(1, max(0, total-1)))
		require.Equal(t, total < 2, got.Complete, "a repeat leaves another out")
		c.Close()
	}
}

// A server that gives the same page for ever is not asked for ever.
func TestPagesEnd(t *testing.T) {
	t.Parallel()
	page := `{"errCode":0,"data":{"members":[` + strings.Repeat(`{"userID":"u"},`, 99) + `{"userID":"v"}]}}`
	f := &fake{answer: func(path, _ string, _ int, _ map[string]any) (int, string) {
		if path == adminToken {
			return 200, login("t", 600)
		}
		return 200, page
	}}
	c, _ := newClient(f, 1e6)
	defer c.Close()
	got, err := c.Members(t.Context(), "g")
	require.NoError(t, err)
	require.Equal(t, client.MemberList{Members: []client.Member{{UserID: "u"}, {UserID: "v"}}}, got)
	require.Equal(t, 2, f.count(members))
}

// Not more requests a second than allowed, nor more than 16 at once; who waits obeys
// its context.
func TestLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var under, most atomic.Int32
		f := &fake{answer: func(path, _ string, _ int, _ map[string]any) (int, string) {
			if path == adminToken {
				return 200, login("t", 600)
			}
			n := under.Add(1)
			for seen := most.Load(); n > seen && !most.CompareAndSwap(seen, n); seen = most.Load() {
			}
			time.Sleep(time.Second) //nolint:forbidigo // the bubble's clock
			under.Add(-1)
			return 200, noSeqs
		}}
		c, _ := newClient(f, 50)
		defer c.Close()
		started := time.Now()
		var many sync.WaitGroup
		for range 200 {
			many.Go(func() {
				_, err := c.Conversations(t.Context(), "u")
				require.NoError(t, err)
			})
		}
		many.Wait()
		require.EqualValues(t, 16, most.Load())
		require.GreaterOrEqual(t, time.Since(started), 12*time.Second, "16 at once, a second each")
		slow, _ := newClient(f, 1)
		defer slow.Close()
		require.NoError(t, slow.Login(t.Context()))
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		started = time.Now()
		_, err := slow.Conversations(ctx, "u")
		require.ErrorIs(t, err, client.ErrUnavailable)
		require.LessOrEqual(t, time.Since(started), 100*time.Millisecond)
	})
}

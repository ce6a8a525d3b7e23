package client_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"readmark/internal/openim/client"
)

const oneSeq = `{"errCode":0,"data":{"seqs":{"sg_g":{"maxSeq":9,"hasReadSeq":3}}}}`

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// loggedIn answers logins by itself, and all else as told.
func loggedIn(answer func(path string, request map[string]any) (int, string)) *fake {
	return &fake{answer: func(path, _ string, _ int, request map[string]any) (int, string) {
		if path == adminToken {
			return 200, login("token-1", 600)
		}
		return answer(path, request)
	}}
}

// The recorded login: the request as the script sent it, its token in what follows.
func TestRecordedLogin(t *testing.T) {
	t.Parallel()
	first := session(t)[0]
	require.Equal(t, adminToken, first.Path)
	var asked []byte
	var token, contentType string
	c, _ := newClient(roundTrip(func(r *http.Request) (*http.Response, error) {
		body, answer := io.NopCloser(strings.NewReader(noSeqs)), &http.Response{StatusCode: http.StatusOK, Request: r}
		if r.URL.Path == adminToken {
			asked, _ = io.ReadAll(r.Body)
			body = io.NopCloser(bytes.NewReader(first.Response))
		}
		token, contentType = r.Header.Get("token"), r.Header.Get("Content-Type")
		answer.Body = body
		return answer, nil
	}), 1e6)
	defer c.Close()
	_, err := c.Conversations(t.Context(), "u")
	require.NoError(t, err)
	require.JSONEq(t, string(first.Request), string(asked))
	require.Equal(t, "<token>", token)
	require.Equal(t, "application/json", contentType)
}

// A server may say in an errCode that it does not know the login.
func TestUnknownMethod(t *testing.T) {
	t.Parallel()
	for _, code := range []int{404, 12} {
		f := &fake{answer: func(path, _ string, _ int, _ map[string]any) (int, string) {
			if path == userToken {
				return 200, login("t", 600)
			}
			return 200, refusal(code)
		}}
		c, _ := newClient(f, 1e6)
		require.NoError(t, c.Login(t.Context()), code)
		require.NoError(t, c.Login(t.Context()), code)
		require.Equal(t, 1, f.count(adminToken))
		c.Close()
	}
}

// A server that was upgraded, and knows the older login no more, is logged in to
// without a restart.
func TestUpgradedServer(t *testing.T) {
	t.Parallel()
	known := userToken
	f := &fake{}
	f.answer = func(path, _ string, _ int, _ map[string]any) (int, string) {
		if path == known {
			return 200, login("t", 600)
		}
		return 404, "404 page not found"
	}
	c, _ := newClient(f, 1e6)
	defer c.Close()
	require.NoError(t, c.Login(t.Context()))
	known = adminToken
	_ = c.Login(t.Context())
	require.NoError(t, c.Login(t.Context()))
}

// A token is renewed before it ends, and not earlier; one without an end is kept.
func TestRenewal(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ seconds, kept int }{{600, 540}, {7776000, 7776000 - 60}, {0, 3600}} {
		now := time.Unix(1795471311, 0)
		f := &fake{answer: func(path, _ string, _ int, _ map[string]any) (int, string) {
			if path == adminToken {
				return 200, login("t", test.seconds)
			}
			return 200, noSeqs
		}}
		c := client.New(client.Options{
			URL: "http://openim.test", Secret: secret, MaxRPS: 1e6, Transport: f,
			Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler),
		})
		ask := func() int {
			_, err := c.Conversations(t.Context(), "u")
			require.NoError(t, err)
			return f.count(adminToken)
		}
		require.Equal(t, 1, ask())
		now = now.Add(time.Duration(test.kept)*time.Second - time.Second)
		require.Equal(t, 1, ask(), "still good: %d", test.seconds)
		if now = now.Add(time.Second); test.seconds > 0 {
			require.Equal(t, 2, ask(), "about to end: %d", test.seconds)
		}
		c.Close()
	}
}

// A token that has ended is replaced, and the call repeated once.
func TestTokenEnds(t *testing.T) {
	t.Parallel()
	for _, code := range []int{1501, 1503, 1507} {
		f := &fake{}
		f.answer = func(path, token string, n int, _ map[string]any) (int, string) {
			switch {
			case path == adminToken:
				return 200, login(fmt.Sprintf("t%d", n), 600)
			case token == "t1":
				return 200, refusal(code)
			default:
				return 200, oneSeq
			}
		}
		c, _ := newClient(f, 1e6)
		got, err := c.Conversations(t.Context(), "u")
		require.NoError(t, err)
		require.Len(t, got, 1)
		require.Equal(t, []string{adminToken, seqsPath, adminToken, seqsPath}, f.calls)
		c.Close()
	}
}

// Who waits for a login that fails shares the failure: no login each, one after the
// other.
func TestLoginFailureIsShared(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct {
		answer string
		logins int
		within time.Duration
	}{"hangs": {"hang", 3, 16 * time.Second}, "refuses": {refusal(1002), 1, 2 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &fake{answer: func(string, string, int, map[string]any) (int, string) {
					if want.answer == "hang" {
						return 0, "hang"
					}
					<-time.After(time.Second)
					return 200, want.answer
				}}
				c, _ := newClient(f, 1e6)
				defer c.Close()
				started := time.Now()
				var failed atomic.Int32
				var many sync.WaitGroup
				for range 20 {
					many.Go(func() {
						if _, err := c.Conversations(t.Context(), "u"); err != nil {
							failed.Add(1)
						}
					})
				}
				many.Wait()
				require.EqualValues(t, 20, failed.Load())
				require.Equal(t, want.logins, f.count(adminToken))
				require.LessOrEqual(t, time.Since(started), want.within)
				require.Error(t, c.Login(t.Context()), "later callers try again")
				require.Equal(t, 2*want.logins, f.count(adminToken))
			})
		})
	}
}

// A caller that goes away during the login does not fail those who wait for it.
func TestLoginOutlivesItsCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: func(path, _ string, n int, _ map[string]any) (int, string) {
			switch {
			case n == 1:
				return 0, "hang"
			case path == adminToken:
				return 200, login("t", 600)
			default:
				return 200, oneSeq
			}
		}}
		c, _ := newClient(f, 1e6)
		defer c.Close()
		ctx, cancel := context.WithCancel(t.Context())
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { _, err := c.Conversations(ctx, "u"); first <- err }()
		synctest.Wait()
		go func() { _, err := c.Conversations(t.Context(), "u"); second <- err }()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-first, context.Canceled)
		require.NoError(t, <-second)
	})
}

// An answer that takes longer than an attempt may is given up, and asked for again.
func TestSlowThenQuick(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.answer = func(path, _ string, _ int, _ map[string]any) (int, string) {
			switch {
			case path == adminToken:
				return 200, login("t", 600)
			case f.count(seqsPath) == 1:
				return 0, "hang"
			default:
				return 200, oneSeq
			}
		}
		c, _ := newClient(f, 1e6)
		defer c.Close()
		started := time.Now()
		_, err := c.Conversations(t.Context(), "u")
		require.NoError(t, err)
		require.GreaterOrEqual(t, time.Since(started), 5*time.Second)
		require.LessOrEqual(t, time.Since(started), 5*time.Second+200*time.Millisecond)
	})
}

// What OpenIM refuses is not asked again.
func TestRefusedOnce(t *testing.T) {
	t.Parallel()
	for _, code := range []int{1002, 1004} {
		f := loggedIn(func(string, map[string]any) (int, string) { return 200, refusal(code) })
		registry := prometheus.NewRegistry()
		c := client.New(client.Options{
			URL: "http://openim.test", Secret: secret, MaxRPS: 1e6, Transport: f, Registry: registry,
			Logger: slog.New(slog.DiscardHandler),
		})
		_, err := c.Members(t.Context(), "g")
		var refused *client.Error
		require.ErrorAs(t, err, &refused)
		require.Equal(t, client.Error{Path: members, Code: code, Message: "SomeError", Detail: "detail"}, *refused)
		require.NotErrorIs(t, err, client.ErrUnavailable)
		require.Equal(t, 1, f.count(members))
		counted := map[string]float64{}
		families, err := registry.Gather()
		require.NoError(t, err)
		for _, family := range families {
			for _, metric := range family.GetMetric() {
				if value := metric.GetCounter().GetValue(); value > 0 {
					counted[metric.GetLabel()[0].GetValue()+" "+metric.GetLabel()[1].GetValue()] = value
				}
			}
		}
		require.Equal(t, map[string]float64{"/auth/get_admin_token answered": 1, members + " refused": 1}, counted)
		c.Close()
	}
}

// An answer without data is none; one without seqs is empty.
func TestNull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		body := `{"errCode":0,"data":null}`
		f := loggedIn(func(string, map[string]any) (int, string) { return 200, body })
		c, _ := newClient(f, 1e6)
		defer c.Close()
		_, err := c.Conversations(t.Context(), "u")
		require.ErrorIs(t, err, client.ErrUnavailable)
		_, err = c.Members(t.Context(), "g")
		require.ErrorIs(t, err, client.ErrUnavailable)
		body = `{"errCode":0,"data":{"seqs":null,"members":null,"groups":null,"total":0}}`
		seqs, err := c.Conversations(t.Context(), "u")
		require.NoError(t, err)
		require.NotNil(t, seqs)
		require.Empty(t, seqs)
		list, err := c.Members(t.Context(), "g")
		require.NoError(t, err)
		require.Equal(t, client.MemberList{Complete: true}, list)
		groups, _, err := c.JoinedGroups(t.Context(), "u")
		require.NoError(t, err)
		require.Empty(t, groups)
	})
}

// An answer without end is not read to its end.
func TestHuge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var read atomic.Int64
		c, _ := newClient(roundTrip(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Request: r, Body: io.NopCloser(endless{&read})}, nil
		}), 1e6)
		defer c.Close()
		require.ErrorIs(t, c.Login(t.Context()), client.ErrUnavailable)
		require.LessOrEqual(t, read.Load(), int64(3*(64<<20+1)))
	})
}

type endless struct{ read *atomic.Int64 }

func (e endless) Read(p []byte) (int, error) {
	e.read.Add(int64(len(p)))
	return copy(p, bytes.Repeat([]byte(" "), len(p))), nil
}

// Over a real connection: refused, cut within the answer, sent elsewhere.
func TestConnections(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"refused": nil,
		"cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "99")
			_, _ = io.WriteString(w, "{")
		},
		"aborted": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == adminToken {
					asked.Add(1)
				}
				if r.URL.Path == "/elsewhere" {
					asked.Add(100)
				}
				handler(w, r)
			}))
			defer server.Close()
			want := int32(3)
			if handler == nil {
				server.Close()
				want = 0
			}
			c := client.New(client.Options{URL: server.URL, Secret: secret, MaxRPS: 1e6, Logger: slog.New(slog.DiscardHandler)})
			defer c.Close()
			err := c.Login(t.Context())
			require.ErrorIs(t, err, client.ErrUnavailable)
			require.Equal(t, want, asked.Load())
		})
	}
}

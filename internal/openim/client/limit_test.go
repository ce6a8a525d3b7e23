package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/openim/client"
)

// pageOf answers a list of the numbers from and before to.
func pageOf(list, id string, total, from, to int) string {
	var items []string
	for i := from; i < to; i++ {
		items = append(items, fmt.Sprintf(`{%q:"x%d"}`, id, i))
	}
	return fmt.Sprintf(`{"errCode":0,"data":{"total":%d,%q:[%s]}}`, total, list, strings.Join(items, ","))
}

func pageNumber(request map[string]any) int {
	page, _ := request["pagination"].(map[string]any)
	number, _ := page["pageNumber"].(float64)
	return int(number)
}

// Pages end where the total does, also when the last is full; without a total, at one
// that is empty.
func TestTotal(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ size, total, calls int }{
		{0, 0, 1}, {100, 100, 1}, {200, 200, 2}, {150, 150, 2}, {100, 0, 2}, {150, 0, 3}, {200, 0, 3},
	} {
		f := loggedIn(func(path string, request map[string]any) (int, string) {
			from := (pageNumber(request) - 1) * 100
			list, id := "members", "userID"
			if path != members {
				list, id = "groups", "groupID"
			}
			return 200, pageOf(list, id, test.total, from, min(from+100, test.size))
		})
		c, _ := newClient(f, 1e6)
		got, err := c.Members(t.Context(), "g")
		require.NoError(t, err)
		require.Len(t, got.Members, test.size)
		require.True(t, got.Complete)
		require.Equal(t, test.calls, f.count(members), "%+v", test)
		groups, _, err := c.JoinedGroups(t.Context(), "u")
		require.NoError(t, err)
		require.Len(t, groups, test.size)
		require.Equal(t, test.calls, f.count("/group/get_joined_group_list"), "%+v", test)
		c.Close()
	}
}

// Members who leave while the list is read end it early, without a loop; order stays.
func TestShrinkingList(t *testing.T) {
	t.Parallel()
	f := loggedIn(func(_ string, request map[string]any) (int, string) {
		if pageNumber(request) == 1 {
			return 200, pageOf("members", "userID", 250, 0, 100)
		}
		return 200, pageOf("members", "userID", 120, 90, 110) // ten of them again
	})
	c, _ := newClient(f, 1e6)
	defer c.Close()
	got, err := c.Members(t.Context(), "g")
	require.NoError(t, err)
	require.Len(t, got.Members, 110)
	require.False(t, got.Complete)
	for i, m := range got.Members {
		require.Equal(t, fmt.Sprintf("x%d", i), m.UserID)
	}
	require.Equal(t, 2, f.count(members))
}

// In no stretch of time more requests start than the rate allows, logins included,
// also after slow answers have kept callers waiting.
func TestRate(t *testing.T) {
	t.Parallel()
	const rps, burst = 20, 2
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var starts []time.Time
		f := &fake{answer: func(path, _ string, n int, _ map[string]any) (int, string) {
			mu.Lock()
			starts = append(starts, time.Now())
			mu.Unlock()
			if path == adminToken {
				return 200, login("t", 600)
			}
			if n < 20 {
				<-time.After(3 * time.Second)
			}
			return 200, noSeqs
		}}
		c, _ := newClient(f, rps)
		defer c.Close()
		var many sync.WaitGroup
		for range 100 {
			many.Go(func() { _, _ = c.Conversations(t.Context(), "u") })
		}
		many.Wait()
		require.Len(t, starts, 101)
		for i := range starts {
			for j := i + burst; j < len(starts); j++ {
				least := time.Duration(j-i+1-burst) * time.Second / rps
				require.GreaterOrEqual(t, starts[j].Sub(starts[i]), least-time.Millisecond, "%d to %d", i, j)
			}
		}
	})
}

// A caller that gives up is let go at once, wherever it waits.
func TestContextEnds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		rps    float64
		others int
		login  int // HTTP status of logins
		answer string
	}{
		"answer":  {1e6, 0, 200, "hang"},
		"slot":    {1e6, 16, 200, "hang"},
		"rate":    {.01, 0, 200, noSeqs},
		"backoff": {1e6, 0, 503, ""},
		"login":   {1e6, 1, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &fake{answer: func(path, _ string, _ int, _ map[string]any) (int, string) {
					switch {
					case path == adminToken && test.login == 0:
						return 0, "hang"
					case path == adminToken:
						return test.login, login("t", 600)
					case test.answer == "hang":
						return 0, "hang"
					default:
						return 200, test.answer
					}
				}}
				c, _ := newClient(f, test.rps)
				defer c.Close()
				waiting, end := context.WithCancel(t.Context())
				var many sync.WaitGroup
				for range test.others {
					many.Go(func() { _, _ = c.Conversations(waiting, "u") })
				}
				synctest.Wait()
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { _, err := c.Conversations(ctx, "u"); done <- err }()
				synctest.Wait()
				started := time.Now()
				cancel()
				err := <-done
				require.Zero(t, time.Since(started))
				require.ErrorIs(t, err, client.ErrUnavailable)
				require.ErrorIs(t, err, context.Canceled)
				end()
				many.Wait()
			})
		})
	}
}

// A server that repeats what it was sent does not bring it into errors or logs.
func TestNothingSecret(t *testing.T) {
	t.Parallel()
	const token = "eyJhbGciOi.token"
	synctest.Test(t, func(t *testing.T) {
		echo := fmt.Sprintf(`"wrong: %s %s"`, secret, token)
		for _, status := range []int{0, 200, 404, 500} {
			for _, refusesLogin := range []bool{true, false} {
				f := &fake{answer: func(path, _ string, _ int, _ map[string]any) (int, string) {
					if path == adminToken && !refusesLogin {
						return 200, login(token, 600)
					}
					return status, `{"errCode":1002,"errMsg":` + echo + `,"errDlt":` + echo + `}`
				}}
				c, log := newClient(f, 1e6)
				_, err := c.Conversations(t.Context(), "u")
				require.Error(t, err)
				text := fmt.Sprintf("%v %+v %s", err, err, log)
				require.NotContains(t, text, secret)
				if !refusesLogin {
					require.NotContains(t, text, token)
				}
				c.Close()
			}
		}
	})
}

// TestBackgroundYields: requests in the background wait as long as others do for the rate
// limit, and are sent when nobody else waits.
func TestBackgroundYields(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var order []string
		c := client.New(client.Options{
			URL: "http://openim", AdminUserID: "imAdmin", Secret: "s", MaxRPS: 10, Logger: slog.New(slog.DiscardHandler),
			Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					return nil, err
				}
				var request struct{ UserID string }
				if err := json.Unmarshal(body, &request); err != nil {
					return nil, err
				}
				mu.Lock()
				order = append(order, request.UserID)
				mu.Unlock()
				return answered(`{"errCode":0,"data":{"token":"t","seqs":{}}}`), nil
			}),
		})
		defer c.Close()
		ask := func(ctx context.Context, userID string) {
			_, err := c.Conversations(ctx, userID)
			require.NoError(t, err)
		}
		ask(t.Context(), "first") // with a login
		var asking sync.WaitGroup
		for range 4 { // as many as run in the background at once
			asking.Go(func() {
				for range 25 {
					ask(client.InBackground(t.Context()), "background")
				}
			})
		}
		for range 50 {
			asking.Go(func() { ask(t.Context(), "reader") })
		}
		asking.Wait()
		mu.Lock()
		defer mu.Unlock()
		require.Len(t, order, 2+100+50)
		last := slices.Index(order[slices.Index(order, "reader"):], "background")
		require.GreaterOrEqual(t, last, 40, "the readers come first: %v", order)
	})
}

func answered(body string) *http.Response {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
}

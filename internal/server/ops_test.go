package server_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"readmark/internal/server"
)

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body)
}

func TestOps(t *testing.T) {
	t.Parallel()
	told := make(chan server.Condition, 10)
	readiness := server.NewReadiness(func(context.Context) server.Condition { return <-told })
	ops := httptest.NewServer(server.NewOps(readiness, prometheus.NewRegistry(), nil))
	defer ops.Close()
	status, body := get(t, ops.URL+"/livez")
	require.Equal(t, 200, status)
	require.Equal(t, "live\n", body)
	for _, c := range []struct {
		condition server.Condition
		status    int
		body      string
	}{
		{server.Condition{Status: server.Ready}, 200, "ready\n"},
		{server.Condition{Status: server.Degraded, Notes: []string{"a", "b"}}, 200, "degraded\na\nb\n"},
		{server.Condition{Status: server.NotReady}, 503, "not ready\n"},
	} {
		told <- c.condition
		status, body = get(t, ops.URL+"/readyz")
		require.Equal(t, c.status, status)
		require.Equal(t, c.body, body)
	}
	away := errors.New("the database\nis away")
	for _, c := range []struct {
		condition server.Condition
		query     string
		status    int
		body      string
	}{
		{server.Condition{Status: server.Degraded, Reads: away, Notes: []string{"a"}}, "", 200, "degraded\nreads: answered 503, the database is away\na\n"},
		{server.Condition{Status: server.Degraded, Reads: away, Notes: []string{"a"}}, "?for=reads", 503, "reads: answered 503, the database is away\n"},
		{server.Condition{Status: server.NotReady}, "?for=reads", 200, "ready\n"},
		{server.Condition{Status: server.Ready}, "?for=reads", 200, "ready\n"},
		{server.Condition{Status: server.Ready}, "?for=", 400, "for must be reads\n"},
		{server.Condition{Status: server.Ready}, "?for=read", 400, "for must be reads\n"},
	} {
		told <- c.condition
		status, body = get(t, ops.URL+"/readyz"+c.query)
		require.Equal(t, c.status, status, c.query)
		require.Equal(t, c.body, body, c.query)
	}
	readiness.Stop()
	for _, path := range []string{"/readyz", "/readyz?for=reads"} {
		status, _ = get(t, ops.URL+path)
		require.Equal(t, 503, status)
	}
	status, _ = get(t, ops.URL+"/debug/pprof/goroutine?debug=1")
	require.Equal(t, 200, status)
}

package server_test

import (
	"context"
	"io"
	"log/slog"
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
	readiness := server.NewReadiness(func(context.Context) server.Condition { return <-told }, slog.New(slog.DiscardHandler))
	ops := httptest.NewServer(server.NewOps(readiness, prometheus.NewRegistry()))
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
	readiness.Stop()
	status, _ = get(t, ops.URL+"/readyz")
	require.Equal(t, 503, status)
	status, _ = get(t, ops.URL+"/debug/pprof/goroutine?debug=1")
	require.Equal(t, 200, status)
}

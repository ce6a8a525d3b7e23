package cli_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
)

// askAs sends a request that names a host, with headers as a browser sends them.
func (s *service) askAs(host, method, url, body string, headers ...string) (int, string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, url, strings.NewReader(body))
	require.NoError(s.t, err)
	request.Host = host
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := s.client.Do(request)
	require.NoError(s.t, err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	return response.StatusCode, string(answer)
}

// TestServeHosts: with keys off a page of evil.com can neither erase nor read, whether it leads its own name here or
// sends requests from where it is; who is named in READMARK_ALLOWED_HOSTS or READMARK_CORS_ORIGINS can. OpenIM's
// callbacks and probes by an IP address go on.
func TestServeHosts(t *testing.T) {
	t.Parallel()
	environment := map[string]string{
		"READMARK_DATABASE_URL": pgtest.New(t), "READMARK_ALLOWED_HOSTS": "Readmark.Test", "READMARK_CORS_ORIGINS": "https://app.example",
	}
	s := serve(t, environment)
	s.read("u", "g", 5)
	const user, badge, evil = "/v1/users/u", "/v1/users/u/unread", "evil.com:8080"
	refused := func(status int, body string) {
		t.Helper()
		require.Equal(t, http.StatusForbidden, status, body)
		require.NotContains(t, body, "unreadCount")
	}
	status, body := s.askAs(evil, http.MethodDelete, s.URL+user, "", "Origin", "http://"+evil, "Sec-Fetch-Site", "same-origin")
	refused(status, body)
	require.Contains(t, body, "evil.com:8080")
	require.Contains(t, body, "READMARK_ALLOWED_HOSTS")
	refused(s.askAs(evil, http.MethodGet, s.URL+badge, ""))
	refused(s.askAs(evil, http.MethodGet, s.URL+"/docs", ""))
	refused(s.askAs(evil, http.MethodGet, s.Ops+"/metrics", ""))
	refused(s.askAs("", http.MethodDelete, s.URL+user, "", "Origin", "https://evil.com", "Sec-Fetch-Site", "cross-site"))
	_, answer := s.get(badge)
	require.InDelta(t, 5, answer["unreadCount"], 0, "nothing was erased")

	for _, host := range []string{"readmark.test:8080", "localhost"} {
		status, _ = s.askAs(host, http.MethodGet, s.URL+badge, "")
		require.Equal(t, http.StatusOK, status, host)
	}
	for _, host := range []string{"readmark.test", "10.244.1.17:8081"} {
		status, _ = s.askAs(host, http.MethodGet, s.Ops+"/readyz", "")
		require.Equal(t, http.StatusOK, status, host)
	}
	status, body = s.askAs(evil, http.MethodPost, s.URL+"/callbackAfterGroupMsgReadCommand",
		`{"callbackCommand":"callbackGroupMsgReadCommand","sendID":"u","receiveID":"g","unreadMsgNum":4,"contentType":101}`)
	require.Equal(t, http.StatusOK, status, body)
	status, body = s.askAs("", http.MethodDelete, s.URL+user, "", "Origin", "https://app.example", "Sec-Fetch-Site", "cross-site")
	require.Equal(t, http.StatusOK, status, body)
	s.end()

	// Where keys are asked for, a page has none: any name will do.
	environment["READMARK_AUTH"] = "required"
	s = serve(t, environment)
	status, _ = s.askAs(evil, http.MethodGet, s.URL+badge, "")
	require.Equal(t, http.StatusUnauthorized, status)
	status, _ = s.askAs(evil, http.MethodGet, s.Ops+"/readyz", "")
	require.Equal(t, http.StatusOK, status)
	s.end()
}

// TestServeHostOfItsAddress: the name that serve is told to listen on is allowed.
func TestServeHostOfItsAddress(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]string{
		"READMARK_DATABASE_URL": pgtest.New(t), "READMARK_ADDR": ":0", "READMARK_OPS_ADDR": "localhost:0", "READMARK_AUTH": "off",
	})
	status, body := s.askAs("localhost", http.MethodGet, s.URL+"/openapi.json", "")
	require.Equal(t, http.StatusOK, status, body)
	status, body = s.askAs("0.0.0.0:8080", http.MethodGet, s.URL+"/v1/users/u/unread", "")
	require.Equal(t, http.StatusForbidden, status, body)
	status, body = s.askAs("10.9.8.7:8080", http.MethodGet, s.URL+"/v1/users/u/unread", "")
	require.Equal(t, http.StatusForbidden, status, body)
	require.Contains(t, body, "10.9.8.7:8080")
	s.end()
	status, _, errs := run(t, map[string]string{"READMARK_ALLOWED_HOSTS": "https://readmark.test"}, "serve", "--print-config")
	require.Equal(t, 1, status)
	require.Contains(t, errs, "READMARK_ALLOWED_HOSTS must be host names such as readmark.internal, without https:// and a path")
}

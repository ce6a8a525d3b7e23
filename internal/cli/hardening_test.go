package cli_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
)

// TestHostileNeighbours: while connections say nothing, half of something, or what is
// no HTTP at all, serve takes callbacks and answers questions, and it stops in time
// with all of them open.
func TestHostileNeighbours(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": pgtest.Empty(t)})
	for i := range 200 {
		for _, address := range []string{s.URL, s.Ops} {
			conn, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
			require.NoError(t, err)
			t.Cleanup(func() { _ = conn.Close() })
			_, err = io.WriteString(conn, []string{
				"", "GET /v1/users/", "GET /v1/users/u/unread HTTP/1.1\r\nHost: x\r\n\r\n",
				"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
			}[i%5])
			require.NoError(t, err)
		}
	}
	for i := range 20 {
		s.read("u", fmt.Sprint("g", i), 1)
	}
	_, badge := s.get("/v1/users/u/unread")
	require.EqualValues(t, 20, badge["unreadCount"])
	require.NotContains(t, s.log.String(), "panic")
	stopping := time.Now()
	s.end()
	require.Less(t, time.Since(stopping), 30*time.Second)
}

// TestServeCORS: READMARK_CORS_ORIGINS reaches the read API, and nothing else.
func TestServeCORS(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]string{
		"READMARK_DATABASE_URL": pgtest.Empty(t), "READMARK_CORS_ORIGINS": "https://app.example", "READMARK_AUTH": "required",
	})
	transport := &http.Transport{} // a preflight is no operation of the document, which s.client holds answers to
	defer transport.CloseIdleConnections()
	for url, want := range map[string]string{
		s.URL + "/v1/users/u/unread": "https://app.example", s.URL + "/openapi.json": "", s.Ops + "/metrics": "",
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, url, nil)
		require.NoError(t, err)
		request.Header.Set("Origin", "https://app.example")
		request.Header.Set("Access-Control-Request-Method", "GET")
		response, err := (&http.Client{Transport: transport}).Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, want, response.Header.Get("Access-Control-Allow-Origin"), url)
	}
	s.end()
	status, _, errs := run(t, map[string]string{"READMARK_CORS_ORIGINS": "app.example"}, "serve", "--print-config")
	require.NotEqual(t, 0, status)
	require.Contains(t, errs, "READMARK_CORS_ORIGINS must be origins such as https://app.example.com")
}

package api_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/server"
)

// TestSpitefulBodies: a body that is wrong in many places costs no more than a right
// one, and its answer does not repeat it.
//
//nolint:paralleltest // it counts what the process allocates
func TestSpitefulBodies(t *testing.T) {
	s := newService(t)
	const size = 4 << 20
	var unknown strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&unknown, `"k%d":0,`, i)
	}
	for name, test := range map[string]struct {
		body   string
		status int
	}{
		"many values":         {`{"userIDs":[` + strings.Repeat("0,", size/2) + `0]}`, 400},
		"many objects":        {`{"pairs":[` + strings.Repeat("{},", size/3) + `{}]}`, 400},
		"wrong values":        {`{"userIDs":[` + strings.Repeat("0,", 5000) + `0]}`, 422},
		"unknown fields":      {`{` + unknown.String() + `"x":"` + strings.Repeat("a", size) + `"}`, 422},
		"a long unknown name": {`{"` + strings.Repeat("a", size) + `":1}`, 422},
		"a long ID":           {`{"userIDs":["` + strings.Repeat("ü", size/2) + `"]}`, 422},
		"deep":                {strings.Repeat("[", size), 400},
		"deep in a field":     {strings.Repeat(`{"userIDs":`, 5000) + "1" + strings.Repeat("}", 5000), 422},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		answer := s.ask(http.MethodPost, "/v1/unread/query", test.body)
		runtime.ReadMemStats(&after)
		require.Equal(t, test.status, answer.Code, "%s: %.300s", name, answer.Body)
		require.Equal(t, "application/problem+json", answer.Header().Get("Content-Type"), name)
		require.Less(t, answer.Body.Len(), 64<<10, name)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(40*size), name)
		require.NotEmpty(t, decoded(t, answer)["errors"], name)
	}
}

// A mistake in a small body is answered with the value that is wrong.
func TestProblemsQuoteShortValues(t *testing.T) {
	t.Parallel()
	s := newService(t)
	answer := s.ask(http.MethodPost, "/v1/unread/query", `{"userIDs":[7]}`)
	require.Equal(t, 422, answer.Code)
	require.Equal(t, "no-store", answer.Header().Get("Cache-Control"))
	first := decoded(t, answer)["errors"].([]any)[0].(map[string]any)
	require.Equal(t, "body.userIDs[0]", first["location"])
	require.EqualValues(t, 7, first["value"])
	// IDs of commas and brackets are no structure: a full batch of them is taken.
	id := `"` + strings.Repeat(",[{", 85) + `",`
	full := strings.Repeat(id, 1000)
	answer = s.ask(http.MethodPost, "/v1/unread/query", `{"userIDs":[`+full[:len(full)-1]+`]}`)
	require.Equal(t, 200, answer.Code, "%.300s", answer.Body)
	require.Len(t, decoded(t, answer)["users"], 1000)
}

// TestBrokenBodies: a body that is not what its headers announce is the caller's
// mistake, never a 500.
func TestBrokenBodies(t *testing.T) {
	t.Parallel()
	s := newService(t)
	opened, err := server.Open(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	listener := server.NewListener("test", opened, s.handler, slog.New(slog.DiscardHandler))
	listener.Serve(func(err error) { t.Error(err) })
	defer func() { require.NoError(t, listener.Shutdown(t.Context())) }()
	const chunked = "Transfer-Encoding: chunked\r\n\r\n"
	for name, test := range map[string]struct {
		rest   string
		status int
	}{
		"a chunk without a length": {chunked + "zz\r\n{}\r\n0\r\n\r\n", 400},
		"a chunk cut short":        {chunked + "2\r\n{}", 400},
		"a good chunk, then none":  {chunked + "2\r\n{}\r\n!\r\n", 400},
		"less than announced":      {"Content-Length: 100\r\n\r\n{}", 400},
		"more than allowed":        {"Content-Length: 99999999\r\n\r\n{}", 413},
		"chunks":                   {chunked + "1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", 200},
	} {
		conn, err := net.Dial("tcp", listener.Addr())
		require.NoError(t, err)
		_, err = io.WriteString(conn, "POST /v1/unread/query HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+test.rest)
		require.NoError(t, err)
		if test.status != 200 { // who closes before the answer wants none
			require.NoError(t, conn.(*net.TCPConn).CloseWrite())
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err, name)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, test.status, response.StatusCode, "%s: %s", name, body)
		if test.status != 200 {
			require.Equal(t, "application/problem+json", response.Header.Get("Content-Type"), name)
			require.Equal(t, 1, strings.Count(string(body), `"status"`), "one answer: %s", body)
		}
		require.NoError(t, conn.Close())
	}
}

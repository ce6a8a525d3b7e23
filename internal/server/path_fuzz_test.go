package server_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/readstate"
)

// escapeAll encodes every byte.
func escapeAll(id string) string {
	var b strings.Builder
	for i := range len(id) {
		fmt.Fprintf(&b, "%%%02x", id[i])
	}
	return b.String()
}

// target sends a GET request for the target as net/http reads it from the wire; nil
// when it cannot be a request at all.
func target(handler http.Handler, text string) *httptest.ResponseRecorder {
	request, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + text + " HTTP/1.1\r\nHost: x\r\n\r\n")))
	if err != nil || request.Method != http.MethodGet {
		return nil
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return recorder
}

// FuzzPathIDs: an ID in a path comes back exactly as it was encoded, or is refused;
// bytes that are put in a path as they are never name another pair than they spell.
func FuzzPathIDs(f *testing.F) {
	for _, seed := range [][2]string{
		{"u", "g"},
		{"a/b", "100%"},
		{".", ".."},
		{"%2F", "a%2fb"},
		{"ü😀", "\xff\xfe"},
		{"", "\x00"},
		{"a+b", "a b"},
		{";", "?x=1#y"},
		{"groups", "unread"},
		{strings.Repeat("x", 255), strings.Repeat("ü", 128)},
		{"../../v1/users/x", "g/../h"},
		{"%", "%zz"},
		{"\\", "'\""},
		{"\u0085", "\u2028"},
	} {
		f.Add(seed[0], seed[1])
	}
	handler := newHandler(&sink{})
	f.Fuzz(func(t *testing.T, user, group string) {
		valid := readstate.CheckID(user) == nil && readstate.CheckID(group) == nil
		for _, escape := range []func(string) string{escapeAll, url.PathEscape, url.QueryEscape} {
			if strings.ContainsAny(user+group, " ") && strings.Contains(escape(" "), "+") {
				continue // a form's encoding, not a path's
			}
			answer := target(handler, "/v1/users/"+escape(user)+"/groups/"+escape(group))
			require.NotNil(t, answer, "an encoded path is always a request")
			if valid {
				require.Equal(t, 200, answer.Code, answer.Body)
				requirePair(t, answer, user, group)
			} else {
				require.Contains(t, []int{404, 422}, answer.Code, answer.Body)
			}
		}
		answer := target(handler, "/v1/users/"+user+"/groups/"+group)
		if answer == nil || answer.Code == 404 || answer.Code == 422 {
			return
		}
		require.Equal(t, 200, answer.Code, answer.Body)
		path, _, _ := strings.Cut("/v1/users/"+user+"/groups/"+group, "?")
		parts := strings.Split(path, "/")
		require.Len(t, parts, 6)
		wantUser, err := url.PathUnescape(parts[3])
		require.NoError(t, err)
		wantGroup, err := url.PathUnescape(parts[5])
		require.NoError(t, err)
		requirePair(t, answer, wantUser, wantGroup)
	})
}

func requirePair(t *testing.T, answer *httptest.ResponseRecorder, user, group string) {
	t.Helper()
	var pair struct{ UserID, GroupID string }
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &pair))
	require.Equal(t, user, pair.UserID)
	require.Equal(t, group, pair.GroupID)
}

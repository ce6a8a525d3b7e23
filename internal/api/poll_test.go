package api_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/api"
)

// TestPolling: an answer has a weak ETag that asOf is no part of; who has it is
// answered 304 without a body, until a receipt or a message of somebody changes what
// is answered.
func TestPolling(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.read("u", "g", 1)
	s.read("u", "h", 0)
	s.read("v", "g", 0)
	targets := []string{
		"/v1/users/u/groups/g", "/v1/users/u/unread", "/v1/users/u/groups", "/v1/users/u/groups?sort=-unreadCount",
		"/v1/groups/g/users", "/v1/groups/g/unread",
	}
	etags := map[string]string{}
	look := func() (changed []string) {
		t.Helper()
		for _, target := range targets {
			full := s.ask(http.MethodGet, target, "")
			require.Equal(t, http.StatusOK, full.Code)
			etag := full.Header().Get("ETag")
			require.Regexp(t, `^W/"[0-9a-z]+"$`, etag)
			require.Equal(t, "no-cache", full.Header().Get("Cache-Control"))
			require.Contains(t, full.Body.String(), `"asOf":`)
			for _, header := range []string{etag, strings.TrimPrefix(etag, "W/"), `"x", ` + etag + `,"y"`, "*"} {
				same := s.ask(http.MethodGet, target, "", "If-None-Match", header)
				require.Equal(t, http.StatusNotModified, same.Code, header)
				require.Empty(t, same.Body.String())
				require.Equal(t, etag, same.Header().Get("ETag"))
				require.Equal(t, "no-cache", same.Header().Get("Cache-Control"))
			}
			if was := etags[target]; was != "" && was != etag {
				news := s.ask(http.MethodGet, target, "", "If-None-Match", was)
				require.Equal(t, http.StatusOK, news.Code)
				require.Equal(t, etag, news.Header().Get("ETag"))
				changed = append(changed, target)
			}
			etags[target] = etag
		}
		return changed
	}
	require.Empty(t, look())
	require.Empty(t, look(), "nothing has happened")
	s.read("u", "g", 4)
	require.Equal(t, targets, look(), "a receipt")
	s.message("w", "g")
	require.Equal(t, targets, look(), "a message of somebody else")
	s.read("w", "other", 3)
	require.Empty(t, look(), "another group")
	s.read("u", "h", 0)
	require.Subset(t, look(), []string{"/v1/users/u/unread", "/v1/users/u/groups"}, "the same count again: it was read later")

	posted := s.ask(http.MethodPost, "/v1/unread/query", `{"userIDs":["u"]}`, "If-None-Match", "*")
	require.Equal(t, http.StatusOK, posted.Code)
	require.Empty(t, posted.Header().Get("ETag"))
	unknown := s.ask(http.MethodGet, "/v1/users/nobody/unread", "", "If-None-Match", "*")
	require.Equal(t, http.StatusNotFound, unknown.Code)
	require.Empty(t, unknown.Header().Get("ETag"))
}

// Two services on one database give the same ETags: callers may be sent to either.
func TestETagsOfReplicas(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.read("u", "g", 1)
	other := s.replica()
	for _, target := range []string{"/v1/users/u/groups/g", "/v1/users/u/unread", "/v1/users/u/groups", "/v1/groups/g/users"} {
		etag := s.ask(http.MethodGet, target, "").Header().Get("ETag")
		require.Equal(t, http.StatusNotModified, other.ask(http.MethodGet, target, "", "If-None-Match", etag).Code, target)
	}
}

// What is large is compressed for who accepts it, and says so to caches; what is
// small is not.
func TestCompression(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for i := range 50 {
		s.read("u", fmt.Sprintf("g%d", i), 1)
	}
	const list = "/v1/users/u/groups"
	plain := s.ask(http.MethodGet, list, "")
	require.Empty(t, plain.Header().Get("Content-Encoding"))
	require.Equal(t, "Accept-Encoding", plain.Header().Get("Vary"))
	packed := s.ask(http.MethodGet, list, "", "Accept-Encoding", "gzip")
	require.Equal(t, "gzip", packed.Header().Get("Content-Encoding"))
	require.Less(t, packed.Body.Len(), plain.Body.Len()/3)
	unpacking, err := gzip.NewReader(packed.Body)
	require.NoError(t, err)
	var answer, want api.StateList
	require.NoError(t, json.NewDecoder(unpacking).Decode(&answer))
	require.NoError(t, json.Unmarshal(plain.Body.Bytes(), &want))
	require.Equal(t, want.Items, answer.Items)
	require.Equal(t, plain.Header().Get("ETag"), packed.Header().Get("ETag"))
	same := s.ask(http.MethodGet, list, "", "Accept-Encoding", "gzip", "If-None-Match", packed.Header().Get("ETag"))
	require.Equal(t, http.StatusNotModified, same.Code)
	require.Empty(t, same.Body.String())
	small := s.ask(http.MethodGet, "/v1/users/u/unread", "", "Accept-Encoding", "gzip")
	require.Empty(t, small.Header().Get("Content-Encoding"))
	posted := s.ask(http.MethodPost, "/v1/unread/query", `{"userIDs":[`+strings.Repeat(`"u",`, 99)+`"u"]}`, "Accept-Encoding", "gzip")
	require.Equal(t, "gzip", posted.Header().Get("Content-Encoding"))
}

package client_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/client"
)

// answers gives a server that answers with these statuses, one after the other.
func answers(t testing.TB, asked *[]*http.Request, statuses ...int) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r)
		status := statuses[min(len(*asked), len(statuses))-1]
		w.Header().Set("Retry-After", "0")
		if status != http.StatusOK {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(`{"title":"T","status":1,"detail":"why","errors":[{"location":"query.limit","message":"is wrong"}]}`))
			return
		}
		_, _ = w.Write([]byte(`{"userID":"u","unreadCount":3,"unreadGroups":1,"groups":1,"asOf":"2026-11-24T00:00:00Z"}`))
	}))
	t.Cleanup(server.Close)
	return server
}

// Reads are tried again where that may help, writes never.
func TestRetries(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		statuses []int
		tried    int
		err      error
	}{
		{[]int{200}, 1, nil},
		{[]int{503, 429, 502, 200}, 4, nil},
		{[]int{503}, 4, client.ErrUnavailable},
		{[]int{429}, 4, client.ErrTooManyRequests},
		{[]int{404}, 1, client.ErrUnknown},
		{[]int{401}, 1, client.ErrUnauthorized},
		{[]int{403}, 1, client.ErrForbidden},
		{[]int{410}, 1, client.ErrGone},
		{[]int{422}, 1, client.ErrInvalid},
	} {
		var asked []*http.Request
		c, err := client.New(answers(t, &asked, test.statuses...).URL+"/", client.Options{Key: "rmk_x"})
		require.NoError(t, err)
		badge, err := c.Badge(t.Context(), "u")
		require.ErrorIs(t, err, test.err)
		require.Len(t, asked, test.tried)
		require.Equal(t, "Bearer rmk_x", asked[0].Header.Get("Authorization"))
		if test.err == nil {
			require.EqualValues(t, 3, badge.UnreadCount)
			continue
		}
		require.Nil(t, badge)
		var problem *client.Error
		require.ErrorAs(t, err, &problem)
		require.Equal(t, test.statuses[len(test.statuses)-1], problem.Status)
		require.ErrorContains(t, err, "T: why; query.limit is wrong")
	}
	var asked []*http.Request
	c, err := client.New(answers(t, &asked, 503).URL, client.Options{})
	require.NoError(t, err)
	_, err = c.EraseUser(t.Context(), "u")
	require.ErrorIs(t, err, client.ErrUnavailable)
	_, err = c.Query(t.Context(), nil, []string{"u"})
	require.ErrorIs(t, err, client.ErrUnavailable)
	require.Len(t, asked, 2)
}

func TestBaseURL(t *testing.T) {
	t.Parallel()
	for _, wrong := range []string{"", "readmark:8080", "ftp://h", "http://", "http://h?x=1", "http://h\x00"} {
		_, err := client.New(wrong, client.Options{})
		require.Error(t, err, wrong)
	}
	_, err := client.New("https://h/behind/a/proxy/", client.Options{})
	require.NoError(t, err)
}

package client_test

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/openim/client"
)

// A conversation whose seqs cannot be used spoils no other.
func TestUnusableConversations(t *testing.T) {
	t.Parallel()
	f := &fake{answer: func(path, _ string, _ int, _ map[string]any) (int, string) {
		if path == adminToken {
			return 200, login("t", 600)
		}
		return 200, `{"errCode":0,"data":{"seqs":{"sg_g":{"maxSeq":9,"hasReadSeq":3},
			"sg_negative":{"maxSeq":-1,"hasReadSeq":3},"sg_read":{"maxSeq":1,"hasReadSeq":-3},"si_a_b":{"maxSeq":"9","hasReadSeq":3},
			"sg_fraction":{"maxSeq":9.0,"hasReadSeq":3},"sg_large":{"maxSeq":9223372036854775808},"sg_text":"x","sg_list":[]}}}`
	}}
	c, _ := newClient(f, 1e6)
	defer c.Close()
	got, err := c.Conversations(t.Context(), "u")
	require.NoError(t, err)
	require.Equal(t, map[string]client.Seqs{"sg_g": {MaxSeq: 9, HasReadSeq: 3}}, got)
}

// A user whose answers take long is given more time, up to a minute, and others are not.
func TestTimeoutGrows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const slow = 45 * time.Second
		c := client.New(client.Options{
			URL: "http://openim", AdminUserID: "imAdmin", Secret: "s", MaxRPS: 1e6, Timeout: 10 * time.Second,
			Logger: slog.New(slog.DiscardHandler),
			Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				text := login("t", 600)
				if r.URL.Path == seqsPath {
					text = oneSeq
					select {
					case <-time.After(slow):
					case <-r.Context().Done():
						return nil, r.Context().Err()
					}
				}
				return &http.Response{StatusCode: http.StatusOK, Request: r, Body: io.NopCloser(strings.NewReader(text))}, nil
			}),
		})
		defer c.Close()
		took := func(userID string) (time.Duration, error) {
			started := time.Now()
			_, err := c.Conversations(t.Context(), userID)
			return time.Since(started).Round(5 * time.Second), err
		}
		for _, each := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second} {
			d, err := took("u")
			require.ErrorIs(t, err, client.ErrUnavailable)
			require.Equal(t, 3*each, d) // three attempts
		}
		d, err := took("u")
		require.NoError(t, err)
		require.Equal(t, slow, d)
		d, err = took("other")
		require.ErrorIs(t, err, client.ErrUnavailable)
		require.Equal(t, 30*time.Second, d)
	})
}

// A maxSeqTime that is no time is left out, and spoils no seq.
func TestUnusableMaxSeqTime(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		`1795471311427`: 1795471311427, `0`: 0, `-1`: 0, `"soon"`: 0, `null`: 0, `253402300800000`: 0, `9223372036854775807`: 0,
	} {
		c, _ := newClient(loggedIn(func(string, map[string]any) (int, string) {
			return 200, `{"errCode":0,"data":{"seqs":{"sg_g":{"maxSeq":9,"hasReadSeq":3,"maxSeqTime":` + text + `}}}}`
		}), 1e6)
		got, err := c.Conversations(t.Context(), "u")
		c.Close()
		require.NoError(t, err)
		require.Equal(t, map[string]client.Seqs{"sg_g": {MaxSeq: 9, HasReadSeq: 3, MaxSeqTime: want}}, got, text)
	}
}

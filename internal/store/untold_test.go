package store_test

import (
	"bytes"
	"io"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
)

// losingAnswer leads to a database, and breaks one connection when it answers with a text: the answer is lost.
func losingAnswer(t *testing.T, database, text string) string {
	t.Helper()
	u, err := url.Parse(database)
	require.NoError(t, err)
	to := u.Host
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	var lost atomic.Bool
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				_ = client.Close()
				continue
			}
			go func() {
				_, _ = io.Copy(server, client)
				_ = server.Close()
			}()
			go func() {
				defer client.Close()
				buffer := make([]byte, 1<<16)
				for {
					n, err := server.Read(buffer)
					if err != nil || bytes.Contains(buffer[:n], []byte(text)) && lost.CompareAndSwap(false, true) {
						return
					}
					if _, err := client.Write(buffer[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	u.Host = listener.Addr().String()
	return u.String()
}

// A connection may break when PostgreSQL has leased lookups, or taken checks, and before it has said so: they are free again, for
// who has lost them and for others, as soon as the process asks the next time.
func TestLostLeases(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	lookups, checks, other := open(t, losingAnswer(t, url, "UPDATE 2")), open(t, losingAnswer(t, url, "UPDATE 1")), open(t, url)
	pairs := []readstate.Pair{{UserID: "u", GroupID: "g"}, {UserID: "v", GroupID: "g"}}
	require.NoError(t, other.EnqueueLookups(t.Context(), pairs))
	_, err := lookups.LeaseLookups(t.Context(), true, 10, time.Hour)
	require.ErrorIs(t, err, readstate.ErrUnavailable)
	leased, err := other.LeaseLookups(t.Context(), true, 10, time.Hour)
	require.NoError(t, err)
	require.Empty(t, leased, "they are leased")
	leased, err = lookups.LeaseLookups(t.Context(), true, 1, time.Hour)
	require.NoError(t, err)
	require.Len(t, leased, 1)
	leased, err = other.LeaseLookups(t.Context(), true, 10, time.Hour)
	require.NoError(t, err)
	require.Len(t, leased, 1)

	commit(t, other, documented("u", "g", 1, 1))
	exec(t, pgtest.Connect(t, url), "INSERT INTO checks (user_id, group_id, due_at) VALUES ('u', '', now() - interval '1 hour')")
	_, err = checks.TakeChecks(t.Context(), 10, 24*time.Hour)
	require.ErrorIs(t, err, readstate.ErrUnavailable)
	taken, err := other.TakeChecks(t.Context(), 10, 24*time.Hour)
	require.NoError(t, err)
	require.Empty(t, taken)
	taken, err = checks.TakeChecks(t.Context(), 10, 24*time.Hour)
	require.NoError(t, err)
	require.Equal(t, []readstate.Pair{{UserID: "u"}}, taken)
}

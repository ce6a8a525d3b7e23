package cli_test

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/client"
	"readmark/internal/readstate"
)

// shakyDialer connects to where a readmark is now. Connections break after some random
// bytes.
type shakyDialer struct {
	mu          sync.Mutex
	address     string
	last        net.Conn
	connections int
}

func (d *shakyDialer) aim(s *service) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.address = strings.TrimPrefix(s.URL, "http://")
}

func (d *shakyDialer) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", d.address)
	if err != nil {
		return nil, err
	}
	d.connections++
	d.last = &shakyConn{connection, 1000 + rand.N(20_000)}
	return d.last, nil
}

func (d *shakyDialer) breakLast() {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = d.last.Close()
}

type shakyConn struct {
	net.Conn
	left int
}

func (c *shakyConn) Read(p []byte) (int, error) {
	if c.left == 0 {
		_ = c.Close()
		return 0, net.ErrClosed
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// TestClientChanges: what the iterator of the Go client tells adds up to what the lists
// say, over connections that break anywhere and a readmark that stops and starts; it ends
// when the key is revoked.
func TestClientChanges(t *testing.T) {
	t.Parallel()
	environment := withKeys(t)
	s := serve(t, environment)
	key := makeKey(t, environment, "--name", "follower", "--scope", "read")
	dialer := &shakyDialer{}
	dialer.aim(s)
	transport := &http.Transport{DialContext: dialer.dial}
	t.Cleanup(transport.CloseIdleConnections)
	c, err := client.New("http://readmark.test", client.Options{Key: key, HTTPClient: &http.Client{Transport: transport}})
	require.NoError(t, err)

	s.read("before", "g", 1)
	o := client.ChangesOptions{UsersPrefix: "u"}
	o.After, err = c.ChangesCursor(t.Context(), o)
	require.NoError(t, err)
	next, stop := iter.Pull2(c.Changes(t.Context(), o))
	defer stop()
	told := map[readstate.Pair]int64{}
	const rounds = 3
	for round := int64(1); round <= rounds; round++ {
		for range 100 {
			s.read(fmt.Sprint("u", rand.N(10)), fmt.Sprint("g", rand.N(20)), rand.Int64N(100))
			s.read("other", "g0", round)
		}
		s.read("u", "z", round) // comes last, also where many come at once
		end := readstate.Pair{UserID: "u", GroupID: "z"}
		for told[end] < round {
			change, err, _ := next()
			require.NoError(t, err)
			require.Equal(t, client.StateChanged, change.Type)
			told[readstate.Pair{UserID: *change.UserID, GroupID: *change.GroupID}] = change.State.UnreadCount
		}
		listed := map[readstate.Pair]int64{}
		reader := newReader(t, s, key)
		for group := range 21 {
			name := fmt.Sprint("g", group)
			if group == 20 {
				name = "z"
			}
			for _, state := range all(t, reader.GroupUsers(t.Context(), name, client.ListOptions{})) {
				if state.UserID != "other" {
					listed[readstate.Pair{UserID: state.UserID, GroupID: state.GroupID}] = state.UnreadCount
				}
			}
		}
		require.Equal(t, listed, told)
		if round < rounds {
			s.end()
			s = serve(t, environment)
			dialer.aim(s)
		}
	}
	require.Greater(t, dialer.connections, rounds+1, "connections have broken")

	status, _, errs := run(t, environment, "key", "revoke", "follower")
	require.Equal(t, 0, status, errs)
	require.Eventually(t, func() bool {
		return s.ask(key, http.MethodGet, "/v1/users/u/unread", "").status == http.StatusUnauthorized
	}, time.Minute, 50*time.Millisecond)
	dialer.breakLast()
	_, err, _ = next()
	require.ErrorIs(t, err, client.ErrUnauthorized)
	_, _, more := next()
	require.False(t, more, "an error is the last of all")
	s.end()
}

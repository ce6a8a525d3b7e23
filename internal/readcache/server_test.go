package readcache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

// TestKilledServer: PostgreSQL is killed again and again, and comes back.
func TestKilledServer(t *testing.T) {
	t.Parallel()
	url, kill := pgtest.Own(t)
	both := []*process{newProcess(t, url, nil), newProcess(t, url, nil)}
	w := newWorld(t)
	w.tolerates = true
	kills := 0
	w.run(25_000, both, both, func(ctx context.Context) {
		kill()
		kills++
		w.wait(ctx, 50) // it answers again
	})
	t.Logf("killed %d times", kills)
	require.Zero(t, w.wrong.Load())
	require.Greater(t, kills, 2)
}

// TestAnotherServer: an address that leads to another server answers from that one, with nothing
// left of the first, though transactions have the same numbers there.
func TestAnotherServer(t *testing.T) {
	t.Parallel()
	first, _ := pgtest.Own(t)
	second, _ := pgtest.Own(t)
	pair := readstate.Pair{UserID: "u", GroupID: "g"}
	for i, url := range []string{first, second} {
		p := newProcess(t, url, nil)
		require.NoError(t, p.Commit(t.Context(), readstate.Batch{Events: []readstate.Event{event(readstate.EventReceipt, pair, int64(i+1))}, Fresh: true}))
	}
	through, move := movable(t, first)
	p := newProcess(t, through, nil)
	state, _, err := p.cache.State(t.Context(), pair)
	require.NoError(t, err)
	require.EqualValues(t, 1, state.UnreadCount)
	move(second)
	u, err := url.Parse(first)
	require.NoError(t, err)
	password, _ := u.User.Password()
	_, err = pgtest.Connect(t, second).Exec(t.Context(), fmt.Sprintf("ALTER ROLE %s PASSWORD '%s'", u.User.Username(), password))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		state, _, err := p.cache.State(t.Context(), pair)
		return err == nil && state.UnreadCount == 2
	}, 10*time.Second, 10*time.Millisecond)
}

// movable gives a URL of a server that can be moved to another one.
func movable(t testing.TB, to string) (through string, move func(to string)) {
	t.Helper()
	u, err := url.Parse(to)
	require.NoError(t, err)
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	var proxy *toxiproxy.Proxy
	start := func(listen, upstream string) {
		proxy = toxiproxy.NewProxy(server, "database", listen, upstream)
		pgtest.ListenAgain(t, proxy.Start)
		t.Cleanup(proxy.Stop)
	}
	start(pgtest.Listen(), u.Host)
	u.Host = proxy.Listen
	return u.String(), func(to string) {
		next, err := url.Parse(to)
		require.NoError(t, err)
		proxy.Stop()
		start(u.Host, next.Host)
	}
}

// newReplica is a process that reads from a replica of the database of another one.
func newReplica(t testing.TB, primary *process, url string) *process {
	t.Helper()
	replica, err := primary.OpenReplicas([]string{url}, store.ReplicaOptions{Report: func(string, error) {}, Clear: func(string) {}})
	require.NoError(t, err)
	t.Cleanup(replica.Close)
	p := &process{}
	p.read(t, replica.Reader, nil)
	ctx, cancel := context.WithCancel(context.Background())
	var following sync.WaitGroup
	following.Go(func() { replica.Follow(ctx) })
	t.Cleanup(func() { cancel(); following.Wait() })
	return p
}

// readable blocks until a process answers, or until it does not.
func (p *process) readable(t testing.TB, want bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, _, err := p.cache.State(t.Context(), readstate.Pair{UserID: "u", GroupID: "g"})
		return errors.Is(err, readstate.ErrUnavailable) != want
	}, time.Minute, time.Millisecond)
}

// TestStandby: a process that reads from a standby answers what the standby has, also while
// transactions are open on the primary, and nothing when the standby is promoted, until it is the
// primary.
func TestStandby(t *testing.T) {
	t.Parallel()
	url, _ := pgtest.Own(t)
	standby := pgtest.Standby(t, url)
	through, move := movable(t, url)
	primary := newProcess(t, through, nil)
	reader := newReplica(t, primary, standby.URL)
	reader.readable(t, true)
	w := newWriter(t, rand.Uint64(), primary)
	replayed := func() { // all that is committed on the primary
		var lsn string
		require.NoError(t, pgtest.Connect(t, url).QueryRow(t.Context(), "SELECT pg_current_wal_lsn()::text").Scan(&lsn))
		conn := pgtest.Connect(t, standby.URL)
		require.Eventually(t, func() bool {
			var there bool
			return conn.QueryRow(t.Context(), "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", lsn).Scan(&there) == nil && there
		}, time.Minute, time.Millisecond)
	}
	open, err := pgtest.Connect(t, url).Begin(t.Context())
	require.NoError(t, err)
	_, err = open.Exec(t.Context(), "SELECT pg_current_xact_id()") // snapshots of the standby begin before it
	require.NoError(t, err)
	for i := range 20 {
		if i == 10 {
			require.NoError(t, open.Rollback(t.Context()))
		}
		for range 1 + w.Random.IntN(6) {
			w.Write()
		}
		replayed()
		_, difference := w.compare(reader)
		require.Empty(t, difference)
	}
	standby.Promote()
	reader.readable(t, false)
	move(standby.URL)
	reader.readable(t, true)
	w.WriteTo(newProcess(t, standby.URL, nil).Store)
	for range 10 {
		w.Write()
		_, difference := w.compare(reader)
		require.Empty(t, difference)
	}
}

package readcache_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
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
	u, err := url.Parse(first)
	require.NoError(t, err)
	other, err := url.Parse(second)
	require.NoError(t, err)
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	proxy := toxiproxy.NewProxy(server, "database", "127.0.0.1:0", u.Host)
	require.NoError(t, proxy.Start())
	t.Cleanup(proxy.Stop)
	u.Host = proxy.Listen
	p := newProcess(t, u.String(), nil)
	state, _, err := p.cache.State(t.Context(), pair)
	require.NoError(t, err)
	require.EqualValues(t, 1, state.UnreadCount)
	proxy.Stop()
	proxy = toxiproxy.NewProxy(server, "database", u.Host, other.Host)
	require.NoError(t, proxy.Start())
	t.Cleanup(proxy.Stop)
	password, _ := u.User.Password()
	_, err = pgtest.Connect(t, second).Exec(t.Context(), fmt.Sprintf("ALTER ROLE %s PASSWORD '%s'", u.User.Username(), password))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		state, _, err := p.cache.State(t.Context(), pair)
		return err == nil && state.UnreadCount == 2
	}, 10*time.Second, 10*time.Millisecond)
}

// TestStandby: a process that reads from a standby answers what the standby has, also while
// transactions are open on the primary, and goes on when the standby is promoted.
func TestStandby(t *testing.T) {
	t.Parallel()
	url, _ := pgtest.Own(t)
	standby := pgtest.Standby(t, url)
	primary, reader := newProcess(t, url, nil), newProcess(t, standby.URL, nil)
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
		for range 1 + w.random.IntN(6) {
			w.write()
		}
		replayed()
		_, difference := w.compare(reader)
		require.Empty(t, difference)
	}
	standby.Promote()
	w.to = []*process{reader}
	for range 10 {
		w.write()
		_, difference := w.compare(reader)
		require.Empty(t, difference)
	}
}

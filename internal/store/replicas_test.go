package store_test

import (
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"readmark/internal/condition"
	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

// hostOf is the name of a replica.
func hostOf(t testing.TB, databaseURL string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	require.NoError(t, err)
	return u.Host
}

// metric gives a number of a replica.
func (f *following) metric(name, replica string) float64 {
	f.t.Helper()
	registry := prometheus.NewRegistry()
	f.Register(registry)
	families, err := registry.Gather()
	require.NoError(f.t, err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == "readmark_replica_"+name && m.GetLabel()[0].GetValue() == replica {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	require.Fail(f.t, "no metric", "%s of %s", name, replica)
	return 0
}

// uses blocks until reads are spread over some replicas and no others.
func (f *following) uses(names ...string) {
	f.t.Helper()
	names = slices.Sorted(slices.Values(names))
	eventually(f.t, "it reads from "+strings.Join(names, " and "), func() bool {
		used, left := f.InUse()
		slices.Sort(used)
		return slices.Equal(used, names) && len(used)+len(left) == len(f.All())
	})
	for _, x := range f.All() {
		want := 0.
		if slices.Contains(names, x.Name()) {
			want = 1
		}
		require.InDelta(f.t, want, f.metric("in_use", x.Name()), 0, x.Name())
	}
}

// serves blocks until a replica answers reads.
func (f *following) serves(name string) {
	f.t.Helper()
	before := f.metric("reads_total", name)
	eventually(f.t, name+" is asked", func() bool {
		_, err := f.state()
		require.NoError(f.t, err)
		return f.metric("reads_total", name) > before
	})
}

func twoReplicas(t testing.TB) (s *store.Store, primary string, first, second *pgtest.StandbyServer) {
	t.Helper()
	primary, _ = pgtest.Own(t)
	first, second = pgtest.Standby(t, primary), pgtest.Standby(t, primary)
	s = open(t, primary)
	commit(t, s, documented("u", "g", 3, 1), documented("load", "g", 0, 2))
	return s, primary, first, second
}

// Reads take turns over the replicas; the read cache is fed by one.
func TestReadsTakeTurns(t *testing.T) {
	t.Parallel()
	s, _, first, second := twoReplicas(t)
	f := follow(t, s, first.URL, second.URL)
	f.fits(3)
	names := []string{hostOf(t, first.URL), hostOf(t, second.URL)}
	f.uses(names...)
	var before [2]float64
	for i, name := range names {
		before[i] = f.metric("reads_total", name)
	}
	for range 40 {
		_, err := f.state()
		require.NoError(t, err)
	}
	for i, name := range names {
		require.InDelta(t, before[i]+20, f.metric("reads_total", name), 0, name)
	}
	revision, err := f.poller.Poll(t.Context(), nil, readstate.Load{})
	require.NoError(t, err)
	for range 20 {
		next, err := f.poller.Poll(t.Context(), &revision.Revision, readstate.Load{Users: []string{"u"}})
		require.NoError(t, err)
		require.False(t, next.Reset, "nothing in memory is lost")
		server, err := f.LoadUser(t.Context(), "u", func(*readstate.ServedState) {})
		require.NoError(t, err)
		require.True(t, server.Same(next.Revision.Server))
		_, server, err = f.LoadGroup(t.Context(), "g", func([]byte, *readstate.Served) {})
		require.NoError(t, err)
		require.True(t, server.Same(next.Revision.Server))
		revision = next
	}
}

// A replica goes and comes back: nobody who reads notices.
func TestReplicaGoesAndComes(t *testing.T) {
	t.Parallel()
	s, _, first, second := twoReplicas(t)
	names := []string{hostOf(t, first.URL), hostOf(t, second.URL)}
	f := follow(t, s, first.URL, second.URL)
	f.uses(names...)
	l := startLoad(t, s, f)
	for i, standby := range []*pgtest.StandbyServer{first, second} {
		standby.Stop()
		f.uses(names[1-i])
		eventually(t, "it is told", func() bool { return f.problem(names[i]) != nil && f.problem(names[1-i]) == nil })
		l.await()
		standby.Start()
		f.uses(names...)
		f.serves(names[i])
	}
	l.stop()
	require.Positive(t, f.metric("read_failures_total", names[0])+f.metric("read_failures_total", names[1]))
	eventually(t, "all is well", func() bool { return f.problem(names[0]) == nil && f.problem(names[1]) == nil })
}

// A replica hangs: what it was asked is asked of the other one.
func TestReplicaHangs(t *testing.T) {
	t.Parallel()
	s, _, first, second := twoReplicas(t)
	through := newAddress(t, first.URL)
	names := []string{hostOf(t, through.URL), hostOf(t, second.URL)}
	f := follow(t, s, through.URL, second.URL)
	f.uses(names...)
	l := startLoad(t, s, f)
	_, err := through.proxy.Toxics.AddToxicJson(strings.NewReader(`{"name":"hang","type":"timeout","stream":"downstream","attributes":{"timeout":0}}`))
	require.NoError(t, err)
	f.uses(names[1])
	l.await()
	require.NoError(t, through.proxy.Toxics.RemoveToxic(t.Context(), "hang"))
	f.uses(names...)
	f.serves(names[0])
	l.stop()
}

// A question that takes too long says nothing against the replicas that it was asked of: they stay in use, and nothing
// in memory is lost.
func TestSlowQuestion(t *testing.T) {
	t.Parallel()
	s, _, first, second := twoReplicas(t)
	names := []string{hostOf(t, first.URL), hostOf(t, second.URL)}
	f := follow(t, s, first.URL, second.URL)
	f.uses(names...)
	revision, err := f.poller.Poll(t.Context(), nil, readstate.Load{})
	require.NoError(t, err)
	asked := make(chan error, 1)
	go func() { asked <- f.AskSlowly(t.Context()) }()
	for len(asked) == 0 {
		used, _ := f.InUse()
		require.ElementsMatch(t, names, used)
		revision, err = f.poller.Poll(t.Context(), &revision.Revision, readstate.Load{})
		require.NoError(t, err)
		require.False(t, revision.Reset, "nothing in memory is lost")
	}
	require.Error(t, <-asked)
	used, _ := f.InUse()
	require.ElementsMatch(t, names, used)
	require.Positive(t, f.metric("read_failures_total", names[0]))
	require.Positive(t, f.metric("read_failures_total", names[1]))
}

// A replica that falls behind the other one is left out, and does not hold asOf back.
func TestReplicaFallsBehind(t *testing.T) {
	t.Parallel()
	s, _, first, second := twoReplicas(t)
	names := []string{hostOf(t, first.URL), hostOf(t, second.URL)}
	f := follow(t, s, first.URL, second.URL)
	f.uses(names...)
	l := startLoad(t, s, f)
	resume := pauseReplay(t, first.URL)
	f.uses(names[1])
	left := time.Now()
	eventually(t, "asOf goes on", func() bool { return f.AsOf().After(left) })
	asked := f.metric("reads_total", names[0])
	l.await()
	require.InDelta(t, asked, f.metric("reads_total", names[0]), 0)
	require.Greater(t, f.metric("lag_seconds", names[0]), f.metric("lag_seconds", names[1]))
	misfit := f.ill(names[0], condition.Lagging)
	require.Contains(t, misfit.Text, "it is not read from until it has caught up with the others")
	require.NoError(t, f.problem(names[1]))
	resume()
	f.uses(names...)
	f.serves(names[0])
	l.stop()
}

// pauseReplay has a standby fall behind until the function is called.
func pauseReplay(t testing.TB, databaseURL string) (resume func()) {
	t.Helper()
	conn := pgtest.Connect(t, databaseURL)
	_, err := conn.Exec(t.Context(), "SELECT pg_wal_replay_pause()")
	require.NoError(t, err)
	eventually(t, "it pauses", func() bool {
		var state string
		return conn.QueryRow(t.Context(), "SELECT pg_get_wal_replay_pause_state()").Scan(&state) == nil && state == "paused"
	})
	return func() {
		_, err := conn.Exec(t.Context(), "SELECT pg_wal_replay_resume()")
		require.NoError(t, err)
	}
}

// A replica that is promoted, or whose name leads to a foreign server, is left out. What is written there is in no
// answer of the others.
func TestOneOfReplicasDoesNotFit(t *testing.T) {
	t.Parallel()
	s, primary, first, second := twoReplicas(t)
	foreign, _ := pgtest.Own(t)
	samePassword(t, foreign, primary)
	moving := newAddress(t, second.URL)
	names := []string{hostOf(t, first.URL), hostOf(t, moving.URL), hostOf(t, second.URL), "127.0.0.1:1"}
	f := follow(t, s, first.URL, moving.URL, second.URL, "postgres://127.0.0.1:1/nobody")
	f.uses(names[:3]...)
	l := startLoad(t, s, f)
	first.Promote()
	require.Contains(t, f.ill(names[0], condition.Promoted).Text, "it was promoted")
	f.uses(names[1], names[2])
	moving.move(foreign)
	_ = f.ill(names[1], condition.Foreign)
	f.uses(names[2])
	require.Empty(t, f.Unreadable())
	l.await()
	moving.move(second.URL)
	f.uses(names[1], names[2])
	l.stop()
	require.Error(t, f.problem(names[0]))
	require.Error(t, f.problem(names[3]), "it was never there")
}

// With all replicas gone, the reason is told; with one of them back, reads go on.
func TestAllReplicasGone(t *testing.T) {
	t.Parallel()
	s, _, first, second := twoReplicas(t)
	f := follow(t, s, first.URL, second.URL)
	f.uses(hostOf(t, first.URL), hostOf(t, second.URL))
	first.Promote()
	_ = f.ill(hostOf(t, first.URL), condition.Promoted)
	f.uses(hostOf(t, second.URL))
	second.Stop()
	f.uses()
	_, err := f.state()
	require.ErrorIs(t, err, readstate.ErrUnavailable)
	second.Start()
	f.uses(hostOf(t, second.URL))
	f.fits(3)
	second.Promote()
	_ = f.ill(hostOf(t, second.URL), condition.Promoted)
	require.Contains(t, f.Unreadable(), "it was promoted")
	_, err = f.state()
	require.ErrorIs(t, err, readstate.ErrUnavailable)
}

// A role that may not read one of the replicas' tables is told; the others are read from until it may.
func TestReplicaThatMayNotBeRead(t *testing.T) {
	t.Parallel()
	s, primary, first, second := twoReplicas(t)
	conn := pgtest.Connect(t, primary)
	_, err := conn.Exec(t.Context(), `CREATE ROLE plain LOGIN PASSWORD 'plain'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO plain;
		REVOKE SELECT ON states, current_states FROM plain`)
	require.NoError(t, err)
	u, err := url.Parse(first.URL)
	require.NoError(t, err)
	u.User = url.UserPassword("plain", "plain")
	names := []string{hostOf(t, first.URL), hostOf(t, second.URL)}
	f := follow(t, s, u.String(), second.URL)
	f.uses(names[1])
	denied := func() bool {
		err := f.problem(names[0])
		if err == nil {
			return false
		}
		reason, text := store.Diagnose(err, store.ReplicaVariable)
		return reason == condition.Permission && strings.Contains(text, "states")
	}
	eventually(t, "it is told", denied)
	l := startLoad(t, s, f)
	_, err = conn.Exec(t.Context(), "GRANT SELECT ON states, current_states TO plain")
	require.NoError(t, err)
	f.uses(names...)
	f.serves(names[0])
	_, err = conn.Exec(t.Context(), "REVOKE SELECT ON states, current_states FROM plain")
	require.NoError(t, err)
	f.uses(names[1]) // a read was refused
	eventually(t, "it is told again", denied)
	l.stop()
	alone := follow(t, s, u.String()) // better than nothing
	alone.uses(names[0])
	_, err = alone.state()
	require.ErrorIs(t, err, readstate.ErrUnavailable)
	_, err = alone.Drift(t.Context())
	require.NoError(t, err, "what it may read")
}

// Other replicas may be named while the process runs.
func TestOtherReplicas(t *testing.T) {
	t.Parallel()
	s, _, first, second := twoReplicas(t)
	names := []string{hostOf(t, first.URL), hostOf(t, second.URL)}
	var urls atomic.Pointer[[]string]
	urls.Store(&[]string{first.URL, "postgres://127.0.0.1:1/nobody"})
	f := followOptions(t, s, store.ReplicaOptions{CurrentURLs: func() ([]string, error) { return *urls.Load(), nil }}, *urls.Load()...)
	f.uses(names[0])
	eventually(t, "it is told", func() bool { return f.problem("127.0.0.1:1") != nil })
	l := startLoad(t, s, f)
	urls.Store(&[]string{first.URL, second.URL})
	f.uses(names...)
	f.serves(names[1])
	require.NoError(t, f.problem("127.0.0.1:1"))
	urls.Store(&[]string{second.URL})
	f.uses(names[1])
	require.Len(t, f.All(), 1)
	l.stop()
}

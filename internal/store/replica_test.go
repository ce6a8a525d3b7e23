package store_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"readmark/internal/condition"
	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

// address is a name that can be moved to another server: connections break then.
type address struct {
	t     testing.TB
	proxy *toxiproxy.Proxy
	URL   string
}

func newAddress(t testing.TB, to string) *address {
	t.Helper()
	a := &address{t: t}
	a.lead(pgtest.Listen(), to)
	t.Cleanup(func() { a.proxy.Stop() })
	u, err := url.Parse(to)
	require.NoError(t, err)
	u.Host = a.proxy.Listen
	a.URL = u.String()
	return a
}

func (a *address) lead(listen, to string) {
	a.t.Helper()
	u, err := url.Parse(to)
	require.NoError(a.t, err)
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	a.proxy = toxiproxy.NewProxy(server, "database", listen, u.Host)
	pgtest.ListenAgain(a.t, a.proxy.Start)
}

// move leads to another server.
func (a *address) move(to string) {
	a.t.Helper()
	a.proxy.Stop()
	a.lead(a.proxy.Listen, to)
}

// samePassword has a server let in whoever another one lets in.
func samePassword(t testing.TB, server, other string) {
	t.Helper()
	u, err := url.Parse(other)
	require.NoError(t, err)
	password, _ := u.User.Password()
	_, err = pgtest.Connect(t, server).Exec(t.Context(), fmt.Sprintf("ALTER ROLE %s PASSWORD '%s'", u.User.Username(), password))
	require.NoError(t, err)
}

// following is a replica that is followed.
type following struct {
	*store.Replicas
	t      testing.TB
	poller *store.Poller

	mu   sync.Mutex
	told map[string]error // what is wrong with each replica
}

func follow(t testing.TB, s *store.Store, urls ...string) *following {
	t.Helper()
	return followOptions(t, s, store.ReplicaOptions{}, urls...)
}

func followOptions(t testing.TB, s *store.Store, options store.ReplicaOptions, urls ...string) *following {
	t.Helper()
	f := &following{t: t, told: map[string]error{}}
	options.Report = func(name string, err error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.told[name] = err
	}
	options.Clear = func(name string) {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.told, name)
	}
	var err error
	f.Replicas, err = s.OpenReplicas(urls, options)
	require.NoError(t, err)
	t.Cleanup(f.Close)
	f.poller = f.Poller()
	t.Cleanup(f.poller.Close)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { f.Follow(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return f
}

func (f *following) state() (int64, error) {
	state, err := f.State(f.t.Context(), readstate.Pair{UserID: "u", GroupID: "g"})
	return state.UnreadCount, err
}

func (f *following) poll() error {
	_, err := f.poller.Poll(f.t.Context(), nil, readstate.Load{Users: []string{"u"}})
	return err
}

// eventually blocks until something holds. Machines that are busy take long to start servers.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	require.Eventually(t, holds, 30*time.Second, 5*time.Millisecond, what)
}

// fits blocks until the replica is read from and shows a count, as fresh as that.
func (f *following) fits(count int64) {
	f.t.Helper()
	since := time.Now()
	eventually(f.t, "it fits", func() bool {
		got, err := f.state()
		return err == nil && got == count && f.AsOf().After(since) && f.poll() == nil
	})
	if len(f.All()) == 1 {
		eventually(f.t, "all is well", func() bool { return f.problem(f.All()[0].Name()) == nil })
	}
	require.Empty(f.t, f.Unreadable())
}

// problem gives what is wrong with a replica, nil for nothing.
func (f *following) problem(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.told[name]
}

// ill blocks until something is wrong with a replica for a reason.
func (f *following) ill(name string, reason condition.Reason) *store.MisfitError {
	f.t.Helper()
	var misfit *store.MisfitError
	eventually(f.t, name+" is told: "+string(reason), func() bool {
		return errors.As(f.problem(name), &misfit) && misfit.Reason == reason
	})
	return misfit
}

// misfits blocks until nothing is read, for a reason that is told to everybody.
func (f *following) misfits(reason condition.Reason, text string) {
	f.t.Helper()
	misfit := f.ill(f.All()[0].Name(), reason)
	require.Contains(f.t, misfit.Text, text)
	require.Equal(f.t, misfit.Text, f.Unreadable())
	before := f.AsOf()
	_, err := f.state()
	var told *readstate.UnavailableError
	require.ErrorAs(f.t, err, &told)
	require.Contains(f.t, told.Text, text)
	require.ErrorIs(f.t, err, readstate.ErrUnavailable)
	require.NotErrorIs(f.t, err, readstate.ErrRetry)
	require.ErrorIs(f.t, f.poll(), readstate.ErrUnavailable, "nothing is fed to a cache")
	_, _, err = f.LoadGroup(f.t.Context(), "g", func([]byte, *readstate.Served) { f.t.Error("nothing is loaded") })
	require.ErrorIs(f.t, err, readstate.ErrUnavailable)
	_, err = f.LoadUser(f.t.Context(), "u", func(*readstate.ServedState) { f.t.Error("nothing is loaded") })
	require.ErrorIs(f.t, err, readstate.ErrUnavailable)
	_, err = f.Drift(f.t.Context())
	require.ErrorIs(f.t, err, readstate.ErrUnavailable)
	require.Equal(f.t, before, f.AsOf(), "it goes on no more")
}

// A replica's name leads to one server after the other: nothing is read from what is no replica of
// the primary, everybody is told why, and it heals by itself.
func TestReplicaThatMoves(t *testing.T) {
	t.Parallel()
	primary, _ := pgtest.Own(t)
	replica := pgtest.Standby(t, primary)
	s := open(t, primary)
	name := newAddress(t, replica.URL)
	f := follow(t, s, name.URL)
	commit(t, s, documented("u", "g", 3, 1))
	f.fits(3)

	foreign, _ := pgtest.Own(t)
	elsewhere := open(t, foreign)
	commit(t, elsewhere, documented("u", "g", 99, 1))
	follow(t, elsewhere, foreign).fits(99) // somebody reads there, too
	samePassword(t, foreign, primary)
	name.move(foreign)
	for range 100 { // never, also before it was noticed
		if count, err := f.state(); err == nil {
			require.EqualValues(t, 3, count)
		}
	}
	f.misfits(condition.Foreign, "it is of another database cluster (system identifier ")
	name.move(replica.URL)
	f.fits(3)

	_, err := pgtest.Connect(t, primary).Exec(t.Context(), "CREATE DATABASE other")
	require.NoError(t, err)
	f2 := follow(t, s, withPath(t, replica.URL, "/postgres"))
	f2.misfits(condition.Foreign, `it is database "postgres", and the primary's is `)

	name.move(primary) // right, but useless
	commit(t, s, documented("u", "g", 4, 2))
	f.fits(4)
	report, err := f.All()[0].Inspect(t.Context())
	require.NoError(t, err)
	require.True(t, report.IsPrimary)
	name.move(replica.URL)
	f.fits(4)
}

func withPath(t testing.TB, databaseURL, path string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	require.NoError(t, err)
	u.Path = path
	return u.String()
}

// The primary fails, and one of its standbys is promoted: the other one fits again as soon as it
// follows.
func TestReplicaAfterFailover(t *testing.T) {
	t.Parallel()
	old, _ := pgtest.Own(t)
	promoted, left := pgtest.Standby(t, old), pgtest.Standby(t, old)
	cascading := pgtest.Standby(t, promoted.URL)
	primary := newAddress(t, old)
	s := open(t, primary.URL)
	first, second, third := follow(t, s, promoted.URL), follow(t, s, cascading.URL), follow(t, s, left.URL)
	commit(t, s, documented("u", "g", 3, 1))
	for _, f := range []*following{first, second, third} {
		f.fits(3)
	}

	promoted.Promote() // the old one is still the primary
	first.misfits(condition.Promoted, "it was promoted, or is no replica, and has a history of its own (timeline 2, the primary's is 1)")
	third.fits(3)

	primary.move(promoted.URL)
	first.fits(3) // it is the primary now
	third.misfits(condition.Foreign, "it has not followed the primary to timeline 2 yet, and is on 1")
	commitSoon(t, s, documented("u", "g", 5, 2))
	first.fits(5)
	second.fits(5) // it has followed
}

// Without the primary, a replica is read from that it has written to before.
func TestReplicaWithoutPrimary(t *testing.T) {
	t.Parallel()
	url, _ := pgtest.Own(t)
	replica := pgtest.Standby(t, url)
	primary := newAddress(t, url)
	s := open(t, primary.URL)
	before := follow(t, s, replica.URL)
	commit(t, s, documented("u", "g", 3, 1))
	before.fits(3)

	primary.proxy.Stop()
	asOf := before.AsOf()
	count, err := before.state()
	require.NoError(t, err)
	require.EqualValues(t, 3, count)
	f := follow(t, s, replica.URL)
	eventually(t, "it is read from", func() bool {
		count, err := f.state()
		return err == nil && count == 3 && f.poll() == nil
	})
	require.WithinRange(t, f.AsOf(), asOf.Add(-time.Second), time.Now())
	stopped := f.AsOf()
	replica.Restart()
	eventually(t, "it is read from again", func() bool {
		count, err := f.state()
		return err == nil && count == 3
	})
	require.Equal(t, stopped, f.AsOf())

	primary.move(url)
	commitSoon(t, s, documented("u", "g", 4, 2))
	f.fits(4)
	before.fits(4)
}

// Whoever reads at the very moment at which the replica is found to fit is told as of when that is.
func TestReplicaIsReadWithMoment(t *testing.T) {
	t.Parallel()
	url, _ := pgtest.Own(t)
	replica := pgtest.Standby(t, url)
	s := open(t, url)
	commit(t, s, documented("u", "g", 3, 1))
	follow(t, s, replica.URL).fits(3)
	for range 5 {
		f := follow(t, s, replica.URL)
		for until := time.Now().Add(30 * time.Second); f.Unreadable() != ""; runtime.Gosched() {
			require.True(t, time.Now().Before(until), "it is read from")
		}
		require.False(t, f.AsOf().IsZero())
	}
}

func commitSoon(t testing.TB, s *store.Store, events ...readstate.Event) {
	t.Helper()
	eventually(t, "it is taken", func() bool { return s.Commit(t.Context(), readstate.Batch{Events: events}) == nil })
}

// A replica that does not replay is read from, and asOf stays where it is; one that never got
// anything is not.
func TestReplicaThatLags(t *testing.T) {
	t.Parallel()
	url, _ := pgtest.Own(t)
	replica := pgtest.Standby(t, url)
	s := open(t, url)
	f := follow(t, s, replica.URL)
	commit(t, s, documented("u", "g", 3, 1))
	f.fits(3)
	resume := pauseReplay(t, replica.URL)
	paused := time.Now()
	commit(t, s, documented("u", "g", 4, 2))
	never := follow(t, s, replica.URL)
	never.misfits(condition.Lagging, "it has not got anything that was written on the primary since Readmark started")
	_ = f.ill(f.All()[0].Name(), condition.Lagging)
	count, err := f.state()
	require.NoError(t, err)
	require.EqualValues(t, 3, count)
	require.True(t, f.AsOf().Before(paused))
	resume()
	f.fits(4)
	never.fits(4)
}

// A role that may ask for nothing but its tables is told by the heartbeat alone.
func TestReplicaWithoutPrivileges(t *testing.T) {
	t.Parallel()
	primary, _ := pgtest.Own(t)
	conn := pgtest.Connect(t, primary)
	_, err := conn.Exec(t.Context(), "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), `CREATE ROLE plain LOGIN PASSWORD 'plain';
		GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO plain`)
	require.NoError(t, err)
	replica := pgtest.Standby(t, primary)
	as := func(databaseURL string) string {
		u, err := url.Parse(databaseURL)
		require.NoError(t, err)
		u.User = url.UserPassword("plain", "plain")
		return u.String()
	}
	commit(t, open(t, primary), documented("u", "g", 3, 1))
	f := follow(t, open(t, as(primary)), as(replica.URL))
	f.fits(3)
	replica.Promote()
	f.misfits(condition.Promoted, "it was promoted")
}

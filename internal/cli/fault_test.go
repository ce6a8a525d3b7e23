package cli_test

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"readmark/internal/embeddedpg"
	"readmark/internal/pgtest"
)

// kill -9 of readmark in the middle of load, again and again.
func TestFaultKillReadmark(t *testing.T) {
	t.Parallel()
	binary, url := built(t), pgtest.Empty(t)
	environment := []string{"READMARK_DATABASE_URL=" + url, "READMARK_DATA_DIR=" + t.TempDir()}
	loads := make([]*load, 0, 5)
	for round := range 5 {
		p := start(t, binary, environment...)
		l := startLoad(t, "round"+strconv.Itoa(round), 16, 1<<40, func() string { return p.URL })
		l.await(300)
		require.NoError(t, p.command.Process.Kill())
		require.Error(t, p.wait())
		l.end()
		loads = append(loads, l)
	}
	p := start(t, binary, environment...)
	p.settled()
	verify(t, url, loads...)
	require.NoError(t, p.command.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.wait())
}

// embedded is a readmark on an embedded PostgreSQL that the test may harm.
func embedded(t *testing.T) (s *service, url string, postmaster func() int) {
	t.Helper()
	dir := filepath.Join(openDir(t), "data")
	s = serve(t, map[string]string{
		"READMARK_DATA_DIR": dir, "READMARK_LOG_LEVEL": "info", "READMARK_COMMIT_BUDGET": "800ms", // the default
	})
	url, err := embeddedpg.Attach(dir)
	require.NoError(t, err)
	files, err := filepath.Glob(dir + "/*/postmaster.pid")
	if len(files) == 0 {
		files, err = filepath.Glob(dir + "/*/*/postmaster.pid")
	}
	require.NoError(t, err)
	require.Len(t, files, 1)
	return s, url, func() int {
		content, err := os.ReadFile(files[0])
		require.NoError(t, err)
		first, _, _ := strings.Cut(string(content), "\n")
		pid, err := strconv.Atoi(first)
		require.NoError(t, err)
		return pid
	}
}

// kill -9 of PostgreSQL and restart: every callback is acknowledged meanwhile.
func TestFaultKillPostgres(t *testing.T) {
	t.Parallel()
	s, url, postmaster := embedded(t)
	var loads []*load
	for round := range 2 {
		l := startLoad(t, fmt.Sprintf("u%d", round), 16, 1<<40, func() string { return s.URL })
		loads = append(loads, l)
		l.await(500)
		pid := postmaster()
		for _, child := range children(t, pid) { // with the postmaster alone, backends would finish their work
			_ = syscall.Kill(child, syscall.SIGKILL)
		}
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		l.await(1000)
		l.end() // else clients that wait for nothing but the spool could fill it faster than it is drained
		require.Eventually(t, func() bool { return s.ready() == "ready" }, 2*time.Minute, 10*time.Millisecond)
	}
	s.settled()
	for _, l := range loads {
		require.Zero(t, l.failed.Load())
	}
	verify(t, url, loads...) // the supervisor keeps the port
	s.end()
}

// SIGSTOP of PostgreSQL: callbacks are acknowledged within the budget and
// straight from the spool afterwards, reads say 503, and all is there when it
// goes on.
func TestFaultStopPostgres(t *testing.T) {
	t.Parallel()
	s, url, postmaster := embedded(t)
	s.read("known", "g", 3)
	l := startLoad(t, "u", 16, 1<<40, func() string { return s.URL })
	l.await(300)
	pid := postmaster()
	stopped := append(children(t, pid), pid)
	for _, p := range stopped {
		require.NoError(t, syscall.Kill(p, syscall.SIGSTOP))
	}
	resume := func() {
		for _, p := range stopped {
			_ = syscall.Kill(p, syscall.SIGCONT)
		}
	}
	defer resume()
	l.await(1000)
	require.Equal(t, "degraded", s.ready())
	response, err := s.client.Get(s.URL + "/v1/users/known/groups/g")
	require.NoError(t, err)
	response.Body.Close()
	require.Equal(t, 503, response.StatusCode)
	require.NotEmpty(t, response.Header.Get("Retry-After"))
	resume()
	l.await(300)
	l.end()
	s.settled()
	require.Zero(t, l.failed.Load())
	require.Less(t, l.slowest, 5*time.Second, "OpenIM's time limit")
	verify(t, url, l)
	_, state := s.get("/v1/users/known/groups/g")
	require.EqualValues(t, 3, state["unreadCount"])
	s.end()
}

// children gives the processes that a process has forked.
func children(t testing.TB, pid int) (list []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	for _, path := range stats {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(content), ") ")
		fields := strings.Fields(rest)
		if len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			child, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			require.NoError(t, err)
			list = append(list, child)
		}
	}
	require.NotEmpty(t, list)
	return list
}

// proxied puts a network that can fail between readmark and a database.
func proxied(t testing.TB, databaseURL string) (*toxiproxy.Proxy, string) {
	t.Helper()
	u, err := url.Parse(databaseURL)
	require.NoError(t, err)
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	proxy := toxiproxy.NewProxy(server, "database", pgtest.Listen(), u.Host)
	pgtest.ListenAgain(t, proxy.Start)
	t.Cleanup(proxy.Stop)
	u.Host = proxy.Listen
	return proxy, u.String()
}

// A network that cuts connections in the middle of answers, also between
// commit and answer.
func TestFaultCutConnections(t *testing.T) {
	t.Parallel()
	database := pgtest.Empty(t)
	proxy, through := proxied(t, database)
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": through, "READMARK_LOG_LEVEL": "info"})
	l := startLoad(t, "u", 16, 1<<40, func() string { return s.URL })
	l.await(200)
	for _, bytes := range []int{2200, 1500, 900, 3100} { // of what the database says on each connection
		_, err := proxy.Toxics.AddToxicJson(strings.NewReader(
			`{"name":"cut","type":"limit_data","stream":"downstream","attributes":{"bytes":` + strconv.Itoa(bytes) + `}}`))
		require.NoError(t, err)
		l.await(500)
		require.NoError(t, proxy.Toxics.RemoveToxic(t.Context(), "cut"))
		l.await(100)
	}
	l.end()
	s.settled()
	require.Zero(t, l.failed.Load())
	verify(t, database, l)
	s.end()
}

// serve starts without its database, takes receipts, and migrates when it
// comes.
func TestFaultStartWithoutDatabase(t *testing.T) {
	t.Parallel()
	database := pgtest.Empty(t)
	proxy, through := proxied(t, database)
	proxy.Stop()
	s := launch(t, map[string]string{"READMARK_DATABASE_URL": through, "READMARK_LOG_LEVEL": "info"})
	require.Equal(t, "degraded", s.ready())
	l := startLoad(t, "u", 4, 500, func() string { return s.URL })
	l.finish()
	require.EqualValues(t, 500, l.acked.Load())
	status, problem := s.get("/v1/users/u-0-0/unread")
	require.Equal(t, 503, status, problem)
	_, metrics := s.do(http.MethodGet, s.Ops+"/metrics", "")
	require.Contains(t, metrics, "readmark_spool_callbacks 500\n")
	require.Contains(t, metrics, "readmark_spooling 1\n")
	pgtest.ListenAgain(t, proxy.Start)
	s.settled()
	verify(t, database, l)
	status, _ = s.get("/v1/users/u-0-0/unread")
	require.Equal(t, 200, status)
	s.end()
}

// A spool that is full, whose disk takes no byte, or that is no directory: callbacks go
// on while the database takes them, and are answered 503 with actionCode 1 when neither
// does.
func TestFaultSpoolDisk(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"full", "no byte", "no directory"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			database := pgtest.Empty(t)
			proxy, through := proxied(t, database)
			dir := t.TempDir()
			binary := built(t)
			switch kind {
			case "no directory": // which stops root too
				require.NoError(t, os.WriteFile(filepath.Join(dir, "spool"), nil, 0o600))
			case "no byte":
				script := filepath.Join(dir, "limited")
				require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\nulimit -f 0\nexec "+binary+" \"$@\"\n"), 0o700))
				binary = script
			}
			p := start(t, binary, "READMARK_DATABASE_URL="+through, "READMARK_DATA_DIR="+dir, "READMARK_SPOOL_MAX_BYTES=300000",
				"READMARK_COMMIT_BUDGET=10s") // a slow machine must not look like a database that is away
			p.settled()
			l := startLoad(t, "before", 4, 200, func() string { return p.URL })
			l.finish()
			require.Zero(t, l.failed.Load())
			proxy.Stop()
			during := startLoad(t, "during", 8, 20_000, func() string { return p.URL })
			require.Eventually(t, func() bool { return during.failed.Load() > 20 }, time.Minute, time.Millisecond)
			during.end()
			status, action := p.attempt("x", 1)
			require.Equal(t, 503, status)
			require.EqualValues(t, 1, action)
			require.Equal(t, "not ready", p.ready(), "it is known without asking")
			_, metrics := p.do(http.MethodGet, p.Ops+"/metrics", "")
			require.Contains(t, metrics, "readmark_spool_unusable 1\n")
			require.Equal(t, kind == "full", during.acked.Load() > 0)
			pgtest.ListenAgain(t, proxy.Start)
			require.Eventually(t, func() bool { return !strings.HasPrefix(p.ready(), "not") }, time.Minute, 10*time.Millisecond)
			after := startLoad(t, "after", 4, 200, func() string { return p.URL })
			after.finish()
			require.Zero(t, after.failed.Load())
			require.NoError(t, p.command.Process.Signal(syscall.SIGTERM))
			require.NoError(t, p.wait(), p.log)
			loads := []*load{l, after}
			if kind == "full" {
				loads = append(loads, during)
			}
			verify(t, database, loads...)
		})
	}
}

// Two replicas on one database, both with receipts of the same pairs.
func TestFaultTwoReplicas(t *testing.T) {
	t.Parallel()
	database := pgtest.Empty(t)
	a := serve(t, map[string]string{"READMARK_DATABASE_URL": database, "READMARK_LOG_LEVEL": "info"})
	b := serve(t, map[string]string{"READMARK_DATABASE_URL": database, "READMARK_LOG_LEVEL": "info"})
	var turn atomic.Int64
	l := startLoad(t, "u", 16, 4000, func() string {
		if turn.Add(1)%2 == 0 {
			return a.URL
		}
		return b.URL
	})
	l.finish()
	require.Zero(t, l.failed.Load())
	a.end()
	b.end()
	verify(t, database, l)
}

// A rolling deployment behind a balancer loses no callback: a replica that is
// told to stop is unready first, and goes on taking callbacks meanwhile.
func TestFaultRollingDeployment(t *testing.T) {
	t.Parallel()
	database, binary := pgtest.Empty(t), built(t)
	begin := func() *process {
		// On a slow machine no spool must be left over: its directory goes with the process here.
		p := start(t, binary, "READMARK_DATABASE_URL="+database, "READMARK_SHUTDOWN_DELAY=1s", "READMARK_COMMIT_BUDGET=10s")
		p.settled()
		return p
	}
	var current atomic.Pointer[process]
	current.Store(begin())
	l := startLoad(t, "u", 16, 1<<40, func() string { return current.Load().URL })
	for range 3 {
		l.await(200)
		old, fresh := current.Load(), begin()
		require.NoError(t, old.command.Process.Signal(syscall.SIGTERM))
		require.Eventually(t, func() bool { // the balancer sees it, and goes elsewhere
			status, _ := old.do(http.MethodGet, old.Ops+"/readyz", "")
			return status == 503
		}, time.Minute, time.Millisecond)
		response, err := old.client.Post(old.URL+"/callbackX", "application/json", nil)
		require.NoError(t, err)
		response.Body.Close()
		require.True(t, response.Close, "Connection: close")
		l.await(100) // which still come to the old one
		current.Store(fresh)
		require.NoError(t, old.wait(), old.log)
	}
	l.await(100)
	l.end()
	require.Zero(t, l.failed.Load(), "lost")
	last := current.Load()
	require.NoError(t, last.command.Process.Signal(syscall.SIGTERM))
	require.NoError(t, last.wait())
	verify(t, database, l)
}

// A receipt that the database refuses is answered 400, recorded with its
// reason, and harms none of its neighbours, straight or out of the spool.
func TestFaultPoison(t *testing.T) {
	t.Parallel()
	database := pgtest.Empty(t)
	proxy, through := proxied(t, database)
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": through, "READMARK_LOG_LEVEL": "info"})
	conn := pgtest.Connect(t, database)
	_, err := conn.Exec(t.Context(), "ALTER TABLE states ADD CONSTRAINT no_poison CHECK (user_id <> 'poison')")
	require.NoError(t, err)
	l := startLoad(t, "u", 16, 1<<40, func() string { return s.URL })
	for range 3 {
		l.await(50)
		status, action := s.attempt("poison", 1)
		require.Equal(t, 400, status)
		require.EqualValues(t, 1, action)
	}
	proxy.Stop()
	l.await(50)
	status, _ := s.attempt("poison", 1)
	require.Equal(t, 200, status, "the spool cannot know")
	l.await(50)
	pgtest.ListenAgain(t, proxy.Start)
	l.end()
	s.settled()
	require.Zero(t, l.failed.Load())
	verify(t, database, l)
	reasons := rows(t, database, "SELECT reason FROM rejected_callbacks WHERE user_id = 'poison' AND code = 40005")
	require.Len(t, reasons, 4)
	for _, reason := range reasons {
		require.Contains(t, reason, "no_poison")
	}
	require.Empty(t, rows(t, database, "SELECT user_id FROM journal WHERE user_id = 'poison'"))
	s.end()
}

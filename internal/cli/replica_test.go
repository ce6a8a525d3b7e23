package cli_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
)

// readRoutes are the routes that read.
func readRoutes() []string {
	return []string{
		"/v1/users/u/groups/g", "/v1/users/u/groups", "/v1/users/u/groups?sort=-unreadCount", "/v1/users/u/unread", "/v1/groups/g/users",
		"/v1/groups/g/unread", "/v1/users/u/groups/g/receipts", "/v1/drift", "/v1/users", "/v1/groups", "/v1/rejections",
	}
}

const twoPairs = `{"pairs":[{"userID":"u","groupID":"g"}],"userIDs":["u"]}`

// Reads go to the replica alone, and callbacks do not care whether it is there. When it is
// promoted under load, every read is answered 503 with the reason, and asOf goes on no more; it
// is in the log once, in a metric, and the doctor says what to do.
func TestReplicaIsPromoted(t *testing.T) {
	t.Parallel()
	primary, _ := pgtest.Own(t)
	replica := pgtest.Standby(t, primary)
	environment := map[string]string{"READMARK_DATABASE_URL": primary, "READMARK_REPLICA_URL": replica.URL, "READMARK_LOG_LEVEL": "info"}
	s := serve(t, environment)
	s.read("u", "g", 3)
	answers := func(count float64) func() bool {
		return func() bool {
			status, state := s.get("/v1/users/u/groups/g")
			return status == http.StatusOK && state["unreadCount"] == count
		}
	}
	require.Eventually(t, answers(3), 30*time.Second, 10*time.Millisecond)
	s.awaitSums()
	for _, path := range readRoutes() {
		status, _ := s.get(path)
		require.Equal(t, http.StatusOK, status, path)
	}
	_, metrics := s.do(http.MethodGet, s.Ops+"/metrics", "")
	require.Regexp(t, `readmark_replica_lag_seconds{replica="`+hostOf(t, replica.URL)+`"} \d`, metrics)
	require.Contains(t, metrics, `readmark_condition{part="replica",reason="promoted"} 0`)
	environment["READMARK_ADDR"] = strings.TrimPrefix(s.URL, "http://")
	environment["READMARK_OPS_ADDR"] = strings.TrimPrefix(s.Ops, "http://")
	_, out, _ := run(t, environment, "doctor", "--no-callback")
	require.Regexp(t, `ok    replica: `+hostOf(t, replica.URL)+`: PostgreSQL \d+\S* .*follows the primary, and had what was written there after \d`, out)

	loading, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var newest atomic.Value // the last asOf that was given
	newest.Store("")
	for range 4 {
		load.Go(func() {
			for loading.Err() == nil {
				if status, badge := s.get("/v1/users/u/unread"); status == http.StatusOK {
					newest.Store(badge["asOf"].(string))
				}
			}
		})
	}
	replica.Promote()
	promoted := time.Now()
	unread := func() (int, map[string]any) { return s.get("/v1/users/u/unread") }
	const reason = "it was promoted, or is no replica, and has a history of its own (timeline 2, the primary's is 1)"
	require.Eventually(t, func() bool { // for a moment it is on its new timeline and still recovers
		status, problem := unread()
		return status == http.StatusServiceUnavailable && strings.Contains(fmt.Sprint(problem["detail"]), reason)
	}, 30*time.Second, 10*time.Millisecond)
	stop()
	load.Wait()
	last, err := time.Parse(time.RFC3339Nano, newest.Load().(string))
	require.NoError(t, err)
	require.True(t, last.Before(promoted.Add(time.Second)), "asOf stops with the heartbeat")
	for _, path := range readRoutes() {
		status, problem := s.get(path)
		require.Equal(t, http.StatusServiceUnavailable, status, path)
		require.Contains(t, problem["detail"], reason, path)
	}
	status, body := s.do(http.MethodPost, s.URL+"/v1/unread/query", twoPairs)
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, body, "it was promoted")
	s.read("u", "g", 4) // is taken all the same
	require.Equal(t, 1, strings.Count(s.log.String(), reason), "told once")
	_, metrics = s.do(http.MethodGet, s.Ops+"/metrics", "")
	require.Contains(t, metrics, `readmark_condition{part="replica",reason="promoted"} 1`)
	status, out, _ = run(t, environment, "doctor", "--no-callback")
	require.Equal(t, 1, status)
	require.Contains(t, out, "FAIL  replica: "+hostOf(t, replica.URL)+": nothing is read from the replica: it was promoted")
	require.Contains(t, out, "Point READMARK_REPLICA_URL at a streaming replica")
	s.end()
}

// hostOf is where a database is.
func hostOf(t testing.TB, databaseURL string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	require.NoError(t, err)
	return u.Host
}

// Reads are spread over two replicas, with reads from memory and without. One is promoted under load, and later the other
// one restarts: no read fails for the first, and each is named wherever something is told of replicas.
func TestSeveralReplicas(t *testing.T) {
	t.Parallel()
	primary, _ := pgtest.Own(t)
	first, second := pgtest.Standby(t, primary), pgtest.Standby(t, primary)
	firstHost, secondHost := hostOf(t, first.URL), hostOf(t, second.URL)
	environment := func(bytes string) map[string]string {
		return map[string]string{
			"READMARK_DATABASE_URL": primary, "READMARK_REPLICA_URL": first.URL + "," + second.URL, "READMARK_READ_CACHE_BYTES": bytes,
			"READMARK_LOG_LEVEL": "info",
		}
	}
	all := []*service{serve(t, environment("0")), serve(t, environment("64MiB"))}
	readyz := func(s *service) string {
		_, text := s.do(http.MethodGet, s.Ops+"/readyz", "")
		return text
	}
	number := func(s *service, series string) float64 {
		_, text := s.do(http.MethodGet, s.Ops+"/metrics", "")
		for line := range strings.Lines(text) {
			if value, found := strings.CutPrefix(line, series+" "); found {
				n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
				require.NoError(t, err)
				return n
			}
		}
		require.Fail(t, "no such series", series)
		return 0
	}
	all[0].read("u", "g", 3)
	for _, s := range all {
		require.Eventually(t, func() bool {
			status, _ := s.get("/v1/users/u/groups/g")
			return status == http.StatusOK && strings.Contains(readyz(s), "replicas: read from "+firstHost+" "+secondHost+", left out none")
		}, 30*time.Second, 10*time.Millisecond)
		s.awaitSums()
	}
	readAll := func(s *service) {
		for _, path := range readRoutes() {
			status, problem := s.get(path)
			require.Equal(t, http.StatusOK, status, "%s: %v", path, problem)
		}
	}
	for _, s := range all {
		for range 2 {
			readAll(s)
		}
		for _, host := range []string{firstHost, secondHost} {
			require.Greater(t, number(s, fmt.Sprintf(`readmark_replica_reads_total{replica=%q}`, host)), 3., host)
			require.InDelta(t, 1, number(s, fmt.Sprintf(`readmark_replica_in_use{replica=%q}`, host)), 0)
		}
	}
	first.Promote()
	for _, s := range all {
		require.Eventually(t, func() bool {
			readAll(s)
			text := readyz(s)
			return strings.HasPrefix(text, "ready\n") && strings.Contains(text, "\nreplica: promoted for ") &&
				strings.Contains(text, ": "+firstHost+": nothing is read from the replica: it was promoted") &&
				strings.Contains(text, "replicas: read from "+secondHost+", left out "+firstHost)
		}, 30*time.Second, 10*time.Millisecond)
		require.InDelta(t, 0, number(s, fmt.Sprintf(`readmark_replica_in_use{replica=%q}`, firstHost)), 0)
		require.InDelta(t, 1, number(s, `readmark_condition{part="replica",reason="promoted"}`), 0)
		require.Contains(t, s.log.String(), firstHost+": nothing is read from the replica: it was promoted")
		_, report := s.get("/v1/stats")
		require.Contains(t, fmt.Sprint(report["conditions"]), firstHost+": nothing is read")
	}
	_, out, _ := run(t, environment("0"), "doctor", "--no-callback")
	require.Contains(t, out, "FAIL  replica: "+firstHost+": nothing is read from the replica: it was promoted")
	require.Contains(t, out, "ok    replica: "+secondHost+": PostgreSQL ")
	second.Restart()
	for _, s := range all {
		readAll(s)
		s.read("u", "g", 4)
		require.Eventually(t, func() bool {
			_, state := s.get("/v1/users/u/groups/g")
			return state["unreadCount"] == 4.
		}, 30*time.Second, 10*time.Millisecond)
		require.NotContains(t, s.log.String(), "postgres:postgres")
		s.end()
	}
}

// A replica that is away and comes back: the first read is answered, with reads from memory and
// without.
func TestReplicaRestarts(t *testing.T) {
	t.Parallel()
	primary, _ := pgtest.Own(t)
	replica := pgtest.Standby(t, primary)
	proxy, through := proxied(t, replica.URL)
	var all []*service
	for _, bytes := range []string{"0", "64MiB"} {
		all = append(all, serve(t, map[string]string{
			"READMARK_DATABASE_URL": primary, "READMARK_REPLICA_URL": through, "READMARK_READ_CACHE_BYTES": bytes,
		}))
	}
	all[0].read("u", "g", 3)
	for _, s := range all {
		require.Eventually(t, func() bool {
			status, _ := s.get("/v1/users/u/groups/g")
			return status == http.StatusOK
		}, 30*time.Second, 10*time.Millisecond)
	}
	for _, s := range all {
		s.awaitSums()
	}
	for _, path := range readRoutes() {
		for _, s := range all {
			status, _ := s.get(path)
			require.Equal(t, http.StatusOK, status, path)
		}
		proxy.Stop()
		pgtest.ListenAgain(t, proxy.Start)
		for _, s := range all {
			status, problem := s.get(path)
			require.Equal(t, http.StatusOK, status, "%s: %v", path, problem)
		}
	}
	replica.Restart()
	for _, s := range all {
		status, problem := s.get("/v1/users/u/groups/g")
		require.Equal(t, http.StatusOK, status, problem)
	}
	proxy.Stop()
	for _, s := range all {
		status, _ := s.get("/v1/users/u/groups/g")
		require.Equal(t, http.StatusServiceUnavailable, status)
		s.read("u", "g", 2) // is taken all the same
	}
	pgtest.ListenAgain(t, proxy.Start)
	for _, s := range all {
		require.Eventually(t, func() bool {
			status, state := s.get("/v1/users/u/groups/g")
			return status == http.StatusOK && state["unreadCount"] == 2.0
		}, 30*time.Second, 10*time.Millisecond)
		s.end()
	}
}

// The first read after PostgreSQL restarted is answered on every route, with reads from memory and
// without.
func TestFirstReadAfterRestart(t *testing.T) {
	t.Parallel()
	database := pgtest.New(t)
	restart := func() {
		_, err := pgtest.Connect(t, database).Exec(t.Context(),
			"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		require.NoError(t, err)
	}
	for _, bytes := range []string{"0", "64MiB"} {
		s := serve(t, map[string]string{"READMARK_DATABASE_URL": database, "READMARK_READ_CACHE_BYTES": bytes})
		s.read("u", "g", 3)
		s.awaitSums()
		for _, path := range readRoutes() {
			s.get(path)
			restart()
			status, problem := s.get(path)
			require.Equal(t, http.StatusOK, status, "%s: %v", path, problem)
		}
		s.do(http.MethodPost, s.URL+"/v1/unread/query", twoPairs)
		restart()
		status, body := s.do(http.MethodPost, s.URL+"/v1/unread/query", twoPairs)
		require.Equal(t, http.StatusOK, status, body)
		s.end()
	}
}

// As long as the replica has never answered, nobody knows as of when an answer would
// be.
func TestReplicaNeverThere(t *testing.T) {
	t.Parallel()
	proxy, through := proxied(t, pgtest.New(t))
	proxy.Stop()
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": pgtest.New(t), "READMARK_REPLICA_URL": through})
	for _, path := range readRoutes() {
		status, problem := s.get(path)
		require.Equal(t, http.StatusServiceUnavailable, status, path)
		require.Equal(t, "the replica has not answered yet", problem["detail"])
	}
	s.read("u", "g", 1)
	s.end()
}

package cli_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
)

// Reads go to the replica alone, and callbacks do not care whether it is there. The
// replica here is a database of its own, so that it is seen which one answered.
func TestReplicaAnswersReads(t *testing.T) {
	t.Parallel()
	primary, replica := pgtest.New(t), pgtest.New(t)
	proxy, through := proxied(t, replica)
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": primary, "READMARK_REPLICA_URL": through})
	require.Eventually(t, func() bool {
		status, _ := s.get("/v1/users/u/groups")
		return status == http.StatusOK
	}, 10*time.Second, 10*time.Millisecond)
	s.read("u", "g", 3)
	status, _ := s.get("/v1/users/u/groups/g")
	require.Equal(t, http.StatusNotFound, status, "it is not on the replica yet")

	other := serve(t, map[string]string{"READMARK_DATABASE_URL": replica})
	other.read("u", "g", 7)
	before := time.Now().Add(-5 * time.Second)
	status, state := s.get("/v1/users/u/groups/g")
	require.Equal(t, http.StatusOK, status)
	require.InDelta(t, 7, state["unreadCount"], 0)
	asOf, err := time.Parse(time.RFC3339Nano, state["asOf"].(string))
	require.NoError(t, err)
	require.WithinRange(t, asOf, before, time.Now())
	_, metrics := s.do(http.MethodGet, s.Ops+"/metrics", "")
	require.Regexp(t, `readmark_replica_lag_seconds \d`, metrics)

	proxy.Stop()
	status, problem := s.get("/v1/users/u/groups/g")
	require.Equal(t, http.StatusServiceUnavailable, status, problem)
	s.read("u", "g", 2) // is taken all the same
	require.NoError(t, proxy.Start())
	require.Eventually(t, func() bool {
		status, _ := s.get("/v1/users/u/groups/g")
		return status == http.StatusOK
	}, 10*time.Second, 10*time.Millisecond)
	s.end()
	other.end()
}

// As long as the replica has never answered, nobody knows as of when an answer would
// be.
func TestReplicaNeverThere(t *testing.T) {
	t.Parallel()
	proxy, through := proxied(t, pgtest.New(t))
	proxy.Stop()
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": pgtest.New(t), "READMARK_REPLICA_URL": through})
	for _, path := range []string{"/v1/users/u/groups/g", "/v1/users/u/groups", "/v1/drift"} {
		status, _ := s.get(path)
		require.Equal(t, http.StatusServiceUnavailable, status, path)
	}
	s.read("u", "g", 1)
	s.end()
}

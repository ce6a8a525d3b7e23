//go:build citus

package cli_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/store"
)

// migrate up --citus distributes and says so, once; status and doctor say how it is, and a start what is different. A
// worker ends every command.
func TestCitusCommands(t *testing.T) {
	t.Parallel()
	coordinator, workers := pgtest.Cluster(t)
	environment := map[string]string{"READMARK_DATABASE_URL": coordinator, "READMARK_DATA_DIR": openDir(t)}
	status, _, errs := run(t, environment, "migrate", "up")
	require.Equal(t, 0, status, errs)
	status, out, errs := run(t, environment, "migrate", "status")
	require.Equal(t, 0, status, errs)
	require.Contains(t, out, "and the schema is not distributed")
	status, out, errs = run(t, environment, "migrate", "up", "--citus", "--citus-shards", "1")
	require.Equal(t, 0, status, errs)
	require.Contains(t, out, "distributed states by user_id, with ")
	require.Contains(t, out, "distributed journal by user_id, beside states")
	status, out, errs = run(t, environment, "migrate", "up", "--citus")
	require.Equal(t, 0, status, errs)
	require.Contains(t, out, "nothing to distribute: Citus ")
	status, out, errs = run(t, environment, "migrate", "status", "--json")
	require.Equal(t, 0, status, errs)
	require.Contains(t, out, `"positions"`)

	s := serve(t, environment)
	s.read("u", "g", 3)
	status, state := s.get("/v1/users/u/groups/g")
	require.Equal(t, 200, status, state)
	require.EqualValues(t, 3, state["unreadCount"])
	require.Contains(t, s.log.String(), store.CitusDifferences()[0])
	_, out, _ = run(t, environment, "doctor")
	require.Contains(t, out, "ok    citus: Citus ")
	for _, difference := range store.CitusDifferences() {
		require.Contains(t, out, "note  citus: "+difference)
	}
	for _, worker := range workers {
		status, out, errs := run(t, map[string]string{"READMARK_DATABASE_URL": worker, "READMARK_DATA_DIR": t.TempDir()}, "doctor")
		require.Equal(t, 1, status)
		require.Equal(t, 1, strings.Count(out+errs, "the server is a worker of Citus"))
	}
}

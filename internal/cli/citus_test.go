package cli_test

import (
	"encoding/json"
	"net/http"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/store"
)

// A batch says whether all of it is of one moment: on Citus each server answers as of a moment of its own.
func TestBatchTellsWhetherItIsOfOneMoment(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		database  string
		oneMoment bool
	}{
		"one server":  {pgtest.New(t), true},
		"coordinator": {pgtest.LikeCitus(t, 0), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, map[string]string{"READMARK_DATABASE_URL": test.database})
			status, body := s.do(http.MethodPost, s.URL+"/v1/unread/query", `{"userIDs":["u","v"]}`)
			require.Equal(t, http.StatusOK, status)
			var answer struct {
				OneMoment *bool
			}
			require.NoError(t, json.Unmarshal([]byte(body), &answer))
			require.Equal(t, &test.oneMoment, answer.OneMoment)
		})
	}
}

// What is different on Citus stands in the documentation as it is told.
func TestCitusDifferencesAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/scaling.md")
	require.NoError(t, err)
	for _, difference := range store.CitusDifferences() {
		require.Contains(t, string(text), "- "+difference+"\n")
	}
}

// Where there is no Citus the command says so, and touches nothing.
func TestMigrateUpWithoutCitus(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"READMARK_DATABASE_URL": pgtest.Empty(t)}
	status, out, errs := run(t, environment, "migrate", "up", "--citus")
	require.Equal(t, 1, status)
	require.Empty(t, out)
	require.Contains(t, errs, "the schema cannot be distributed: ")
	require.Contains(t, errs, "the extension citus")
	status, out, errs = run(t, environment, "migrate", "version")
	require.Equal(t, 0, status, errs)
	require.Equal(t, "0\n", out)
	status, _, errs = run(t, environment, "migrate", "up", "--citus-shards", "4")
	require.Equal(t, 2, status)
	require.Contains(t, errs, "--citus-shards is for --citus")
	status, _, errs = run(t, environment, "migrate", "up", "--citus", "--citus-shards", "0")
	require.Equal(t, 2, status)
	require.Contains(t, errs, "--citus-shards must be from 1 to")
}

// A worker of Citus is refused by every command with one sentence.
func TestWorkerEndsEveryCommand(t *testing.T) {
	t.Parallel()
	database := pgtest.LikeCitus(t, 1)
	environment := map[string]string{
		"READMARK_DATABASE_URL": database, "READMARK_DATA_DIR": t.TempDir(), "READMARK_ADDR": "127.0.0.1:0", "READMARK_OPS_ADDR": "127.0.0.1:0",
	}
	for _, args := range [][]string{{"serve"}, {"migrate", "up"}, {"migrate", "status"}, {"doctor"}, {"key", "list"}, {"replay"}} {
		status, out, errs := run(t, environment, args...)
		require.Equal(t, 1, status, args)
		require.Contains(t, out+errs, "the server is a worker of Citus: Readmark connects to the coordinator only, so let the URL name that", args)
	}
}

package cli_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
)

// A database that has a row of 2036 is no trap: receipts have the time of now, the user of the
// row is moved by the next one, the log and the doctor say what was found, and a replay changes
// nothing.
func TestRowFromTheFuture(t *testing.T) {
	t.Parallel()
	database := pgtest.Empty(t)
	environment := map[string]string{"READMARK_DATABASE_URL": database}
	s := serve(t, environment)
	s.read("u", "g", 5)
	s.end()
	_ = rows(t, database, "CREATE TABLE journal_20360101 PARTITION OF journal FOR VALUES FROM ('2036-01-01 00:00:00+00') TO ('2036-01-02 00:00:00+00')")
	_ = rows(t, database, "UPDATE journal SET received_at = '2036-01-01 12:00:00+00', recorded_at = '2036-01-01 12:00:00+00'")
	_ = rows(t, database, "UPDATE states SET estimate_at = '2036-01-01 12:00:00+00', first_estimate_at = '2036-01-01 12:00:00+00', "+
		"updated_at = '2036-01-01 12:00:00+00'")
	_, out, _ := run(t, environment, "doctor", "--no-callback")
	require.Contains(t, out, "FAIL  future rows: the journal has 1 events from the future, up to 2036-01-01T12:00:00Z")

	s = serve(t, environment)
	s.read("other", "g", 1)
	require.Eventually(t, func() bool {
		s.read("u", "g", 2)
		_, state := s.get("/v1/users/u/groups/g")
		return state["unreadCount"] == 2.0
	}, 30*time.Second, 10*time.Millisecond)
	for _, user := range []string{"u", "other"} {
		_, state := s.get("/v1/users/" + user + "/groups/g")
		for _, field := range []string{"lastReadAt", "updatedAt", "asOf"} {
			moment, err := time.Parse(time.RFC3339Nano, state[field].(string))
			require.NoError(t, err)
			require.WithinDuration(t, time.Now(), moment, time.Minute, field)
		}
	}
	_, metrics := s.do("GET", s.Ops+"/metrics", "")
	require.Contains(t, metrics, "readmark_clock_offset_seconds ")
	s.end()
	require.Empty(t, rows(t, database, "SELECT 'x' FROM journal WHERE received_at > now() + interval '1 minute'"))
	status, out, errs := run(t, environment, "replay")
	require.Equal(t, 0, status, errs)
	require.Contains(t, out, "0 states and 0 positions changed")
	_, out, _ = run(t, environment, "doctor", "--no-callback")
	require.Contains(t, out, "ok    future rows")
	require.Contains(t, out, "ok    clock")
}

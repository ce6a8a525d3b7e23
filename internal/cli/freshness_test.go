package cli_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
)

// Before the database is prepared nothing is read from it, whatever its schema has
// already: what was received is in the spool.
func TestReadsWaitForPreparation(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"READMARK_DATABASE_URL": pgtest.Empty(t)}
	status, _, errs := run(t, environment, "migrate", "up")
	require.Equal(t, 0, status, errs)
	conn := pgtest.Connect(t, environment["READMARK_DATABASE_URL"])
	missing := time.Now().UTC().AddDate(0, 0, 3).Format("journal_20060102")
	_, err := conn.Exec(t.Context(), "DROP TABLE "+missing+"; BEGIN; LOCK TABLE pg_class IN EXCLUSIVE MODE") // the day cannot be made
	require.NoError(t, err)
	s := launch(t, environment)
	s.read("u", "g", 5)
	for _, path := range []string{"/v1/users/u/groups/g", "/v1/users/u/unread", "/v1/users/u/receipts", "/v1/groups/g/users"} {
		status, problem := s.get(path)
		require.Equal(t, 503, status, "%s: %v", path, problem)
	}
	_, err = conn.Exec(t.Context(), "ROLLBACK")
	require.NoError(t, err)
	s.settled()
	status, state := s.get("/v1/users/u/groups/g")
	require.Equal(t, 200, status, state)
	require.EqualValues(t, 5, state["unreadCount"])
	s.end()
}

// While the database takes no callbacks and can be read, answers say that they are
// older than the first one that waits in the spool.
func TestAsOfIsBehindTheSpool(t *testing.T) {
	t.Parallel()
	for _, reader := range []string{"primary", "replica"} {
		t.Run(reader, func(t *testing.T) {
			t.Parallel()
			database := pgtest.New(t)
			environment := map[string]string{"READMARK_DATABASE_URL": database, "READMARK_COMMIT_BUDGET": "50ms"}
			if reader == "replica" {
				environment["READMARK_REPLICA_URL"] = database
			}
			s := serve(t, environment)
			asOf := func() time.Time {
				status, badge := s.get("/v1/users/u/unread")
				require.Equal(t, 200, status, badge)
				at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(badge["asOf"]))
				require.NoError(t, err)
				return at
			}
			s.read("u", "g", 5)
			s.settled()
			conn := pgtest.Connect(t, database)
			_, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE journal IN EXCLUSIVE MODE")
			require.NoError(t, err)
			before := time.Now()
			s.read("u", "g", 6)
			between := time.Now()
			s.read("u", "g", 7)
			require.Equal(t, "degraded", s.ready())
			_, state := s.get("/v1/users/u/groups/g")
			require.EqualValues(t, 5, state["unreadCount"])
			require.Eventually(t, func() bool { // a replica is asked now and then
				return asOf().After(before.Add(-time.Millisecond))
			}, time.Minute, 10*time.Millisecond)
			require.WithinRange(t, asOf(), before.Add(-time.Microsecond), between)
			status, problem := s.get("/v1/users/u/unread?at=" + between.UTC().Format(time.RFC3339Nano))
			require.Equal(t, 503, status, problem)
			_, err = conn.Exec(t.Context(), "ROLLBACK")
			require.NoError(t, err)
			s.settled()
			require.Eventually(t, func() bool { return asOf().After(between) }, time.Minute, 10*time.Millisecond)
			_, state = s.get("/v1/users/u/groups/g")
			require.EqualValues(t, 7, state["unreadCount"])
			s.end()
		})
	}
}

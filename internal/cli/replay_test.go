package cli_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
)

// rows gives a table as text, row by row.
func rows(t *testing.T, url, query string) []string {
	t.Helper()
	found, err := pgtest.Connect(t, url).Query(t.Context(), query)
	require.NoError(t, err)
	list, err := pgx.CollectRows(found, pgx.RowTo[string])
	require.NoError(t, err)
	return list
}

// After the rows of the states are gone, a replay brings them back, to the
// same values, beside a running serve.
func TestReplayRestoresStates(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	environment := map[string]string{"READMARK_DATABASE_URL": url}
	s := serve(t, environment)
	l := startLoad(t, "u", 4, 300, func() string { return s.URL })
	l.finish()
	s.settled()
	const all = "SELECT to_jsonb(s)::text FROM states AS s ORDER BY user_id, group_id"
	before := rows(t, url, all)
	pairs := len(before) // 20, unless a client was slow
	require.Greater(t, pairs, 1)
	replay := func(args ...string) string {
		status, out, errs := run(t, environment, append([]string{"replay"}, args...)...)
		require.Equal(t, 0, status, errs)
		return out
	}
	require.Equal(t, fmt.Sprintf("replayed 300 events of %d pairs: 0 states and 0 positions changed\n", pairs), replay())
	_ = rows(t, url, "DELETE FROM states RETURNING user_id")
	require.Equal(t, fmt.Sprintf("dry run: 300 events of %d pairs: %d states and 0 positions would change\n", pairs, pairs), replay("--dry-run"))
	require.Empty(t, rows(t, url, all))
	require.Contains(t, replay("--user", l.receipts[0].user), "of 1 pairs: 1 states and 0 positions changed")
	require.Contains(t, replay("--to", "2001-01-01"), "replayed 0 events of 0 pairs")
	require.Contains(t, replay("--group", "elsewhere"), "of 0 pairs: 0 states and 0 positions changed")
	require.Equal(t, fmt.Sprintf("replayed 300 events of %d pairs: %d states and 0 positions changed\n", pairs, pairs-1), replay("--from", "2001-01-01"))
	require.Equal(t, before, rows(t, url, all))
	s.end()
}

func TestReplayRefuses(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"READMARK_DATABASE_URL": pgtest.Empty(t)}
	for _, c := range []struct {
		status               int
		message, flag, value string
	}{
		{2, "--from must be a time", "--from", "yesterday"},
		{2, "--to must be a time", "--to", "2026-13-01"},
		{1, "migrate up", "--user", "u"},
	} {
		status, _, errs := run(t, environment, "replay", c.flag, c.value)
		require.Equal(t, c.status, status)
		require.Contains(t, errs, c.message)
	}
	status, _, errs := run(t, environment, "replay", "--from", "2026-01-02", "--to", "2026-01-01")
	require.Equal(t, 2, status)
	require.Contains(t, errs, "--from must be before --to")
}

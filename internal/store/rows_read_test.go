package store

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"readmark/db"
)

// PlannersRows is how many entries of indexes the planner may look at, to learn where they begin and end.
const PlannersRows = 10

// RowsRead gives how many rows, or entries of its indexes, statements read of each table, by whichever plan reads more:
// one that knows the parameters, or one for any.
func (s *Store) RowsRead(t testing.TB, ask func(ctx context.Context, queries *db.Queries, conn db.DBTX) error) map[string]int64 {
	t.Helper()
	most := map[string]int64{}
	for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
		require.NoError(t, pgx.BeginFunc(t.Context(), s.reads, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), "SET LOCAL plan_cache_mode = "+mode)
			require.NoError(t, err)
			before := rowsRead(t, tx) // of the session until now
			require.NoError(t, ask(t.Context(), s.queries, tx))
			for table, rows := range rowsRead(t, tx) {
				most[table] = max(most[table], rows-before[table])
			}
			return nil
		}))
	}
	return most
}

func rowsRead(t testing.TB, tx pgx.Tx) map[string]int64 {
	t.Helper()
	rows, err := tx.Query(t.Context(), `SELECT t.relname::text, (pg_stat_get_xact_tuples_returned(t.oid) + sum(pg_stat_get_xact_tuples_returned(i.indexrelid)))::bigint
		FROM pg_class AS t JOIN pg_index AS i ON i.indrelid = t.oid WHERE t.relname IN ('states', 'group_sums') GROUP BY t.oid, t.relname`)
	require.NoError(t, err)
	read := map[string]int64{}
	var name string
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&name, &n}, func() error {
		read[name] = n
		return nil
	})
	require.NoError(t, err)
	return read
}

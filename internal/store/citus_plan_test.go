//go:build citus

package store

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"readmark/db"
)

// Tasks gives how many shards each statement visits, as EXPLAIN says it.
func (s *Store) Tasks(t testing.TB, ask func(ctx context.Context, queries *db.Queries, conn db.DBTX) error) (counts []int) {
	t.Helper()
	_ = ask(t.Context(), s.queries, explaining{t, s.reads, &counts}) // fails, since no statement is run
	return counts
}

// explaining has statements be explained, and not run.
type explaining struct {
	t      testing.TB
	conn   db.DBTX
	counts *[]int
}

func (e explaining) explain(ctx context.Context, sql string, args []any) {
	e.t.Helper()
	rows, err := e.conn.Query(ctx, "EXPLAIN "+sql, args...)
	require.NoError(e.t, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(e.t, err)
	tasks := 0
	for _, line := range lines {
		if text, found := strings.CutPrefix(strings.TrimSpace(line), "Task Count: "); found {
			n, err := strconv.Atoi(text)
			require.NoError(e.t, err)
			tasks = max(tasks, n)
		}
	}
	*e.counts = append(*e.counts, tasks)
}

func (e explaining) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	e.explain(ctx, sql, args)
	return pgconn.CommandTag{}, errNotQueued
}

func (e explaining) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	e.explain(ctx, sql, args)
	return nil, errNotQueued
}

func (e explaining) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	e.explain(ctx, sql, args)
	return failedRow{errNotQueued}
}

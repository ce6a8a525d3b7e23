package store

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"readmark/db"
)

// explaining explains each statement with rows, and runs it to its end; nobody gets the rows.
type explaining struct {
	*pool
	rows map[string]float64 // read of each table
}

// planNode is a step of a plan.
type planNode struct {
	Relation string     `json:"Relation Name"`
	Rows     float64    `json:"Actual Rows"`
	Loops    float64    `json:"Actual Loops"`
	Removed  float64    `json:"Rows Removed by Filter"`
	Plans    []planNode `json:"Plans"`
}

func (e *explaining) add(n *planNode) {
	if n.Relation != "" {
		e.rows[n.Relation] += (n.Rows + n.Removed) * n.Loops
	}
	for i := range n.Plans {
		e.add(&n.Plans[i])
	}
}

// Query implements db.DBTX.
func (e *explaining) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	var raw []byte
	if err := e.pool.QueryRow(ctx, "EXPLAIN (ANALYZE, FORMAT JSON) "+sql, args...).Scan(&raw); err != nil {
		return nil, err
	}
	var plans []struct{ Plan planNode }
	if err := json.Unmarshal(raw, &plans); err != nil {
		return nil, err
	}
	e.add(&plans[0].Plan)
	return e.pool.Query(ctx, sql, args...)
}

// RowsRead gives how many rows of each table statements read.
func (s *Store) RowsRead(t testing.TB, ask func(ctx context.Context, queries *db.Queries, conn db.DBTX) error) map[string]float64 {
	t.Helper()
	e := &explaining{s.reads, map[string]float64{}}
	require.NoError(t, ask(t.Context(), s.queries, e))
	return e.rows
}

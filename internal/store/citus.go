package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"readmark/internal/condition"
)

// OneMoment reports whether what is read at once is of one moment: not on Citus, where each server answers as of
// a moment of its own. It tells by the connections that there have been, and does not block.
func (s *Store) OneMoment() bool { return !s.pool.citus.Load() }

// refuseWorker refuses a node of Citus that is not the coordinator: it does not have the tables that only the coordinator has,
// and locks hold on one node only.
func refuseWorker(ctx context.Context, conn *pgx.Conn) error {
	results, err := conn.PgConn().Exec(ctx, "SELECT groupid <> 0 FROM pg_catalog.pg_dist_local_group").ReadAll()
	if err != nil {
		return fmt.Errorf("ask which node of Citus it is: %w", err)
	}
	if rows := results[0].Rows; len(rows) > 0 && string(rows[0][0]) == "t" {
		return &UnfitError{condition.Worker, "the server is a worker of Citus: Readmark connects to the coordinator only, so let the URL name that"}
	}
	return nil
}

package store

import (
	"context"
	"fmt"
)

// Inspection is how the database server, the role and a pooler between are set up.
type Inspection struct {
	Health
	// Pooler says that each transaction has another session.
	Pooler bool
	// SynchronousCommit is what sessions begin with.
	SynchronousCommit string
	// ServerLimit, DatabaseLimit and RoleLimit bound the connections, −1 where nothing does; Used
	// is how many all clients have open.
	ServerLimit, DatabaseLimit, RoleLimit, Used int32
}

// Inspect asks how the server, the role and a pooler between are set up.
func (s *Store) Inspect(ctx context.Context) (Inspection, error) {
	health, err := s.Health(ctx)
	if err != nil {
		return Inspection{}, err
	}
	found := Inspection{Health: health, Pooler: s.pool.shared.Load()}
	err = s.pool.QueryRow(ctx, limits).Scan(&found.SynchronousCommit, &found.ServerLimit, &found.DatabaseLimit, &found.RoleLimit, &found.Used)
	if err != nil {
		return found, fmt.Errorf("ask for limits: %w", translate(err))
	}
	return found, nil
}

// limits is written here, since sqlc does not know these views of PostgreSQL.
const limits = `
	SELECT s.reset_val, current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer,
		d.datconnlimit, r.rolconnlimit, (SELECT count(*)::integer FROM pg_stat_activity WHERE backend_type = 'client backend')
	FROM pg_settings AS s, pg_database AS d, pg_roles AS r
	WHERE s.name = 'synchronous_commit' AND d.datname = current_database() AND r.rolname = current_user`

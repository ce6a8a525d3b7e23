package store

import (
	"context"
	"fmt"
	"strings"
)

// Health is what the database says of itself.
type Health struct {
	// NotDurable names settings by which the server may lose what it has committed when its
	// machine fails: fsync, full_page_writes.
	NotDurable []string
}

// Risk says what NotDurable risks, "" where it names nothing.
func (h *Health) Risk() string {
	if len(h.NotDurable) == 0 {
		return ""
	}
	return fmt.Sprintf("PostgreSQL runs with %s = off: it may lose what Readmark has acknowledged, and more, when its machine fails. "+
		"ALTER SYSTEM SET each to on, then restart PostgreSQL", strings.Join(h.NotDurable, " = off and "))
}

// Health asks the database for what writes and reads need, on a connection of each pool, and whether
// the schema is current. What fails then would fail for callbacks and readers, too.
func (s *Store) Health(ctx context.Context) (health Health, err error) {
	for _, pool := range []*pool{s.pool, s.reads} {
		row, err := s.queries.GetHealth(ctx, pool)
		if err == nil && row.InRecovery { // a pooler that leads elsewhere now
			pool.renew(pool.generation.Load())
			err = errReadOnly
		}
		if err != nil {
			return health, fmt.Errorf("ask how the database is: %w", translate(err))
		}
		health.NotDurable = nil
		if row.Fsync == "off" {
			health.NotDurable = append(health.NotDurable, "fsync")
		}
		if row.FullPageWrites == "off" {
			health.NotDurable = append(health.NotDurable, "full_page_writes")
		}
	}
	current, newest, err := s.SchemaVersion(ctx)
	if err == nil && current < newest {
		err = notCurrent(current, newest)
	}
	return health, err
}

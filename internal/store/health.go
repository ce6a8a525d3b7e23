package store

import (
	"context"
	"fmt"
)

// Health is what the database says of itself.
type Health struct {
	// NotDurable names settings by which the server may lose what it has committed when its
	// machine fails: fsync, full_page_writes.
	NotDurable []string
}

// Health asks the database for what writes and reads need, on a connection of each pool. What
// fails then would fail for callbacks and readers, too.
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
	return health, nil
}

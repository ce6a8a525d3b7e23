package store

import (
	"context"
	"time"

	"readmark/db"
	"readmark/internal/readstate"
)

// Every transaction that writes states, positions or lookups appends one row to changes, by
// insertChange, or, where only the database knows what was touched, in the statement itself.

// insertChange queues the row that says what a transaction touches, straight into the
// partition of the day.
func (s *Store) insertChange(ctx context.Context, queue db.DBTX, c *readstate.Change, recordedAt time.Time) error {
	c.Fold()
	if c.Empty() {
		return nil
	}
	if t := s.current(recordedAt); t != nil {
		queue = partitioned{queue, t}
	}
	p := db.InsertChangeParams{
		RecordedAt: recordedAt, PositionGroupIds: c.Positions, RebasedGroupIds: c.Rebased, WholeUserIds: c.Users, WholeGroupIds: c.Groups, Everything: c.Everything,
	}
	for _, pair := range c.Pairs {
		p.PairUserIds, p.PairGroupIds = append(p.PairUserIds, pair.UserID), append(p.PairGroupIds, pair.GroupID)
	}
	return s.queries.InsertChange(ctx, queue, p)
}

// touched tells those who keep states in memory here what a transaction has touched, before
// its writer goes on.
func (s *Store) touched(c *readstate.Change) {
	if s.onChange != nil && !c.Empty() {
		s.onChange(c)
	}
}

// OnChange has a function called with what each transaction of this process has touched, before
// the writer goes on. It must be called before the first write. Where only the database knows
// which groups of a user were touched, the change names the whole user.
func (s *Store) OnChange(f func(*readstate.Change)) { s.onChange = f }

package store

import (
	"context"
	"errors"
	"fmt"

	"readmark/db"
	"readmark/internal/readstate"
)

// ErasePair removes state, journal and lookups of one pair, in one transaction. The
// group's position stays.
func (s *Store) ErasePair(ctx context.Context, pair readstate.Pair) error {
	change := readstate.Change{Pairs: []readstate.Pair{pair}}
	err := s.withToday(ctx, func() error {
		var queue pipeline
		return errors.Join(
			s.queries.ErasePair(ctx, &queue, db.ErasePairParams{UserID: pair.UserID, GroupID: pair.GroupID}),
			s.queries.EraseLookup(ctx, &queue, db.EraseLookupParams{UserID: pair.UserID, GroupID: pair.GroupID}),
			s.queries.EraseJournal(ctx, &queue, db.EraseJournalParams{UserID: pair.UserID, GroupID: pair.GroupID}),
			s.insertChange(ctx, &queue, &change, s.recordedAt()),
			queue.send(ctx, atomically{s.pool}))
	})
	if err != nil {
		return fmt.Errorf("erase pair: %w", translate(err))
	}
	s.touched(&change)
	return nil
}

package store

import (
	"context"
	"fmt"
	"math"
	"time"

	"readmark/db"
	"readmark/internal/readstate"
)

// StateAt gives the state of one pair as it was at a moment, from the journal and
// what has not changed since, or [readstate.ErrUnknown] when nothing was known then.
// It is neither exact nor pending: these tell how far the newest count may be
// trusted. The moment must lie within what the journal keeps.
func (s *Store) StateAt(ctx context.Context, pair readstate.Pair, at time.Time) (readstate.State, error) {
	list, err := s.statesAt(ctx, pair, at)
	if err != nil {
		return readstate.State{}, fmt.Errorf("get state at a moment: %w", err)
	}
	return list[0], nil
}

// BadgeAt sums the states of one user as they were at a moment; see [Store.StateAt].
func (s *Store) BadgeAt(ctx context.Context, userID string, at time.Time) (readstate.Badge, error) {
	list, err := s.statesAt(ctx, readstate.Pair{UserID: userID}, at)
	if err != nil {
		return readstate.Badge{}, fmt.Errorf("sum states at a moment: %w", err)
	}
	badge := readstate.Badge{UserID: userID, Groups: int64(len(list))}
	for i := range list {
		unread := list[i].UnreadCount
		if unread > 0 {
			badge.UnreadGroups++
		}
		badge.UnreadCount += min(unread, math.MaxInt64-badge.UnreadCount)
	}
	return badge, nil
}

// statesAt gives the states of one pair, or of all groups of a user where no group is
// named. One statement sees everything as of one moment.
func (s *Store) statesAt(ctx context.Context, of readstate.Pair, at time.Time) ([]readstate.State, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	rows, err := s.queries.ListStatesAt(ctx, s.reads, db.ListStatesAtParams{UserID: of.UserID, GroupID: of.GroupID, At: at})
	if err != nil {
		return nil, translate(err)
	}
	if len(rows) == 0 {
		return nil, readstate.ErrUnknown
	}
	list := make([]readstate.State, len(rows))
	for i, row := range rows {
		list[i] = readstate.State{
			Pair:        readstate.Pair{UserID: of.UserID, GroupID: row.GroupID},
			UnreadCount: row.UnreadCount, ContentType: row.ContentType, LastReadAt: row.LastReadAt.UTC(),
			Source: readstate.Source(row.Source), UpdatedAt: row.UpdatedAt.UTC(),
		}
	}
	return list, nil
}

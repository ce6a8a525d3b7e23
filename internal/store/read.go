package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"readmark/db"
	"readmark/internal/readstate"
)

// State gives the state of one pair, or [readstate.ErrUnknown].
func (s *Store) State(ctx context.Context, pair readstate.Pair) (readstate.State, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	row, err := s.queries.GetState(ctx, s.reads, db.GetStateParams{UserID: pair.UserID, GroupID: pair.GroupID})
	if err != nil {
		return readstate.State{}, fmt.Errorf("get state: %w", translate(err))
	}
	return state(row), nil
}

// UserStates lists up to limit states of a user in the order of group IDs,
// from the first one after the given group ID, with at least minUnread
// messages unread.
func (s *Store) UserStates(
	ctx context.Context, userID, afterGroupID string, minUnread int64, limit int32,
) ([]readstate.State, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	rows, err := s.queries.ListStatesByUser(ctx, s.reads, db.ListStatesByUserParams{
		UserID: userID, AfterGroupID: afterGroupID, MinUnread: minUnread, MaxRows: limit,
	})
	if err != nil {
		return nil, fmt.Errorf("list states of a user: %w", translate(err))
	}
	return states(rows), nil
}

// GroupStates lists up to limit states of a group in the order of user IDs,
// from the first one after the given user ID, with at least minUnread messages
// unread.
func (s *Store) GroupStates(
	ctx context.Context, groupID, afterUserID string, minUnread int64, limit int32,
) ([]readstate.State, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	rows, err := s.queries.ListStatesByGroup(ctx, s.reads, db.ListStatesByGroupParams{
		GroupID: groupID, AfterUserID: afterUserID, MinUnread: minUnread, MaxRows: limit,
	})
	if err != nil {
		return nil, fmt.Errorf("list states of a group: %w", translate(err))
	}
	return states(rows), nil
}

// Badge sums the states of one user, or gives [readstate.ErrUnknown].
func (s *Store) Badge(ctx context.Context, userID string) (readstate.Badge, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	badges, err := s.badges(ctx, s.reads, []string{userID})
	if err != nil {
		return readstate.Badge{}, err
	}
	badge, known := badges[userID]
	if !known {
		return readstate.Badge{}, fmt.Errorf("sum states of a user: %w", readstate.ErrUnknown)
	}
	return badge, nil
}

// GroupSum sums the states of one group, or gives [readstate.ErrUnknown].
func (s *Store) GroupSum(ctx context.Context, groupID string) (readstate.GroupSum, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	row, err := s.queries.SumStatesByGroup(ctx, s.reads, groupID)
	if err != nil {
		return readstate.GroupSum{}, fmt.Errorf("sum states of a group: %w", translate(err))
	}
	return readstate.GroupSum{
		GroupID: row.GroupID, Users: row.Users, UsersWithUnread: row.UsersWithUnread,
		UnreadCount: row.UnreadCount, MaxUnread: row.MaxUnread, LastReadAt: row.LastReadAt.UTC(),
	}, nil
}

// Snapshot gives the known ones of many pairs and users as they are at one
// moment: no write is seen by a part of it only.
func (s *Store) Snapshot(ctx context.Context, pairs []readstate.Pair, userIDs []string) (
	map[readstate.Pair]readstate.State, map[string]readstate.Badge, error,
) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	known := make(map[readstate.Pair]readstate.State, len(pairs))
	var badges map[string]readstate.Badge
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, s.reads, options, func(tx pgx.Tx) error {
		params := db.ListStatesByPairsParams{
			UserIDs: make([]string, len(pairs)), GroupIDs: make([]string, len(pairs)),
		}
		for i, pair := range pairs {
			params.UserIDs[i], params.GroupIDs[i] = pair.UserID, pair.GroupID
		}
		rows, err := s.queries.ListStatesByPairs(ctx, tx, params)
		if err != nil {
			return fmt.Errorf("list states of pairs: %w", translate(err))
		}
		for _, row := range rows {
			known[readstate.Pair{UserID: row.UserID, GroupID: row.GroupID}] = state(row)
		}
		badges, err = s.badges(ctx, tx, userIDs)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read snapshot: %w", translate(err))
	}
	return known, badges, nil
}

func (s *Store) badges(ctx context.Context, conn db.DBTX, userIDs []string) (map[string]readstate.Badge, error) {
	rows, err := s.queries.SumStatesByUsers(ctx, conn, userIDs)
	if err != nil {
		return nil, fmt.Errorf("sum states of users: %w", translate(err))
	}
	badges := make(map[string]readstate.Badge, len(rows))
	for _, row := range rows {
		badges[row.UserID] = readstate.Badge{
			UserID: row.UserID, UnreadCount: row.UnreadCount, UnreadGroups: row.UnreadGroups, Groups: row.Groups,
		}
	}
	return badges, nil
}

func states(rows []db.CurrentState) []readstate.State {
	list := make([]readstate.State, len(rows))
	for i, row := range rows {
		list[i] = state(row)
	}
	return list
}

func state(row db.CurrentState) readstate.State {
	return readstate.State{
		Pair:        readstate.Pair{UserID: row.UserID, GroupID: row.GroupID},
		UnreadCount: row.UnreadCount,
		ContentType: row.ContentType,
		LastReadAt:  moment(row.LastReadAt),
		Source:      readstate.Source(row.Source),
		Exact:       row.Exact,
		Pending:     row.Pending,
		UpdatedAt:   row.UpdatedAt.UTC(),
	}
}

package store

import (
	"context"

	"readmark/db"
	"readmark/internal/readstate"
)

// EraseLock is the number of a lock that tests hold.
const EraseLock = int64(eraseLock)

// SetLateRows sets how many rows are applied anew at once after a late event. It must be
// called before the first Commit.
func (s *Store) SetLateRows(n int) { s.lateRows = n }

// InsertState writes a state as it is.
func (s *Store) InsertState(ctx context.Context, conn db.DBTX, state readstate.ReadState) error {
	return s.queries.SaveStates(ctx, conn, stateParams([]readstate.ReadState{state}))
}

// InsertPosition writes a position as it is.
func (s *Store) InsertPosition(ctx context.Context, conn db.DBTX, position readstate.GroupPosition) error {
	if err := s.queries.AddPositions(ctx, conn, []string{position.GroupID}); err != nil {
		return err
	}
	return s.queries.SavePositions(ctx, conn, positionParams([]readstate.GroupPosition{position}))
}

// ListStates reads what is served of a pair.
func (s *Store) ListStates(ctx context.Context, conn db.DBTX, pair readstate.Pair) ([]readstate.State, error) {
	rows, err := s.queries.ListStatesByPairs(ctx, conn, db.ListStatesByPairsParams{UserIDs: []string{pair.UserID}, GroupIDs: []string{pair.GroupID}})
	return states(rows), err
}

// Load reads the state and the position of a pair as they are.
func (s *Store) Load(ctx context.Context, conn db.DBTX, pair readstate.Pair) (readstate.ReadState, readstate.GroupPosition, error) {
	states, err := s.queries.ListReadStates(ctx, conn, db.ListReadStatesParams{UserIDs: []string{pair.UserID}, GroupIDs: []string{pair.GroupID}})
	if err != nil {
		return readstate.ReadState{}, readstate.GroupPosition{}, err
	}
	positions, err := s.queries.ListPositions(ctx, conn, []string{pair.GroupID})
	return readState(&states[0]), position(&positions[0]), err
}

// Settings gives what sessions of writes (or of reads) have, in a transaction.
func (s *Store) Settings(ctx context.Context, reads bool, names ...string) (values []string, err error) {
	pool := s.pool
	if reads {
		pool = s.reads
	}
	err = pool.QueryRow(ctx, "SELECT array_agg(current_setting(name) ORDER BY place) FROM unnest($1::text[]) WITH ORDINALITY AS u (name, place)",
		names).Scan(&values)
	return values, err
}

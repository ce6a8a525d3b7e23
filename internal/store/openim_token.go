package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"readmark/db"
	"readmark/internal/readstate"
)

// Tokens of OpenIM come here encrypted: the store cannot read them. One process logs in
// for all, under a lease that the database's clock ends, so that nothing is locked while
// OpenIM is asked.

// OpenIMToken gives what was saved last under a name; nil: nothing.
func (s *Store) OpenIMToken(ctx context.Context, name [32]byte) (sealed []byte, err error) {
	sealed, err = s.queries.GetOpenIMToken(ctx, s.pool, name[:])
	if err = translate(err); errors.Is(err, readstate.ErrUnknown) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get openim's token: %w", err)
	}
	return sealed, nil
}

// LeaseOpenIMToken lets the holder alone replace what is saved under a name until the
// lease ends. It reports false when somebody else may, or when something else than seen is
// saved.
func (s *Store) LeaseOpenIMToken(
	ctx context.Context, name [32]byte, seen []byte, holder [16]byte, lease time.Duration,
) (leased bool, err error) {
	rows, err := s.queries.LeaseOpenIMToken(ctx, s.pool, db.LeaseOpenIMTokenParams{
		Name: name[:], LeasedBy: pgtype.UUID{Bytes: holder, Valid: true}, LeaseSeconds: lease.Seconds(), Seen: seen,
	})
	if err != nil {
		return false, fmt.Errorf("lease openim's token: %w", translate(err))
	}
	return rows > 0, nil
}

// SaveOpenIMToken replaces what is saved under a name and ends the holder's lease. It
// reports false, and changes nothing, when the lease has passed to somebody else.
func (s *Store) SaveOpenIMToken(ctx context.Context, name [32]byte, holder [16]byte, sealed []byte) (saved bool, err error) {
	rows, err := s.queries.SaveOpenIMToken(ctx, s.pool, db.SaveOpenIMTokenParams{
		Name: name[:], LeasedBy: pgtype.UUID{Bytes: holder, Valid: true}, Sealed: sealed,
	})
	if err != nil {
		return false, fmt.Errorf("save openim's token: %w", translate(err))
	}
	return rows > 0, nil
}

// ReleaseOpenIMToken ends the holder's lease and leaves what is saved.
func (s *Store) ReleaseOpenIMToken(ctx context.Context, name [32]byte, holder [16]byte) error {
	err := s.queries.ReleaseOpenIMToken(ctx, s.pool, db.ReleaseOpenIMTokenParams{
		Name: name[:], LeasedBy: pgtype.UUID{Bytes: holder, Valid: true},
	})
	if err != nil {
		return fmt.Errorf("release openim's token: %w", translate(err))
	}
	return nil
}

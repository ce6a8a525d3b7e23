package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"readmark/db"
	"readmark/internal/auth"
	"readmark/internal/readstate"
)

// Keys are read where they are written, never on a replica that may lag: a
// revocation has to be seen in time.

// AddKey keeps a new API key, or returns an error that wraps [auth.ErrNameTaken].
func (s *Store) AddKey(ctx context.Context, key auth.Key) error {
	scopes := make([]string, len(key.Scopes))
	for i, scope := range key.Scopes {
		scopes[i] = string(scope)
	}
	params := db.InsertKeyParams{
		ID: keyID(key.ID), Name: key.Name, Hash: key.Hash[:], Scopes: scopes,
		UserPrefix: key.UserPrefix, GroupPrefix: key.GroupPrefix, CreatedAt: key.CreatedAt,
	}
	if !key.ExpiresAt.IsZero() {
		params.ExpiresAt = &key.ExpiresAt
	}
	err := s.queries.InsertKey(ctx, s.pool, params)
	var answered *pgconn.PgError
	if errors.As(err, &answered) && answered.ConstraintName == "api_keys_name_idx" {
		return fmt.Errorf("add key: %w", auth.ErrNameTaken)
	}
	if err != nil {
		return fmt.Errorf("add key: %w", translate(err))
	}
	return nil
}

// RevokeKey revokes the key of a name, or returns [readstate.ErrUnknown] when there
// is none that is not revoked.
func (s *Store) RevokeKey(ctx context.Context, name string) error {
	now := s.now().UTC()
	revoked, err := s.queries.RevokeKey(ctx, s.pool, db.RevokeKeyParams{RevokedAt: &now, Name: name})
	if err != nil {
		return fmt.Errorf("revoke key: %w", translate(err))
	}
	if revoked == 0 {
		return fmt.Errorf("revoke key: %w", readstate.ErrUnknown)
	}
	return nil
}

// Keys lists all keys that were ever made, the oldest first.
func (s *Store) Keys(ctx context.Context) ([]auth.Key, error) {
	rows, err := s.queries.ListKeys(ctx, s.pool)
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", translate(err))
	}
	return keys(rows), nil
}

// LiveKeys gives the keys that are not revoked, in no order. Some may have expired.
func (s *Store) LiveKeys(ctx context.Context) ([]auth.Key, error) {
	var rows []db.ApiKey
	err := s.read(ctx, func(ctx context.Context) (err error) {
		rows, err = s.queries.ListLiveKeys(ctx, s.reads)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list live keys: %w", translate(err))
	}
	return keys(rows), nil
}

// LiveKey gives the key of a hash unless it is revoked, or [readstate.ErrUnknown].
func (s *Store) LiveKey(ctx context.Context, hash auth.Hash) (auth.Key, error) {
	var row db.ApiKey
	err := s.read(ctx, func(ctx context.Context) (err error) {
		row, err = s.queries.GetLiveKey(ctx, s.reads, hash[:])
		return err
	})
	if err != nil {
		return auth.Key{}, fmt.Errorf("get live key: %w", translate(err))
	}
	return key(row), nil
}

// TouchKeys notes when keys were last used, in one statement. A later use that is
// known stays.
func (s *Store) TouchKeys(ctx context.Context, used map[auth.ID]time.Time) error {
	ids := make([]auth.ID, 0, len(used))
	for id := range used {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b auth.ID) int { return bytes.Compare(a[:], b[:]) })
	params := db.TouchKeysParams{Ids: make([]pgtype.UUID, len(ids)), Moments: make([]time.Time, len(ids))}
	for i, id := range ids {
		params.Ids[i], params.Moments[i] = keyID(id), used[id].UTC()
	}
	if err := s.queries.TouchKeys(ctx, s.pool, params); err != nil {
		return fmt.Errorf("touch keys: %w", translate(err))
	}
	return nil
}

func keyID(id auth.ID) pgtype.UUID { return pgtype.UUID{Bytes: id, Valid: true} }

func keys(rows []db.ApiKey) []auth.Key {
	list := make([]auth.Key, len(rows))
	for i, row := range rows {
		list[i] = key(row)
	}
	return list
}

func key(row db.ApiKey) auth.Key {
	k := auth.Key{
		ID: row.ID.Bytes,
		Grant: auth.Grant{
			Name: row.Name, Scopes: make([]auth.Scope, len(row.Scopes)), UserPrefix: row.UserPrefix, GroupPrefix: row.GroupPrefix,
		},
		CreatedAt: row.CreatedAt.UTC(), ExpiresAt: moment(row.ExpiresAt),
		RevokedAt: moment(row.RevokedAt), LastUsedAt: moment(row.LastUsedAt),
	}
	copy(k.Hash[:], row.Hash)
	for i, scope := range row.Scopes {
		k.Scopes[i] = auth.Scope(scope)
	}
	return k
}

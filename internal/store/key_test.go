package store_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"readmark/internal/auth"
	"readmark/internal/pgtest"
	"readmark/internal/readstate"
)

// newKey gives a key that is not stored yet.
func newKey(t *testing.T, grant auth.Grant) auth.Key {
	t.Helper()
	hash, err := auth.Parse(auth.NewText())
	require.NoError(t, err)
	return auth.Key{
		ID: auth.ID(uuid.Must(uuid.NewV7())), Hash: hash, Grant: grant, CreatedAt: time.Now().UTC().Truncate(time.Microsecond),
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t))
	all := auth.Grant{
		Name: "all", Scopes: []auth.Scope{auth.ScopeRead, auth.ScopeErase}, UserPrefix: "ü%", GroupPrefix: "g'",
	}
	full, plain := newKey(t, all), newKey(t, auth.Grant{Name: "plain", Scopes: []auth.Scope{auth.ScopeAdmin}})
	full.ExpiresAt = full.CreatedAt.Add(time.Hour)
	for _, key := range []auth.Key{full, plain} {
		require.NoError(t, s.AddKey(t.Context(), key))
		found, err := s.LiveKey(t.Context(), key.Hash)
		require.NoError(t, err)
		require.Equal(t, key, found)
	}
	live, err := s.LiveKeys(t.Context())
	require.NoError(t, err)
	require.ElementsMatch(t, []auth.Key{full, plain}, live)
	_, err = s.LiveKey(t.Context(), auth.Hash{})
	require.ErrorIs(t, err, readstate.ErrUnknown)

	// A name is one key's until that is revoked.
	again := newKey(t, all)
	require.ErrorIs(t, s.AddKey(t.Context(), again), auth.ErrNameTaken)
	require.NoError(t, s.RevokeKey(t.Context(), "all"))
	require.ErrorIs(t, s.RevokeKey(t.Context(), "all"), readstate.ErrUnknown)
	_, err = s.LiveKey(t.Context(), full.Hash)
	require.ErrorIs(t, err, readstate.ErrUnknown)
	require.NoError(t, s.AddKey(t.Context(), again))
	list, err := s.Keys(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 3)
	require.False(t, list[0].RevokedAt.IsZero())
	list[0].RevokedAt = time.Time{}
	require.Equal(t, []auth.Key{full, plain, again}, list)
}

// Replicas store last uses at the same time: the latest stays, and nobody deadlocks.
func TestTouchKeys(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t))
	keys := make([]auth.Key, 20)
	for i := range keys {
		keys[i] = newKey(t, auth.Grant{Name: string(rune('a' + i)), Scopes: []auth.Scope{auth.ScopeRead}})
		require.NoError(t, s.AddKey(t.Context(), keys[i]))
	}
	begin := time.Now().UTC().Truncate(time.Microsecond)
	var replicas sync.WaitGroup
	for r := range 4 {
		replicas.Go(func() {
			for n := range 25 {
				used := map[auth.ID]time.Time{{1}: begin} // one that is gone harms nothing
				for i := range keys {
					used[keys[i].ID] = begin.Add(time.Duration(r*25+n) * time.Second)
				}
				if err := s.TouchKeys(t.Context(), used); err != nil {
					t.Error(err)
				}
			}
		})
	}
	replicas.Wait()
	list, err := s.Keys(t.Context())
	require.NoError(t, err)
	for i := range list {
		require.Equal(t, begin.Add(99*time.Second), list[i].LastUsedAt)
	}
}

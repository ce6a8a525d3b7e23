package store_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
)

// A lease is one process's; a save needs it, ends it, and has others see what is new.
func TestOpenIMToken(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	ctx := t.Context()
	name, other := [32]byte{1}, [32]byte{2}
	first, second := [16]byte{1}, [16]byte{2}
	lease := func(seen []byte, holder [16]byte, d time.Duration) bool {
		t.Helper()
		leased, err := s.LeaseOpenIMToken(ctx, name, seen, holder, d)
		require.NoError(t, err)
		return leased
	}
	save := func(holder [16]byte, sealed string) bool {
		t.Helper()
		saved, err := s.SaveOpenIMToken(ctx, name, holder, []byte(sealed))
		require.NoError(t, err)
		return saved
	}
	saved := func(name [32]byte) string {
		t.Helper()
		sealed, err := s.OpenIMToken(ctx, name)
		require.NoError(t, err)
		return string(sealed)
	}
	require.Empty(t, saved(name))
	require.False(t, save(first, "without a lease"))
	require.True(t, lease(nil, first, time.Hour))
	require.Empty(t, saved(name), "a lease alone is no token")
	require.False(t, lease(nil, second, time.Hour), "it is the first's")
	require.False(t, save(second, "another's"))
	require.True(t, save(first, "a"))
	require.Equal(t, "a", saved(name))
	require.Empty(t, saved(other))

	require.False(t, lease(nil, second, time.Hour), "there is one that it has not seen")
	require.True(t, lease([]byte("a"), second, time.Hour))
	require.NoError(t, s.ReleaseOpenIMToken(ctx, name, first))
	require.False(t, lease([]byte("a"), first, time.Hour), "only the holder gives it back")
	require.NoError(t, s.ReleaseOpenIMToken(ctx, name, second))
	require.True(t, lease([]byte("a"), first, -time.Second))
	require.True(t, lease([]byte("a"), second, time.Hour), "the first's has ended")
	_, err := pgtest.Connect(t, url).Exec(ctx, "UPDATE openim_tokens SET leased_until = leased_until + interval '1 day'")
	require.NoError(t, err)
	require.True(t, lease([]byte("a"), second, time.Hour), "a clock that was wrong gave the lease")
	require.False(t, save(first, "too late"))
	require.True(t, save(second, "b"))
	require.Equal(t, "b", saved(name))
}

// Of many who lease at once one may.
func TestOpenIMTokenLeaseTogether(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	var leased atomic.Int32
	var many sync.WaitGroup
	for i := range 8 {
		s := open(t, url)
		many.Go(func() {
			ok, err := s.LeaseOpenIMToken(t.Context(), [32]byte{1}, nil, [16]byte{byte(i)}, time.Hour)
			if err != nil {
				t.Error(err)
			}
			if ok {
				leased.Add(1)
			}
		})
	}
	many.Wait()
	require.EqualValues(t, 1, leased.Load())
}

// Who has waited for the row of another one's lease does not take that for one that is too long.
func TestLeaseBehindALock(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s, conn := open(t, url), pgtest.Connect(t, url)
	name := [32]byte{1}
	_, err := conn.Exec(t.Context(), "INSERT INTO openim_tokens (name) VALUES ($1)", name[:])
	require.NoError(t, err)
	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "SELECT FROM openim_tokens FOR UPDATE")
	require.NoError(t, err)
	leased := make(chan error, 1)
	go func() {
		taken, err := s.LeaseOpenIMToken(t.Context(), name, nil, [16]byte{2}, time.Minute)
		if taken {
			err = errors.New("it took the lease of another one")
		}
		leased <- err
	}()
	waits := pgtest.Connect(t, url)
	eventually(t, "it waits", func() bool {
		var n int
		err := waits.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").Scan(&n)
		require.NoError(t, err)
		return n > 0
	})
	_, err = tx.Exec(t.Context(), "UPDATE openim_tokens SET leased_by = gen_random_uuid(), leased_until = clock_timestamp() + interval '1 minute'")
	require.NoError(t, err)
	require.NoError(t, tx.Commit(t.Context()))
	require.NoError(t, <-leased)
}

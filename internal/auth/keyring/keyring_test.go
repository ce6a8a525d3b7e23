package keyring_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"readmark/internal/auth"
	"readmark/internal/auth/keyring"
	"readmark/internal/readstate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// table stands for the database's, which can be away.
type table struct {
	mu      sync.Mutex
	keys    map[auth.Hash]auth.Key
	err     error         // what every question is answered with
	hang    bool          // questions end with their context only
	slow    time.Duration // how long a single lookup takes
	lists   int
	lookups int
	open    int // lookups under way
	most    int
	used    map[auth.ID]time.Time
	touches int
}

func (s *table) answer(ctx context.Context) error {
	s.mu.Lock()
	err, hang := s.err, s.hang
	s.mu.Unlock()
	if hang {
		<-ctx.Done()
		return fmt.Errorf("%w: %w", readstate.ErrUnavailable, ctx.Err())
	}
	return err
}

func (s *table) LiveKeys(ctx context.Context) (list []auth.Key, err error) {
	if err := s.answer(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists++
	for _, key := range s.keys {
		list = append(list, key)
	}
	return list, nil
}

func (s *table) LiveKey(ctx context.Context, hash auth.Hash) (auth.Key, error) {
	s.mu.Lock()
	s.lookups++
	s.open++
	s.most = max(s.most, s.open)
	slow := s.slow
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.open--
		s.mu.Unlock()
	}()
	if slow > 0 {
		<-time.After(slow)
	}
	if err := s.answer(ctx); err != nil {
		return auth.Key{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if key, there := s.keys[hash]; there {
		return key, nil
	}
	return auth.Key{}, readstate.ErrUnknown
}

func (s *table) TouchKeys(ctx context.Context, used map[auth.ID]time.Time) error {
	if err := s.answer(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touches++
	maps.Copy(s.used, used)
	return nil
}

func (s *table) add(name string, expires time.Time) auth.Hash {
	s.mu.Lock()
	defer s.mu.Unlock()
	hash := auth.Hash(sha256.Sum256([]byte(name)))
	s.keys[hash] = auth.Key{ID: auth.ID(hash[:16]), Hash: hash, Grant: auth.Grant{Name: name}, ExpiresAt: expires}
	return hash
}

func (s *table) revoke(hash auth.Hash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, hash)
}

func (s *table) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *table) count(n *int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *n
}

// fixture is a keyring that runs, and its table.
type fixture struct {
	*testing.T
	s    *table
	k    *keyring.Keyring
	stop func() // ends the keyring; more than once does no harm
}

// inBubble runs a test on a clock of its own.
func inBubble(t *testing.T, test func(*fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &table{keys: map[auth.Hash]auth.Key{}, used: map[auth.ID]time.Time{}}
		k := keyring.New(s, time.Now, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			k.Run(ctx)
		}()
		stop := func() {
			cancel()
			<-done
		}
		defer stop()
		synctest.Wait()
		test(&fixture{T: t, s: s, k: k, stop: stop})
	})
}

func wait(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// A key is in memory, a new one is found at once, a revoked one is refused within
// five seconds, also when one refresh hangs.
func TestRevocationIsSeen(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *fixture) {
		s, k := t.s, t.k
		for _, hanging := range []bool{false, true} {
			hash := s.add(fmt.Sprint("new ", hanging), time.Time{})
			key, err := k.Find(t.Context(), hash)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint("new ", hanging), key.Name)
			asked := s.count(&s.lookups)
			for range 100 {
				_, err = k.Find(t.Context(), hash)
				require.NoError(t, err)
			}
			require.Equal(t, asked, s.count(&s.lookups), "found in memory")
			wait(2100 * time.Millisecond) // right behind a refresh
			s.revoke(hash)
			s.set(func() { s.hang = hanging })
			wait(2100 * time.Millisecond)
			s.set(func() { s.hang = false })
			wait(2800 * time.Millisecond)
			_, err = k.Find(t.Context(), hash)
			require.ErrorIs(t, err, auth.ErrUnknownKey)
		}
	})
}

func TestExpiryIsChecked(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *fixture) {
		s, k := t.s, t.k
		hash := s.add("k", time.Now().Add(time.Hour))
		_, err := k.Find(t.Context(), hash)
		require.NoError(t, err)
		wait(time.Hour - time.Nanosecond)
		_, err = k.Find(t.Context(), hash)
		require.NoError(t, err)
		wait(time.Nanosecond)
		_, err = k.Find(t.Context(), hash)
		require.ErrorIs(t, err, auth.ErrExpiredKey)
	})
}

// Keys that do not exist: the same one is asked for once a minute, and any number of
// them no more than some tens of times per second, one at a time.
func TestMissesAreBounded(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *fixture) {
		s, k := t.s, t.k
		one := auth.Hash(sha256.Sum256([]byte("one")))
		for range 1000 {
			_, err := k.Find(t.Context(), one)
			require.ErrorIs(t, err, auth.ErrUnknownKey)
		}
		require.Equal(t, 1, s.count(&s.lookups))

		s.set(func() { s.slow = time.Millisecond })
		var all sync.WaitGroup
		for second := range 10 {
			for i := range 1000 {
				var hash auth.Hash
				binary.BigEndian.PutUint64(hash[:], uint64(1+second*1000+i))
				all.Go(func() {
					_, err := k.Find(context.Background(), hash)
					if !errors.Is(err, auth.ErrUnknownKey) && !errors.Is(err, auth.ErrUnchecked) {
						t.Error(err)
					}
				})
			}
			wait(time.Second)
		}
		all.Wait()
		require.LessOrEqual(t, s.count(&s.lookups), 1+11*50)
		require.Equal(t, 1, s.count(&s.most))
		// Meanwhile a new key is good after the next refresh, without a lookup.
		hash := s.add("new", time.Time{})
		wait(2 * time.Second)
		before := s.count(&s.lookups)
		_, err := k.Find(t.Context(), hash)
		require.NoError(t, err)
		require.Equal(t, before, s.count(&s.lookups))
	})
}

// Callers with the same unknown key ask once, together.
func TestOneQuestionForAll(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *fixture) {
		s, k := t.s, t.k
		s.set(func() { s.slow = 100 * time.Millisecond })
		hash := s.add("k", time.Time{})
		leaving, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() {
				ctx := leaving
				if i > 0 {
					ctx = context.WithoutCancel(ctx)
				}
				if _, err := k.Find(ctx, hash); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		leave() // who leaves does not end it for the others
		all.Wait()
		require.Equal(t, 1, s.count(&s.lookups))
	})
}

// While the database is away keys in memory are good for some minutes; of others it
// cannot be said whether they are.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]func(*table){
		"refuses": func(s *table) { s.err = readstate.ErrUnavailable },
		"hangs":   func(s *table) { s.hang = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *fixture) {
				s, k := t.s, t.k
				known := s.add("known", time.Time{})
				wait(2 * time.Second)
				s.set(func() { away(s) })
				wait(4 * time.Minute)
				_, err := k.Find(t.Context(), known)
				require.NoError(t, err)
				started := time.Now()
				_, err = k.Find(t.Context(), auth.Hash{1})
				require.ErrorIs(t, err, auth.ErrUnchecked, "not: unknown")
				require.LessOrEqual(t, time.Since(started), 2*time.Second)
				wait(61 * time.Second)
				_, err = k.Find(t.Context(), known)
				require.ErrorIs(t, err, auth.ErrUnchecked, "not for ever")
				s.set(func() { s.err, s.hang = nil, false })
				wait(4 * time.Second)
				_, err = k.Find(t.Context(), known)
				require.NoError(t, err)
				_, err = k.Find(t.Context(), auth.Hash{1})
				require.ErrorIs(t, err, auth.ErrUnknownKey)
			})
		})
	}
}

// Last uses are stored every few seconds in one statement, kept while that fails, and
// stored at the end.
func TestLastUseIsStored(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *fixture) {
		s, k := t.s, t.k
		a, b := s.add("a", time.Time{}), s.add("b", time.Time{})
		use := func(hash auth.Hash) time.Time {
			_, err := k.Find(t.Context(), hash)
			require.NoError(t, err)
			return time.Now()
		}
		first := use(a)
		use(b)
		wait(time.Second)
		later := use(b)
		wait(5 * time.Second)
		require.Equal(t, 1, s.count(&s.touches))
		require.Equal(t, map[auth.ID]time.Time{auth.ID(a[:16]): first, auth.ID(b[:16]): later}, s.used)
		wait(20 * time.Second)
		require.Equal(t, 1, s.count(&s.touches), "nothing new")

		s.set(func() { s.err = readstate.ErrUnavailable })
		first = use(a)
		wait(10 * time.Second)
		s.set(func() { s.err = nil })
		last := use(b)
		t.stop()
		require.Equal(t, map[auth.ID]time.Time{auth.ID(a[:16]): first, auth.ID(b[:16]): last}, s.used)
	})
}

// Requests that come before the keys have been read wait for them.
func TestStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &table{keys: map[auth.Hash]auth.Key{}, used: map[auth.ID]time.Time{}}
		hash := s.add("k", time.Time{})
		k := keyring.New(s, time.Now, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if _, err := k.Find(t.Context(), hash); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		all.Go(func() { k.Run(ctx) })
		wait(time.Second)
		cancel()
		all.Wait()
		require.Zero(t, s.lookups)
	})
}

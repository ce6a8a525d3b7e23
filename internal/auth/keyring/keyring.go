// Package keyring holds the API keys in memory: a key is found without asking the
// database, and a revocation is seen within seconds on every replica.
package keyring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"readmark/internal/auth"
	"readmark/internal/readstate"
)

const (
	// refreshInterval and storeTimeout together keep a revocation from being seen
	// later than five seconds, also after one attempt that hangs.
	refreshInterval = 2 * time.Second
	storeTimeout    = time.Second
	// flushInterval is how often last uses are stored.
	flushInterval = 5 * time.Second
	// staleLimit is how long keys in memory are good while the database cannot be
	// asked whether they still are.
	staleLimit = 5 * time.Minute
	// lookupsPerSecond bounds lookups of keys that are not in memory. Up to maxMissing
	// keys that do not exist are remembered for missingLife.
	lookupsPerSecond = 50
	maxMissing       = 4096
	missingLife      = time.Minute
)

// Store keeps the keys. Its errors wrap [readstate.ErrUnknown] for a key that does
// not exist or is revoked.
type Store interface {
	LiveKeys(ctx context.Context) ([]auth.Key, error)
	LiveKey(ctx context.Context, hash auth.Hash) (auth.Key, error)
	TouchKeys(ctx context.Context, used map[auth.ID]time.Time) error
}

// Keyring finds keys. It is safe for concurrent use. Run keeps it current.
type Keyring struct {
	store  Store
	now    func() time.Time
	logger *slog.Logger

	lookups *rate.Limiter
	asking  chan struct{} // held while a single key is asked for
	flight  singleflight.Group
	tried   chan struct{} // closed when all keys have been asked for once

	mu     sync.RWMutex
	keys   map[hint][]*auth.Key
	readAt time.Time // when the keys were last asked for with success
	// missing remembers until when keys are held not to exist. Not golang-lru's own
	// expirable kind, whose goroutine cannot be ended.
	missing *lru.Cache[auth.Hash, time.Time]

	useMu sync.Mutex
	used  map[auth.ID]time.Time // not stored yet
}

// hint is a part of a hash: it finds few keys, which are then compared as a whole, in
// constant time.
type hint [8]byte

func hintOf(hash auth.Hash) hint { return hint(hash[:8]) }

// New returns a keyring that knows no key yet.
func New(store Store, now func() time.Time, logger *slog.Logger) *Keyring {
	missing, _ := lru.New[auth.Hash, time.Time](maxMissing) // fails for a size below one only
	return &Keyring{
		store: store, now: now, logger: logger,
		lookups: rate.NewLimiter(lookupsPerSecond, lookupsPerSecond),
		asking:  make(chan struct{}, 1), tried: make(chan struct{}),
		missing: missing, used: map[auth.ID]time.Time{},
	}
}

// Find gives the key of a hash and notes that it was used. A key that is not in
// memory is asked for in the database, which may take a second; how often that is
// done is bounded. Errors are [auth.ErrUnknownKey], [auth.ErrExpiredKey] and
// [auth.ErrUnchecked]. The key must not be changed.
func (k *Keyring) Find(ctx context.Context, hash auth.Hash) (*auth.Key, error) {
	key, err := k.find(ctx, hash)
	if err != nil {
		return nil, err
	}
	now := k.now()
	if key.Expired(now) {
		return nil, auth.ErrExpiredKey
	}
	k.useMu.Lock()
	k.used[key.ID] = now
	k.useMu.Unlock()
	return key, nil
}

func (k *Keyring) find(ctx context.Context, hash auth.Hash) (*auth.Key, error) {
	if key, err := k.remembered(hash); key != nil || err != nil {
		return key, err
	}
	// At the start all keys are on their way: no need to ask for each.
	waiting, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	select {
	case <-k.tried:
	case <-waiting.Done():
	}
	if key, err := k.remembered(hash); key != nil || err != nil {
		return key, err
	}
	// What is found is for all who ask, so that one who leaves does not end it.
	found, err, _ := k.flight.Do(string(hash[:]), func() (any, error) { return k.ask(context.WithoutCancel(ctx), hash) })
	key, _ := found.(*auth.Key)
	return key, err
}

// remembered looks into memory only. Neither a key nor an error: the database has to
// be asked.
func (k *Keyring) remembered(hash auth.Hash) (*auth.Key, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	now := k.now()
	for _, candidate := range k.keys[hintOf(hash)] {
		if !candidate.Hash.Equal(hash) {
			continue
		}
		if now.Sub(k.readAt) > staleLimit {
			return nil, auth.ErrUnchecked
		}
		return candidate, nil
	}
	if until, there := k.missing.Peek(hash); there && now.Before(until) {
		return nil, auth.ErrUnknownKey
	}
	return nil, nil //nolint:nilnil // said above
}

// ask asks the database for one key, as far as the bounds allow.
func (k *Keyring) ask(ctx context.Context, hash auth.Hash) (*auth.Key, error) {
	if !k.lookups.AllowN(k.now(), 1) {
		return nil, auth.ErrUnchecked
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	select { // one at a time: no more connections are held by keys that may not exist
	case k.asking <- struct{}{}:
		defer func() { <-k.asking }()
	case <-ctx.Done():
		return nil, auth.ErrUnchecked
	}
	key, err := k.store.LiveKey(ctx, hash)
	switch {
	case errors.Is(err, readstate.ErrUnknown), err == nil && !key.Hash.Equal(hash):
		k.missing.Add(hash, k.now().Add(missingLife))
		return nil, auth.ErrUnknownKey
	case err != nil:
		k.logger.DebugContext(ctx, "api key cannot be looked up", "error", err)
		return nil, auth.ErrUnchecked
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	// The next refresh drops it again should it be revoked meanwhile. Without one that
	// succeeded there is nothing that says how fresh the others are: it is asked for
	// every time.
	if !k.readAt.IsZero() && k.keys[hintOf(hash)] == nil {
		k.keys[hintOf(hash)] = []*auth.Key{&key}
	}
	return &key, nil
}

// Run keeps the keys current and stores last uses, until the context ends and what
// was used since has been stored.
func (k *Keyring) Run(ctx context.Context) {
	refreshes, flushes := time.NewTicker(refreshInterval), time.NewTicker(flushInterval)
	defer refreshes.Stop()
	defer flushes.Stop()
	failing := false
	refresh := func() {
		err := k.refresh(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil && !failing:
			k.logger.WarnContext(ctx, "api keys cannot be read: those in memory stay good for some minutes",
				"good_for", staleLimit.String(), "error", err)
		case err == nil && failing:
			k.logger.InfoContext(ctx, "api keys can be read again")
		}
		failing = err != nil
	}
	refresh()
	close(k.tried)
	for {
		select {
		case <-ctx.Done():
			k.flush(context.WithoutCancel(ctx))
			return
		case <-refreshes.C:
			refresh()
		case <-flushes.C:
			k.flush(ctx)
		}
	}
}

// refresh replaces the keys in memory by those in the database.
func (k *Keyring) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	asked := k.now()
	list, err := k.store.LiveKeys(ctx)
	if err != nil {
		return fmt.Errorf("refresh keys: %w", err)
	}
	keys := make(map[hint][]*auth.Key, len(list))
	for i := range list {
		h := hintOf(list[i].Hash)
		keys[h] = append(keys[h], &list[i])
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys, k.readAt = keys, asked
	return nil
}

// flush stores last uses; what cannot be stored is kept for the next time.
func (k *Keyring) flush(ctx context.Context) {
	k.useMu.Lock()
	used := k.used
	k.used = map[auth.ID]time.Time{}
	k.useMu.Unlock()
	if len(used) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	err := k.store.TouchKeys(ctx, used)
	if err == nil {
		return
	}
	k.logger.DebugContext(ctx, "last uses of api keys are not stored", "error", err)
	k.useMu.Lock()
	defer k.useMu.Unlock()
	for id, at := range used {
		if k.used[id].Before(at) {
			k.used[id] = at
		}
	}
}

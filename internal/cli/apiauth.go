package cli

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"readmark/internal/auth/guard"
	"readmark/internal/auth/keyring"
	"readmark/internal/config"
	"readmark/internal/store"
)

// apiAuth asks callers of the read API for keys while serving.
type apiAuth struct {
	guard   *guard.Guard
	keyring *keyring.Keyring // nil where nobody is asked
	store   *store.Store
	logger  *slog.Logger
}

func newAPIAuth(c *config.Config, s *store.Store, registry prometheus.Registerer, logger *slog.Logger) *apiAuth {
	a := &apiAuth{store: s, logger: logger}
	options := guard.Options{Limit: c.RateLimit, Now: time.Now, Registry: registry, Logger: logger}
	if c.AuthRequired {
		a.keyring = keyring.New(s, s.Clock().Now, logger)
		options.Keys = a.keyring
	}
	a.guard = guard.New(options)
	return a
}

// watch keeps the keys current and tells how they are used, until the context ends
// and all that is known of their use has been stored.
func (a *apiAuth) watch(ctx context.Context) {
	var under sync.WaitGroup
	defer under.Wait()
	if a.keyring != nil {
		under.Go(func() { a.keyring.Run(ctx) })
	}
	under.Go(func() { a.guard.Run(ctx) })
}

// warnNoKeys says what to do where keys are required and nobody has one.
func (a *apiAuth) warnNoKeys(ctx context.Context) {
	if a.keyring == nil {
		return
	}
	asking, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	keys, err := a.store.LiveKeys(asking)
	if err != nil {
		return // the keyring says so
	}
	now := a.store.Clock().Now()
	for i := range keys {
		if !keys[i].Expired(now) {
			return
		}
	}
	a.logger.WarnContext(ctx, "the read api answers 401 to everybody until there is an api key: "+
		"make one with readmark key create --name NAME --scope read")
}

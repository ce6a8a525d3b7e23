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

// doorkeeper is what asks callers of the read API for keys while serving.
type doorkeeper struct {
	guard   *guard.Guard
	keyring *keyring.Keyring // nil where nobody is asked
	store   *store.Store
	logger  *slog.Logger
}

func newDoorkeeper(c *config.Config, s *store.Store, registry prometheus.Registerer, logger *slog.Logger) *doorkeeper {
	d := &doorkeeper{store: s, logger: logger}
	options := guard.Options{Limit: c.RateLimit, Now: time.Now, Registry: registry, Logger: logger}
	if c.AuthRequired {
		d.keyring = keyring.New(s, time.Now, logger)
		options.Keys = d.keyring
	}
	d.guard = guard.New(options)
	return d
}

// watch keeps the keys current and tells how they are used, until the context ends
// and all that is known of their use has been stored.
func (d *doorkeeper) watch(ctx context.Context) {
	var under sync.WaitGroup
	defer under.Wait()
	if d.keyring != nil {
		under.Go(func() { d.keyring.Run(ctx) })
	}
	under.Go(func() { d.guard.Run(ctx) })
}

// noticeNoKeys says what to do where keys are required and nobody has one.
func (d *doorkeeper) noticeNoKeys(ctx context.Context) {
	if d.keyring == nil {
		return
	}
	asking, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	keys, err := d.store.LiveKeys(asking)
	if err != nil {
		return // the keyring says so
	}
	now := time.Now()
	for i := range keys {
		if !keys[i].Expired(now) {
			return
		}
	}
	d.logger.WarnContext(ctx, "the read api answers 401 to everybody until there is an api key: "+
		"make one with readmark key create --name NAME --scope read")
}

package cli

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"readmark/internal/config"
	"readmark/internal/openim/client"
	"readmark/internal/openimsync"
	"readmark/internal/readstate"
	"readmark/internal/store"
	"readmark/internal/webhook"
)

const (
	// statsInterval is how often callback stats are stored, and statsTimeout how long that
	// may take.
	statsInterval = 2 * time.Second
	statsTimeout  = time.Second
	// maxUnsavedStats bounds what is kept while the database is away.
	maxUnsavedStats = 1000
)

// newClient gives a client that shares its token, through the database, with all other
// processes on it.
func newClient(c *config.Config, s *store.Store, registry prometheus.Registerer, logger *slog.Logger, outcome func(error)) *client.Client {
	o := &c.OpenIM
	return client.New(client.Options{
		URL: o.APIURL, AdminUserID: o.AdminUserID, Secret: o.Secret, CurrentSecret: c.CurrentOpenIMSecret, MaxRPS: o.MaxRPS, Timeout: o.Timeout,
		Registry: registry, Now: s.Clock().Now, Logger: logger, Tokens: s, Outcome: outcome,
	})
}

// openimSync asks OpenIM while serving.
type openimSync struct {
	client *client.Client
	sync   *openimsync.Sync
}

// newOpenIMSync returns nil where OpenIM cannot be asked.
func (v *service) newOpenIMSync() *openimSync {
	o := &v.config.OpenIM
	if !o.Configured() {
		return nil
	}
	c := newClient(v.config, v.store, v.registry, v.logger, openIMOutcome(v.board))
	all := openimsync.New(openimsync.Options{
		Store: v.store, OpenIM: c, Interval: o.ReconcileInterval, Swept: v.swept, Now: v.store.Clock().Now, Logger: v.logger,
	})
	all.Register(v.registry)
	return &openimSync{client: c, sync: all}
}

// run asks until the context ends.
func (o *openimSync) run(ctx context.Context) {
	defer o.client.Close()
	var under sync.WaitGroup
	defer under.Wait()
	under.Go(func() { o.sync.Run(ctx) })
	under.Go(func() { o.sync.Sweep(ctx) })
}

// unresolvedWarner says once what to configure when a receipt comes of which only
// OpenIM's REST API can tell the count.
type unresolvedWarner struct {
	webhook.Sink
	once   sync.Once
	logger *slog.Logger
}

// Submit implements webhook.Sink.
func (w *unresolvedWarner) Submit(ctx context.Context, events []readstate.Event) error {
	for i := range events {
		if events[i].NeedsLookup() {
			w.once.Do(func() {
				w.logger.WarnContext(ctx, "receipts come without a count, as released OpenIM servers send them: they are kept, "+
					"and resolved when READMARK_OPENIM_API_URL and READMARK_OPENIM_SECRET say how OpenIM can be asked")
			})
		}
	}
	return w.Sink.Submit(ctx, events)
}

// saveStats stores callback stats every now and then until the context ends.
func saveStats(ctx context.Context, s *store.Store, take func() []webhook.CallbackStat, logger *slog.Logger) {
	ticker := time.NewTicker(statsInterval)
	defer ticker.Stop()
	var waiting []store.CallbackStat // not stored yet
	for {
		ended := false
		select {
		case <-ctx.Done():
			ended = true
		case <-ticker.C:
		}
		for _, stat := range take() {
			waiting = append(waiting, store.CallbackStat(stat))
		}
		saving, cancel := context.WithTimeout(context.WithoutCancel(ctx), statsTimeout)
		err := s.AddCallbackStats(saving, waiting)
		cancel()
		if err == nil {
			waiting = nil
		} else {
			logger.DebugContext(ctx, "callback stats are not stored", "error", err)
			waiting = waiting[max(0, len(waiting)-maxUnsavedStats):]
		}
		if ended {
			return
		}
	}
}

package cli

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"readmark/internal/config"
	"readmark/internal/openim/rest"
	"readmark/internal/readstate"
	"readmark/internal/reconcile"
	"readmark/internal/resolve"
	"readmark/internal/store"
	"readmark/internal/webhook"
)

// heardInterval is how often it is stored which callbacks were heard.
const heardInterval = 2 * time.Second

// asker is what asks OpenIM while serving.
type asker struct {
	client     *rest.Client
	resolver   *resolve.Resolver
	reconciler *reconcile.Reconciler
}

func newClient(o *config.OpenIM, registry prometheus.Registerer, logger *slog.Logger) *rest.Client {
	return rest.New(rest.Options{
		URL: o.APIURL, AdminUserID: o.AdminUserID, Secret: o.Secret, MaxRPS: o.MaxRPS,
		Registry: registry, Now: time.Now, Logger: logger,
	})
}

// newAsker returns nil where OpenIM cannot be asked.
func newAsker(o *config.OpenIM, s *store.Store, registry prometheus.Registerer, logger *slog.Logger) *asker {
	if !o.Configured() {
		return nil
	}
	client := newClient(o, registry, logger)
	a := &asker{
		client:   client,
		resolver: resolve.New(resolve.Options{Store: s, OpenIM: client, Now: time.Now, Logger: logger}),
		reconciler: reconcile.New(reconcile.Options{
			Store: s, OpenIM: client, Interval: o.ReconcileInterval, Now: time.Now, Logger: logger,
		}),
	}
	a.resolver.Register(registry)
	a.reconciler.Register(registry)
	return a
}

// run asks until the context ends.
func (a *asker) run(ctx context.Context) {
	defer a.client.Close()
	var under sync.WaitGroup
	defer under.Wait()
	under.Go(func() { a.resolver.Run(ctx) })
	under.Go(func() { a.reconciler.Sweep(ctx) })
}

// notice says once what to configure when a receipt comes that only OpenIM's REST
// API can tell the group of.
type notice struct {
	webhook.Sink
	once   sync.Once
	logger *slog.Logger
}

// Submit implements webhook.Sink.
func (n *notice) Submit(ctx context.Context, receipt readstate.Receipt) error {
	if receipt.Unresolved() {
		n.once.Do(func() {
			n.logger.WarnContext(ctx, "receipts come without a count, as released OpenIM servers send them: they are kept, "+
				"and resolved when READMARK_OPENIM_API_URL and READMARK_OPENIM_SECRET say how OpenIM can be asked")
		})
	}
	return n.Sink.Submit(ctx, receipt)
}

// noteHeard stores which callbacks were heard, every now and then until the context
// ends.
func noteHeard(ctx context.Context, s *store.Store, take func() []webhook.Heard, logger *slog.Logger) {
	ticker := time.NewTicker(heardInterval)
	defer ticker.Stop()
	var waiting []store.Heard // not stored yet
	for {
		ended := false
		select {
		case <-ctx.Done():
			ended = true
		case <-ticker.C:
		}
		for _, h := range take() {
			waiting = append(waiting, store.Heard{
				Command: h.Command, Dialect: h.Dialect, Count: h.Count, FirstAt: h.FirstAt, LastAt: h.LastAt,
			})
		}
		saving, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		err := s.NoteHeard(saving, waiting)
		cancel()
		if err == nil {
			waiting = nil
		} else {
			logger.DebugContext(ctx, "what was heard is not stored", "error", err)
			waiting = waiting[max(0, len(waiting)-1000):]
		}
		if ended {
			return
		}
	}
}

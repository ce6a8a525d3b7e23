// Package delivery delivers changes to webhooks. Each webhook has a place in the feed, which is kept in the
// database, and is delivered by the one process that has its lease. The place moves on only after a
// delivery was taken. See docs/decisions/webhooks.md.
package delivery

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"readmark/internal/feed"
	"readmark/internal/lograte"
	"readmark/internal/readstate"
	"readmark/internal/webhookout"
)

const (
	// defaultLease is for how long nobody else delivers after the process that does has ended. It is
	// longer than a delivery takes, and is renewed before each.
	defaultLease = 30 * time.Second
	// defaultScan is how often it is looked what webhooks there are.
	defaultScan = time.Second
	// defaultQuiet is how often the place is kept of a webhook that wants nothing of what changes.
	defaultQuiet = 30 * time.Second
	// renewals is how often a lease is renewed until it would end.
	renewals = 3
	// databaseTimeout bounds what is asked of the database around a delivery.
	databaseTimeout = 5 * time.Second
	// stopTimeout is how long deliveries under way may take when the process stops.
	stopTimeout = 5 * time.Second
)

// Feed gives changes, as [feed.Feed] does.
type Feed interface {
	Subscribe(cursor *readstate.FeedCursor, filter readstate.FeedFilter) *feed.Subscription
}

// LeaseStore is where webhooks, their leases and places are kept. The errors of what needs a lease are
// [webhookout.ErrLeaseLost] where the holder does not have it.
type LeaseStore interface {
	ScanWebhooks(ctx context.Context, holder uuid.UUID) (hooks []webhookout.Webhook, taken map[uuid.UUID]bool, err error)
	LeaseWebhooks(ctx context.Context, holder uuid.UUID, ids []uuid.UUID, lease time.Duration) ([]webhookout.Target, error)
	RenewWebhooks(ctx context.Context, holder uuid.UUID, ids []uuid.UUID, lease time.Duration) (map[uuid.UUID]bool, error)
	ReleaseWebhooks(ctx context.Context, holder uuid.UUID, ids []uuid.UUID) error
	ClaimDelivery(ctx context.Context, holder uuid.UUID, t *webhookout.Target, asOf time.Time, lease time.Duration) (tell time.Time, err error)
	SaveWebhookCursor(ctx context.Context, holder uuid.UUID, t *webhookout.Target, cursor string) error
	SaveDelivery(ctx context.Context, holder uuid.UUID, t *webhookout.Target, a *webhookout.Attempt, cursor string) error
	SaveFailure(
		ctx context.Context, holder uuid.UUID, t *webhookout.Target, a *webhookout.Attempt, next time.Time, pause webhookout.PauseReason,
	) error
}

// Encoding is how changes are written, the same as the API has them.
type Encoding struct {
	// TypeOf gives the type of a kind.
	TypeOf func(kind readstate.FeedKind) string
	// Append appends a change as JSON.
	Append func(b []byte, c *readstate.FeedChange, cursor string, at time.Time) []byte
}

// Options configures a Deliverer.
type Options struct {
	Store    LeaseStore
	Feed     Feed
	Client   *Client
	Encoding Encoding
	// Now is the time by which deliveries are signed and attempts dated.
	Now func() time.Time
	// Wait blocks until a moment, or until the context ends; nil: by timers.
	Wait func(ctx context.Context, until time.Time)
	// Observe is told how all webhooks stand, about once a second; nil: nobody is.
	Observe func(hooks []webhookout.Webhook)
	// Lease and Scan are how long leases last and how often it is looked for webhooks; 0: 30 s and 1 s.
	Lease, Scan time.Duration
	// Quiet is how often the place is kept of a webhook that wants nothing of what changes; 0: 30 s.
	Quiet  time.Duration
	Logger *slog.Logger
}

// Deliverer delivers to those webhooks whose lease it gets.
type Deliverer struct {
	options Options
	holder  uuid.UUID
	metrics *metrics
	failed  *lograte.Line
	workers map[uuid.UUID]*worker
	renewed time.Time // leases were last
}

// New returns a Deliverer, which needs Run.
func New(o Options) *Deliverer {
	if o.Lease == 0 {
		o.Lease = defaultLease
	}
	if o.Scan == 0 {
		o.Scan = defaultScan
	}
	if o.Quiet == 0 {
		o.Quiet = defaultQuiet
	}
	d := &Deliverer{
		options: o, holder: uuid.New(), metrics: newMetrics(), workers: map[uuid.UUID]*worker{},
		failed: lograte.New(o.Logger, slog.LevelWarn, "webhooks cannot be read or written"),
	}
	if o.Wait == nil {
		d.options.Wait = d.wait
	}
	return d
}

// Register registers the metrics.
func (d *Deliverer) Register(registry prometheus.Registerer) { d.metrics.register(registry) }

func (d *Deliverer) wait(ctx context.Context, until time.Time) {
	timer := time.NewTimer(until.Sub(d.options.Now()))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// Run delivers until the context ends. Deliveries under way may then take a little longer.
func (d *Deliverer) Run(ctx context.Context) {
	sending, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	ticker := time.NewTicker(d.options.Scan)
	defer ticker.Stop()
	for ctx.Err() == nil {
		if err := d.scan(ctx, sending); err != nil && ctx.Err() == nil {
			d.failed.Log(ctx, slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
	d.stop(ctx, cut)
}

// stop ends all workers, and gives their leases back.
func (d *Deliverer) stop(ctx context.Context, cut func()) {
	late := time.AfterFunc(stopTimeout, cut)
	defer late.Stop()
	var ids []uuid.UUID
	for id, w := range d.workers {
		w.cancel()
		<-w.done
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return
	}
	releasing, cancel := context.WithTimeout(context.WithoutCancel(ctx), databaseTimeout)
	defer cancel()
	if err := d.options.Store.ReleaseWebhooks(releasing, d.holder, ids); err != nil {
		d.options.Logger.DebugContext(ctx, "leases of webhooks are not given back", "error", err)
	}
}

// scan looks what webhooks there are, ends the workers of those that were changed, and begins those of
// webhooks that nobody else delivers.
func (d *Deliverer) scan(ctx, sending context.Context) error {
	asking, cancel := context.WithTimeout(ctx, databaseTimeout)
	defer cancel()
	hooks, taken, err := d.options.Store.ScanWebhooks(asking, d.holder)
	if err != nil {
		return err //nolint:wrapcheck // the store says what it did
	}
	d.metrics.stand(hooks, d.options.Now())
	if d.options.Observe != nil {
		d.options.Observe(hooks)
	}
	there := map[uuid.UUID]bool{}
	var wanted []uuid.UUID
	for i := range hooks {
		hook := &hooks[i]
		there[hook.ID] = true
		paused := hook.State() == webhookout.Paused
		switch w := d.workers[hook.ID]; {
		case w != nil && w.ended():
			delete(d.workers, hook.ID)
			fallthrough
		case w == nil:
			if !paused && !taken[hook.ID] {
				wanted = append(wanted, hook.ID)
			}
		case paused, taken[hook.ID], w.target.Version != hook.Version:
			w.cancel()
		}
	}
	for id, w := range d.workers {
		if !there[id] {
			w.cancel()
			if w.ended() {
				delete(d.workers, id)
			}
		}
	}
	if err := d.renew(asking); err != nil {
		return err
	}
	return d.begin(ctx, asking, sending, wanted)
}

// renew keeps the leases of all workers, and ends those that have lost theirs.
func (d *Deliverer) renew(asking context.Context) error {
	if len(d.workers) == 0 || time.Since(d.renewed) < d.options.Lease/renewals {
		return nil
	}
	ids := make([]uuid.UUID, 0, len(d.workers))
	for id := range d.workers {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, compareIDs) // processes that lock several rows do so in one order
	kept, err := d.options.Store.RenewWebhooks(asking, d.holder, ids, d.options.Lease)
	if err != nil {
		return err //nolint:wrapcheck // the store says what it did
	}
	d.renewed = time.Now()
	for id, w := range d.workers {
		if !kept[id] {
			w.cancel()
		}
	}
	return nil
}

func compareIDs(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) }

// begin begins the workers of webhooks whose lease is given.
func (d *Deliverer) begin(ctx, asking, sending context.Context, wanted []uuid.UUID) error {
	if len(wanted) == 0 {
		return nil
	}
	slices.SortFunc(wanted, compareIDs)
	targets, err := d.options.Store.LeaseWebhooks(asking, d.holder, wanted, d.options.Lease)
	if err != nil {
		return err //nolint:wrapcheck // the store says what it did
	}
	for i := range targets {
		w := &worker{Deliverer: d, target: targets[i], sending: sending, done: make(chan struct{})}
		var working context.Context
		working, w.cancel = context.WithCancel(ctx)
		d.workers[w.target.ID] = w
		go w.run(working)
	}
	return nil
}

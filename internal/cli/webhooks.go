package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"readmark/internal/api"
	"readmark/internal/condition"
	"readmark/internal/config"
	"readmark/internal/readstate"
	"readmark/internal/store"
	"readmark/internal/webhookout"
	"readmark/internal/webhookout/delivery"
)

const (
	// toldFailures is from how many failures in a row on a webhook counts as one that fails: one may
	// be a restart of its receiver.
	toldFailures = 3
	// namedWebhooks is how many webhooks one sentence names.
	namedWebhooks = 3
)

// webhooks is what a serving readmark delivers changes with.
type webhooks struct {
	*delivery.Manager
	deliverer *delivery.Deliverer
}

func (v *service) newWebhooks() *webhooks {
	manager := newWebhookManager(v.config, v.store)
	w := &webhooks{Manager: manager, deliverer: delivery.New(delivery.Options{
		Store: v.store, Feed: v.feed, Client: manager.Client, Now: manager.Now, Observe: v.reportWebhooks, Logger: v.logger,
		Encoding: delivery.Encoding{
			TypeOf: api.ChangeType,
			Append: func(b []byte, c *readstate.FeedChange, cursor string, at time.Time) []byte {
				change := api.NewChange(c, cursor, at)
				return change.AppendJSON(b)
			},
		},
	})}
	w.deliverer.Register(v.registry)
	return w
}

// run delivers until the context ends.
func (w *webhooks) run(ctx context.Context) {
	defer w.Client.Close()
	w.deliverer.Run(ctx)
}

func newWebhookManager(c *config.Config, s *store.Store) *delivery.Manager {
	return &delivery.Manager{Store: s, Client: delivery.NewClient(c.WebhookAllowPrivate), Types: api.ChangeTypes(), Now: s.Clock().Now}
}

// reportWebhooks notes which webhooks fail, and which were paused since they did.
func (v *service) reportWebhooks(hooks []webhookout.Webhook) {
	paused, failing := unwellWebhooks(hooks)
	switch {
	case len(paused) > 0:
		v.board.Report(condition.Webhooks, condition.Paused, pausedText(paused))
	case len(failing) > 0:
		v.board.Report(condition.Webhooks, condition.Failing, failingText(failing))
	default:
		v.board.Clear(condition.Webhooks)
	}
}

// unwellWebhooks gives those that were paused since they failed, and those that fail.
func unwellWebhooks(hooks []webhookout.Webhook) (paused, failing []*webhookout.Webhook) {
	for i := range hooks {
		w := &hooks[i]
		switch state := w.State(); {
		case state == webhookout.Paused && w.PauseReason != webhookout.PausedByRequest:
			paused = append(paused, w)
		case state == webhookout.Failing && w.Failures >= toldFailures:
			failing = append(failing, w)
		}
	}
	return paused, failing
}

func pausedText(hooks []*webhookout.Webhook) string {
	return "paused, since receivers have failed for three days, or have answered 410: " + nameWebhooks(hooks) +
		". readmark webhook resume has one go on, readmark webhook pause says that it is to stay so"
}

func failingText(hooks []*webhookout.Webhook) string {
	return "failing, and tried again: " + nameWebhooks(hooks) + ". readmark webhook show tells the last attempts of one"
}

func nameWebhooks(hooks []*webhookout.Webhook) string {
	var names []string
	for _, w := range hooks[:min(len(hooks), namedWebhooks)] {
		names = append(names, fmt.Sprintf("%s (since %s: %s)", w.ID, when(w.FailingSince, "now"), oneLine(w.LastError)))
	}
	if left := len(hooks) - len(names); left > 0 {
		names = append(names, fmt.Sprintf("and %d more", left))
	}
	return strings.Join(names, ", ")
}

// webhooks says how webhooks stand.
func (d *doctor) webhooks(ctx context.Context, s *store.Store) {
	const topic = string(condition.Webhooks)
	hooks, err := s.Webhooks(ctx)
	if err != nil {
		d.ill(topic, "%v", err)
		return
	}
	paused, failing := unwellWebhooks(hooks)
	if len(paused) > 0 {
		d.ill(topic, "%s", pausedText(paused))
	}
	if len(failing) > 0 {
		d.ill(topic, "%s", failingText(failing))
	}
	requested := 0
	for i := range hooks {
		if hooks[i].PauseReason == webhookout.PausedByRequest {
			requested++
		}
	}
	if requested > 0 {
		d.note(topic, "%d of %d are paused, as asked", requested, len(hooks))
	}
	switch {
	case len(hooks) == 0:
		d.well(topic, "there are none")
	case len(paused)+len(failing) == 0:
		d.well(topic, "none of %d fails", len(hooks))
	}
}

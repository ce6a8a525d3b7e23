package delivery

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"readmark/internal/metric"
	"readmark/internal/webhookout"
)

type metrics struct {
	attempts *prometheus.CounterVec
	changes  prometheus.Counter
	duration prometheus.Histogram
	resyncs  prometheus.Counter
	webhooks *prometheus.GaugeVec
	failing  prometheus.Gauge
	behind   prometheus.Gauge
}

func newMetrics() *metrics {
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "readmark_webhook_deliveries_total",
			Help: "Attempts of this process to deliver changes to webhooks, by how they ended: delivered; rejected, the receiver answered " +
				"something else than 2xx; timeout; private, the address is not public; unreachable.",
		}, []string{"result"}),
		changes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "readmark_webhook_changes_total", Help: "Changes that this process has delivered to webhooks and that were taken.",
		}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "readmark_webhook_delivery_duration_seconds", Help: "How long receivers of webhooks took to answer, in seconds, or until they were given up.",
			Buckets: metric.Durations(.001, 20),
		}),
		resyncs: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "readmark_webhook_resyncs_total",
			Help: "How often this process has told a receiver to start again from the lists, since changes that it was not sent were not kept any " +
				"more, or since anything may have changed.",
		}),
		webhooks: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "readmark_webhooks",
			Help: "Webhooks that are set up, whichever process delivers them, by how they stand: active, failing (the last attempt has failed), paused.",
		}, []string{"state"}),
		failing: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "readmark_webhook_failing_seconds",
			Help: "For how many seconds the webhook that has failed longest, and is not paused, has had no success. 0: none fails.",
		}),
		behind: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "readmark_webhook_behind_seconds",
			Help: "For how many seconds the oldest undelivered change has waited, of all webhooks that are not paused. 0: none waits.",
		}),
	}
	for _, r := range results() {
		m.attempts.WithLabelValues(string(r))
	}
	for _, state := range webhookout.States() {
		m.webhooks.WithLabelValues(string(state))
	}
	return m
}

func (m *metrics) register(registry prometheus.Registerer) {
	registry.MustRegister(m.attempts, m.changes, m.duration, m.resyncs, m.webhooks, m.failing, m.behind)
}

// stand takes over how all webhooks stand.
func (m *metrics) stand(hooks []webhookout.Webhook, now time.Time) {
	states := map[webhookout.State]int{}
	var longest, behind time.Duration
	for i := range hooks {
		state := hooks[i].State()
		states[state]++
		if state == webhookout.Failing {
			longest = max(longest, now.Sub(hooks[i].FailingSince))
		}
		if state != webhookout.Paused && !hooks[i].BehindSince.IsZero() {
			behind = max(behind, now.Sub(hooks[i].BehindSince))
		}
	}
	for _, state := range webhookout.States() {
		m.webhooks.WithLabelValues(string(state)).Set(float64(states[state]))
	}
	m.failing.Set(longest.Seconds())
	m.behind.Set(behind.Seconds())
}

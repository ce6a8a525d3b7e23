package feed

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	subscribers prometheus.Gauge
	polls       prometheus.Counter
	behind      prometheus.Counter
}

func newMetrics() *metrics {
	return &metrics{
		subscribers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "readmark_feed_subscribers", Help: "Who waits for changes: streams and long polls of /v1/changes, and webhooks of this process.",
		}),
		polls: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "readmark_feed_polls_total", Help: "Questions to the database for what has changed, for subscribers.",
		}),
		behind: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "readmark_feed_subscribers_behind_total", Help: "How often a subscriber took changes too slowly, and went on by its cursor.",
		}),
	}
}

func (m *metrics) register(registry prometheus.Registerer) {
	registry.MustRegister(m.subscribers, m.polls, m.behind)
}

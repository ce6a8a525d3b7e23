package resolve

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	resolved prometheus.Histogram
	failures prometheus.Counter
}

func newMetrics() *metrics {
	return &metrics{
		resolved: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "readmark_resolve_duration_seconds", Help: "Time from the first mark of a user to OpenIM's answer being stored.",
			Buckets: []float64{.05, .1, .2, .3, .5, 1, 2, 5, 10, 30, 60},
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "readmark_resolve_failures_total", Help: "Questions to OpenIM that failed and are tried again.",
		}),
	}
}

// Register registers the metrics of a Resolver.
func (r *Resolver) Register(registry prometheus.Registerer) {
	registry.MustRegister(r.metrics.resolved, r.metrics.failures)
}

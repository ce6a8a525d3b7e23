package reconcile

import (
	"github.com/prometheus/client_golang/prometheus"

	"readmark/internal/readstate"
)

type metrics struct {
	users, pairs, off, repaired prometheus.Counter
	largest                     prometheus.Gauge
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "readmark_reconcile_" + name, Help: help})
	}
	return &metrics{
		users:    counter("users_total", "Users compared with OpenIM."),
		pairs:    counter("pairs_total", "Counts compared with OpenIM's."),
		off:      counter("pairs_off_total", "Counts that differed from OpenIM's."),
		repaired: counter("pairs_repaired_total", "Counts that differed and were repaired."),
		largest: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "readmark_reconcile_last_difference", Help: "The largest difference in the last user's comparison.",
		}),
	}
}

// Observe counts the comparison of one user.
func (r *Reconciler) Observe(d readstate.Difference) {
	m := r.metrics
	m.users.Inc()
	m.pairs.Add(float64(d.Pairs))
	m.off.Add(float64(d.Off))
	m.repaired.Add(float64(d.Repaired))
	m.largest.Set(float64(d.Largest))
}

// Register registers the metrics of a Reconciler.
func (r *Reconciler) Register(registry prometheus.Registerer) {
	m := r.metrics
	registry.MustRegister(m.users, m.pairs, m.off, m.repaired, m.largest)
}

package openimsync

import (
	"github.com/prometheus/client_golang/prometheus"

	"readmark/internal/metric"
	"readmark/internal/readstate"
)

type metrics struct {
	lookupDuration              prometheus.Histogram
	lookupFailures              prometheus.Counter
	users, pairs, off, repaired prometheus.Counter
	largest, sweptAt            prometheus.Gauge
	drifts                      *prometheus.GaugeVec
	memberListsDoubted          prometheus.Counter
	muteLookups                 prometheus.Counter
	muteLookupFailures          prometheus.Counter
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		lookupDuration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "readmark_lookup_duration_seconds",
			Help:    "Time in seconds from queueing a lookup at OpenIM until its answer is stored: for so long a count is pending.",
			Buckets: metric.Durations(.05, 100),
		}),
		lookupFailures: counter("readmark_lookup_failures_total", "Lookups at OpenIM that failed. They stay queued and are tried again."),
		users:          counter("readmark_reconcile_users_total", "Users all of whose counts were compared with OpenIM's by the sweep."),
		pairs:          counter("readmark_reconcile_pairs_total", "Counts of a user in a group that were compared with OpenIM's."),
		off:            counter("readmark_reconcile_pairs_off_total", "Counts of a user in a group that differed from OpenIM's when they were compared."),
		repaired:       counter("readmark_reconcile_pairs_repaired_total", "Counts of a user in a group that differed from OpenIM's and were repaired."),
		largest: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "readmark_reconcile_last_difference",
			Help: "Largest difference, in messages, between a count and OpenIM's in the comparison of the last user.",
		}),
		sweptAt: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "readmark_sweep_last_success_timestamp_seconds",
			Help: "When the sweep, which compares everybody with OpenIM, last ended a round without a failure, in seconds since 1970; 0: never.",
		}),
		drifts: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "readmark_drift_pairs",
			Help: "Counts that differ from OpenIM's and could not be repaired, in the newest comparison of each user, by the reason; of all processes.",
		}, []string{"reason"}),
		memberListsDoubted: counter("readmark_member_list_doubted_total",
			"Member lists of OpenIM that would have hidden more than a tenth of a group's known members, and were read once more first."),
		muteLookups:        counter("readmark_mute_lookups_total", "How often OpenIM was asked which groups a user has muted."),
		muteLookupFailures: counter("readmark_mute_lookup_failures_total", "How often OpenIM was asked which groups a user has muted and did not answer. What was known stays."),
	}
	for _, reason := range readstate.OffReasons() { // there from the start
		m.drifts.WithLabelValues(string(reason))
	}
	return m
}

// Observe counts the comparison of one user in the metrics.
func (s *Sync) Observe(d readstate.Difference) {
	m := s.metrics
	m.users.Inc()
	m.pairs.Add(float64(d.Pairs))
	m.off.Add(float64(d.Off))
	m.repaired.Add(float64(d.Repaired))
	m.largest.Set(float64(d.Largest))
}

// Register registers the metrics. It panics when they are registered already.
func (s *Sync) Register(registry prometheus.Registerer) {
	m := s.metrics
	registry.MustRegister(m.lookupDuration, m.lookupFailures, m.users, m.pairs, m.off, m.repaired, m.largest, m.drifts,
		m.sweptAt, m.memberListsDoubted, m.muteLookups, m.muteLookupFailures)
}

package ingest

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts groups and where they went.
type metrics struct {
	groupSize     prometheus.Histogram
	duration      *prometheus.HistogramVec
	retries       prometheus.Counter
	refused       prometheus.Counter
	spooled       prometheus.Counter
	spoolFailures prometheus.Counter
	drained       prometheus.Counter
	probeFailures prometheus.Counter
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "readmark_" + name, Help: help})
	}
	return &metrics{
		groupSize: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "readmark_commit_callbacks", Help: "Callbacks per transaction.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 7),
		}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "readmark_commit_duration_seconds", Help: "Time of a transaction, by whether it succeeded.",
			Buckets: prometheus.ExponentialBuckets(.0002, 3, 10),
		}, []string{"result"}),
		retries:       counter("commit_retries_total", "Transactions repeated after a deadlock, a serialization failure or a dropped connection."),
		refused:       counter("receipts_refused_total", "Receipts that the database refused for what they hold: recorded among the rejected."),
		spooled:       counter("spooled_callbacks_total", "Callbacks that went to the spool."),
		spoolFailures: counter("spool_failures_total", "Groups of callbacks that the spool did not take."),
		drained:       counter("drained_callbacks_total", "Callbacks that went from the spool to the database."),
		probeFailures: counter("drain_failures_total", "Attempts to drain the spool that failed."),
	}
}

func (m *metrics) observe(callbacks int, took time.Duration, err error) {
	result := "committed"
	if err != nil {
		result = "failed"
	}
	m.groupSize.Observe(float64(callbacks))
	m.duration.WithLabelValues(result).Observe(took.Seconds())
}

// Register registers the metrics of an Ingest.
func (in *Ingest) Register(registry prometheus.Registerer) {
	m := in.metrics
	registry.MustRegister(m.groupSize, m.duration, m.retries, m.refused, m.spooled, m.spoolFailures, m.drained, m.probeFailures,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "readmark_spooling", Help: "1 while callbacks go to the spool.",
		}, func() float64 {
			if in.spooling.Load() {
				return 1
			}
			return 0
		}))
}

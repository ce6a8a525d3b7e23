package ingest

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"readmark/internal/metric"
)

// metrics counts groups and where they went.
type metrics struct {
	groupSize         prometheus.Histogram
	duration          *prometheus.HistogramVec
	committed, failed prometheus.Observer // of duration
	retries           prometheus.Counter
	refused           prometheus.Counter
	spooled           prometheus.Counter
	spoolFailures     prometheus.Counter
	drained           prometheus.Counter
	probeFailures     prometheus.Counter
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "readmark_" + name, Help: help})
	}
	m := &metrics{
		groupSize: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "readmark_commit_callbacks",
			Help:    "How many callbacks share one database transaction. Large groups mean that the database is busy.",
			Buckets: []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000},
		}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "readmark_commit_duration_seconds",
			Help: "Time in seconds of one attempt to write a group of callbacks to the database, by whether it was " +
				"committed or failed. What failed is tried again or goes to the spool.",
			Buckets: metric.Durations(.0002, 10),
		}, []string{"result"}),
		retries: counter("commit_retries_total",
			"Database transactions that were repeated after a deadlock, a serialization failure or a dropped connection."),
		refused: counter("receipts_refused_total",
			"Callbacks that the database refused for what they hold. They are recorded among the rejected ones."),
		spooled: counter("spooled_callbacks_total", "Callbacks that went to the spool because the database did not take them in time."),
		spoolFailures: counter("spool_failures_total",
			"Groups of callbacks that the spool did not take. They are lost unless the database takes them."),
		drained:       counter("drained_callbacks_total", "Callbacks that were moved from the spool to the database."),
		probeFailures: counter("drain_failures_total", "Attempts to move callbacks from the spool to the database that failed."),
	}
	m.committed, m.failed = m.duration.WithLabelValues("committed"), m.duration.WithLabelValues("failed")
	return m
}

func (m *metrics) observe(ctx context.Context, callbacks int, took time.Duration, err error) {
	duration := m.committed
	if err != nil {
		duration = m.failed
	}
	m.groupSize.Observe(float64(callbacks))
	metric.Observe(ctx, duration, took.Seconds())
}

// Register registers the metrics of an Ingest.
func (in *Ingest) Register(registry prometheus.Registerer) {
	m := in.metrics
	registry.MustRegister(m.groupSize, m.duration, m.retries, m.refused, m.spooled, m.spoolFailures, m.drained, m.probeFailures,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "readmark_spooling",
			Help: "1 while callbacks go to the spool because the database is away or too slow, or the spool is not drained yet, else 0.",
		}, func() float64 {
			if in.spooling.Load() {
				return 1
			}
			return 0
		}))
}

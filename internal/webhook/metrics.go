package webhook

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"readmark/internal/openim"
)

// noDialect is the dialect of what is no read callback.
const noDialect = "none"

// result says what became of a callback, as a metric label.
type result string

const (
	resultAccepted     result = "accepted"     // what it tells is durable
	resultAcknowledged result = "acknowledged" // of no use: a command, or what it tells
	resultRejected     result = "rejected"     // bad input
	resultUnauthorized result = "unauthorized"
	resultUnknownPath  result = "unknown_path"
	resultFailed       result = "failed" // could not be made durable
)

// metrics counts callbacks and their latency.
type metrics struct {
	callbacks    *prometheus.CounterVec
	duration     *prometheus.HistogramVec
	unattributed prometheus.Counter
	unrecorded   prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		callbacks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "readmark_callbacks_total",
			Help: "Callbacks by command, dialect and what became of them.",
		}, []string{"command", "dialect", "result"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "readmark_callback_duration_seconds",
			Help:    "Time from the request's header to the answer, by what became of the callback.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5},
		}, []string{"command", "result"}),
		unattributed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "readmark_unattributed_receipts_total",
			Help: "Receipts in the server dialect: journaled, their group not known yet.",
		}),
		unrecorded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "readmark_rejections_unrecorded_total",
			Help: "Rejected callbacks whose record could not be stored.",
		}),
	}
	registry.MustRegister(m.callbacks, m.duration, m.unattributed, m.unrecorded)
	return m
}

// observe counts a callback with its dialect.
func (m *metrics) observe(command string, dialect string, r result, took time.Duration) {
	label := openim.CommandLabel(command)
	m.callbacks.WithLabelValues(label, dialect, string(r)).Inc()
	m.duration.WithLabelValues(label, string(r)).Observe(took.Seconds())
}

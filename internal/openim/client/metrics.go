package client

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	calls    *prometheus.CounterVec
	duration *prometheus.HistogramVec
	unusable prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "readmark_openim_calls_total", Help: "Requests to OpenIM's REST API by path and outcome.",
		}, []string{"path", "result"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "readmark_openim_call_duration_seconds", Help: "Time of a request to OpenIM's REST API.",
			Buckets: prometheus.ExponentialBuckets(.002, 2.5, 10),
		}, []string{"path"}),
		unusable: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "readmark_openim_unusable_conversations_total",
			Help: "Conversations in OpenIM's answers that were left out, since a seq is negative or no whole number.",
		}),
	}
	if registry != nil {
		registry.MustRegister(m.calls, m.duration, m.unusable)
	}
	return m
}

func (m *metrics) observe(path string, err error, took time.Duration) {
	result := "answered"
	var refused *Error
	switch {
	case errors.As(err, &refused):
		result = "refused"
	case err != nil:
		result = "unavailable"
	}
	m.calls.WithLabelValues(path, result).Inc()
	m.duration.WithLabelValues(path).Observe(took.Seconds())
}

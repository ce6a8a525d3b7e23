package webhook

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"readmark/internal/metric"
	"readmark/internal/openim"
	"readmark/internal/readstate"
)

// otherCommand stands for all commands that a label does not tell apart.
const otherCommand = "other"

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

// metrics counts callbacks and their latency. All its series exist from the start, so that an
// increase from 0 is seen.
type metrics struct {
	callbacks    *prometheus.CounterVec
	duration     *prometheus.HistogramVec
	errors       *prometheus.CounterVec
	unattributed prometheus.Counter
	unrecorded   prometheus.Counter

	series map[string]map[outcome]series // by each spelling of a command
	totals []commandTotal                // one for each of the series of callbacks
	// exemplars: durations name the trace that they are from.
	exemplars bool
}

// outcome is what became of a callback, with its dialect.
type outcome struct {
	dialect string
	result  result
}

// commandTotal is one of the series of callbacks.
type commandTotal struct {
	command, result string
	callbacks       prometheus.Counter
}

// series are those of one command and outcome.
type series struct {
	callbacks prometheus.Counter
	duration  prometheus.Observer
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		callbacks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "readmark_callbacks_total",
			Help: "Callbacks of OpenIM that were answered, by command (its newest spelling), dialect of the read report, and what " +
				"became of them: accepted and acknowledged were answered with success, failed is lost.",
		}, []string{"command", "dialect", "result"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "readmark_callback_duration_seconds",
			Help: "Time in seconds from the header of a callback to its answer, for which OpenIM waits, by command (other: all that " +
				"are not used) and what became of it.",
			Buckets: metric.Durations(.0005, 10),
		}, []string{"command", "result"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "readmark_callback_errors_total",
			Help: "Callbacks of OpenIM that were answered with an error, by the errCode of the answer: 40101 is a missing or wrong " +
				"token, 50301 a receipt that is lost.",
		}, []string{"code"}),
		unattributed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "readmark_unattributed_receipts_total",
			Help: "Read reports in the server dialect, which names no group: OpenIM is asked for the counts.",
		}),
		unrecorded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "readmark_rejections_unrecorded_total",
			Help: "Rejected callbacks of which no record could be stored in the table rejected_callbacks.",
		}),
		series: map[string]map[outcome]series{},
	}
	registry.MustRegister(m.callbacks, m.duration, m.errors, m.unattributed, m.unrecorded)
	for _, command := range openim.Commands() {
		prepared := m.prepare(command)
		for _, spelling := range command.Spellings {
			m.series[spelling] = prepared
		}
	}
	m.series[otherCommand] = map[outcome]series{}
	for _, r := range []result{resultAcknowledged, resultUnauthorized, resultUnknownPath} {
		m.series[otherCommand][outcome{noDialect, r}] = m.one(otherCommand, otherCommand, outcome{noDialect, r})
	}
	for _, code := range readstate.Codes() {
		m.errors.WithLabelValues(strconv.Itoa(int(code)))
	}
	return m
}

// prepare makes the series of a command: those of outcomes that it can have.
func (m *metrics) prepare(command openim.Command) map[outcome]series {
	timed, outcomes := otherCommand, []outcome{{noDialect, resultAcknowledged}}
	if command.Used {
		timed = command.Name
		outcomes = append(outcomes, outcome{noDialect, resultRejected})
		for _, dialect := range command.Dialects {
			for _, r := range []result{resultAccepted, resultRejected, resultFailed} {
				outcomes = append(outcomes, outcome{dialect, r})
			}
		}
	}
	prepared := map[outcome]series{}
	for _, o := range outcomes {
		prepared[o] = m.one(command.Name, timed, o)
	}
	return prepared
}

func (m *metrics) one(command, timed string, o outcome) series {
	made := series{
		callbacks: m.callbacks.WithLabelValues(command, o.dialect, string(o.result)),
		duration:  m.duration.WithLabelValues(timed, string(o.result)),
	}
	m.totals = append(m.totals, commandTotal{command, string(o.result), made.callbacks})
	return made
}

// observe counts a callback with its dialect.
func (m *metrics) observe(ctx context.Context, command string, dialect string, r result, started time.Time) {
	took, o := time.Since(started).Seconds(), outcome{dialect, r}
	prepared, known := m.series[command]
	if !known {
		prepared = m.series[otherCommand]
	}
	one := prepared[o]
	one.callbacks.Inc()
	if m.exemplars {
		metric.Observe(ctx, one.duration, took)
	} else {
		one.duration.Observe(took)
	}
}

// failed counts the code of an answer that is an error.
func (m *metrics) failed(code readstate.Code) {
	m.errors.WithLabelValues(strconv.Itoa(int(code))).Inc()
}

// Package metric has what the metrics of all packages share: the buckets of histograms, and
// exemplars.
package metric

import (
	"context"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
)

// ladder has the bounds of all histograms of durations, in seconds. One is the default of
// READMARK_COMMIT_BUDGET, so that a query can tell how many took longer; a test holds them equal.
//
//nolint:gochecknoglobals // constant
var ladder = []float64{
	.0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, .8, 1, 2, 5, 10, 20, 50, 100,
}

// Durations gives the bounds of a histogram of durations from one of these bounds to another, in
// seconds: 1, 2, 5 and their powers of ten, and the default commit budget.
func Durations(from, to float64) []float64 {
	first, found := slices.BinarySearch(ladder, from)
	last, alsoFound := slices.BinarySearch(ladder, to)
	if !found || !alsoFound {
		panic("not a bound of the ladder")
	}
	return slices.Clone(ladder[first : last+1])
}

// Observe observes a value. Where the context holds the span of a trace that is sampled, the
// bucket shows it as an exemplar.
func Observe(ctx context.Context, observer prometheus.Observer, value float64) {
	span := trace.SpanContextFromContext(ctx)
	exemplars, ok := observer.(prometheus.ExemplarObserver)
	if !ok || !span.IsSampled() {
		observer.Observe(value)
		return
	}
	exemplars.ObserveWithExemplar(value, prometheus.Labels{
		"trace_id": span.TraceID().String(), "span_id": span.SpanID().String(),
	})
}

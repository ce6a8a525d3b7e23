package metric_test

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	"readmark/internal/config"
	"readmark/internal/metric"
)

// Every histogram has a bound at the commit budget's default.
func TestDurations(t *testing.T) {
	t.Parallel()
	c, err := config.Load(t.Context(), func(string) (string, bool) { return "", false })
	require.NoError(t, err)
	bounds := metric.Durations(.5, 2)
	require.Equal(t, []float64{.5, c.CommitBudget.Seconds(), 1, 2}, bounds)
	bounds[0] = 7
	require.Equal(t, []float64{.5, .8}, metric.Durations(.5, .8), "a copy")
	require.Panics(t, func() { metric.Durations(.3, 1) })
}

// An exemplar names the trace only where that is sampled, or nobody could find it.
func TestExemplar(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string]trace.TraceFlags{"sampled": trace.FlagsSampled, "not sampled": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			histogram := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "x", Buckets: metric.Durations(.001, 1)})
			span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: flags})
			metric.Observe(trace.ContextWithSpanContext(t.Context(), span), histogram, .003)
			metric.Observe(context.Background(), histogram, .003)
			var read dto.Metric
			require.NoError(t, histogram.Write(&read))
			require.EqualValues(t, 2, read.GetHistogram().GetSampleCount())
			var labels []string
			for _, bucket := range read.GetHistogram().GetBucket() {
				for _, label := range bucket.GetExemplar().GetLabel() {
					labels = append(labels, label.GetName()+"="+label.GetValue())
				}
			}
			if flags == 0 {
				require.Empty(t, labels)
				return
			}
			require.ElementsMatch(t, []string{"trace_id=01000000000000000000000000000000", "span_id=0200000000000000"}, labels)
		})
	}
}

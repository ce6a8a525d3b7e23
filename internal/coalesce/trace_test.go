package coalesce_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"readmark/internal/coalesce"
)

// Each caller has its wait in its own trace. The work of a batch is within the first caller that
// is traced, whoever leads, and both sides are linked.
func TestSpans(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		recorder := tracetest.NewSpanRecorder()
		tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("")
		first := make(chan struct{})
		var inRun []trace.SpanContext
		b := coalesce.New(coalesce.Options[string]{
			Limit:  10,
			MayRun: func(_ []string, running [][]string) bool { return len(running) == 0 },
			Run: func(ctx context.Context, items []string) {
				inRun = append(inRun, trace.SpanContextFromContext(ctx))
				if items[0] == "leader" {
					<-first
				}
			},
			Tracing: coalesce.Tracing{Tracer: tracer, Wait: "wait", Run: "run"},
		})
		callers := map[string]trace.Span{}
		var done sync.WaitGroup
		call := func(name string, traced bool) {
			ctx := t.Context()
			if traced {
				ctx, callers[name] = tracer.Start(ctx, name)
			}
			done.Go(func() {
				if err := b.Do(ctx, name); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		call("leader", true)
		call("untraced", false)
		call("second", true)
		call("third", true)
		close(first)
		done.Wait()
		call("alone", false)
		done.Wait()

		byParent := map[trace.SpanID]sdktrace.ReadOnlySpan{} // each has one child
		for _, span := range recorder.Ended() {
			byParent[span.Parent().SpanID()] = span
		}
		require.Len(t, recorder.Ended(), 5, "a wait for each traced caller, two batches")
		wait := func(name string) sdktrace.ReadOnlySpan {
			span := byParent[callers[name].SpanContext().SpanID()]
			require.NotNil(t, span)
			require.Equal(t, "wait", span.Name())
			return span
		}
		run := func(wait sdktrace.ReadOnlySpan) sdktrace.ReadOnlySpan { return byParent[wait.SpanContext().SpanID()] }

		alone := run(wait("leader"))
		require.Equal(t, "run", alone.Name())
		require.Empty(t, alone.Links())
		shared := run(wait("second"))
		require.Equal(t, "run", shared.Name())
		require.Equal(t, callers["second"].SpanContext().TraceID(), shared.SpanContext().TraceID())
		require.EqualValues(t, 3, shared.Attributes()[0].Value.AsInt64(), "with the one that is not traced")
		require.Nil(t, run(wait("third")))
		require.Len(t, shared.Links(), 1)
		require.Equal(t, wait("third").SpanContext(), shared.Links()[0].SpanContext)
		require.Len(t, wait("third").Links(), 1)
		require.Equal(t, shared.SpanContext(), wait("third").Links()[0].SpanContext)
		require.Empty(t, wait("second").Links(), "it is the parent")

		require.Equal(t, []trace.SpanContext{alone.SpanContext(), shared.SpanContext(), {}}, inRun, "nothing of another batch's trace")
	})
}

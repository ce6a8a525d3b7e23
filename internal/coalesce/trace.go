package coalesce

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Tracing has each caller's wait be a span in the caller's own trace. What a batch does is one
// span, in the trace of its first caller that is traced; it and the waits of the others are
// linked with each other.
type Tracing struct {
	Tracer trace.Tracer // nil: nothing is traced
	// Wait names the span of a caller, from its coming until its batch has run.
	Wait string
	// Run names the span of a batch. What Run's context is used for is within it.
	Run string
}

// callersKey is the attribute of a batch's span that says how many callers share it.
const callersKey = attribute.Key("readmark.callers")

// wait begins the span of a caller. It is nil where nothing traces the caller.
func (t *Tracing) wait(ctx context.Context) trace.Span {
	if t.Tracer == nil || !trace.SpanFromContext(ctx).IsRecording() {
		return nil
	}
	_, span := t.Tracer.Start(ctx, t.Wait)
	return span
}

// run begins the span of a batch. The context is that of a caller of another batch, perhaps, and
// what it says of traces is replaced.
func (t *Tracing) run(ctx context.Context, waits []trace.Span, callers int) (context.Context, trace.Span) {
	if t.Tracer == nil {
		return ctx, nil
	}
	if len(waits) == 0 {
		return trace.ContextWithSpan(ctx, noop.Span{}), nil
	}
	others := make([]trace.Link, len(waits)-1)
	for i, wait := range waits[1:] {
		others[i].SpanContext = wait.SpanContext()
	}
	ctx, span := t.Tracer.Start(trace.ContextWithSpan(ctx, waits[0]), t.Run,
		trace.WithLinks(others...), trace.WithAttributes(callersKey.Int(callers)))
	for _, wait := range waits[1:] {
		wait.AddLink(trace.Link{SpanContext: span.SpanContext()})
	}
	return ctx, span
}

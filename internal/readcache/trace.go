package readcache

import (
	"context"

	"go.opentelemetry.io/otel/trace"
)

// traceLoad begins the span of a load, within the trace of the request that needed it first. The
// function that it gives ends the span.
func (c *Cache) traceLoad(one *largeLoad, caller trace.Span) (ctx context.Context, end func()) {
	if caller == nil || !caller.IsRecording() {
		return c.loading, func() {}
	}
	ctx, span := c.options.Tracer.Start(trace.ContextWithSpan(c.loading, caller), "load")
	c.mu.Lock()
	one.span = span.SpanContext()
	c.mu.Unlock()
	return ctx, func() { span.End() }
}

// traceWait begins the span of a request that waits for loads of others, linked with them. The
// function that it gives ends the span.
func (c *Cache) traceWait(ctx context.Context, loads []*largeLoad) (end func()) {
	if c.options.Tracer == nil || !trace.SpanFromContext(ctx).IsRecording() {
		return func() {}
	}
	_, span := c.options.Tracer.Start(ctx, "wait for load")
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range loads {
		if one.span.IsValid() {
			span.AddLink(trace.Link{SpanContext: one.span})
		}
	}
	return func() { span.End() }
}

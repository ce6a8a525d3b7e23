package tracing

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// handler adds the trace and the span that a line is written in.
type handler struct{ slog.Handler }

// Handle implements slog.Handler.
func (h handler) Handle(ctx context.Context, record slog.Record) error {
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		record = record.Clone()
		record.AddAttrs(slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	}
	return h.Handler.Handle(ctx, record)
}

// WithAttrs implements slog.Handler.
func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h handler) WithGroup(name string) slog.Handler { return handler{h.Handler.WithGroup(name)} }

// valueless logs messages without what they are about.
type valueless struct{ slog.Handler }

// Handle implements slog.Handler.
func (v valueless) Handle(ctx context.Context, record slog.Record) error {
	if record.Level < slog.LevelWarn {
		return nil // as the SDK's own logger
	}
	line := slog.NewRecord(record.Time, slog.LevelWarn, "opentelemetry cannot use a setting", record.PC)
	line.AddAttrs(slog.String("setting", record.Message))
	return v.Handler.Handle(ctx, line)
}

// WithAttrs implements slog.Handler.
func (v valueless) WithAttrs([]slog.Attr) slog.Handler { return v }

// WithGroup implements slog.Handler.
func (v valueless) WithGroup(string) slog.Handler { return v }

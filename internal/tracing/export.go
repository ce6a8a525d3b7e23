package tracing

import (
	"context"
	"log/slog"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"readmark/internal/lograte"
)

// exported are the attributes that leave the process. Paths and query strings hold user IDs and
// the callback token; messages of errors may quote what a statement was about; the others of a
// request are what its caller has chosen.
//
//nolint:gochecknoglobals // constant
var exported = []attribute.Key{
	"http.request.method", "http.route", "http.response.status_code", "http.response.body.size", "network.protocol.version",
	"db.system.name", "db.namespace", "db.query.text", "db.operation.name", "db.operation.batch.size", "server.address", "server.port",
	"pgx.rows_affected", "pgx.sql_state", "exception.type",
	"readmark.callers", "readmark.spooled",
}

// exporter exports what may leave the process, and tells of failures once a minute.
type exporter struct {
	sdktrace.SpanExporter

	failures prometheus.Counter
	failed   *lograte.Line
}

// ExportSpans implements sdktrace.SpanExporter. It returns no error: nobody could do more.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	bare := make([]sdktrace.ReadOnlySpan, len(spans))
	for i, span := range spans {
		bare[i] = strip(span)
	}
	if err := e.SpanExporter.ExportSpans(ctx, bare); err != nil {
		e.failures.Inc()
		e.failed.Log(ctx, slog.Any("error", err))
	}
	return nil
}

// bareSpan is a span without what must not leave the process.
type bareSpan struct {
	sdktrace.ReadOnlySpan

	attributes []attribute.KeyValue
	events     []sdktrace.Event
}

func strip(span sdktrace.ReadOnlySpan) bareSpan {
	bare := bareSpan{ReadOnlySpan: span, attributes: only(span.Attributes())}
	for _, event := range span.Events() {
		event.Attributes = only(event.Attributes)
		bare.events = append(bare.events, event)
	}
	return bare
}

func only(attributes []attribute.KeyValue) []attribute.KeyValue {
	var list []attribute.KeyValue
	for _, a := range attributes {
		if slices.Contains(exported, a.Key) {
			list = append(list, a)
		}
	}
	return list
}

// Attributes implements sdktrace.ReadOnlySpan.
func (b bareSpan) Attributes() []attribute.KeyValue { return b.attributes }

// Events implements sdktrace.ReadOnlySpan.
func (b bareSpan) Events() []sdktrace.Event { return b.events }

// Status implements sdktrace.ReadOnlySpan. Its description would be the message of an error.
func (b bareSpan) Status() sdktrace.Status {
	return sdktrace.Status{Code: b.ReadOnlySpan.Status().Code}
}

// newExporter returns an exporter that passes spans on.
func newExporter(next sdktrace.SpanExporter, failures prometheus.Counter, logger *slog.Logger) *exporter {
	return &exporter{SpanExporter: next, failures: failures, failed: lograte.New(logger, slog.LevelWarn, "traces could not be exported")}
}

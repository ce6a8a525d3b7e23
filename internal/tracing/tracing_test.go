package tracing

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

func TestEnabled(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"":                                   false,
		"OTEL_SERVICE_NAME=x":                false,
		"OTEL_EXPORTER_OTLP_ENDPOINT=http:x": true,
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http:x":                             true,
		"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=http:x":                            false,
		"OTEL_EXPORTER_OTLP_ENDPOINT= ":                                         false,
		"OTEL_TRACES_EXPORTER=otlp":                                             true,
		"OTEL_TRACES_EXPORTER=none OTEL_EXPORTER_OTLP_ENDPOINT=http:x":          false,
		"OTEL_SDK_DISABLED=TRUE OTEL_TRACES_EXPORTER=otlp":                      false,
		"OTEL_SDK_DISABLED=false OTEL_EXPORTER_OTLP_ENDPOINT=http:x":            true,
		"OTEL_EXPORTER_OTLP_ENDPOINT=http:x OTEL_TRACES_EXPORTER=console other": true,
	} {
		environment := map[string]string{}
		for pair := range strings.SplitSeq(text, " ") {
			name, value, _ := strings.Cut(pair, "=")
			environment[name] = value
		}
		require.Equal(t, want, Enabled(func(name string) (string, bool) {
			value, found := environment[name]
			return value, found
		}), text)
	}
}

// Where tracing is off nobody gets anything to trace with.
func TestOff(t *testing.T) {
	t.Parallel()
	logger := slog.New(slog.DiscardHandler)
	traces, err := Start(t.Context(), func(string) (string, bool) { return "", false }, "v", logger)
	require.NoError(t, err)
	require.Nil(t, traces.Provider())
	require.Nil(t, traces.Tracer("x"))
	require.Same(t, logger, traces.Logger(logger))
	traces.Stop(t.Context())
}

// What requests and errors say stays here: only known attributes leave.
func TestStrip(t *testing.T) {
	t.Parallel()
	recorder := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("")
	_, span := tracer.Start(t.Context(), "GET /v1/users/{userID}/unread", trace.WithAttributes(
		attribute.String("http.route", "/v1/users/:userID/unread"), attribute.String("url.path", "/v1/users/secret/unread"),
		attribute.String("url.query", "secret"), attribute.String("user_agent.original", "secret"), attribute.String("made.up", "secret"),
		attribute.String("pgx.query.parameters", "secret"), attribute.String("user.name", "secret")))
	span.RecordError(errors.New("secret"))
	span.SetStatus(codes.Error, "secret")
	span.End()

	sent := &sent{}
	e := newExporter(sent, prometheus.NewCounter(prometheus.CounterOpts{Name: "x"}), slog.New(slog.DiscardHandler))
	require.NoError(t, e.ExportSpans(t.Context(), recorder.Ended()))
	require.Len(t, sent.spans, 1)
	got := sent.spans[0]
	require.Equal(t, []attribute.KeyValue{attribute.String("http.route", "/v1/users/:userID/unread")}, got.Attributes())
	require.Equal(t, sdktrace.Status{Code: codes.Error}, got.Status())
	require.Len(t, got.Events(), 1)
	require.Equal(t, []attribute.KeyValue{attribute.String("exception.type", "*errors.errorString")}, got.Events()[0].Attributes)
}

// sent is a collector in memory.
type sent struct {
	spans []sdktrace.ReadOnlySpan
	err   error
}

func (s *sent) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	s.spans = append(s.spans, spans...)
	return s.err
}

func (s *sent) Shutdown(context.Context) error { return nil }

// A collector that is away is counted each time, and logged once a minute.
func TestExportFails(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	e := newExporter(&sent{err: errors.New("connection refused")}, prometheus.NewCounter(prometheus.CounterOpts{Name: "x"}), slog.New(slog.NewTextHandler(&log, nil)))
	for range 3 {
		require.NoError(t, e.ExportSpans(t.Context(), nil))
	}
	require.InDelta(t, 3, testutil.ToFloat64(e.failures), 0)
	require.Equal(t, 1, strings.Count(log.String(), "connection refused"))
}

func TestLogger(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	traces := &Tracing{provider: sdktrace.NewTracerProvider()}
	logger := traces.Logger(slog.New(slog.NewTextHandler(&log, nil))).With("part", "x")
	ctx, span := traces.Tracer("x").Start(t.Context(), "x")
	logger.InfoContext(ctx, "within")
	require.Contains(t, log.String(), "part=x trace_id="+span.SpanContext().TraceID().String()+" span_id="+span.SpanContext().SpanID().String())
	log.Reset()
	logger.InfoContext(t.Context(), "without")
	require.NotContains(t, log.String(), "trace_id")
}

// What the SDK says of its settings is logged without their values.
func TestSettingsAreNotLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	sdk := logr.FromSlogHandler(valueless{slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})})
	sdk.WithValues("input", "secret").Error(errors.New("secret"), "parse headers", "input", "secret")
	sdk.V(4).Info("created", "header", "secret")
	require.Contains(t, log.String(), `setting="parse headers"`)
	require.NotContains(t, log.String(), "secret")
	require.NotContains(t, log.String(), "created")
}

// Package tracing exports traces by OpenTelemetry where the standard OTEL_* variables ask for it.
// No user ID, secret, path or query string leaves the process.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// stopTimeout bounds what is still exported when the process ends.
const stopTimeout = 3 * time.Second

// Enabled reports whether the environment asks for traces.
func Enabled(lookup func(name string) (string, bool)) bool {
	value := func(name string) string {
		text, _ := lookup(name)
		return strings.ToLower(strings.TrimSpace(text))
	}
	if value("OTEL_SDK_DISABLED") == "true" {
		return false
	}
	if exporter := value("OTEL_TRACES_EXPORTER"); exporter != "" {
		return exporter != "none"
	}
	return value("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || value("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}

// Tracing makes spans and exports them. The zero value is off.
type Tracing struct {
	provider *sdktrace.TracerProvider // nil: off
	failures prometheus.Counter
	logger   *slog.Logger
}

// Start begins to export where the environment asks for it. How is read from the OTEL_* variables
// of the process. It does not wait for the collector. Stop ends it.
func Start(ctx context.Context, lookup func(name string) (string, bool), version string, logger *slog.Logger) (*Tracing, error) {
	t := &Tracing{logger: logger, failures: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "readmark_trace_export_failures_total",
		Help: "Batches of OpenTelemetry spans that the collector did not take. They are lost, the receipts are not.",
	})}
	if !Enabled(lookup) {
		return t, nil
	}
	// What the SDK has to say of its settings. It would print their values, which may be secret.
	otel.SetLogger(logr.FromSlogHandler(valueless{logger.Handler()}))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { logger.Warn("opentelemetry has a problem", "error", err) }))
	next, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return nil, fmt.Errorf("set up tracing, as the OTEL_* variables say: %w", err)
	}
	described, err := describe(ctx, version)
	if err != nil {
		return nil, errors.Join(err, next.Shutdown(ctx))
	}
	t.provider = sdktrace.NewTracerProvider(sdktrace.WithResource(described),
		sdktrace.WithBatcher(newExporter(next, t.failures, logger)))
	logger.InfoContext(ctx, "traces are exported, as the OTEL_* variables say")
	return t, nil
}

// describe says who makes the spans. The environment overrules it.
func describe(ctx context.Context, version string) (*resource.Resource, error) {
	described, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(attribute.String("service.name", "readmark"), attribute.String("service.version", version)),
		resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("read OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME: %w", err)
	}
	return described, nil
}

// Provider gives what makes spans; nil where tracing is off.
func (t *Tracing) Provider() trace.TracerProvider {
	if t.provider == nil {
		return nil
	}
	return t.provider
}

// Tracer gives what makes the spans of a package; nil where tracing is off.
func (t *Tracing) Tracer(name string) trace.Tracer {
	if t.provider == nil {
		return nil
	}
	return t.provider.Tracer(name)
}

// Logger gives a logger whose lines name the span that they are written in.
func (t *Tracing) Logger(logger *slog.Logger) *slog.Logger {
	if t.provider == nil {
		return logger
	}
	return slog.New(handler{logger.Handler()})
}

// Register registers the metrics.
func (t *Tracing) Register(registry prometheus.Registerer) { registry.MustRegister(t.failures) }

// Stop exports what has ended, in 3 s at most. Nothing is exported afterwards.
func (t *Tracing) Stop(ctx context.Context) {
	if t.provider == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.logger.WarnContext(ctx, "the last traces could not be exported", "error", err)
	}
}

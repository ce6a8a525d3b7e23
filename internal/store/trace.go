package store

import (
	"context"
	"strings"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5/pgxpool"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"

	"readmark/internal/coalesce"
)

// traceStatements has a pool's statements be spans of a provider, nil for none.
func traceStatements(config *pgxpool.Config, provider trace.TracerProvider) {
	if provider == nil {
		return
	}
	config.ConnConfig.Tracer = otelpgx.NewTracer(
		otelpgx.WithTracerProvider(provider), otelpgx.WithMeterProvider(metricnoop.NewMeterProvider()),
		otelpgx.WithSpanNameCtxFunc(statementName),
	)
}

// statementName gives the name by which a statement is found in queries/, or its first word.
func statementName(ctx context.Context, sql string) string {
	if named, found := strings.CutPrefix(sql, "-- name: "); found {
		name, _, _ := strings.Cut(named, " ")
		return name
	}
	return otelpgx.SQLOperationName(ctx, sql)
}

// traceLoads has reads that share a statement be linked with it.
func traceLoads(provider trace.TracerProvider) coalesce.Tracing {
	if provider == nil {
		return coalesce.Tracing{}
	}
	return coalesce.Tracing{Tracer: provider.Tracer("readmark/internal/store"), Wait: "read", Run: "load"}
}

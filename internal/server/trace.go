package server

import (
	"net/http"
	"path"
	"strings"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/contrib/instrumentation/github.com/gin-gonic/gin/otelgin"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"readmark/internal/openim"
)

// traced has callbacks and reads be spans, which continue the trace that a request's traceparent
// names. The spans hold paths and query strings: what is exported must leave these out.
func traced(provider trace.TracerProvider) gin.HandlerFunc {
	return otelgin.Middleware("",
		otelgin.WithTracerProvider(provider), otelgin.WithMeterProvider(metricnoop.NewMeterProvider()),
		otelgin.WithPropagators(propagation.TraceContext{}),
		otelgin.WithGinFilter(func(c *gin.Context) bool { return isCallback(c) || isAPI(c) }),
		otelgin.WithSpanNameFormatter(spanName))
}

// spanName names a request by its command or its route: never by what the caller has chosen.
func spanName(c *gin.Context) string {
	if isCallback(c) {
		return http.MethodPost + " " + openim.CommandLabel(path.Base(c.Request.URL.Path))
	}
	if route := c.FullPath(); strings.HasPrefix(route, apiPrefix) {
		return c.Request.Method + " " + template(route)
	}
	return otherRoute
}

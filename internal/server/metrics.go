package server

import (
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"readmark/internal/metric"
)

// otherRoute stands for paths below /v1 without a route, and their methods.
const otherRoute = "other"

// classes are the classes of status codes, as a label, from 200 on.
//
//nolint:gochecknoglobals // constant
var classes = [...]string{"2xx", "3xx", "4xx", "5xx"}

// apiMetrics measures the read API. All its series exist from the start, one for each route and
// class of status codes, so that callers cannot make more.
type apiMetrics struct {
	duration *prometheus.HistogramVec
	routes   map[routeKey]*observers
	other    *observers
	// exemplars: durations name the trace that they are from.
	exemplars bool
}

type routeKey struct{ method, path string } // as gin names them

// observers are those of one route, by the class of the status.
type observers [len(classes)]prometheus.Observer

func newAPIMetrics(registry prometheus.Registerer, exemplars bool) *apiMetrics {
	m := &apiMetrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "readmark_api_request_duration_seconds",
			Help: "Time in seconds from the header of a request to /v1 to its answer, by method, route (other: no such path or method) and " +
				"class of the answer's status code.",
			Buckets: metric.Durations(.0005, 10),
		}, []string{"method", "route", "code"}),
		routes: map[routeKey]*observers{}, exemplars: exemplars,
	}
	registry.MustRegister(m.duration)
	m.other = m.observers(otherRoute, otherRoute)
	return m
}

// prepare makes the series of all routes of the read API. It must be called before the first
// request.
func (m *apiMetrics) prepare(routes gin.RoutesInfo) {
	for _, route := range routes {
		if strings.HasPrefix(route.Path, apiPrefix) {
			m.routes[routeKey{route.Method, route.Path}] = m.observers(route.Method, template(route.Path))
		}
	}
}

// template gives a route of gin in OpenAPI's form.
func template(path string) string {
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		if name, found := strings.CutPrefix(segment, ":"); found {
			segments[i] = "{" + name + "}"
		}
	}
	return strings.Join(segments, "/")
}

func (m *apiMetrics) observers(method, route string) *observers {
	var list observers
	for i, class := range classes {
		list[i] = m.duration.WithLabelValues(method, route, class)
	}
	return &list
}

// observe measures a request that has been answered.
func (m *apiMetrics) observe(c *gin.Context, started time.Time) {
	took, list := time.Since(started).Seconds(), m.routes[routeKey{c.Request.Method, c.FullPath()}]
	if list == nil {
		list = m.other
	}
	observer := list[min(max(c.Writer.Status()/100-http.StatusOK/100, 0), len(classes)-1)]
	if m.exemplars {
		metric.Observe(c.Request.Context(), observer, took)
	} else {
		observer.Observe(took)
	}
}

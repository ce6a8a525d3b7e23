package server

import (
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"readmark/internal/api"
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
	reads    []*observers // of the routes that read
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
			Buckets: apiBuckets(),
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
			list := m.observers(route.Method, template(route.Path))
			m.routes[routeKey{route.Method, route.Path}] = list
			if api.IsRead(route.Method, route.Path) {
				m.reads = append(m.reads, list)
			}
		}
	}
}

// latencies gives how many reads took how long since the process began: counts[i] took at most bounds[i] seconds, and
// longer than the bound before; the last of counts is beyond all bounds.
func (m *apiMetrics) latencies() (bounds []float64, counts []uint64) {
	bounds = apiBuckets()
	counts = make([]uint64, len(bounds)+1)
	for _, list := range m.reads {
		for _, observer := range list {
			var read dto.Metric
			if histogram, ok := observer.(prometheus.Metric); !ok || histogram.Write(&read) != nil {
				continue
			}
			below := uint64(0)
			for i, bucket := range read.GetHistogram().GetBucket() {
				if i < len(bounds) {
					counts[i] += bucket.GetCumulativeCount() - below
					below = bucket.GetCumulativeCount()
				}
			}
			counts[len(bounds)] += read.GetHistogram().GetSampleCount() - below
		}
	}
	return bounds, counts
}

// apiBuckets are the bounds of the histogram of requests.
func apiBuckets() []float64 { return metric.Durations(.0005, 10) }

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

package server

import (
	"context"
	"fmt"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// readyTimeout bounds the questions behind one probe: probes give up after a
// second by default.
const readyTimeout = 800 * time.Millisecond

// Status is the first line of the answer of /readyz.
type Status string

const (
	// Ready says that callbacks become durable in the database.
	Ready Status = "ready"
	// Degraded says that callbacks become durable in the spool, or wait there.
	Degraded Status = "degraded"
	// NotReady says that neither takes a callback.
	NotReady Status = "not ready"
)

// Condition is the answer to a probe: a status, and further lines for people.
type Condition struct {
	Status Status
	// Reads says why reads are answered 503; nil: they are not.
	Reads error
	Notes []string
}

// Readiness answers /readyz: whether callbacks can be made durable, and with ?for=reads whether
// reads are answered.
type Readiness struct {
	check func(ctx context.Context) Condition
	// stopping is set when the process is about to end.
	stopping atomic.Bool
}

// NewReadiness returns a Readiness that asks check at every probe.
func NewReadiness(check func(ctx context.Context) Condition) *Readiness {
	return &Readiness{check: check}
}

// Stop makes every later probe answer 503.
func (r *Readiness) Stop() { r.stopping.Store(true) }

// ServeHTTP implements http.Handler.
func (r *Readiness) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if r.stopping.Load() {
		http.Error(w, "stopping", http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithTimeout(request.Context(), readyTimeout)
	defer cancel()
	condition := r.check(ctx)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if what := request.URL.Query(); what.Has("for") {
		answerFor(w, what.Get("for"), &condition)
		return
	}
	if condition.Status == NotReady {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	lines := []string{string(condition.Status)}
	if condition.Reads != nil {
		lines = append(lines, readsLine(condition.Reads))
	}
	_, _ = fmt.Fprintln(w, strings.Join(append(lines, condition.Notes...), "\n"))
}

// answerFor answers whether one purpose is served.
func answerFor(w http.ResponseWriter, purpose string, condition *Condition) {
	switch {
	case purpose != "reads":
		http.Error(w, "for must be reads", http.StatusBadRequest)
	case condition.Reads != nil:
		http.Error(w, readsLine(condition.Reads), http.StatusServiceUnavailable)
	default:
		_, _ = fmt.Fprintln(w, Ready)
	}
}

func readsLine(err error) string {
	return "reads: answered 503, " + strings.Join(strings.Fields(err.Error()), " ")
}

// NewOps returns the handler of the ops listener: /livez, /readyz, /metrics
// and /debug/pprof. Requests are held to the rule of hosts; nil: all are answered.
func NewOps(readiness *Readiness, registry prometheus.Gatherer, hosts *HostRule) http.Handler {
	mux := http.NewServeMux()
	get := func(path string, handler http.HandlerFunc) { mux.Handle(path, onlyMethods(handler, http.MethodGet)) }
	get("/livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "live") })
	get("/readyz", readiness.ServeHTTP)
	get("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}).ServeHTTP)
	get("/debug/pprof/", pprof.Index)
	get("/debug/pprof/cmdline", pprof.Cmdline)
	get("/debug/pprof/profile", pprof.Profile)
	mux.Handle("/debug/pprof/symbol", onlyMethods(pprof.Symbol, http.MethodGet, http.MethodPost)) // addresses come in the body, too
	get("/debug/pprof/trace", pprof.Trace)
	return secureOps(guardOps(hosts, mux))
}

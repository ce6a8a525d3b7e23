package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// readyTimeout bounds the question to the database behind one probe.
const readyTimeout = 2 * time.Second

// Readiness answers /readyz: whether callbacks can be made durable.
type Readiness struct {
	// Check reports why the service is not ready, or nil.
	Check func(ctx context.Context) error
	// stopping is set when the process is about to end.
	stopping atomic.Bool
	logger   *slog.Logger
	ready    atomic.Bool // what the last probe saw, to log changes only
}

// NewReadiness returns a Readiness that asks check at every probe.
func NewReadiness(check func(ctx context.Context) error, logger *slog.Logger) *Readiness {
	r := &Readiness{Check: check, logger: logger}
	r.ready.Store(true)
	return r
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
	err := r.Check(ctx)
	if was := r.ready.Swap(err == nil); was != (err == nil) {
		r.logger.WarnContext(ctx, "readiness changed", "ready", err == nil, "reason", err)
	}
	if err != nil {
		http.Error(w, "not ready: the database cannot be reached or its schema is not current", http.StatusServiceUnavailable)
		return
	}
	_, _ = fmt.Fprintln(w, "ready")
}

// NewOps returns the handler of the ops listener: /livez, /readyz, /metrics
// and /debug/pprof.
func NewOps(readiness *Readiness, registry prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "live") })
	mux.Handle("GET /readyz", readiness)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

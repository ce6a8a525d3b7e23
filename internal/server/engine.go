// Package server joins the callbacks, the read API and the console on one listener and
// health, metrics and profiles on another, and stops both gracefully.
package server

import (
	"log/slog"
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"readmark/internal/api"
	"readmark/internal/body"
	"readmark/internal/console"
	"readmark/internal/webhook"
)

// init silences gin's debug output, and has random numbers for request IDs drawn in numbers. Both are
// global: they are set before anything runs, since others make UUIDs, too.
func init() { //nolint:gochecknoinits // the libraries' own globals
	gin.SetMode(gin.ReleaseMode)
	uuid.EnableRandPool()
}

// Options is what the engine needs of the rest of the program.
type Options struct {
	Sink          webhook.Sink
	CallbackToken string
	API           api.Options
	// Console has what the console shows and the read API does not tell; nil: there is no console.
	Console console.Source
	// CallbackBodies bounds what the bodies of callbacks may cost.
	CallbackBodies body.Bounds
	// CORSOrigins are the origins whose pages may use the read API, in lower case, or
	// "*" alone. None: browsers keep other origins' pages out.
	CORSOrigins []string
	// Hosts refuses requests for web pages of other sites where no key is asked for; nil: none is refused.
	Hosts *HostRule
	// CurrentToken gives the token as it is now; nil: it stays the same.
	CurrentToken func() (string, error)
	// Unauthorized is called for each callback without the token; nil: nobody is told.
	Unauthorized func()
	Registry     prometheus.Registerer
	// Tracing has requests be spans; nil: nothing is traced.
	Tracing trace.TracerProvider
	Logger  *slog.Logger
}

// Handler answers all requests of the public address.
type Handler struct {
	http.Handler
	// TakeCallbackStats takes out the stats of the callbacks that came since it was
	// called before.
	TakeCallbackStats func() []webhook.CallbackStat
	// CallbackTotals gives how many callbacks were answered, by command and result.
	CallbackTotals func() []webhook.CallbackTotal
	// ReadLatencies gives how many reads took how long: counts[i] took at most bounds[i] seconds, and longer than the
	// bound before; the last of counts is beyond all bounds.
	ReadLatencies func() (bounds []float64, counts []uint64)
}

// New returns the handler of callbacks, read API, docs and console.
func New(options Options) Handler {
	engine := gin.New()
	// IDs in paths are percent-encoded and may hold anything: gin routes on the
	// escaped path and unescape decodes the parameters, once. (UseRawPath would
	// turn a+b/c into "a b/c", another user's row.)
	engine.UseEscapedPath = true
	engine.UnescapePathValues = false
	// No cleaning of paths: it would turn an empty ID, or the ID ".", into
	// another resource. Callbacks drop empty segments by themselves.
	engine.RemoveExtraSlash = false
	engine.RedirectTrailingSlash = false
	engine.RedirectFixedPath = false
	engine.ForwardedByClientIP = false // who says so may lie; nothing asks for it
	if options.Tracing != nil {
		engine.Use(traced(options.Tracing))
	}
	all := newMiddleware(&options)
	engine.Use(all.handle)

	if options.Console != nil {
		nothing := console.Register(engine, console.Options{API: engine, Guard: options.API.Guard, Source: options.Console, Logger: options.Logger})
		engine.Use(aside(nothing))
	}
	callbacks := webhook.New(&webhook.Options{
		Sink: options.Sink, Token: options.CallbackToken, CurrentToken: options.CurrentToken, Unauthorized: options.Unauthorized,
		Room: body.NewRoom(options.CallbackBodies), Registry: options.Registry, Exemplars: options.Tracing != nil, Logger: options.Logger,
	})
	callbacks.Register(engine)
	api.Register(engine, options.API)
	all.api.prepare(engine.Routes())
	all.methods.prepare(engine.Routes())

	engine.NoRoute(func(c *gin.Context) {
		if c.Request.Method == http.MethodPost {
			callbacks.Serve(c)
			return
		}
		api.WriteProblem(c, http.StatusNotFound, "there is nothing at this path for "+c.Request.Method)
	})
	return Handler{
		Handler: compress(headAsGet(engine)), TakeCallbackStats: callbacks.TakeStats, CallbackTotals: callbacks.Totals, ReadLatencies: all.api.latencies,
	}
}

// aside has requests below the console's path that are none of its pages answered by it: without a token,
// what is posted there would be a callback.
func aside(nothing gin.HandlerFunc) gin.HandlerFunc {
	return func(c *gin.Context) {
		if console.IsPath(c.Request.URL.Path) {
			c.Abort()
			nothing(c)
		}
	}
}

// headAsGet has HEAD answered as GET is, of which net/http leaves out the body.
func headAsGet(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			get := *r
			get.Method = http.MethodGet
			r = &get
		}
		handler.ServeHTTP(w, r)
	})
}

// Package server joins the callbacks and the read API on one listener and
// health, metrics and profiles on another, and stops both gracefully.
package server

import (
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"readmark/internal/api"
	"readmark/internal/body"
	"readmark/internal/webhook"
)

// releaseMode silences gin's debug output. The mode is global in gin: it is
// set once, so that engines made at the same time do not race.
//
//nolint:gochecknoglobals // mirrors gin's own global
var releaseMode = sync.OnceFunc(func() { gin.SetMode(gin.ReleaseMode) })

// Options is what the engine needs of the rest of the program.
type Options struct {
	Sink          webhook.Sink
	CallbackToken string
	API           api.Options
	// CallbackBodies bounds what the bodies of callbacks may cost.
	CallbackBodies body.Bounds
	// CORSOrigins are the origins whose pages may use the read API, in lower case, or
	// "*" alone. None: browsers keep other origins' pages out.
	CORSOrigins []string
	Registry    prometheus.Registerer
	Logger      *slog.Logger
}

// Handler answers all requests of the public address.
type Handler struct {
	http.Handler
	// TakeCallbackStats takes out the stats of the callbacks that came since it was
	// called before.
	TakeCallbackStats func() []webhook.CallbackStat
}

// New returns the handler of callbacks, read API and docs.
func New(options Options) Handler {
	releaseMode()
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
	engine.Use(identify, secure(), keep, access(options.Logger), recovery(options.Logger), allowOrigins(options.CORSOrigins), unescape)

	callbacks := webhook.New(options.Sink, options.CallbackToken, body.NewRoom(options.CallbackBodies), options.Registry, options.Logger)
	callbacks.Register(engine)
	api.Register(engine, options.API)

	engine.NoRoute(func(c *gin.Context) {
		if c.Request.Method == http.MethodPost {
			callbacks.Serve(c)
			return
		}
		api.WriteProblem(c, http.StatusNotFound, "there is nothing at this path for "+c.Request.Method)
	})
	return Handler{Handler: compress(headAsGet(engine)), TakeCallbackStats: callbacks.TakeStats}
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

// identify gives each request an ID, and tells it to the caller.
func identify(c *gin.Context) {
	id := uuid.NewString()
	c.Set("request_id", id)
	c.Header("X-Request-Id", id)
	c.Next()
}

// access logs each request at debug level: its route, never its path, which
// may hold the token.
func access(logger *slog.Logger) gin.HandlerFunc {
	return func(c *gin.Context) {
		if !logger.Enabled(c.Request.Context(), slog.LevelDebug) {
			c.Next()
			return
		}
		started := time.Now()
		c.Next()
		logger.DebugContext(c.Request.Context(), "request served",
			"method", c.Request.Method, "route", c.FullPath(), "status", c.Writer.Status(),
			"duration_ms", float64(time.Since(started).Microseconds())/1000,
			"key_name", c.GetString(api.KeyName),
			"request_id", c.GetString("request_id"), "operation_id", c.GetHeader("Operationid"))
	}
}

// recovery turns a panic into a 500, without the request in the log.
func recovery(logger *slog.Logger) gin.HandlerFunc {
	return func(c *gin.Context) {
		defer func() {
			cause := recover()
			if cause == http.ErrAbortHandler { //nolint:errorlint,err113 // net/http's own sign to cut the connection
				panic(cause)
			}
			if cause != nil {
				logger.ErrorContext(c.Request.Context(), "handler panicked", "cause", cause,
					"route", c.FullPath(), "request_id", c.GetString("request_id"), "stack", string(debug.Stack()))
				c.Abort()
				if !c.Writer.Written() {
					api.WriteProblem(c, http.StatusInternalServerError, "internal error")
				}
			}
		}()
		c.Next()
	}
}

// unescape decodes the path parameters of the read API, and refuses a query
// that cannot be decoded, what is wrong in it would be left out otherwise, or that
// says something twice.
func unescape(c *gin.Context) {
	if !strings.HasPrefix(c.FullPath(), "/v1/") {
		c.Next()
		return
	}
	query, err := url.ParseQuery(c.Request.URL.RawQuery)
	if err != nil {
		c.Abort()
		api.WriteProblem(c, http.StatusUnprocessableEntity, "the query is not percent-encoded key=value pairs joined by &")
		return
	}
	for _, values := range query {
		if len(values) > 1 { // a proxy may have looked at the other one
			c.Abort()
			api.WriteProblem(c, http.StatusUnprocessableEntity, "a query parameter is given more than once")
			return
		}
	}
	for i := range c.Params {
		plain, err := url.PathUnescape(c.Params[i].Value)
		if err != nil {
			c.Abort()
			api.WriteProblem(c, http.StatusUnprocessableEntity, "path parameter "+c.Params[i].Key+" is not percent-encoded")
			return
		}
		c.Params[i].Value = plain
	}
	c.Next()
}

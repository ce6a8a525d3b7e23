package server

import (
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/rs/cors"

	"readmark/internal/api"
)

// corsMaxAge is how long browsers may remember a preflight's answer, in seconds.
const corsMaxAge = int(time.Hour / time.Second)

// middleware is all that holds for every request: an ID, headers, the log, panics, the rules for
// other origins, and the decoding of paths. It is one function, since each request goes
// through it.
type middleware struct {
	logger  *slog.Logger
	api     *apiMetrics
	methods methods
	hosts   *HostRule  // nil: no request is refused for its Host or site
	cors    *cors.Cors // nil: no origins may use the read API
	// Headers are assigned as they are, which costs less than Set; nobody changes them.
	nosniff, policy, deny, noReferrer []string
}

func newMiddleware(options *Options) *middleware {
	m := &middleware{
		logger: options.Logger, api: newAPIMetrics(options.Registry, options.Tracing != nil), hosts: options.Hosts, nosniff: []string{"nosniff"},
		policy: []string{"default-src 'none'; frame-ancestors 'none'"}, deny: []string{"DENY"}, noReferrer: []string{"no-referrer"},
	}
	if len(options.CORSOrigins) > 0 { // "*" alone is all
		m.cors = cors.New(cors.Options{
			AllowedOrigins: options.CORSOrigins,
			AllowedMethods: []string{http.MethodGet, http.MethodPost, http.MethodDelete},
			AllowedHeaders: []string{"Authorization", "Content-Type", "If-None-Match"},
			ExposedHeaders: []string{
				"ETag", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "RateLimit", "RateLimit-Policy",
				"Retry-After", "WWW-Authenticate", "X-Request-Id",
			},
			MaxAge: corsMaxAge,
		})
	}
	return m
}

// handle has the request answered.
func (m *middleware) handle(c *gin.Context) {
	started, id, allowed := time.Now(), uuid.NewString(), m.wrongMethod(c)
	callback := allowed == "" && isCallback(c)
	m.setHeaders(c, id, callback)
	ctx := c.Request.Context()
	if m.logger.Enabled(ctx, slog.LevelDebug) {
		defer m.log(c, id, started)
	}
	if !callback && isAPI(c) {
		defer m.api.observe(c, started)
	}
	defer m.recover(c, id)
	if m.refuses(c, callback) || m.refusesMethod(c, allowed) {
		c.Abort()
		return
	}
	c.Next()
	if callback && c.Writer.Status() == http.StatusOK { // callbacks come on connections that rest long
		keepConnection(ctx)
	}
}

// setHeaders gives the answer its ID, and tells browsers to do nothing with it but show or read
// it. Callbacks are answered to OpenIM, no browser.
func (m *middleware) setHeaders(c *gin.Context, id string, callback bool) {
	header := c.Writer.Header()
	header["X-Request-Id"] = []string{id}
	header["X-Content-Type-Options"] = m.nosniff
	if !callback {
		header["Content-Security-Policy"] = m.policy
		header["X-Frame-Options"] = m.deny
		header["Referrer-Policy"] = m.noReferrer
	}
}

// refuses answers what need not go on: what the rule of hosts refuses, preflights, which carry no key, and paths that
// cannot be decoded.
func (m *middleware) refuses(c *gin.Context, callback bool) bool {
	if !callback && browsed(c.Request.URL.Path) && m.refusesHost(c) {
		return true
	}
	if m.cors != nil && !callback && isAPI(c) {
		m.cors.HandlerFunc(c.Writer, c.Request)
		if c.Request.Method == http.MethodOptions && c.GetHeader("Access-Control-Request-Method") != "" {
			return true
		}
	}
	return !unescape(c)
}

// refusesMethod answers a request whose method is not one of those that the path has; empty: it is.
func (m *middleware) refusesMethod(c *gin.Context, allowed string) bool {
	if allowed != "" {
		refuseMethod(c.Writer, allowed)
	}
	return allowed != ""
}

// log logs a request at debug level: its route, never its path, which may hold the token.
func (m *middleware) log(c *gin.Context, id string, started time.Time) {
	m.logger.DebugContext(c.Request.Context(), "request served",
		"method", c.Request.Method, "route", c.FullPath(), "status", c.Writer.Status(),
		"duration_ms", float64(time.Since(started).Microseconds())/1000,
		"key_name", c.GetString(api.KeyName),
		"request_id", id, "operation_id", c.GetHeader("Operationid"))
}

// recover turns a panic into a 500, without the request in the log.
func (m *middleware) recover(c *gin.Context, id string) {
	cause := recover()
	if cause == http.ErrAbortHandler { //nolint:errorlint,err113 // net/http's own sign to cut the connection
		panic(cause)
	}
	if cause != nil {
		m.logger.ErrorContext(c.Request.Context(), "handler panicked", "cause", cause,
			"route", c.FullPath(), "request_id", id, "stack", string(debug.Stack()))
		c.Abort()
		if !c.Writer.Written() {
			api.WriteProblem(c, http.StatusInternalServerError, "internal error")
		}
	}
}

// unescape decodes the path parameters of the read API, and refuses a query
// that cannot be decoded, what is wrong in it would be left out otherwise, or that
// says something twice.
func unescape(c *gin.Context) bool {
	if !strings.HasPrefix(c.FullPath(), apiPrefix) {
		return true
	}
	if raw := c.Request.URL.RawQuery; raw != "" {
		query, err := url.ParseQuery(raw)
		if err != nil {
			api.WriteInvalid(c, "is not percent-encoded name=value pairs joined by &", "query")
			return false
		}
		var repeated []string // a proxy may have looked at the other one
		for _, name := range slices.Sorted(maps.Keys(query)) {
			if len(query[name]) > 1 {
				repeated = append(repeated, "query."+name)
			}
		}
		if len(repeated) > 0 {
			api.WriteInvalid(c, "is given more than once", repeated...)
			return false
		}
	}
	for i := range c.Params {
		plain, err := url.PathUnescape(c.Params[i].Value)
		if err != nil {
			api.WriteInvalid(c, "is not percent-encoded", "path."+c.Params[i].Key)
			return false
		}
		c.Params[i].Value = plain
	}
	return true
}

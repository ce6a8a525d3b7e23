// Package api is the read API: states, lists, badges and sums over REST, with
// OpenAPI 3.1, validation and RFC 9457 errors made from the Go types.
package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"
	"github.com/go-json-experiment/json"
	"github.com/swaggest/swgui/v5emb"
	"golang.org/x/sync/semaphore"

	"readmark/internal/readstate"
)

// StateReader reads single states and lists of them. The keys of a page are group
// IDs in the list of a user, and user IDs in that of a group.
type StateReader interface {
	State(ctx context.Context, pair readstate.Pair) (readstate.State, error)
	UserStates(ctx context.Context, userID string, page readstate.Page) ([]readstate.State, error)
	GroupStates(ctx context.Context, groupID string, page readstate.Page) ([]readstate.State, error)
}

// SumReader reads sums, and many pairs and users at one moment.
type SumReader interface {
	Badge(ctx context.Context, userID string) (readstate.Badge, error)
	GroupSum(ctx context.Context, groupID string) (readstate.GroupSum, error)
	Snapshot(ctx context.Context, pairs []readstate.Pair, userIDs []string) (
		map[readstate.Pair]readstate.State, map[string]readstate.Badge, error)
	Drift(ctx context.Context) (readstate.Drift, error)
}

// Reader is all that the API reads. Its errors wrap [readstate.ErrUnknown] and
// [readstate.ErrUnavailable].
type Reader interface {
	StateReader
	SumReader
}

// Options configures the API.
type Options struct {
	Reader  Reader
	Version string // of the program, for the OpenAPI document
	// AuthRequired refuses every request to /v1: keys do not exist yet.
	AuthRequired bool
	Now          func() time.Time
	Logger       *slog.Logger
}

type handler struct {
	reader Reader
	now    func() time.Time
	logger *slog.Logger
}

// Register adds the routes of the read API, its OpenAPI document and its docs
// page to the engine.
func Register(engine *gin.Engine, options Options) huma.API {
	config := huma.DefaultConfig("Readmark", options.Version)
	config.Info.Description = "Unread counts of OpenIM group chats, per user and group. " +
		"Unknown is not zero: what Readmark has not heard of is answered with 404."
	config.CreateHooks = nil // no $schema field in answers
	strict := huma.DefaultJSONFormat
	strict.Unmarshal = unmarshal
	config.Formats = map[string]huma.Format{"application/json": strict, "json": strict}
	config.DocsPath, config.SchemasPath = "", ""
	config.Transformers = append(config.Transformers, boundProblem)
	api := humagin.New(engine, config)
	if options.AuthRequired {
		api.UseMiddleware(refuse(api))
	}
	// Behind the keys: strangers take no room.
	guard := &bodies{api: api, room: semaphore.NewWeighted(bodyRoom), wait: bodyWait}
	api.UseMiddleware(guard.guard)
	h := &handler{reader: options.Reader, now: options.Now, logger: options.Logger}
	h.registerStates(api)
	h.registerSums(api)
	h.registerQuery(api)

	docs := gin.WrapH(v5emb.New("Readmark", "/openapi.json", "/docs/"))
	engine.GET("/docs", ownHostOnly, docs)
	engine.GET("/docs/*asset", ownHostOnly, docs)
	return api
}

// ownHostOnly has the browser hold the docs page to load nothing from outside.
func ownHostOnly(c *gin.Context) {
	c.Header("Content-Security-Policy",
		"default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "+
			"object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
}

// unmarshal is stricter than encoding/json, which replaces invalid UTF-8 and so
// would answer for another user, matches names in any case, and takes the last
// of two equal names.
func unmarshal(data []byte, v any) error {
	if err := checkTokens(data); err != nil {
		return err
	}
	return json.Unmarshal(data, v, json.RejectUnknownMembers(true))
}

// refuse answers every operation with 401.
func refuse(api huma.API) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, _ func(huma.Context)) {
		ctx.SetHeader("WWW-Authenticate", `Bearer realm="readmark"`)
		_ = huma.WriteErr(api, ctx, http.StatusUnauthorized, "an API key is required")
	}
}

// asOf is a moment that an answer read after it cannot be older than.
func (h *handler) asOf() time.Time { return h.now().UTC().Truncate(time.Microsecond) }

// problem turns a reader's error into an answer, and logs what the caller is
// not told.
func (h *handler) problem(ctx context.Context, err error, unknown string) error {
	switch {
	case errors.Is(err, readstate.ErrUnknown):
		return huma.Error404NotFound(unknown)
	case errors.Is(err, readstate.ErrUnavailable), ctx.Err() != nil:
		h.logger.WarnContext(ctx, "read api cannot reach the database", "error", err)
		return huma.ErrorWithHeaders(
			huma.Error503ServiceUnavailable("the database cannot be reached at the moment"),
			http.Header{"Retry-After": {"1"}},
		)
	default:
		h.logger.ErrorContext(ctx, "read api failed", "error", err)
		return huma.Error500InternalServerError("internal error")
	}
}

// WriteProblem answers a request outside the API's routes as RFC 9457 asks.
func WriteProblem(c *gin.Context, status int, detail string) {
	c.Header("Content-Type", "application/problem+json")
	c.Header("Cache-Control", "no-store")
	c.JSON(status, huma.ErrorModel{Title: http.StatusText(status), Status: status, Detail: detail})
}

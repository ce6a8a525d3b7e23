// Package api is the read API: states, lists, badges and sums over REST, with
// OpenAPI 3.1, validation and RFC 9457 errors made from the Go types.
package api

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"
	"github.com/go-json-experiment/json"
	"github.com/swaggest/swgui/v5emb"

	"readmark/internal/auth/guard"
	"readmark/internal/body"
	"readmark/internal/lograte"
	"readmark/internal/readstate"
)

// Reader reads what is current: single states and lists of them, sums, and many pairs and users
// at one moment. The keys of a page are group IDs in the list of a user, and user IDs in that
// of a group. asOf is a moment that the answer is not older than. Errors wrap
// [readstate.ErrUnknown] and [readstate.ErrUnavailable].
type Reader interface {
	State(ctx context.Context, pair readstate.Pair) (state readstate.State, asOf time.Time, err error)
	UserStates(ctx context.Context, userID string, page readstate.Page) (list []readstate.State, asOf time.Time, err error)
	GroupStates(ctx context.Context, groupID string, page readstate.Page) (list []readstate.State, asOf time.Time, err error)
	Badge(ctx context.Context, userID string) (badge readstate.Badge, asOf time.Time, err error)
	GroupSum(ctx context.Context, groupID string) (sum readstate.GroupSum, asOf time.Time, err error)
	Snapshot(ctx context.Context, pairs []readstate.Pair, userIDs []string) (
		states map[readstate.Pair]readstate.State, badges map[string]readstate.Badge, asOf time.Time, err error)
}

// Database reads the journal, and what comparisons with OpenIM have found. Its errors wrap those
// of [Reader] and [readstate.ErrGone].
type Database interface {
	HistoryReader
	Drift(ctx context.Context) (readstate.Drift, error)
	// UserIDs lists users that have, or had, a state, in key order.
	UserIDs(ctx context.Context, page readstate.KeyPage) ([]string, error)
	// GroupSums lists sums of groups that are kept, and a moment: what was acknowledged before is in all of them.
	GroupSums(ctx context.Context, page readstate.GroupPage) ([]readstate.KeptGroupSum, time.Time, error)
	// Rejections lists rejected callbacks before a place, the newest first.
	Rejections(ctx context.Context, before readstate.EventCursor, limit int32) ([]readstate.Rejection, error)
}

// Options configures the API.
type Options struct {
	Reader   Reader
	Database Database
	Eraser   Eraser
	// Feed tells what has changed, Webhooks are where it is delivered to, and Reminders has the rules by which
	// users are reminded.
	Feed      Feed
	Webhooks  Webhooks
	Reminders Reminders
	Stats     StatsReporter
	// Heartbeat is how often a stream says that it lives, and its key is checked again. Default: 15 s.
	Heartbeat time.Duration
	// Guard decides on every request to /v1; nil lets all through.
	Guard *guard.Guard
	// Retention is how long the journal is kept: of an earlier moment nothing is
	// said. Zero sets no bound.
	Retention time.Duration
	Now       func() time.Time
	// AsOf gives a moment that no read of the database which begins after the call is older
	// than; the zero time while nothing can be read. Default: Now.
	AsOf func() time.Time
	// OneMoment reports whether what is read of several users at once is of one moment. Default: it is.
	OneMoment func() bool
	// Unreadable says why nothing can be read, empty where that is not known; it may be nil.
	Unreadable func() string
	// Bodies bounds what the bodies of requests may cost; by default one waits for room
	// for 2 s.
	Bodies body.Bounds
	Logger *slog.Logger
}

// IsRead reports whether a route, as gin or OpenAPI name it, answers at once from what is known.
func IsRead(method, route string) bool {
	return method == http.MethodGet && route != changesPath || method == http.MethodPost && route == queryPath
}

const unreachable = "the database cannot be reached at the moment"

type handler struct {
	reader     Reader
	database   Database
	eraser     Eraser
	feed       Feed
	heartbeat  time.Duration
	reminders  Reminders
	stats      StatsReporter
	guard      *guard.Guard
	retention  time.Duration
	now        func() time.Time
	read       func() time.Time // see Options.AsOf
	oneMoment  func() bool      // see Options.OneMoment
	unreadable func() string    // see Options.Unreadable
	logger     *slog.Logger
	// unavailable and failed tell of reads that fail, in an outage all of them.
	unavailable, failed *lograte.Line
}

// Register adds the routes of the read API, its OpenAPI document and its docs
// page to the engine.
func Register(engine *gin.Engine, options Options) huma.API {
	api, _ := register(engine, options)
	return api
}

func register(engine *gin.Engine, options Options) (huma.API, *paths) {
	config := huma.DefaultConfig("Readmark", contractVersion)
	config.Info.Description = "Unread counts of OpenIM group chats, per user and group. " +
		"Unknown is not zero: what Readmark knows nothing of is answered with 404."
	config.Info.License = &huma.License{Name: "Apache License 2.0", URL: "https://www.apache.org/licenses/LICENSE-2.0"}
	config.CreateHooks = nil // no $schema field in answers
	strict := huma.DefaultJSONFormat
	strict.Unmarshal = unmarshal
	strict.Marshal = marshal
	config.Formats = map[string]huma.Format{"application/json": strict, "json": strict}
	config.RejectUnknownQueryParameters = true                           // a mistyped filter must not be answered with everything
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", "" // served below
	config.Transformers = append(config.Transformers, boundProblem)
	paths := newPaths(config.OpenAPI)
	describeAuth(config.OpenAPI)
	if options.Guard != nil {
		engine.Use(admission(options.Guard)) // before any route below /v1
	} else {
		engine.Use(open)
	}
	h := &handler{
		reader: options.Reader, database: options.Database, eraser: options.Eraser, feed: options.Feed, heartbeat: cmp.Or(options.Heartbeat, heartbeat),
		reminders: options.Reminders, stats: options.Stats, guard: options.Guard, retention: options.Retention,
		now: options.Now, read: options.AsOf, oneMoment: options.OneMoment, unreadable: options.Unreadable, logger: options.Logger,
		unavailable: lograte.New(options.Logger, slog.LevelWarn, "read api cannot reach the database"),
		failed:      lograte.New(options.Logger, slog.LevelError, "read api failed"),
	}
	if h.read == nil {
		h.read = options.Now
	}
	if h.oneMoment == nil {
		h.oneMoment = func() bool { return true }
	}
	engine.Use(h.fastPath)
	engine.Use(func(c *gin.Context) {
		if route := c.FullPath(); route == changesPath || route == testRoute {
			lasting(c)
		}
	})
	api := humagin.New(engine, config)
	api.UseMiddleware(h.readable(api))
	// After the check of the key: requests without one take no room.
	if options.Bodies.Wait == 0 {
		options.Bodies.Wait = bodyWait
	}
	reading := &bodies{api: api, room: body.NewRoom(options.Bodies)}
	api.UseMiddleware(reading.guard)
	h.registerCounts(api)
	h.registerLists(api)
	h.registerUsers(api)
	h.registerGroups(api)
	h.registerQuery(api)
	h.registerHistory(api)
	h.registerChanges(api)
	registerWebhooks(api, h, options.Webhooks)
	h.registerReminders(api)
	h.registerDrift(api)
	h.registerStats(api)
	h.registerErasures(api)
	describe(api.OpenAPI())
	paths.serve(engine)

	docs := gin.WrapH(v5emb.New("Readmark", "/openapi.json", "/docs/"))
	engine.GET("/docs", ownHostOnly, docs)
	engine.GET("/docs/*asset", ownHostOnly, docs)
	return api, paths
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
	err := checkTokens(data)
	if err == nil {
		err = json.Unmarshal(data, v, json.RejectUnknownMembers(true))
	}
	if err != nil {
		return unreadableJSON(err)
	}
	if value, ok := v.(*any); ok { // which huma holds to the schema
		maskNames(*value)
	}
	return nil
}

// marshal writes what knows how to write itself without reflection.
func marshal(w io.Writer, v any) error {
	if own, found := v.(appending); found && !reflect.ValueOf(v).IsZero() {
		_, err := w.Write(own.appendJSON(nil))
		return err
	}
	return huma.DefaultJSONFormat.Marshal(w, v)
}

// asOf is a moment that an answer read after it cannot be older than.
func (h *handler) asOf() time.Time { return whole(h.read()) }

// whole gives a moment in UTC and whole microseconds.
func whole(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// readable answers 503 while nothing can be read, and nobody knows as of when.
func (h *handler) readable(api huma.API) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		// An erasure is no read: it goes to the database itself.
		if h.read().IsZero() && ctx.Method() != http.MethodDelete && ctx.Operation().OperationID != statsOperation {
			ctx.SetHeader("Retry-After", "1")
			detail := unreachable
			if h.unreadable != nil {
				detail = cmp.Or(h.unreadable(), detail)
			}
			_ = huma.WriteErr(api, ctx, http.StatusServiceUnavailable, detail)
			return
		}
		next(ctx)
	}
}

// problem turns a reader's error into an answer, and logs what the answer leaves
// out.
func (h *handler) problem(ctx context.Context, err error, unknown string) error {
	var told *readstate.UnavailableError
	switch {
	case errors.Is(err, readstate.ErrUnknown):
		return &huma.ErrorModel{
			Type: unknownType, Status: http.StatusNotFound, Title: http.StatusText(http.StatusNotFound), Detail: unknown,
		}
	case errors.Is(err, readstate.ErrGone):
		return huma.Error410Gone("of what was known then, a part was dropped from the journal since")
	case errors.As(err, &told): // which the log tells once
		return huma.ErrorWithHeaders(huma.Error503ServiceUnavailable(told.Text), http.Header{"Retry-After": {"1"}})
	case errors.Is(err, readstate.ErrUnavailable), ctx.Err() != nil:
		if !errors.Is(ctx.Err(), context.Canceled) { // else the caller has gone
			h.unavailable.Log(ctx, slog.Any("error", err))
		}
		return huma.ErrorWithHeaders(
			huma.Error503ServiceUnavailable(unreachable),
			http.Header{"Retry-After": {"1"}},
		)
	default:
		h.failed.Log(ctx, slog.Any("error", err))
		return huma.Error500InternalServerError("internal error")
	}
}

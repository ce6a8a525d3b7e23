// Package console is the console: pages for people, rendered on the server, that show what the
// read API tells. Each page asks the read API in this process with the key of whoever looks, so
// that scopes, prefixes and rate limits hold here as they do there.
package console

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"readmark/internal/api"
	"readmark/internal/auth"
	"readmark/internal/auth/guard"
	"readmark/internal/readstate"
)

// Path is where the console is, and what all of its paths begin with.
const Path = "/console"

// Source has what the console shows and the read API does not tell. Whether a key opens it is
// checked before it is asked.
type Source interface {
	// Now is the time that is shown, as the database has it.
	Now() time.Time
	// Conditions lists what is not well. It does not block.
	Conditions() []api.Condition
	// Counts gives the count of a pair at each of some moments in the past.
	Counts(ctx context.Context, pair readstate.Pair, moments []time.Time) ([]Number, error)
	// Positions gives the number of a group's last message at each of some moments in the past.
	Positions(ctx context.Context, groupID string, moments []time.Time) ([]Number, error)
	// Journal gives rows of the journal, the newest first, of all kinds.
	Journal(ctx context.Context, page readstate.History) ([]readstate.Entry, error)
	// Keys lists all API keys, the oldest first.
	Keys(ctx context.Context) ([]auth.Key, error)
	// AddKey makes a key of a grant and a time at which it expires, and gives its text. The error wraps
	// [auth.ErrNameTaken] where there is a key of this name.
	AddKey(ctx context.Context, grant auth.Grant, expires time.Time) (text string, err error)
	// RevokeKey revokes the key of a name. The error wraps [readstate.ErrUnknown] where there is none.
	RevokeKey(ctx context.Context, name string) error
	// Check runs the doctor's checks, which takes some seconds at most.
	Check(ctx context.Context) (Report, error)
}

// Number is a number at a moment; it says nothing where nothing was known.
type Number struct {
	Known bool
	Value int64
}

// Report is what the doctor has found.
type Report struct {
	Well     bool
	Findings []Finding
}

// Finding is one of the doctor's findings.
type Finding struct {
	Level string // ok, note or fail
	Topic string
	Text  string
}

// Options is what the console works with.
type Options struct {
	// API is the public handler, of which /v1 is asked.
	API http.Handler
	// Guard is the read API's; nil lets everybody in.
	Guard  *guard.Guard
	Source Source
	Logger *slog.Logger
}

type handler struct {
	api       http.Handler
	client    *http.Client
	guard     *guard.Guard
	source    Source
	pages     pages
	logger    *slog.Logger
	ownSite   *http.CrossOriginProtection
	checking  chan struct{} // holds a value while the doctor checks
	resources map[string]asset
}

// Register adds the console's routes, and that of the root, to the engine. It returns what answers the
// paths below [Path] that have no route.
func Register(engine gin.IRoutes, o Options) (notFound gin.HandlerFunc) {
	h := &handler{
		api: o.API, client: &http.Client{Transport: inProcess{o.API}}, guard: o.Guard, source: o.Source, pages: parsePages(),
		logger: o.Logger, ownSite: http.NewCrossOriginProtection(), checking: make(chan struct{}, 1), resources: assets(),
	}
	engine.GET("/", root)
	engine.GET(Path+"/", func(c *gin.Context) { c.Redirect(http.StatusSeeOther, Path) })
	engine.GET(Path+"/static/:name", h.static)
	engine.GET(Path+"/sign-in", h.secured(h.signInForm))
	engine.POST(Path+"/sign-in", h.secured(h.signIn))
	engine.POST(Path+"/sign-out", h.secured(h.signOut))
	for path, page := range map[string]view{
		"": (*request).overview, "/users": (*request).users, "/user": (*request).user, "/pair": (*request).pair,
		"/groups": (*request).groups, "/group": (*request).group, "/live": (*request).live, "/events": (*request).events,
		"/webhooks": (*request).webhooks, "/webhook": (*request).webhook, "/keys": (*request).keys, "/journal": (*request).journal,
		"/doctor": (*request).doctor,
	} {
		engine.GET(Path+path, h.secured(h.signedIn(page)))
	}
	for path, action := range map[string]view{
		"/webhook": (*request).changeWebhook, "/keys": (*request).makeKey, "/keys/revoke": (*request).revokeKey,
		"/reminders": (*request).makeReminder, "/reminders/delete": (*request).deleteReminder,
	} {
		engine.POST(Path+path, h.secured(h.signedIn(action)))
	}
	return h.secured(h.signedIn((*request).nothing))
}

// IsPath reports whether a path belongs to the console.
func IsPath(path string) bool { return path == Path || strings.HasPrefix(path, Path+"/") }

// root leads browsers to the console, and tells others that readmark is up.
func root(c *gin.Context) {
	c.Header("Vary", "Accept")
	if strings.Contains(c.GetHeader("Accept"), "text/html") {
		c.Redirect(http.StatusSeeOther, Path)
		return
	}
	c.String(http.StatusOK, "readmark is up; API at /v1, docs at /docs\n")
}

// contentPolicy has browsers load nothing from elsewhere and run nothing that stands in a page.
const contentPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// maxForm bounds what is read of a form.
const maxForm = 64 << 10

// secured has all that holds for every page: what browsers may do with it, and that no other site has
// sent the request.
func (h *handler) secured(next gin.HandlerFunc) gin.HandlerFunc {
	return func(c *gin.Context) {
		c.Header("Content-Security-Policy", contentPolicy)
		// No other site needs to know where people come from, but sign-in is compared with the page's own origin.
		c.Header("Referrer-Policy", "same-origin")
		c.Header("Cache-Control", "no-store")
		if err := h.ownSite.Check(c.Request); err != nil {
			c.String(http.StatusForbidden, "A page of another site has sent this request: it is refused.\n")
			return
		}
		c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxForm)
		next(c)
	}
}

// view answers a request for a page.
type view func(*request)

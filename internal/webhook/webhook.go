// Package webhook receives OpenIM's callbacks over HTTP and answers them in
// OpenIM's shape, after what they tell is durable.
package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"readmark/internal/body"
	"readmark/internal/lograte"
	"readmark/internal/openim"
	"readmark/internal/readstate"
)

// Sink makes callbacks durable. Its methods block until that is done and return an
// error when it could not be.
type Sink interface {
	// Submit gives the events of one callback their identity and arrival, and makes all
	// of them durable. The slice is the sink's from then on. A [readstate.InputError]
	// says that the callback can never be stored; the sink has recorded it.
	Submit(ctx context.Context, events []readstate.Event) error
	// Reject records a callback that was refused.
	Reject(ctx context.Context, rejection readstate.Rejection) error
}

// requestIDHeader is the header of an answer that names the request in the log.
const requestIDHeader = "X-Request-Id"

// longLists is how many callbacks with long lists of users are decoded and stored at
// one time: their events take more memory than their bodies.
const longLists = 2

// Handler answers callbacks. It is safe for concurrent use.
type Handler struct {
	sink    Sink
	token   atomic.Pointer[token]
	current *rereader // nil: the token stays the same
	logger  *slog.Logger
	metrics *metrics
	// notDurable and notRecorded tell of callbacks that are lost, in an outage all of them.
	notDurable, notRecorded *lograte.Line
	unknown                 *lograte.Line // path
	success                 []byte        // the answer, encoded
	// beforeLog lets one line about "before" callbacks through.
	beforeLog sync.Once
	stats     stats
	room      *body.Room
	longLists *semaphore.Weighted
	// ownSite refuses what a browser sends for a page of another site: without a
	// token such a page could make up receipts on an address that only its reader
	// can reach.
	ownSite      *http.CrossOriginProtection
	unauthorized func() // see Options
}

// Options is what a Handler works with.
type Options struct {
	Sink Sink
	// Token is the callbacks' secret; empty lets every callback in.
	Token string
	// CurrentToken gives the token as it is now; nil: it stays the same.
	CurrentToken func() (string, error)
	// Unauthorized is called when a callback is refused for its token; nil: nobody is told. It must
	// not block.
	Unauthorized func()
	Room         *body.Room // that large bodies share
	Registry     prometheus.Registerer
	// Exemplars has the histogram of durations name traces.
	Exemplars bool
	Logger    *slog.Logger
}

// New returns a handler of callbacks.
func New(o *Options) *Handler {
	success, err := json.Marshal(openim.Success())
	if err != nil {
		panic(err) // five constant fields
	}
	h := &Handler{
		sink: o.Sink, logger: o.Logger, metrics: newMetrics(o.Registry), success: success, unauthorized: o.Unauthorized,
		current: newRereader(o.CurrentToken, o.Logger), room: o.Room, longLists: semaphore.NewWeighted(longLists),
		notDurable:  lograte.New(o.Logger, slog.LevelError, "callback not durable"),
		notRecorded: lograte.New(o.Logger, slog.LevelError, "rejected callback not recorded"),
		unknown:     lograte.New(o.Logger, slog.LevelWarn, "callback to an unknown path, check OpenIM's webhook url"),
		ownSite:     http.NewCrossOriginProtection(),
	}
	h.token.Store((*token)(&o.Token))
	h.metrics.exemplars = o.Exemplars
	return h
}

// Register adds the callbacks' routes.
func (h *Handler) Register(routes gin.IRoutes) {
	routes.POST("/:first", h.Serve)
	routes.POST("/:first/:second", h.Serve)
}

// Serve answers a POST request to any path: a callback, or an error in
// OpenIM's shape.
func (h *Handler) Serve(c *gin.Context) {
	started := time.Now()
	command, err := h.command(c.Request)
	switch {
	case errors.Is(err, errUnauthorized):
		h.fail(c, http.StatusUnauthorized, readstate.CodeUnauthorized, "callback token is missing or wrong",
			"expected the token as first path segment or as password of HTTP Basic")
		h.metrics.observe(c.Request.Context(), otherCommand, noDialect, resultUnauthorized, started)
		if path := segments(c.Request.URL); h.unauthorized != nil && len(path) > 0 && openim.IsCommand(path[len(path)-1]) {
			h.unauthorized()
		}
	case h.ownSite.Check(c.Request) != nil:
		h.fail(c, http.StatusForbidden, readstate.CodeOtherSite, "callback comes from a web page of another site",
			"expected OpenIM, which sends neither Origin nor Sec-Fetch-Site")
		h.metrics.observe(c.Request.Context(), otherCommand, noDialect, resultUnauthorized, started)
	case err != nil:
		h.unknownPath(c)
		h.metrics.observe(c.Request.Context(), otherCommand, noDialect, resultUnknownPath, started)
	case openim.IsUsed(command):
		dialect, r := h.callback(c, command)
		h.metrics.observe(c.Request.Context(), command, dialect, r, started)
	default:
		h.acknowledge(c, command)
		h.metrics.observe(c.Request.Context(), command, noDialect, resultAcknowledged, started)
		h.stats.count(openim.CommandLabel(command), noDialect, started)
	}
}

// acknowledge answers a callback that is not used, mostly without a look at its body,
// which is drained so that the connection can carry the next callback.
func (h *Handler) acknowledge(c *gin.Context, command string) {
	if openim.IsBefore(command) {
		h.beforeLog.Do(func() {
			h.logger.WarnContext(c.Request.Context(), `openim waits for readmark's answer before it does what users ask for: `+
				`disable the "before" webhooks in its webhooks.yml, they are not needed`, "command", openim.CommandLabel(command))
		})
	}
	if !openim.Echoes(command) {
		h.room.Discard(c.Writer, c.Request, openim.BodyLimit(command))
		h.succeed(c)
		return
	}
	// A body that cannot be read is answered all the same: an error would undo what the
	// user has done.
	content, _ := h.room.Read(c.Writer, c.Request, openim.BodyLimit(command))
	defer content.Release()
	answer, err := openim.SuccessUnchanged(command, content.Data)
	if err != nil {
		answer = h.success
	}
	c.Data(http.StatusOK, "application/json; charset=utf-8", answer)
}

// callback takes a callback that is used from its body to its answer.
func (h *Handler) callback(c *gin.Context, command string) (dialect string, r result) {
	// A client that goes away must not undo what it has sent.
	ctx := context.WithoutCancel(c.Request.Context())
	content, err := h.room.Read(c.Writer, c.Request, openim.BodyLimit(command))
	defer content.Release()
	size := int64(len(content.Data))
	if err != nil {
		return noDialect, h.reject(ctx, c, command, size, unreadable(err, command))
	}
	if size > body.Small && openim.ListsUsers(command) {
		if err := h.longLists.Acquire(ctx, 1); err == nil { // it cannot end otherwise
			defer h.longLists.Release(1)
		}
	}
	events, err := openim.DecodeCallback(command, content.Data)
	if err != nil {
		return noDialect, h.reject(ctx, c, command, size, err)
	}
	if len(events) == 0 {
		h.stats.count(openim.CommandLabel(command), noDialect, time.Now())
		h.succeed(c)
		return noDialect, resultAcknowledged
	}
	first := events[0] // the slice is the sink's
	dialect = first.Kind.Dialect()
	err = h.sink.Submit(ctx, events)
	var refused *readstate.InputError
	if errors.As(err, &refused) { // recorded and logged by the sink
		h.fail(c, http.StatusBadRequest, refused.Code, refused.Message, refused.Detail)
		return dialect, resultRejected
	} else if err != nil {
		h.notDurable.Log(ctx, slog.String("command", command), slog.Any("error", err),
			slog.String("request_id", c.Writer.Header().Get(requestIDHeader)), slog.String("operation_id", operationID(c)))
		h.fail(c, http.StatusServiceUnavailable, readstate.CodeNotDurable,
			"the callback could not be stored", "neither database nor spool took it; it is lost unless it is sent again")
		return dialect, resultFailed
	}
	if first.Kind == readstate.EventServerReceipt {
		h.metrics.unattributed.Inc()
	}
	if !first.Kind.IsReceipt() || first.UserID != ProbeUserID {
		h.stats.count(openim.CommandLabel(command), dialect, time.Now())
	}
	h.succeed(c)
	return dialect, resultAccepted
}

// unreadable says why a body could not be read.
func unreadable(err error, command string) error {
	input := &readstate.InputError{
		Code: readstate.CodeMalformedBody, Field: "body",
		Message: "body ended early", Detail: "the request's body could not be read to its end",
	}
	switch {
	case errors.Is(err, body.ErrTooLarge):
		input.Code, input.Message = readstate.CodeBodyTooLarge, "body is too large"
		input.Detail = fmt.Sprintf("expected at most %d bytes", openim.BodyLimit(command))
	case errors.Is(err, body.ErrLate):
		input.Code, input.Message = readstate.CodeBodyLate, "body did not arrive in time"
		input.Detail = "the whole body has to be sent at once"
	case errors.Is(err, body.ErrEncoding):
		input.Code, input.Field = readstate.CodeEncoding, "Content-Encoding"
		input.Message = "Content-Encoding cannot be read"
		input.Detail = "expected gzip, deflate or none"
	case errors.Is(err, body.ErrNoRoom):
		input.Code, input.Message = readstate.CodeNoRoom, "body is large and found no room"
		input.Detail = "other large bodies are being received; send it again"
	}
	return input
}

// rejectedAs gives the HTTP status of a rejection.
func rejectedAs(code readstate.Code) int {
	switch code {
	case readstate.CodeBodyTooLarge:
		return http.StatusRequestEntityTooLarge
	case readstate.CodeEncoding:
		return http.StatusUnsupportedMediaType
	case readstate.CodeBodyLate:
		return http.StatusRequestTimeout
	case readstate.CodeNoRoom:
		return http.StatusServiceUnavailable
	default:
		return http.StatusBadRequest
	}
}

// reject records a callback that was refused, without its body, and answers it.
func (h *Handler) reject(ctx context.Context, c *gin.Context, command string, size int64, err error) result {
	var input *readstate.InputError
	if !errors.As(err, &input) {
		input = &readstate.InputError{Code: readstate.CodeMalformedBody, Field: "body", Message: "body cannot be read"}
	}
	h.logger.WarnContext(ctx, "callback rejected", "command", command, "code", input.Code,
		"field", input.Field, "reason", input.Message, "body_bytes", size,
		"request_id", c.Writer.Header().Get(requestIDHeader), "operation_id", operationID(c))
	err = h.sink.Reject(ctx, readstate.Rejection{
		Command: command, Code: input.Code, Field: input.Field, Reason: input.Message, Size: size,
		UserID: input.UserID, GroupID: input.GroupID,
	})
	if err != nil {
		h.metrics.unrecorded.Inc()
		h.notRecorded.Log(ctx, slog.String("command", command), slog.Any("error", err),
			slog.String("request_id", c.Writer.Header().Get(requestIDHeader)), slog.String("operation_id", operationID(c)))
	}
	h.fail(c, rejectedAs(input.Code), input.Code, input.Message, input.Detail)
	return resultRejected
}

func (h *Handler) unknownPath(c *gin.Context) {
	// Only the last segment, and never the token or the query.
	last := ""
	if parts := segments(c.Request.URL); len(parts) > 0 {
		last = parts[len(parts)-1]
	}
	h.unknown.Log(c.Request.Context(), slog.String("last_segment", h.token.Load().redact(last)),
		slog.String("request_id", c.Writer.Header().Get(requestIDHeader)), slog.String("operation_id", operationID(c)))
	h.fail(c, http.StatusNotFound, readstate.CodeUnknownPath, "the path names no callback command",
		"expected POST /callback…Command")
}

// succeed answers with the same bytes every time.
func (h *Handler) succeed(c *gin.Context) {
	c.Data(http.StatusOK, "application/json; charset=utf-8", h.success)
}

func (h *Handler) fail(c *gin.Context, status int, code readstate.Code, message, detail string) {
	h.metrics.failed(code)
	c.JSON(status, openim.Failure(code, message, detail))
}

// operationID is OpenIM's ID of what it does, for the log; real ones are short.
func operationID(c *gin.Context) string {
	const limit = 128
	text := c.GetHeader("Operationid")
	return text[:min(len(text), limit)]
}

// segments gives the path's non-empty segments, unescaped.
func segments(u *url.URL) []string {
	parts := strings.FieldsFunc(u.EscapedPath(), func(r rune) bool { return r == '/' })
	for i, part := range parts {
		if plain, err := url.PathUnescape(part); err == nil {
			parts[i] = plain
		}
	}
	return parts
}

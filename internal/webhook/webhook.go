// Package webhook receives OpenIM's callbacks over HTTP and answers them in
// OpenIM's shape, after what they tell is durable.
package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"readmark/internal/openim"
	"readmark/internal/readstate"
)

// Sink makes callbacks durable. Its methods block until that is done and return an
// error when it could not be; those that submit a [readstate.InputError], which
// they have recorded, when the callback can never be stored.
type Sink interface {
	Submit(ctx context.Context, receipt readstate.Receipt) error
	SubmitMessage(ctx context.Context, message readstate.Message) error
	SubmitChange(ctx context.Context, change readstate.Change) error
	Reject(ctx context.Context, rejection readstate.Rejection) error
}

// Handler answers callbacks. It is safe for concurrent use.
type Handler struct {
	sink    Sink
	token   token
	logger  *slog.Logger
	metrics *metrics
	// unknownLog lets one log line about unknown paths through a minute.
	unknownLog *rate.Limiter
	success    []byte // the answer, encoded
	heard      heard
	// ownSite refuses what a browser sends for a page of another site: without a
	// token such a page could make up receipts on an address that only its reader
	// can reach.
	ownSite *http.CrossOriginProtection
}

// New returns a handler whose callbacks must carry the token; an empty token
// lets every callback in. Metrics are registered with the registry.
func New(sink Sink, secret string, registry prometheus.Registerer, logger *slog.Logger) *Handler {
	success, err := json.Marshal(openim.Success())
	if err != nil {
		panic(err) // five constant fields
	}
	return &Handler{
		sink: sink, token: token(secret), logger: logger, metrics: newMetrics(registry), success: success,
		unknownLog: rate.NewLimiter(rate.Every(time.Minute), 1), ownSite: http.NewCrossOriginProtection(),
	}
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
	command, err := h.token.command(segments(c.Request.URL), c.Request)
	switch {
	case errors.Is(err, errUnauthorized):
		h.fail(c, http.StatusUnauthorized, readstate.CodeUnauthorized, "callback token is missing or wrong",
			"expected the token as first path segment or as password of HTTP Basic")
		h.metrics.observe("", 0, resultUnauthorized, time.Since(started))
	case h.ownSite.Check(c.Request) != nil:
		h.fail(c, http.StatusForbidden, readstate.CodeOtherSite, "callback comes from a web page of another site",
			"expected OpenIM, which sends neither Origin nor Sec-Fetch-Site")
		h.metrics.observe("", 0, resultUnauthorized, time.Since(started))
	case err != nil:
		h.unknownPath(c)
		h.metrics.observe("", 0, resultUnknownPath, time.Since(started))
	case openim.IsUsed(command):
		dialect, r := h.callback(c, command)
		h.metrics.observe(command, dialect, r, time.Since(started))
	default:
		// Not used: acknowledged without a look at the body, which is drained
		// so that the connection can carry the next callback.
		_, _ = io.Copy(io.Discard, io.LimitReader(c.Request.Body, readstate.MaxBodyBytes))
		h.succeed(c)
		h.metrics.observe(command, 0, resultAcknowledged, time.Since(started))
		h.heard.note(openim.CommandLabel(command), 0, started)
	}
}

// callback takes a callback that is used from its body to its answer.
func (h *Handler) callback(c *gin.Context, command string) (readstate.Dialect, result) {
	// A client that goes away must not undo what it has sent.
	ctx := context.WithoutCancel(c.Request.Context())
	body, err := io.ReadAll(http.MaxBytesReader(underlying(c.Writer), c.Request.Body, readstate.MaxBodyBytes))
	if err != nil {
		return 0, h.reject(ctx, c, command, int64(len(body)), unreadable(err))
	}
	told, err := openim.DecodeCallback(command, body)
	if err != nil {
		return 0, h.reject(ctx, c, command, int64(len(body)), err)
	}
	dialect, accepted := readstate.Dialect(0), resultAccepted
	switch {
	case told.Receipt != nil:
		dialect = told.Receipt.Dialect
		err = h.sink.Submit(ctx, *told.Receipt)
	case told.Message != nil:
		err = h.sink.SubmitMessage(ctx, *told.Message)
	case told.Change != nil:
		err = h.sink.SubmitChange(ctx, *told.Change)
	default:
		accepted = resultAcknowledged
	}
	var refused *readstate.InputError
	if errors.As(err, &refused) { // recorded and logged by the sink
		h.fail(c, http.StatusBadRequest, refused.Code, refused.Message, refused.Detail)
		return dialect, resultRejected
	} else if err != nil {
		h.logger.ErrorContext(ctx, "callback not durable", "command", command, "error", err,
			"request_id", c.GetString("request_id"), "operation_id", operationID(c))
		h.fail(c, http.StatusServiceUnavailable, readstate.CodeNotDurable,
			"the callback could not be stored", "neither database nor spool took it; it is lost unless it is sent again")
		return dialect, resultFailed
	}
	if dialect == readstate.DialectServer {
		h.metrics.unattributed.Inc()
	}
	if told.Receipt == nil || told.Receipt.UserID != ProbeUserID {
		h.heard.note(openim.CommandLabel(command), dialect, time.Now())
	}
	h.succeed(c)
	return dialect, accepted
}

// unreadable says why a body could not be read.
func unreadable(err error) error {
	input := &readstate.InputError{
		Code: readstate.CodeMalformedBody, Field: "body",
		Message: "body ended early", Detail: "the request's body could not be read to its end",
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		input.Code = readstate.CodeBodyTooLarge
		input.Message = "body is too large"
		input.Detail = fmt.Sprintf("expected at most %d bytes", readstate.MaxBodyBytes)
	}
	return input
}

// reject records a callback that was refused, without its body, and answers it.
func (h *Handler) reject(ctx context.Context, c *gin.Context, command string, size int64, err error) result {
	var input *readstate.InputError
	if !errors.As(err, &input) {
		input = &readstate.InputError{Code: readstate.CodeMalformedBody, Field: "body", Message: "body cannot be read"}
	}
	h.logger.WarnContext(ctx, "callback rejected", "command", command, "code", input.Code,
		"field", input.Field, "reason", input.Message, "body_bytes", size,
		"request_id", c.GetString("request_id"), "operation_id", operationID(c))
	err = h.sink.Reject(ctx, readstate.Rejection{
		Command: command, Code: input.Code, Field: input.Field, Reason: input.Message, Size: size,
		UserID: input.UserID, GroupID: input.GroupID,
	})
	if err != nil {
		h.metrics.unrecorded.Inc()
		h.logger.ErrorContext(ctx, "rejected callback not recorded", "command", command, "error", err,
			"request_id", c.GetString("request_id"), "operation_id", operationID(c))
	}
	status := http.StatusBadRequest
	if input.Code == readstate.CodeBodyTooLarge {
		status = http.StatusRequestEntityTooLarge
	}
	h.fail(c, status, input.Code, input.Message, input.Detail)
	return resultRejected
}

func (h *Handler) unknownPath(c *gin.Context) {
	if h.unknownLog.Allow() {
		// Only the last segment, and never the token or the query.
		last := ""
		if parts := segments(c.Request.URL); len(parts) > 0 {
			last = parts[len(parts)-1]
		}
		h.logger.WarnContext(c.Request.Context(), "callback to an unknown path, check OpenIM's webhook url",
			"last_segment", h.token.redact(last),
			"request_id", c.GetString("request_id"), "operation_id", operationID(c))
	}
	h.fail(c, http.StatusNotFound, readstate.CodeUnknownPath, "the path names no callback command",
		"expected POST /callback…Command")
}

// succeed answers with the same bytes every time.
func (h *Handler) succeed(c *gin.Context) {
	c.Data(http.StatusOK, "application/json; charset=utf-8", h.success)
}

func (h *Handler) fail(c *gin.Context, status int, code readstate.Code, message, detail string) {
	c.JSON(status, openim.Failure(code, message, detail))
}

// underlying gives the writer of net/http, which then closes the connection behind a
// body that is too large. It would wait for the rest otherwise.
func underlying(w http.ResponseWriter) http.ResponseWriter {
	if wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter }); ok {
		return wrapper.Unwrap()
	}
	return w
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

package webhook

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"readmark/internal/lograte"
	"readmark/internal/openim"
)

var (
	errUnauthorized = errors.New("unauthorized")
	errUnknownPath  = errors.New("unknown path")
)

// token is the callbacks' secret; empty lets everybody in. OpenIM's URL can
// carry it in two forms: as the first path segment, or as the password of
// HTTP Basic.
type token string

// command finds the callback command in the path's segments, or says why
// there is none. Without a token, or with Basic, one segment may stand before
// the command: OpenIM's default URL ends in /callbackExample.
func (t token) command(path []string, request *http.Request) (string, error) {
	base := 1
	if t != "" {
		_, password, _ := request.BasicAuth()
		switch {
		case len(path) > 0 && t.equal(path[0]):
			path, base = path[1:], 0
		case !t.equal(password):
			return "", errUnauthorized
		}
	}
	if len(path) == 0 || len(path) > base+1 || !openim.IsCommand(path[len(path)-1]) {
		return "", errUnknownPath
	}
	return path[len(path)-1], nil
}

// equal compares in a time that does not depend on where the two differ.
func (t token) equal(candidate string) bool {
	a, b := sha256.Sum256([]byte(t)), sha256.Sum256([]byte(candidate))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// redact makes a path segment fit for a log.
func (t token) redact(segment string) string {
	const limit = 64
	if t != "" && t.equal(segment) {
		return "[redacted]"
	}
	if len(segment) > limit {
		segment = segment[:limit]
	}
	return segment
}

// rereader reads the token again: once a second while callbacks come, and for a callback that is
// refused, since OpenIM does not send it again.
type rereader struct {
	read    func() (string, error)
	due     *rate.Limiter
	refused *rate.Limiter // others than OpenIM may send as much as they like
	warn    *lograte.Line // that it cannot be read
}

// refusedBurst is for how many refused callbacks the token is read again at once.
const refusedBurst = 10

func newRereader(read func() (string, error), logger *slog.Logger) *rereader {
	if read == nil {
		return nil
	}
	return &rereader{
		read: read, due: rate.NewLimiter(rate.Every(time.Second), 1), refused: rate.NewLimiter(rate.Every(time.Second), refusedBurst),
		warn: lograte.New(logger, slog.LevelWarn, "the callbacks' token cannot be read again: the last one stays good"),
	}
}

// readToken reads the token again. Where that fails it stays as it is.
func (h *Handler) readToken(ctx context.Context) {
	secret, err := h.current.read()
	if err != nil {
		h.current.warn.Log(ctx, slog.Any("error", err))
		return
	}
	h.token.Store((*token)(&secret))
}

// command finds the callback command of a request.
func (h *Handler) command(request *http.Request) (string, error) {
	if h.current != nil && h.current.due.Allow() {
		h.readToken(request.Context())
	}
	path := segments(request.URL)
	command, err := h.token.Load().command(path, request)
	if h.current == nil || !errors.Is(err, errUnauthorized) || !h.current.refused.Allow() {
		return command, err
	}
	h.readToken(request.Context())
	return h.token.Load().command(path, request)
}

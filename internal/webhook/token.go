package webhook

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"time"

	"golang.org/x/time/rate"

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

// rereader reads the token again, for a callback that is not let in by the one that is known.
type rereader struct {
	read  func() (string, error)
	limit *rate.Limiter // others than OpenIM may send as much as they like
}

// OnUnknownToken has the token read again when a callback comes with another one, at most once a
// second. It must be called before any callback comes. An error leaves the token as it is.
func (h *Handler) OnUnknownToken(read func() (string, error)) {
	if read != nil {
		h.current = &rereader{read: read, limit: rate.NewLimiter(rate.Every(time.Second), 1)}
	}
}

// command finds the callback command of a request.
func (h *Handler) command(request *http.Request) (string, error) {
	path := segments(request.URL)
	command, err := h.token.Load().command(path, request)
	if h.current == nil || !errors.Is(err, errUnauthorized) || !h.current.limit.Allow() {
		return command, err
	}
	secret, readErr := h.current.read()
	if readErr != nil {
		h.logger.WarnContext(request.Context(), "the callbacks' token cannot be read again", "error", readErr)
		return command, err
	}
	h.token.Store((*token)(&secret))
	return h.token.Load().command(path, request)
}

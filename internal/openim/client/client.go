// Package client calls OpenIM's REST API, as far as read states need it. What it knows
// of the API comes from OpenIM's public sources and from recorded answers
// (testdata/rest.jsonl).
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"

	"readmark/internal/lograte"
)

const (
	// defaultTimeout bounds one request where the options do not, and maxTimeout what it may
	// grow to for a user whose answers take long. rememberedTimeouts is of how many users
	// that is remembered.
	defaultTimeout     = 10 * time.Second
	maxTimeout         = time.Minute
	rememberedTimeouts = 4096
	// attempts is how often a request is sent.
	attempts = 3
	// firstPause is before the second attempt; each further one waits twice as long.
	firstPause = 100 * time.Millisecond
	// maxConcurrent bounds the requests under way.
	maxConcurrent = 16
	maxAnswer     = 64 << 20
)

// ErrUnavailable says that OpenIM did not answer, or not in its own format. The same
// call may succeed later.
var ErrUnavailable = errors.New("openim unavailable")

// ErrTokenEnded says that OpenIM refused a token right after it had been issued, as
// happens while somebody else logs in as the same user all the time. It comes with
// [ErrUnavailable] and the [Error].
var ErrTokenEnded = errors.New("openim ended a new token")

// Error is OpenIM's refusal of a call: an errCode that is not zero.
type Error struct {
	Path    string
	Code    int
	Message string
	Detail  string
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("openim refused %s: errCode %d, %s: %s", e.Path, e.Code, e.Message, e.Detail)
}

// IsLogin reports whether it was the login that OpenIM refused.
func (e *Error) IsLogin() bool { return strings.HasPrefix(e.Path, "/auth/") }

// codeNotFound is the errCode of what OpenIM does not know (RecordNotFoundError).
const codeNotFound = 1004

// IsUnknown reports whether OpenIM answered that it does not know the group or user of
// a call. Repeating the call would not help.
func IsUnknown(err error) bool {
	var refused *Error
	return errors.As(err, &refused) && refused.Code == codeNotFound
}

// Options configures a Client.
type Options struct {
	URL         string // base URL of OpenIM's API; a trailing slash is fine
	AdminUserID string
	Secret      string
	// CurrentSecret gives the secret at the time of a login, which may have been changed; nil: it
	// stays the same.
	CurrentSecret func() (string, error)
	MaxRPS        float64               // requests per second, above zero
	Timeout       time.Duration         // of one request; 0: 10 s
	Registry      prometheus.Registerer // nil: no metrics
	Transport     http.RoundTripper     // nil: connections of its own, which are reused
	Now           func() time.Time      // nil: the machine's clock
	// Outcome is told how each call ended whose context has not; nil: nobody is. It must not block.
	Outcome func(err error)
	Logger  *slog.Logger
	// Tokens shares the token among processes; nil: this client logs in for itself. A new
	// login of a user ends its older tokens.
	Tokens TokenStore
}

// Client calls OpenIM. It is safe for concurrent use. A call blocks until it is answered,
// has failed three times, or its context ends; the rate limit may hold it back, too.
type Client struct {
	options Options
	base    string
	http    *http.Client
	limiter *limiter
	metrics *metrics
	// timeouts are those of users whose answers took longer than Options.Timeout.
	timeouts *lru.Cache[string, time.Duration]

	secret atomic.Pointer[string]
	shared *shared       // nil: tokens are not shared
	tokens chan struct{} // a lock that a context can end; it guards the fields below
	token  token
	older  bool         // the server only knows user_token
	alone  bool         // the token is this process's, since the store could not be asked
	failed error        // how the last login failed; nil after one that succeeded
	logins atomic.Int64 // logins that have ended; read without the lock

	ended *lograte.Line // of tokens that do not last
}

// New returns a client; it does not connect.
func New(o Options) *Client {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	timeouts, err := lru.New[string, time.Duration](rememberedTimeouts)
	if err != nil {
		panic(err) // the size is above zero
	}
	if o.Transport == nil {
		o.Transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: maxConcurrent, IdleConnTimeout: 90 * time.Second,
			TLSHandshakeTimeout: o.Timeout,
		}
	}
	base := strings.TrimRight(o.URL, "/")
	c := &Client{
		options: o, base: base, shared: newShared(&o, base),
		http: &http.Client{
			Transport:     o.Transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		limiter: newLimiter(o.MaxRPS),
		tokens:  make(chan struct{}, 1),
		metrics: newMetrics(o.Registry), timeouts: timeouts,
		ended: lograte.New(o.Logger, slog.LevelWarn, "openim ends tokens as soon as they are issued: who else logs in as this admin user?"),
	}
	c.secret.Store(&o.Secret)
	return c
}

// Close closes connections that are idle.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// envelope is the shape of every answer.
type envelope struct {
	ErrCode *int            `json:"errCode"`
	ErrMsg  string          `json:"errMsg"`
	ErrDlt  string          `json:"errDlt"`
	Data    json.RawMessage `json:"data"`
}

// call posts a request with the token and decodes the answer's data. It retries what may
// pass, and gets another token when the token has ended. It fails with [ErrTokenEnded] when
// that does not last either.
func (c *Client) call(ctx context.Context, path string, request, data any) error {
	return c.callWithin(ctx, c.options.Timeout, path, request, data)
}

// callWithin is call with a bound of its own for each request.
func (c *Client) callWithin(ctx context.Context, timeout time.Duration, path string, request, data any) error {
	err := c.callAgain(ctx, timeout, path, request, data)
	if c.options.Outcome != nil && ctx.Err() == nil {
		c.options.Outcome(err)
	}
	return err
}

func (c *Client) callAgain(ctx context.Context, timeout time.Duration, path string, request, data any) error {
	token, _, err := c.login(ctx, "")
	if err != nil {
		return err
	}
	// A stored token may have ended, too. One that was got for this call has not.
	for repeats := 2; ; repeats-- {
		err = c.post(ctx, timeout, path, token, request, data)
		var refused *Error
		if !errors.As(err, &refused) || !tokenEnded(refused.Code) {
			return err
		}
		if repeats == 0 {
			return c.endedAgain(ctx, err)
		}
		var own bool
		if token, own, err = c.login(ctx, token); err != nil {
			return err
		}
		if own || c.shared == nil {
			repeats = 1
		}
	}
}

// post sends a request until it is answered, all attempts have failed, or the context
// ends.
func (c *Client) post(ctx context.Context, timeout time.Duration, path, token string, request, data any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("encode request of %s: %w", path, err)
	}
	pause := firstPause
	for attempt := 1; ; attempt++ {
		err = c.attempt(ctx, timeout, path, token, body, data)
		if !errors.Is(err, ErrUnavailable) || attempt == attempts || ctx.Err() != nil {
			return err
		}
		c.options.Logger.DebugContext(ctx, "openim did not answer, trying again", "path", path, "error", err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", err, ctx.Err())
		case <-time.After(pause/2 + rand.N(pause)): //nolint:gosec // no secret
		}
		pause *= 2
	}
}

// attempt sends a request once.
func (c *Client) attempt(ctx context.Context, timeout time.Duration, path, token string, body []byte, data any) error {
	if err := c.limiter.wait(ctx); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUnavailable, path, err)
	}
	defer c.limiter.release()
	started := time.Now()
	err := c.send(ctx, timeout, path, token, body, data)
	c.metrics.observe(path, err, time.Since(started))
	return err
}

func (c *Client) send(ctx context.Context, timeout time.Duration, path, token string, body []byte, data any) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make request of %s: the address of OpenIM cannot be used", path) // err quotes it, with its password
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("operationID", uuid.NewString())
	if token != "" {
		request.Header.Set("token", token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		var about *url.Error
		if errors.As(err, &about) {
			err = about.Err // without the URL
		}
		return fmt.Errorf("%w: %s: %w", ErrUnavailable, path, err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("%w: %s: read answer: %w", ErrUnavailable, path, err)
	case response.StatusCode == http.StatusNotFound:
		return &Error{Path: path, Code: http.StatusNotFound, Message: "HTTP 404", Detail: "the server does not know the path"}
	case response.StatusCode != http.StatusOK:
		return fmt.Errorf("%w: %s: HTTP status %d", ErrUnavailable, path, response.StatusCode)
	case len(answer) > maxAnswer:
		return fmt.Errorf("%w: %s: the answer is too large", ErrUnavailable, path)
	}
	var e envelope
	if err := json.Unmarshal(answer, &e); err != nil || e.ErrCode == nil {
		return fmt.Errorf("%w: %s: the answer is not OpenIM's", ErrUnavailable, path)
	}
	if *e.ErrCode != 0 {
		return &Error{Path: path, Code: *e.ErrCode, Message: c.redact(e.ErrMsg, token), Detail: c.redact(e.ErrDlt, token)}
	}
	if err := json.Unmarshal(e.Data, data); err != nil || string(e.Data) == "null" {
		return fmt.Errorf("%w: %s: the answer's data are not as expected", ErrUnavailable, path)
	}
	return nil
}

// redact removes the secret and the token from an error text, where a server may repeat
// them.
func (c *Client) redact(text, token string) string {
	for _, secret := range []string{c.options.Secret, *c.secret.Load(), token} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "[redacted]")
		}
	}
	return text
}

// Package client reads unread counts from Readmark, and erases users and groups. Its
// requests and types are generated from the OpenAPI document, docs/openapi.json; this
// front adds keys, retries of reads, a cache of ETags, iteration over pages, and
// errors to tell apart.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	lru "github.com/hashicorp/golang-lru/v2"

	"readmark/client/internal/rest"
)

const (
	defaultAttempts = 4
	defaultCached   = 1000
	firstWait       = 50 * time.Millisecond
	longestWait     = 2 * time.Second
	// maxAnswerBytes bounds what is read of one answer.
	maxAnswerBytes = 64 << 20
)

// Options configures a Client. The zero value reads without a key.
type Options struct {
	// Key is an API key, rmk_….
	Key string
	// HTTPClient makes single requests; nil: one with http.DefaultTransport. Bound
	// calls by their contexts.
	HTTPClient *http.Client
	// Attempts is how often a read is tried when the connection breaks, or the answer is
	// 429, 502, 503 or 504; Retry-After is heeded. Zero: 4. Writes are tried once.
	Attempts int
	// Cached is how many answers are kept, to be asked for with their ETags: an answer
	// that has not changed is not sent again. Zero: 1000; negative: none.
	Cached int
}

// Client talks to one Readmark, or to any of several replicas behind one URL. It is
// safe for concurrent use.
type Client struct {
	base  string
	key   string
	once  *http.Client
	again *retryablehttp.Client
	kept  *lru.Cache[string, kept] // nil: none
}

// kept is an answer that the server may say has not changed.
type kept struct {
	etag string
	body []byte
}

// New makes a client for a URL such as http://readmark:8080.
func New(baseURL string, options Options) (*Client, error) {
	u, err := url.Parse(baseURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not a URL such as http://readmark:8080", baseURL)
	}
	c := &Client{base: strings.TrimSuffix(u.String(), "/"), key: options.Key, once: options.HTTPClient}
	if c.once == nil {
		c.once = &http.Client{}
	}
	if options.Attempts == 0 {
		options.Attempts = defaultAttempts
	}
	c.again = retryablehttp.NewClient()
	c.again.HTTPClient, c.again.Logger = c.once, nil
	c.again.RetryMax, c.again.RetryWaitMin, c.again.RetryWaitMax = options.Attempts-1, firstWait, longestWait
	c.again.Backoff = retryablehttp.RateLimitLinearJitterBackoff
	c.again.CheckRetry = retry
	c.again.ErrorHandler = retryablehttp.PassthroughErrorHandler
	if options.Cached == 0 {
		options.Cached = defaultCached
	}
	if options.Cached > 0 {
		if c.kept, err = lru.New[string, kept](options.Cached); err != nil {
			return nil, fmt.Errorf("make cache: %w", err)
		}
	}
	return c, nil
}

// retry reports whether a read may succeed when it is tried again.
func retry(ctx context.Context, answer *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil {
		return retryablehttp.DefaultRetryPolicy(ctx, answer, err)
	}
	switch answer.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true, nil
	default:
		return false, nil
	}
}

// do sends a request that was built from the document, to the path that the segments
// make, and decodes the answer.
func (c *Client) do(ctx context.Context, request *http.Request, err error, into any, segments ...string) error {
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	setPath(request, segments)
	request = request.WithContext(ctx)
	request.Header.Set("Accept", "application/json")
	if c.key != "" {
		request.Header.Set("Authorization", "Bearer "+c.key)
	}
	body, err := c.answer(request)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	return nil
}

// result sends a request and gives the answer; nil beside an error, so that nobody
// takes what is unknown for zero.
func result[T any](ctx context.Context, c *Client, request *http.Request, err error, segments ...string) (*T, error) {
	answer := new(T)
	if err := c.do(ctx, request, err, answer, segments...); err != nil {
		return nil, err
	}
	return answer, nil
}

// answer gives the body of a successful answer, be it one that was kept.
func (c *Client) answer(request *http.Request) ([]byte, error) {
	address := request.URL.String()
	var before kept
	keeping := c.kept != nil && request.Method == http.MethodGet
	if keeping {
		if before, _ = c.kept.Get(address); before.etag != "" {
			request.Header.Set("If-None-Match", before.etag)
		}
	}
	answer, err := c.send(request)
	if err != nil {
		return nil, fmt.Errorf("ask Readmark: %w", err)
	}
	defer answer.Body.Close() //nolint:errcheck // it is read to its end
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswerBytes))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read answer: %w", err)
	case answer.StatusCode == http.StatusNotModified && before.etag != "":
		return before.body, nil
	case answer.StatusCode != http.StatusOK:
		return nil, newError(answer, body)
	}
	if etag := answer.Header.Get("ETag"); keeping && etag != "" {
		c.kept.Add(address, kept{etag, body})
	}
	return body, nil
}

func (c *Client) send(request *http.Request) (*http.Response, error) {
	if request.Method != http.MethodGet {
		return c.once.Do(request)
	}
	retryable, err := retryablehttp.FromRequest(request)
	if err != nil {
		return nil, err
	}
	return c.again.Do(retryable)
}

// setPath puts each segment into the path as it is: the generated code would take the
// IDs "." and ".." for steps of a path.
func setPath(request *http.Request, segments []string) {
	plain, _, _ := strings.Cut(request.URL.Path, "/v1/")
	raw, _, _ := strings.Cut(request.URL.EscapedPath(), "/v1/")
	escaped := make([]string, len(segments))
	for i, segment := range segments {
		escaped[i] = strings.ReplaceAll(url.PathEscape(segment), ".", "%2E")
	}
	request.URL.Path = plain + "/v1/" + strings.Join(segments, "/")
	request.URL.RawPath = raw + "/v1/" + strings.Join(escaped, "/")
}

// given is a pointer to a value, nil for the zero value: a parameter that is left out.
func given[T comparable](value T) *T {
	var zero T
	if value == zero {
		return nil
	}
	return &value
}

// State gives the state of a user in a group. Its error is [ErrUnknown] when nothing
// is known: unknown is not zero.
func (c *Client) State(ctx context.Context, userID, groupID string) (*StateAnswer, error) {
	return c.StateAt(ctx, userID, groupID, time.Time{})
}

// StateAt gives the state as it was at a moment; the zero time is now. Its error is
// [ErrGone] when the moment lies before what the journal keeps.
func (c *Client) StateAt(ctx context.Context, userID, groupID string, at time.Time) (*StateAnswer, error) {
	request, err := rest.NewGetStateRequest(c.base, "-", "-", &rest.GetStateParams{At: given(at)})
	return result[StateAnswer](ctx, c, request, err, "users", userID, "groups", groupID)
}

// Badge gives the sums over a user's groups, or [ErrUnknown].
func (c *Client) Badge(ctx context.Context, userID string) (*Badge, error) {
	return c.BadgeAt(ctx, userID, time.Time{})
}

// BadgeAt gives the badge as it was at a moment; see [Client.StateAt].
func (c *Client) BadgeAt(ctx context.Context, userID string, at time.Time) (*Badge, error) {
	request, err := rest.NewGetBadgeRequest(c.base, "-", &rest.GetBadgeParams{At: given(at)})
	return result[Badge](ctx, c, request, err, "users", userID, "unread")
}

// GroupSum gives the sums over a group's readers, or [ErrUnknown].
func (c *Client) GroupSum(ctx context.Context, groupID string) (*GroupSum, error) {
	request, err := rest.NewGetGroupSumRequest(c.base, "-", &rest.GetGroupSumParams{})
	return result[GroupSum](ctx, c, request, err, "groups", groupID, "unread")
}

// Query gives many states and badges at one moment, up to a thousand of each, in the
// order asked. Whether something is known stands with each of them.
func (c *Client) Query(ctx context.Context, pairs []Pair, userIDs []string) (*QueryAnswer, error) {
	body, err := json.Marshal(rest.QueryInputBody{Pairs: &pairs, UserIDs: &userIDs})
	if err != nil {
		return nil, fmt.Errorf("encode query: %w", err)
	}
	request, err := rest.NewQueryUnreadRequestWithBody(c.base, "application/json", bytes.NewReader(body))
	return result[QueryAnswer](ctx, c, request, err, "unread", "query")
}

// Drift tells how far counts were from OpenIM's when they were last compared.
func (c *Client) Drift(ctx context.Context) (*Drift, error) {
	request, err := rest.NewGetDriftRequest(c.base)
	return result[Drift](ctx, c, request, err, "drift")
}

// EraseUser removes what is known of a user. After an error the same call goes on.
func (c *Client) EraseUser(ctx context.Context, userID string) (*UserErasure, error) {
	request, err := rest.NewEraseUserRequest(c.base, "-")
	return result[UserErasure](ctx, c, request, err, "users", userID)
}

// EraseGroup removes what is known of a group. After an error the same call goes on.
func (c *Client) EraseGroup(ctx context.Context, groupID string) (*GroupErasure, error) {
	request, err := rest.NewEraseGroupRequest(c.base, "-")
	return result[GroupErasure](ctx, c, request, err, "groups", groupID)
}

// Package client reads unread counts from Readmark, and erases users and groups. Its
// requests and types are generated from the OpenAPI document, docs/openapi.json; this
// front adds keys, retries of reads, a cache of ETags, iteration over pages and over the
// feed of changes, and errors to tell apart.
package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"readmark/client/internal/rest"
)

const (
	defaultAttempts = 4
	defaultCached   = 1000
)

// Options configures a Client. The zero value reads without a key.
type Options struct {
	// Key is an API key, rmk_….
	Key string
	// HTTPClient makes single requests; nil: one with http.DefaultTransport. Bound
	// calls by their contexts.
	HTTPClient *http.Client
	// Attempts is how often a read is tried when the connection breaks, or the answer is
	// 429, 502, 503 or 504. Retry-After is heeded, unless the context ends before: then the
	// answer is given at once. Zero: 4. Writes are tried once.
	Attempts int
	// Cached is how many answers are kept, to be asked for with their ETags: an answer
	// that has not changed is not sent again, and says the asOf with which it was sent.
	// First pages of at most 64 KiB are kept. Zero: 1000; negative: none.
	Cached int
}

// Client talks to one Readmark, or to any of several replicas behind one URL. It is
// safe for concurrent use.
type Client struct {
	rest       *rest.Client
	transport  *transport
	plain, raw string // the path of the base URL, decoded and as it is sent
}

// New makes a client for a URL such as http://readmark:8080.
func New(baseURL string, options Options) (*Client, error) {
	u, err := url.Parse(baseURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not a URL such as http://readmark:8080", baseURL)
	}
	doer, err := newTransport(&options)
	if err != nil {
		return nil, err
	}
	generated, err := rest.NewClient(u.String(), rest.WithHTTPClient(doer))
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	return &Client{generated, doer, strings.TrimSuffix(u.Path, "/"), strings.TrimSuffix(u.EscapedPath(), "/")}, nil
}

var errNotReadmark = errors.New("the answer is not Readmark's: it does not say as of when")

// result decodes an answer; nil beside an error, so that nobody takes what is unknown
// for zero.
func result[T any](answer *http.Response, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }() // it is in memory
	if answer.StatusCode != http.StatusOK {
		return nil, newError(answer)
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	var dated struct{ AsOf, ErasedAt time.Time } // every answer says one of them
	decoded := new(T)
	if err := errors.Join(json.Unmarshal(body, &dated), json.Unmarshal(body, decoded)); err != nil {
		return nil, fmt.Errorf("decode answer: %w", err)
	}
	if dated.AsOf.IsZero() && dated.ErasedAt.IsZero() {
		return nil, errNotReadmark
	}
	return decoded, nil
}

// path puts each segment into the path as it is: the generated code would take the
// IDs "." and ".." for steps of a path.
func (c *Client) path(segments ...string) rest.RequestEditorFn {
	return func(_ context.Context, request *http.Request) error {
		escaped := make([]string, len(segments))
		for i, segment := range segments {
			escaped[i] = strings.ReplaceAll(url.PathEscape(segment), ".", "%2E")
		}
		request.URL.Path = c.plain + "/v1/" + strings.Join(segments, "/")
		request.URL.RawPath = c.raw + "/v1/" + strings.Join(escaped, "/")
		return nil
	}
}

package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	firstWait   = 50 * time.Millisecond
	longestWait = 2 * time.Second
	// maxKeptBytes bounds an answer that is kept.
	maxKeptBytes = 64 << 10
	// maxAnswerBytes bounds what is read of one answer.
	maxAnswerBytes = 64 << 20
)

// transport sends requests with the key, reads again and with ETags.
type transport struct {
	key   string
	once  *http.Client
	open  *http.Client // for streams: neither reads an answer to its end nor has a time limit
	again *retryablehttp.Client
	kept  *lru.Cache[string, kept] // nil: none
}

// kept is an answer that the server may say has not changed.
type kept struct {
	etag string
	body []byte
}

func newTransport(options *Options) (*transport, error) {
	once := http.Client{}
	if options.HTTPClient != nil {
		once = *options.HTTPClient
	}
	if once.Transport == nil {
		once.Transport = http.DefaultTransport
	}
	open := once
	open.Timeout = 0
	once.Transport = whole{once.Transport}
	t := &transport{key: options.Key, once: &once, open: &open}
	attempts := options.Attempts
	if attempts == 0 {
		attempts = defaultAttempts
	}
	t.again = retryablehttp.NewClient()
	t.again.HTTPClient, t.again.Logger = t.once, nil
	t.again.RetryMax, t.again.RetryWaitMin, t.again.RetryWaitMax = attempts-1, firstWait, longestWait
	t.again.Backoff = backoff
	t.again.CheckRetry = retry
	t.again.ErrorHandler = retryablehttp.PassthroughErrorHandler
	cached := options.Cached
	if cached == 0 {
		cached = defaultCached
	}
	if cached > 0 {
		var err error
		if t.kept, err = lru.New[string, kept](cached); err != nil {
			return nil, fmt.Errorf("make cache: %w", err)
		}
	}
	return t, nil
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
		end, bounded := ctx.Deadline()
		return !bounded || time.Until(end) > retryAfter(answer), nil
	default:
		return false, nil
	}
}

// retryAfter is how long an answer asks to wait, at least.
func retryAfter(answer *http.Response) time.Duration {
	return retryablehttp.DefaultBackoff(0, 0, 0, answer)
}

// backoff waits as long as the answer asks, else longer from time to time, not at the
// same moment as others.
func backoff(shortest, longest time.Duration, attempt int, answer *http.Response) time.Duration {
	wait := retryablehttp.DefaultBackoff(shortest, longest, attempt, answer)
	if answer != nil && answer.Header.Get("Retry-After") != "" {
		return wait
	}
	return wait/2 + rand.N(wait/2+1) //nolint:gosec // no secret
}

// whole reads an answer to its end, so that one that breaks off is tried again.
type whole struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (w whole) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := w.RoundTripper.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswerBytes))
	_ = answer.Body.Close()
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	answer.Body = io.NopCloser(bytes.NewReader(body))
	return answer, nil
}

// Do sends a request, and reads the answer to its end. In place of a 304 it gives the
// answer that was kept.
func (t *transport) Do(request *http.Request) (*http.Response, error) {
	t.authorize(request)
	address := request.URL.String()
	var before kept
	// Pages behind the first are read once, as a rule.
	keeping := t.kept != nil && request.Method == http.MethodGet && !request.URL.Query().Has("cursor")
	if keeping {
		if before, _ = t.kept.Get(address); before.etag != "" {
			request.Header.Set("If-None-Match", before.etag)
		}
	}
	answer, err := t.send(request)
	if request.Context().Err() != nil && err != nil {
		return nil, fmt.Errorf("ask Readmark: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	body, err := io.ReadAll(answer.Body) // it is in memory
	_ = answer.Body.Close()              // which ends the client's timer
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	etag := answer.Header.Get("ETag")
	switch {
	case answer.StatusCode == http.StatusNotModified && before.etag != "":
		answer.StatusCode, body = http.StatusOK, before.body
	case answer.StatusCode == http.StatusOK && keeping && etag != "" && len(body) <= maxKeptBytes:
		t.kept.Add(address, kept{etag, body})
	}
	answer.Body = io.NopCloser(bytes.NewReader(body))
	return answer, nil
}

// stream sends a request, and gives the answer as soon as it begins. Its body is to be
// closed.
func (t *transport) stream(request *http.Request) (*http.Response, error) {
	t.authorize(request)
	return t.open.Do(request)
}

func (t *transport) authorize(request *http.Request) {
	if t.key != "" {
		request.Header.Set("Authorization", "Bearer "+t.key)
	}
}

func (t *transport) send(request *http.Request) (*http.Response, error) {
	if request.Method != http.MethodGet {
		return t.once.Do(request) //nolint:gosec // the URL is the program's own
	}
	retryable, err := retryablehttp.FromRequest(request)
	if err != nil {
		return nil, err
	}
	return t.again.Do(retryable)
}

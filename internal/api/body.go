package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sync/semaphore"
)

const (
	// bodyRoom is how many bytes of large bodies are read and answered at one time,
	// so that many callers with large batches cannot use up the memory.
	bodyRoom = 64 << 20
	// smallBody is what needs no room: a thousand pairs of usual IDs take about as much.
	smallBody = 64 << 10
	// bodyWait is how long a large body waits for room.
	bodyWait = 2 * time.Second
	// maxTokens bounds the JSON tokens of a body. A full batch has 7,008; eight
	// megabytes of "0," would become gigabytes of values and messages.
	maxTokens = 16_384
)

// bodies guards what is read of requests.
type bodies struct {
	api  huma.API
	room *semaphore.Weighted
	wait time.Duration
}

// guard lets a request with a body in when there is room for it, and answers 400
// when its body breaks off or is framed wrongly: huma would call that a 500.
func (b *bodies) guard(ctx huma.Context, next func(huma.Context)) {
	operation := ctx.Operation()
	if operation.RequestBody == nil {
		next(ctx)
		return
	}
	request := humagin.Unwrap(ctx).Request
	size := request.ContentLength
	if size > operation.MaxBodyBytes {
		_ = huma.WriteErr(b.api, ctx, http.StatusRequestEntityTooLarge,
			fmt.Sprintf("request body is too large limit=%d bytes", operation.MaxBodyBytes))
		return
	}
	if size < 0 { // not told in advance
		size = operation.MaxBodyBytes
	}
	if size > smallBody {
		waiting, cancel := context.WithTimeout(ctx.Context(), b.wait)
		err := b.room.Acquire(waiting, size)
		cancel()
		if err != nil {
			ctx.SetHeader("Retry-After", "1")
			_ = huma.WriteErr(b.api, ctx, http.StatusServiceUnavailable, "too many large requests at the moment")
			return
		}
		defer b.room.Release(size)
	}
	body := &watchedBody{ReadCloser: request.Body}
	request.Body = body
	next(&bodyContext{inner: ctx, body: body})
	if body.broken {
		_ = huma.WriteErr(b.api, ctx, http.StatusBadRequest, "the request body cannot be read to its end")
	}
}

// watchedBody notes that its sender did not send what was announced. A body that
// is merely slow is not broken: huma answers it with 408.
type watchedBody struct {
	io.ReadCloser

	broken bool
}

// Read implements io.Reader.
func (w *watchedBody) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		var timeout net.Error
		w.broken = !errors.As(err, &timeout) || !timeout.Timeout()
	}
	return n, err
}

// inner is a name that the method Context leaves free.
type inner = huma.Context

// bodyContext drops what is answered to a broken body.
type bodyContext struct {
	inner

	body *watchedBody
}

// Unwrap gives the context within, for the adapter.
func (c *bodyContext) Unwrap() huma.Context { return c.inner }

// SetStatus implements huma.Context.
func (c *bodyContext) SetStatus(status int) {
	if !c.body.broken {
		c.inner.SetStatus(status)
	}
}

// SetHeader implements huma.Context.
func (c *bodyContext) SetHeader(name, value string) {
	if !c.body.broken {
		c.inner.SetHeader(name, value)
	}
}

// BodyWriter implements huma.Context.
func (c *bodyContext) BodyWriter() io.Writer {
	if c.body.broken {
		return io.Discard
	}
	return c.inner.BodyWriter()
}

var errTooManyTokens = fmt.Errorf("holds more than %d JSON tokens", maxTokens)

// checkTokens refuses a body that is made of too many values, before they are made.
func checkTokens(data []byte) error {
	// A value begins the text, or stands behind one of these; with a name and an end
	// it is three tokens at most. Only texts that may be too many are counted.
	most := 1
	for _, separator := range []string{",", "[", "{"} {
		most += bytes.Count(data, []byte(separator))
	}
	if 3*most <= maxTokens {
		return nil
	}
	decoder := jsontext.NewDecoder(bytes.NewBuffer(data))
	for range maxTokens {
		if _, err := decoder.ReadToken(); err != nil {
			return nil //nolint:nilerr // the end, or a mistake that is told when the text is decoded
		}
	}
	return errTooManyTokens
}

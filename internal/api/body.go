package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/go-json-experiment/json/jsontext"

	"readmark/internal/body"
)

// bodyWait is how long a large body waits for room.
const bodyWait = 2 * time.Second

// maxTokens bounds the JSON tokens of a body. A full batch has 7,008; eight
// megabytes of "0," would become gigabytes of values and messages.
const maxTokens = 16_384

// bodies reads the bodies of requests, before huma does.
type bodies struct {
	api  huma.API
	room *body.Room
}

// guard reads a request's body within the bounds of package body, and holds its room
// until the request is answered. Huma would make a 500 of a body that breaks off.
func (b *bodies) guard(ctx huma.Context, next func(huma.Context)) {
	operation := ctx.Operation()
	if operation.RequestBody == nil {
		next(ctx)
		return
	}
	c := humagin.Unwrap(ctx)
	content, err := b.room.Read(c.Writer, c.Request, operation.MaxBodyBytes)
	defer content.Release()
	switch {
	case err == nil:
		c.Request.Body = io.NopCloser(bytes.NewReader(content.Data))
		next(ctx)
	case errors.Is(err, body.ErrTooLarge):
		_ = huma.WriteErr(b.api, ctx, http.StatusRequestEntityTooLarge,
			fmt.Sprintf("request body is too large limit=%d bytes", operation.MaxBodyBytes))
	case errors.Is(err, body.ErrEncoding):
		_ = huma.WriteErr(b.api, ctx, http.StatusUnsupportedMediaType, "the Content-Encoding cannot be read: expected gzip, deflate or none")
	case errors.Is(err, body.ErrLate):
		_ = huma.WriteErr(b.api, ctx, http.StatusRequestTimeout, "the request body did not arrive in time")
	case errors.Is(err, body.ErrNoRoom):
		ctx.SetHeader("Retry-After", "1")
		_ = huma.WriteErr(b.api, ctx, http.StatusServiceUnavailable, "too many large requests at the moment")
	default:
		_ = huma.WriteErr(b.api, ctx, http.StatusBadRequest, "the request body cannot be read to its end")
	}
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
			return nil //nolint:nilerr // the end, or a mistake that decoding reports
		}
	}
	return errTooManyTokens
}

package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// inProcess asks a handler of this process.
type inProcess struct{ http.Handler }

// RoundTrip implements http.RoundTripper.
func (h inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	defer func() { _ = r.Body.Close() }()
	a := &answer{header: http.Header{}, status: http.StatusOK}
	h.ServeHTTP(a, r)
	return &http.Response{
		Status: http.StatusText(a.status), StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: a.header,
		Body: io.NopCloser(&a.body), ContentLength: int64(a.body.Len()), Request: r,
	}, nil
}

// answer keeps what a handler writes.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) { a.status = status }

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }

// problem is an error that the read API has answered with.
type problem struct {
	Status int
	Detail string // for people
	Again  string // in how many seconds to try again, empty where it is not said
}

// Error implements error.
func (p *problem) Error() string { return p.Detail }

// status gives the HTTP status of an error of the read API, 0 of any other.
func status(err error) int {
	var p *problem
	if errors.As(err, &p) {
		return p.Status
	}
	return 0
}

// path joins the segments of a path of the read API, and escapes them. Dots are escaped, too, since a
// segment of dots alone means another path.
func path(segments ...string) string {
	var b strings.Builder
	for _, segment := range segments {
		b.WriteByte('/')
		b.WriteString(strings.ReplaceAll(url.PathEscape(segment), ".", "%2E"))
	}
	return b.String()
}

// get asks the read API and decodes the answer. Parameters without a value are left out.
func (r *request) get(path string, parameters url.Values, into any) error {
	for name := range parameters {
		if parameters.Get(name) == "" {
			parameters.Del(name)
		}
	}
	if len(parameters) > 0 {
		path += "?" + parameters.Encode()
	}
	return r.ask(http.MethodGet, path, nil, into)
}

// ask sends a request to the read API; body is nil where there is none, into where the answer is not
// looked at. What the API refuses is a [*problem].
func (r *request) ask(method, path string, body, into any) error {
	request, err := r.apiRequest(r.Request.Context(), method, path, body)
	if err != nil {
		return err
	}
	response, err := r.client.Do(request)
	if err != nil {
		return fmt.Errorf("ask the read API: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("read the answer of the read API: %w", err)
	}
	if response.StatusCode >= http.StatusBadRequest {
		return newProblem(response, text)
	}
	if into == nil || len(text) == 0 {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("decode the answer of the read API: %w", err)
	}
	return nil
}

// apiRequest is a request to the read API as whoever looks would send it.
func (r *request) apiRequest(ctx context.Context, method, path string, body any) (*http.Request, error) {
	var content io.Reader = http.NoBody
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode a question to the read API: %w", err)
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+r.Request.Host+"/v1"+path, content)
	if err != nil {
		return nil, fmt.Errorf("make a request to the read API: %w", err)
	}
	request.RemoteAddr, request.Host = r.Request.RemoteAddr, r.Request.Host
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if r.key != "" {
		request.Header.Set("Authorization", "Bearer "+r.key)
	}
	return request, nil
}

func newProblem(response *http.Response, text []byte) error {
	var told huma.ErrorModel
	p := &problem{Status: response.StatusCode, Again: response.Header.Get("Retry-After"), Detail: http.StatusText(response.StatusCode)}
	if json.Unmarshal(text, &told) == nil && told.Detail != "" {
		p.Detail = told.Detail
		for _, detail := range told.Errors {
			p.Detail += "; " + strings.TrimPrefix(strings.TrimPrefix(detail.Location, "query."), "body.") + " " + detail.Message
		}
	}
	return p
}

package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/require"

	"readmark/internal/api"
)

// contract is the OpenAPI document, in the version that the validator reads.
var contract = sync.OnceValues(func() (routers.Router, error) {
	document, err := api.Document(true)
	if err != nil {
		return nil, err
	}
	parsed, err := openapi3.NewLoader().LoadFromData(document)
	if err != nil {
		return nil, err
	}
	if err := parsed.Validate(context.Background()); err != nil {
		return nil, err
	}
	for _, schema := range parsed.Components.Schemas { // answers may get further fields, but none that the document does not have
		if schema.Value.Type.Is(openapi3.TypeObject) {
			schema.Value.AdditionalProperties = openapi3.AdditionalProperties{Has: new(false)}
		}
	}
	return gorillamux.NewRouter(parsed)
})

// contractTransport holds every request to the read API that succeeds, and every answer
// of it, to the OpenAPI document.
type contractTransport struct {
	t    testing.TB
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (c *contractTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	if !strings.HasPrefix(request.URL.Path, "/v1/") || request.Method == http.MethodOptions { // browsers' preflights
		return c.next.RoundTrip(request)
	}
	var sent []byte
	if request.Body != nil {
		sent, _ = io.ReadAll(request.Body)
		request.Body = io.NopCloser(bytes.NewReader(sent))
	}
	answer, err := c.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	got, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err != nil {
		return nil, err
	}
	answer.Body = io.NopCloser(bytes.NewReader(got))
	if err := holds(request, sent, answer, got); err != nil {
		c.t.Errorf("%s %s: not as the OpenAPI document says: %v", request.Method, request.URL, err)
	}
	return answer, nil
}

func (c *contractTransport) CloseIdleConnections() {
	if closing, ok := c.next.(interface{ CloseIdleConnections() }); ok {
		closing.CloseIdleConnections()
	}
}

func holds(request *http.Request, sent []byte, answer *http.Response, got []byte) error {
	router, err := contract()
	if err != nil {
		return err
	}
	asked := request.Clone(request.Context())
	asked.Body = io.NopCloser(bytes.NewReader(sent))
	if len(sent) == 0 {
		asked.Body = http.NoBody
	}
	asked.URL.Scheme, asked.URL.Host = "", ""
	given := asked.URL.Query()
	for name, values := range given {
		if len(values) == 1 && values[0] == "" { // as good as not given
			given.Del(name)
		}
	}
	asked.URL.RawQuery = given.Encode()
	route, parameters, err := router.FindRoute(asked)
	if err != nil {
		if answer.StatusCode == http.StatusNotFound || answer.StatusCode == http.StatusMethodNotAllowed {
			return nil
		}
		return fmt.Errorf("answered with %d: %w", answer.StatusCode, err)
	}
	options := &openapi3filter.Options{
		IncludeResponseStatus: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc,
	}
	input := &openapi3filter.RequestValidationInput{Request: asked, PathParams: parameters, Route: route, Options: options}
	if answer.StatusCode < 300 {
		if err := openapi3filter.ValidateRequest(request.Context(), input); err != nil {
			return err
		}
	}
	return openapi3filter.ValidateResponse(request.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: answer.StatusCode, Header: answer.Header,
		Body: io.NopCloser(bytes.NewReader(got)), Options: options,
	})
}

// TestContractIsHeld: what the document does not say is found.
func TestContractIsHeld(t *testing.T) {
	t.Parallel()
	try := func(method, path, sent string, status int, got string) error {
		request, err := http.NewRequestWithContext(t.Context(), method, "http://h"+path, http.NoBody)
		require.NoError(t, err)
		request.Header.Set("Content-Type", "application/json")
		kind := "application/json"
		if status >= 400 {
			kind = "application/problem+json"
		}
		return holds(request, []byte(sent), &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {kind}}}, []byte(got))
	}
	const badge = `{"userID":"u","unreadCount":1,"unreadCountUnmuted":1,"unreadGroups":1,"groups":1,"exact":true,"pending":false,"asOf":"2026-11-24T00:00:00Z"}`
	require.NoError(t, try("GET", "/v1/users/u/unread", "", 200, badge))
	require.NoError(t, try("GET", "/v1/users/u/unread", "", 404, `{"title":"Not Found","status":404,"detail":"x"}`))
	for name, err := range map[string]error{
		"status":    try("GET", "/v1/users/u/unread", "", 206, badge),
		"unknown":   try("GET", "/v1/users/u/unread", "", 200, strings.Replace(badge, `"groups":1`, `"groups":1,"other":1`, 1)),
		"missing":   try("GET", "/v1/users/u/unread", "", 200, `{"userID":"u"}`),
		"type":      try("GET", "/v1/users/u/unread", "", 200, strings.Replace(badge, `"unreadCount":1`, `"unreadCount":"1"`, 1)),
		"negative":  try("GET", "/v1/users/u/unread", "", 200, strings.Replace(badge, `"unreadCount":1`, `"unreadCount":-1`, 1)),
		"parameter": try("GET", "/v1/users/u/groups?limit=0", "", 200, `{"items":[],"nextCursor":"","asOf":"2026-11-24T00:00:00Z"}`),
		"body":      try("POST", "/v1/unread/query", `{"users":["u"]}`, 200, `{"pairs":[],"users":[],"asOf":"2026-11-24T00:00:00Z","oneMoment":true}`),
		"route":     try("PUT", "/v1/users/u/unread", "", 200, badge),
	} {
		require.Error(t, err, name)
	}
}

package api_test

import (
	"cmp"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"readmark/internal/api"
)

// schema is what tests need of a schema of the OpenAPI document.
type schema struct {
	Ref        string `json:"$ref"`
	Type       any    // a name, or a list of names
	Format     string
	Enum       []any
	Properties map[string]*schema
	Items      *schema
}

// is reports whether the schema is of a type, or may be.
func (s *schema) is(name string) bool {
	if list, ok := s.Type.([]any); ok {
		return slices.Contains(list, any(name))
	}
	return s.Type == name
}

// operation is one operation of the OpenAPI document, whoever wrote it.
type operation struct {
	method, path string
	query        map[string]*schema
	header       []string
	inPath       []string
	body         *schema // nil: none
	schemas      map[string]*schema
}

// resolve follows a reference.
func (o *operation) resolve(s *schema) *schema {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		return o.schemas[name]
	}
	return s
}

// operations reads the document that the service publishes, in one order.
func operations(t testing.TB, handler http.Handler) (list []operation) {
	t.Helper()
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	var document struct {
		Paths map[string]map[string]struct {
			Parameters []struct {
				Name, In string
				Schema   *schema
			}
			RequestBody *struct {
				Content map[string]struct{ Schema *schema }
			}
		}
		Components struct{ Schemas map[string]*schema }
	}
	require.NoError(t, json.Unmarshal(recorder.Body.Bytes(), &document))
	for path, methods := range document.Paths {
		for method, described := range methods {
			o := operation{
				method: strings.ToUpper(method), path: path, query: map[string]*schema{}, schemas: document.Components.Schemas,
			}
			for _, parameter := range described.Parameters {
				switch parameter.In {
				case "query":
					o.query[parameter.Name] = parameter.Schema
				case "header":
					o.header = append(o.header, parameter.Name)
				case "path":
					o.inPath = append(o.inPath, parameter.Name)
				default:
					t.Fatalf("%s %s has a parameter in its %s", method, path, parameter.In)
				}
			}
			if described.RequestBody != nil {
				o.body = described.RequestBody.Content["application/json"].Schema
				require.NotNil(t, o.body, path)
			}
			list = append(list, o)
		}
	}
	slices.SortFunc(list, func(a, b operation) int {
		return cmp.Or(strings.Compare(a.path, b.path), strings.Compare(a.method, b.method))
	})
	return list
}

// The document says what everything is for, with examples that it would accept itself.
func TestDocumentIsComplete(t *testing.T) {
	t.Parallel()
	contract := api.Register(gin.New(), api.Options{Now: time.Now, Logger: slog.New(slog.DiscardHandler)}).OpenAPI()
	valid := func(where string, s *huma.Schema, example any) {
		t.Helper()
		require.NotNil(t, example, where)
		raw, err := json.Marshal(example)
		require.NoError(t, err)
		var plain any
		require.NoError(t, json.Unmarshal(raw, &plain))
		result := &huma.ValidateResult{}
		huma.Validate(contract.Components.Schemas, s, huma.NewPathBuffer([]byte{}, 0), huma.ModeWriteToServer, plain, result)
		require.Empty(t, result.Errors, "%s: %s", where, raw)
	}
	count := 0
	for path, item := range contract.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Patch, item.Delete} {
			if op == nil {
				continue
			}
			count++
			where := op.Method + " " + path
			require.NotEmpty(t, op.Summary, where)
			require.Regexp(t, `^\S.* Scope of the key: (read|erase|admin)\.$`, op.Description, where)
			for _, parameter := range op.Parameters {
				require.NotEmpty(t, cmp.Or(parameter.Description, parameter.Schema.Description), where+" "+parameter.Name)
				if parameter.Required {
					valid(where+" "+parameter.Name, parameter.Schema, parameter.Example)
				}
			}
			if op.RequestBody != nil {
				valid(where, op.RequestBody.Content["application/json"].Schema, op.RequestBody.Content["application/json"].Example)
			}
			success := map[string]string{"create-webhook": "201", "delete-webhook": "204", "create-reminder": "201", "delete-reminder": "204"}[op.OperationID]
			for _, status := range []string{cmp.Or(success, "200"), "401", "403", "422", "429", "500", "503"} {
				require.Contains(t, op.Responses, status, where)
			}
			for status, response := range op.Responses {
				number, err := strconv.Atoi(status)
				require.NoError(t, err)
				require.NotEqual(t, http.StatusText(number), response.Description, where+" "+status)
				require.NotEmpty(t, response.Description, where+" "+status)
				require.Equal(t, number == http.StatusNotModified || number == http.StatusNoContent, len(response.Content) == 0, where+" "+status)
				for kind, media := range response.Content {
					valid(where+" "+status, media.Schema, media.Example)
					if kind == "application/json" || kind == "text/event-stream" {
						continue
					}
					problem, ok := media.Example.(huma.ErrorModel)
					require.True(t, ok)
					require.Equal(t, number, problem.Status)
					require.NotEmpty(t, problem.Detail, where+" "+status)
				}
			}
			if op.Responses["503"] != nil {
				require.Contains(t, op.Responses["503"].Headers, "Retry-After", where)
			}
		}
	}
	require.Equal(t, 29, count)
	for name, s := range contract.Components.Schemas.Map() {
		for property, described := range s.Properties {
			require.True(t, described.Description != "" || described.Ref != "", "%s.%s", name, property)
			// Null would have to be one of the values, which generators take for a name.
			require.False(t, described.Nullable && len(described.Enum) > 0, "%s.%s", name, property)
		}
	}
}

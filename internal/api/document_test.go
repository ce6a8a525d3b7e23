package api_test

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
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

package api_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"readmark/internal/api"
)

// written is the document as it is written, whose objects keep their order.
func written(t testing.TB, older bool) *yaml.Node {
	t.Helper()
	document, err := api.Document(older)
	require.NoError(t, err)
	var node yaml.Node
	require.NoError(t, yaml.Unmarshal(document, &node)) // JSON is YAML
	return node.Content[0]
}

// members goes through an object in its order.
func members(node *yaml.Node, visit func(name string, value *yaml.Node)) {
	for i := 0; node != nil && node.Kind == yaml.MappingNode && i+1 < len(node.Content); i += 2 {
		visit(node.Content[i].Value, node.Content[i+1])
	}
}

func member(node *yaml.Node, path ...string) (found *yaml.Node) {
	found = node
	for _, want := range path {
		var next *yaml.Node
		members(found, func(name string, value *yaml.Node) {
			if name == want {
				next = value
			}
		})
		found = next
	}
	return found
}

func text(node *yaml.Node) string {
	if node == nil {
		return ""
	}
	return node.Value
}

// eachOperation goes through all operations in the document's order.
func eachOperation(document *yaml.Node, visit func(where string, operation *yaml.Node)) {
	members(member(document, "paths"), func(path string, item *yaml.Node) {
		members(item, func(method string, operation *yaml.Node) { visit(method+" "+path, operation) })
	})
}

// TestDocumentOrder: what people look for first comes first, and what cannot be undone last, in both versions.
func TestDocumentOrder(t *testing.T) {
	t.Parallel()
	for _, older := range []bool{false, true} {
		document := written(t, older)
		var order, described, tags []string
		members(document, func(name string, _ *yaml.Node) { order = append(order, name) })
		require.Equal(t, []string{"openapi", "info", "servers", "tags", "paths", "components"}, order)
		for _, tag := range member(document, "tags").Content {
			require.NotEmpty(t, text(member(tag, "description")))
			described = append(described, text(member(tag, "name")))
		}
		var ids []string
		eachOperation(document, func(where string, operation *yaml.Node) {
			ids = append(ids, text(member(operation, "operationId")))
			own := member(operation, "tags").Content
			require.Len(t, own, 1, where)
			if len(tags) == 0 || tags[len(tags)-1] != own[0].Value {
				tags = append(tags, own[0].Value)
			}
		})
		require.Equal(t, described, tags, "each tag is described and used, and operations of one stand together")
		require.Equal(t, []string{"counts", "lists", "query", "history", "changes", "webhooks", "reminders", "operation", "erasure"}, tags)
		require.Equal(t, []string{"get-badge", "get-state", "get-group-sum"}, ids[:3])
		require.Equal(t, []string{"erase-user", "erase-group"}, ids[len(ids)-2:])
	}
}

// TestDocumentServers: tools send requests to where they have the document from.
func TestDocumentServers(t *testing.T) {
	t.Parallel()
	servers := member(written(t, false), "servers").Content
	require.Len(t, servers, 1)
	require.Equal(t, "/", text(member(servers[0], "url")))
	require.NotEmpty(t, text(member(servers[0], "description")))
}

// TestDocumentExamples: pages of docs fill in the examples of parameters. Those that have to be given fit the README; one of a
// parameter that may be left out would narrow the answer, or be wrong, as a cursor is.
func TestDocumentExamples(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	require.NoError(t, err)
	asked := 0
	for _, older := range []bool{false, true} {
		eachOperation(written(t, older), func(where string, operation *yaml.Node) {
			parameters := member(operation, "parameters")
			if parameters == nil {
				return
			}
			for _, parameter := range parameters.Content {
				name, example := text(member(parameter, "name")), text(member(parameter, "example"))
				where := where + " " + name
				if text(member(parameter, "required")) == "true" {
					asked++
					require.NotEmpty(t, example, where)
					if name != "id" {
						require.Contains(t, string(readme), `"`+name+`":"`+example+`"`, where)
					}
					continue
				}
				for _, place := range []*yaml.Node{parameter, member(parameter, "schema")} {
					require.Nil(t, member(place, "example"), where)
					require.Nil(t, member(place, "examples"), where)
				}
			}
		})
	}
	require.Greater(t, asked, 20)
}

// TestDocumentScopes: the security scheme explains every scope, and each operation says which one it needs.
func TestDocumentScopes(t *testing.T) {
	t.Parallel()
	document := written(t, false)
	explained, used := text(member(document, "components", "securitySchemes", "apiKey", "description")), map[string]bool{}
	eachOperation(document, func(where string, operation *yaml.Node) {
		scopes := member(member(operation, "security").Content[0], "apiKey").Content
		require.Len(t, scopes, 1, where)
		scope := scopes[0].Value
		used[scope] = true
		require.Contains(t, explained, "- `"+scope+"`: ", where)
		require.True(t, strings.HasSuffix(text(member(operation, "description")), "Scope of the key: "+scope+"."), where)
	})
	require.Len(t, used, 3)
}

// schemas gives the names of the components that a part of the document is made of.
func schemas(document, part *yaml.Node, found map[string]bool) {
	if part == nil {
		return
	}
	if ref := text(member(part, "$ref")); ref != "" {
		name := strings.TrimPrefix(ref, "#/components/schemas/")
		if !found[name] {
			found[name] = true
			schemas(document, member(document, "components", "schemas", name), found)
		}
	}
	for _, child := range part.Content {
		schemas(document, child, found)
	}
}

// TestDocumentIsOpen: an answer may get further fields in later versions; a request may not have any.
func TestDocumentIsOpen(t *testing.T) {
	t.Parallel()
	document := written(t, false)
	requests, answers := map[string]bool{}, map[string]bool{}
	eachOperation(document, func(_ string, operation *yaml.Node) {
		schemas(document, member(operation, "requestBody"), requests)
		schemas(document, member(operation, "responses"), answers)
	})
	require.Greater(t, len(requests), 5)
	require.Greater(t, len(answers), 15)
	members(member(document, "components", "schemas"), func(name string, schema *yaml.Node) {
		require.NotEqual(t, requests[name], answers[name], "%s is of a request or of an answer", name)
		additional := member(schema, "additionalProperties")
		if requests[name] {
			require.Equal(t, "false", text(additional), name)
		} else {
			require.Nil(t, additional, name)
		}
	})
}

// TestDocumentCounts: no count is called exact or capped that is not. A receipt's count is as reported; the others say where the
// answer tells whether they are OpenIM's own.
func TestDocumentCounts(t *testing.T) {
	t.Parallel()
	document, counts := written(t, false), 0
	members(member(document, "components", "schemas"), func(name string, schema *yaml.Node) {
		description := strings.ToLower(text(member(schema, "properties", "unreadCount", "description")))
		if description == "" {
			return
		}
		counts++
		require.NotContains(t, description, "exact and", name)
		switch name {
		case "Receipt", "SubjectReceipt":
			require.Contains(t, description, "as reported", name)
		case "Off":
			require.Contains(t, description, "when openim was asked", name)
		default:
			require.Regexp(t, "uncapped|nothing caps", description, name)
			require.Contains(t, description, "openim's own number where exact is true, else an estimate", name)
			require.NotNil(t, member(schema, "properties", "exact"), name)
		}
	})
	require.Equal(t, 8, counts)
}

// TestDocumentIsServed: every form of the document is the same one.
func TestDocumentIsServed(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for older, paths := range map[bool][]string{false: {"/openapi.json", "/openapi.yaml"}, true: {"/openapi-3.0.json", "/openapi-3.0.yaml"}} {
		document, err := api.Document(older)
		require.NoError(t, err)
		var want any
		require.NoError(t, json.Unmarshal(document, &want))
		for _, path := range paths {
			for range 2 {
				answer := s.ask(http.MethodGet, path, "")
				require.Equal(t, 200, answer.Code, path)
				require.Equal(t, "application/openapi+"+path[len(path)-4:], answer.Header().Get("Content-Type"), path)
				var got any
				require.NoError(t, yaml.Unmarshal(answer.Body.Bytes(), &got), path)
				raw, err := json.Marshal(got)
				require.NoError(t, err)
				require.JSONEq(t, string(document), string(raw), path)
			}
		}
		var compact bytes.Buffer
		require.NoError(t, json.Compact(&compact, document))
		require.Equal(t, compact.String(), strings.TrimSpace(s.ask(http.MethodGet, paths[0], "").Body.String()), "in the same order")
	}
}

// TestEveryGetIsAnswered: each GET with what a page of docs fills in, the examples and defaults, gets what the document says, on
// a service that has the README's data. Only a webhook has an ID that nobody can know.
func TestEveryGetIsAnswered(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.read("user123", "group789", 5)
	s.sumGroups()
	asked := 0
	eachOperation(written(t, false), func(where string, operation *yaml.Node) {
		method, path, _ := strings.Cut(where, " ")
		if method != "get" || strings.HasPrefix(path, "/v1/reminders") { // which this service does not keep
			return
		}
		query, status := url.Values{}, http.StatusOK
		if parameters := member(operation, "parameters"); parameters != nil {
			for _, parameter := range parameters.Content {
				name := text(member(parameter, "name"))
				filled := cmp.Or(text(member(parameter, "example")), text(member(parameter, "schema", "default")))
				switch in := text(member(parameter, "in")); {
				case in == "path":
					path = strings.ReplaceAll(path, "{"+name+"}", url.PathEscape(filled))
				case filled != "":
					require.Equal(t, "query", in, where)
					query.Set(name, filled)
				}
				if name == "id" {
					status = http.StatusNotFound
				}
			}
		}
		answer := s.ask(http.MethodGet, path+"?"+query.Encode(), "", "Accept", "application/json")
		require.Equal(t, status, answer.Code, "%s: %s", where, answer.Body)
		require.NotNil(t, member(operation, "responses", strconv.Itoa(status)), where)
		asked++
	})
	require.GreaterOrEqual(t, asked, 13)
}

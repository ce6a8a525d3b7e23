package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/yaml"
	"github.com/gin-gonic/gin"
	"github.com/go-json-experiment/json/jsontext"
)

// contractVersion is the version of the read API, not of the program.
const contractVersion = "1.0.0"

// Document gives the OpenAPI 3.1 document that is served at /openapi.json, indented;
// older gives it as 3.0.3, for tools that know no newer one.
func Document(older bool) ([]byte, error) {
	_, paths := register(gin.New(), Options{Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	compact, err := paths.document(older)
	if err != nil {
		return nil, err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, compact, "", "  "); err != nil {
		return nil, fmt.Errorf("indent OpenAPI document: %w", err)
	}
	indented.WriteByte('\n')
	return indented.Bytes(), nil
}

// paths has the paths of a contract in the order in which people read them: by the tags, and within one as they were
// registered. Huma sorts them by name, so that erasing a group came before everything else.
type paths struct {
	contract *huma.OpenAPI
	order    []string
	tags     map[string]string // the tag of a path's first operation
}

func newPaths(contract *huma.OpenAPI) *paths {
	p := &paths{contract: contract, tags: map[string]string{}}
	contract.OnAddOperation = append(contract.OnAddOperation, func(_ *huma.OpenAPI, op *huma.Operation) {
		if _, known := p.tags[op.Path]; !known {
			p.order, p.tags[op.Path] = append(p.order, op.Path), op.Tags[0]
		}
	})
	return p
}

// sorted gives the paths in their order.
func (p *paths) sorted() []string {
	return slices.SortedStableFunc(slices.Values(p.order), func(a, b string) int { return tagRank(p.tags[a]) - tagRank(p.tags[b]) })
}

// document gives the document as JSON.
func (p *paths) document(older bool) ([]byte, error) {
	marshal := p.contract.MarshalJSON
	if older {
		marshal = p.contract.Downgrade
	}
	document, err := marshal()
	if err == nil {
		document, err = reorder(document, []string{"openapi", "info", "servers", "tags", "paths"}, map[string][]string{"paths": p.sorted()})
	}
	if err != nil {
		return nil, fmt.Errorf("make OpenAPI document: %w", err)
	}
	return document, nil
}

// serve adds the routes of the document. It is made when it is first asked for.
func (p *paths) serve(engine *gin.Engine) {
	for path, older := range map[string]bool{"/openapi": false, "/openapi-3.0": true} {
		asJSON := sync.OnceValues(func() ([]byte, error) { return p.document(older) })
		asYAML := sync.OnceValues(func() ([]byte, error) {
			document, err := asJSON()
			if err != nil {
				return nil, err
			}
			var text bytes.Buffer
			err = yaml.Convert(&text, bytes.NewReader(document))
			return text.Bytes(), err
		})
		engine.GET(path+".json", writeDocument("application/openapi+json", asJSON))
		engine.GET(path+".yaml", writeDocument("application/openapi+yaml", asYAML))
	}
}

func writeDocument(contentType string, document func() ([]byte, error)) gin.HandlerFunc {
	return func(c *gin.Context) {
		content, err := document()
		if err != nil {
			panic(err) // it is made of constants
		}
		c.Data(http.StatusOK, contentType, content)
	}
}

// reorder gives a JSON object whose members stand in an order: those that first names, then the others as they were.
// within has the same for objects in it.
func reorder(object []byte, first []string, within map[string][]string) ([]byte, error) {
	values, names := map[string]jsontext.Value{}, slices.Clone(first)
	decoder := jsontext.NewDecoder(bytes.NewReader(object))
	if _, err := decoder.ReadToken(); err != nil {
		return nil, err
	}
	for decoder.PeekKind() != jsontext.KindEndObject {
		token, err := decoder.ReadToken()
		if err != nil {
			return nil, err
		}
		name := token.String() // before the next read, which reuses its memory
		value, err := decoder.ReadValue()
		if err != nil {
			return nil, err
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		values[name] = value.Clone()
	}
	var ordered bytes.Buffer
	encoder := jsontext.NewEncoder(&ordered)
	err := encoder.WriteToken(jsontext.BeginObject)
	for _, name := range names {
		value, found := values[name]
		if err != nil || !found {
			continue
		}
		if inner, given := within[name]; given {
			if value, err = reorder(value, inner, nil); err != nil {
				return nil, err
			}
		}
		if err = encoder.WriteToken(jsontext.String(name)); err == nil {
			err = encoder.WriteValue(value)
		}
	}
	if err == nil {
		err = encoder.WriteToken(jsontext.EndObject)
	}
	return bytes.TrimSpace(ordered.Bytes()), err
}

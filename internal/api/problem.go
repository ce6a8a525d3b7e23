package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"
	"github.com/gin-gonic/gin"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// maxDetails bounds the mistakes that one answer names.
	maxDetails = 100
	// maxDetailText bounds the bytes of what is quoted of a request; an ID fits.
	maxDetailText = 300

	validationFailed = "validation failed"
	missingField     = "missing field "
	notATime         = "is not a time as in RFC 3339"
	notAUUID         = "is not a UUID"
	// placeEnd ends the place of a [placedError] in its text.
	placeEnd = "\x00"
)

// init has huma say what is wrong in plain words, and tell userId from userID. Both are global: they are set
// before any schema is made.
func init() { //nolint:gochecknoinits // the library's own globals
	huma.ValidateStrictCasing = true
	validation.MsgUnexpectedProperty = "unknown field"
	validation.MsgExpectedRequiredProperty = missingField + "%s"
	validation.MsgExpectedRFC3339DateTime = notATime
	validation.MsgExpectedRFC4122UUID = notAUUID + "%.0v" // without how it is not
	validation.MsgExpectedOneOf = "expected one of %s"
}

// checked is the value of a mistake that a rule of our own has found, and not the schema.
type checked struct{ value any }

// mistake is what a rule of our own has found at a place of a request; value is quoted, nil: nothing is.
func mistake(location, message string, value any) *huma.ErrorDetail {
	return &huma.ErrorDetail{Location: location, Message: message, Value: checked{value}}
}

// invalidParameter is the answer to a query parameter that cannot be taken.
func invalidParameter(name, message string) error {
	return huma.Error422UnprocessableEntity(validationFailed, mistake("query."+name, message, nil))
}

// WriteProblem answers a request outside the API's routes as RFC 9457 asks.
func WriteProblem(c *gin.Context, status int, detail string) {
	WriteProblemTo(c.Writer, status, detail)
}

// WriteProblemTo is WriteProblem where there is no gin.
func WriteProblemTo(w http.ResponseWriter, status int, detail string) {
	writeProblem(w, &huma.ErrorModel{Title: http.StatusText(status), Status: status, Detail: detail})
}

// WriteInvalid answers a request of which places cannot be taken, with one reason for all.
func WriteInvalid(c *gin.Context, message string, places ...string) {
	const status = http.StatusUnprocessableEntity
	problem := &huma.ErrorModel{Title: http.StatusText(status), Status: status, Detail: validationFailed}
	for _, place := range places {
		problem.Errors = append(problem.Errors, mistake(place, message, nil))
	}
	writeProblem(c.Writer, bounded(problem))
}

func writeProblem(w http.ResponseWriter, problem *huma.ErrorModel) {
	header := w.Header()
	header.Set("Content-Type", "application/problem+json")
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(problem.Status)
	_ = huma.DefaultJSONFormat.Marshal(w, problem) // fails when the caller has gone
}

// boundProblem keeps problems small and out of caches, and has each mistake be told once.
func boundProblem(ctx huma.Context, _ string, value any) (any, error) {
	err, ok := value.(error)
	var problem *huma.ErrorModel
	if !ok || !errors.As(err, &problem) {
		return value, nil
	}
	if problem.Status >= 400 {
		ctx.SetHeader("Cache-Control", "no-store")
	}
	return bounded(problem), nil
}

// bounded gives a problem with its mistakes as they are told. Huma quotes in each the value that is wrong, and for a
// field that does not belong there the whole object around it: a body of one megabyte could be answered with
// gigabytes.
func bounded(problem *huma.ErrorModel) *huma.ErrorModel {
	told := *problem // errors may be shared between answers
	told.Errors = nil
	for _, wrong := range onePerMistake(problem.Errors) {
		told.Errors = append(told.Errors, plain(wrong))
	}
	return &told
}

// onePerMistake leaves out what follows from another mistake, and what is said of one place twice:
//
//   - Where a field is unknown, none is missing in the same object: its name was mistyped.
//   - Of a body whose shape is wrong only a part was taken over. What our own rules say of it is of values that
//     were never there.
//   - Both the schema and our own rules refuse an ID that is empty, or a time that is none.
func onePerMistake(all []*huma.ErrorDetail) []*huma.ErrorDetail {
	mistyped, misshapen := map[uintptr]bool{}, false
	for _, wrong := range all {
		if wrong == nil || !inBody(wrong) || isChecked(wrong) {
			continue
		}
		if object, ok := wrong.Value.(map[string]any); ok && wrong.Message == validation.MsgUnexpectedProperty {
			mistyped[reflect.ValueOf(object).Pointer()] = true
		}
		misshapen = misshapen || breaksShape(wrong)
	}
	seen := map[string]bool{}
	var kept []*huma.ErrorDetail
	for _, wrong := range all {
		if wrong == nil || misshapen && inBody(wrong) && isChecked(wrong) {
			continue
		}
		place := wrong.Location
		if object, ok := wrong.Value.(map[string]any); ok && strings.HasPrefix(wrong.Message, missingField) {
			if mistyped[reflect.ValueOf(object).Pointer()] {
				continue
			}
			place += "." + wrong.Message // of one object several may be missing
		}
		if seen[place] {
			continue
		}
		seen[place] = true
		if kept = append(kept, wrong); len(kept) == maxDetails {
			break
		}
	}
	return kept
}

func inBody(wrong *huma.ErrorDetail) bool { return strings.HasPrefix(wrong.Location, "body") }

func isChecked(wrong *huma.ErrorDetail) bool {
	_, is := wrong.Value.(checked)
	return is
}

// breaksShape reports whether a body with this mistake cannot be taken over as a whole.
func breaksShape(wrong *huma.ErrorDetail) bool {
	switch wrong.Message {
	case validation.MsgUnexpectedProperty, validation.MsgExpectedObject, validation.MsgExpectedArray, validation.MsgExpectedString,
		validation.MsgExpectedInteger, validation.MsgExpectedNumber, validation.MsgExpectedBoolean:
		return true
	}
	return wrong.Location == "body" || strings.HasPrefix(wrong.Message, missingField)
}

// plain gives a mistake in words that do not depend on the program, and its value where that is short.
func plain(wrong *huma.ErrorDetail) *huma.ErrorDetail {
	told := *wrong
	if v, ok := told.Value.(checked); ok {
		told.Value = v.value
	}
	if place, message, found := strings.Cut(told.Message, placeEnd); found {
		told.Location, told.Message, told.Value = place, message, nil
	}
	switch told.Message {
	case validation.MsgUnexpectedProperty:
		end := strings.LastIndexByte(told.Location, '.') // which names do not have in them, see maskNames
		told.Location, told.Message = told.Location[:end], "unknown field "+told.Location[end+1:]
	case "invalid integer":
		told.Message = validation.MsgExpectedInteger
	case "invalid boolean":
		told.Message = validation.MsgExpectedBoolean
	default:
		told.Message = strings.TrimPrefix(told.Message, "invalid value: ")
	}
	told.Message, told.Location = shorten(unmask.Replace(told.Message)), shorten(unmask.Replace(told.Location))
	switch v := told.Value.(type) {
	case bool, float64, int, int32, int64:
	case string:
		told.Value = shorten(v)
	default:
		told.Value = nil
	}
	return &told
}

// mask and unmask take characters out of names and put them back. Huma takes a path apart at them, and would name
// wrong places behind a field that is called "a.b".
//
//nolint:gochecknoglobals // constant
var (
	mask   = strings.NewReplacer(".", "\x01", "[", "\x02")
	unmask = strings.NewReplacer("\x01", ".", "\x02", "[")
)

// maskNames masks the names of all fields in a value. No field that is known needs it.
func maskNames(value any) {
	switch value := value.(type) {
	case []any:
		for _, one := range value {
			maskNames(one)
		}
	case map[string]any:
		var found []string // renamed when all are seen, so that none is seen twice
		for name, one := range value {
			maskNames(one)
			if strings.ContainsAny(name, ".[") {
				found = append(found, name)
			}
		}
		for _, name := range found {
			value[mask.Replace(name)] = value[name]
			delete(value, name)
		}
	}
}

// shorten cuts a text that is too long, between characters.
func shorten(text string) string {
	if len(text) <= maxDetailText {
		return text
	}
	return strings.ToValidUTF8(text[:maxDetailText], "") + "…"
}

// placedError says what is wrong at a place of a body. Huma passes its text on, as what is wrong with the body.
type placedError struct{ location, message string }

// Error gives the place and the message; [plain] takes them apart.
func (e *placedError) Error() string {
	return strings.ReplaceAll(e.location, placeEnd, "") + placeEnd + e.message
}

// unreadableJSON says why a body cannot be decoded.
func unreadableJSON(err error) error {
	var syntax *jsontext.SyntacticError
	var semantic *json.SemanticError
	switch {
	case errors.As(err, &syntax) && errors.Is(syntax.Err, jsontext.ErrDuplicateName):
		return &placedError{place(syntax.JSONPointer.Parent()), "duplicate field " + syntax.JSONPointer.LastToken()}
	case errors.As(err, &syntax) && errors.Is(syntax.Err, io.ErrUnexpectedEOF):
		return &placedError{"body", fmt.Sprintf("is not JSON: it ends too early, after %d bytes", syntax.ByteOffset)}
	case errors.As(err, &syntax):
		return &placedError{"body", fmt.Sprintf("is not JSON: %s, at byte %d", syntax.Err, syntax.ByteOffset)}
	case errors.As(err, &semantic) && errors.Is(semantic.Err, json.ErrUnknownName):
		return &placedError{place(semantic.JSONPointer.Parent()), "unknown field " + semantic.JSONPointer.LastToken()}
	case errors.As(err, &semantic) && semantic.JSONKind == jsontext.KindNumber: // the schema has let 1.0 and 1e30 through
		return &placedError{place(semantic.JSONPointer), "expected integer of at most 18 digits, without a fraction or an exponent"}
	case errors.As(err, &semantic):
		return &placedError{place(semantic.JSONPointer), "has a value of the wrong type"}
	default:
		return &placedError{"body", err.Error()}
	}
}

// place gives a JSON pointer in the form of huma's locations.
func place(pointer jsontext.Pointer) string {
	path := huma.NewPathBuffer([]byte("body"), len("body"))
	for token := range pointer.Tokens() {
		if index, err := strconv.Atoi(token); err == nil {
			path.PushIndex(index)
		} else {
			path.Push(token)
		}
	}
	return path.String()
}

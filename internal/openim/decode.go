package openim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"readmark/internal/readstate"
)

// MaxListedUsers bounds the users that one callback may list. An event of each takes
// about 200 bytes.
const MaxListedUsers = 250_000

// fieldBody names the whole body where no field of it is meant.
const fieldBody = "body"

// DecodeCallback reads the body of a callback that [IsUsed], and gives what it tells as
// events: several where a membership callback lists users, none where it is about what
// Readmark does not keep. The events have neither identity nor arrival yet.
//
// Field names are matched exactly, each may come once, unknown fields are
// skipped (so is a message's content), null counts as missing, and numbers must be
// integers of 64 bits.
//
// The error, if any, is a [*readstate.InputError] that names the first field that is
// wrong; the data is not retained, nor quoted in it.
func DecodeCallback(name string, data []byte) ([]readstate.Event, error) {
	c := bySpelling[name]
	if c == nil || c.events == nil {
		return nil, nil
	}
	d, _ := decoders.Get().(*decoder)
	defer d.free()
	var events []readstate.Event
	err := d.parse(data, c.fields)
	if err == nil {
		err = c.check(d.text(fieldCommand))
	}
	if err == nil {
		events, err = c.events(&d.body)
	}
	if err != nil {
		return nil, d.describe(err, data)
	}
	return events, nil
}

// decoder reads one body at a time. It is recycled, and keeps nothing of a body.
type decoder struct {
	body

	json *jsontext.Decoder
	data bytes.Buffer // jsontext reads a Buffer without copying it
}

// looseNames leaves it to readObject to find names that come twice, among those that are
// read.
//
//nolint:gochecknoglobals // constant
var looseNames = jsontext.AllowDuplicateNames(true)

//nolint:gochecknoglobals // a sync.Pool is shared by its nature
var decoders = sync.Pool{New: func() any {
	d := &decoder{}
	d.json = jsontext.NewDecoder(&d.data, looseNames)
	return d
}}

// free forgets the body, and makes the decoder ready for the next one.
func (d *decoder) free() {
	d.body, d.data = body{}, bytes.Buffer{}
	d.json.Reset(&d.data, looseNames)
	decoders.Put(d)
}

// parse reads a body that must be one JSON object.
func (d *decoder) parse(data []byte, wanted []field) error {
	d.data = *bytes.NewBuffer(data)
	if next := d.json.PeekKind(); next != '{' {
		if _, err := d.json.ReadToken(); err != nil {
			return explain(err, wanted)
		}
		return malformed("body is not a JSON object")
	}
	if err := readObject(d.json, wanted, d.read); err != nil {
		return explain(err, wanted)
	}
	if _, err := d.json.ReadToken(); !errors.Is(err, io.EOF) {
		return malformed("body has data after the JSON object")
	}
	return nil
}

// describe adds to an error what is legible of the body.
func (d *decoder) describe(err error, data []byte) error {
	var input *readstate.InputError
	if errors.As(err, &input) {
		input.UserID, input.GroupID = legible(d.text(fieldUserID)), legible(d.text(fieldGroupID))
		if input.UserID == "" {
			input.UserID = legible(d.text(fieldSendID))
		}
		if input.GroupID == "" {
			input.GroupID = legible(d.text(fieldReceiveID))
		}
		if input.Code == readstate.CodeMalformedBody && !utf8.Valid(data) {
			input.Message = input.Field + " is not valid UTF-8"
		}
	}
	return err
}

func malformed(message string) error {
	return &readstate.InputError{
		Code: readstate.CodeMalformedBody, Field: fieldBody,
		Message: message, Detail: "expected one JSON object",
	}
}

func missing(f field, detail string) error {
	return &readstate.InputError{
		Code: readstate.CodeMissingField, Field: f.name(),
		Message: f.name() + " is missing", Detail: detail,
	}
}

func invalid(f field, problem, detail string) error {
	return &readstate.InputError{
		Code: readstate.CodeInvalidField, Field: f.name(),
		Message: f.name() + " " + problem, Detail: detail,
	}
}

// explain turns the JSON decoder's error into one that names a wanted field, but
// never quotes the body: nothing that the caller made up is repeated.
func explain(err error, wanted []field) error {
	input := &readstate.InputError{
		Code: readstate.CodeMalformedBody, Field: fieldBody,
		Message: "body is not valid JSON", Detail: "expected one JSON object",
	}
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.As(err, &input): // explained where it was found
	case errors.Is(err, io.EOF):
		input.Message = "body is empty"
	case errors.As(err, &syntactic):
		input.Detail = fmt.Sprintf("syntax error at byte %d", syntactic.ByteOffset)
		at := syntactic.JSONPointer
		if f, found := named(wanted, at.LastToken()); found {
			input.Field = f.name()
			input.Message = f.name() + " is not valid JSON"
			break
		}
		for top := range at.Tokens() { // inside a list
			if f, found := named(wanted, top); found {
				input.Field = f.name()
				input.Message = f.name() + " is not valid JSON"
			}
			break
		}
	}
	return input
}

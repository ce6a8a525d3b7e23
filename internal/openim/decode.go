package openim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"readmark/internal/readstate"
)

// The fields of the read callback.
const (
	fieldCommand     = "callbackCommand"
	fieldSendID      = "sendID"
	fieldReceiveID   = "receiveID"
	fieldUnread      = "unreadMsgNum"
	fieldContentType = "contentType"
	fieldBody        = "body"
)

// decoders recycles the buffers of JSON decoders; they keep nothing of a body
// that a caller could see.
//
//nolint:gochecknoglobals // a sync.Pool is shared by its nature
var decoders = sync.Pool{New: func() any { return jsontext.NewDecoder(bytes.NewReader(nil)) }}

// Decode reads the body of a group read callback and tells its dialect. The
// receipt has neither identity nor time of arrival yet. The error, if any, is
// a [*readstate.InputError] that names the first field that is wrong; the
// body is not retained, nor quoted in it.
//
// Field names are matched exactly, a name may come once, unknown fields are
// skipped, null counts as missing, and numbers must be integers of 64 bits.
func Decode(command string, body []byte) (readstate.Receipt, error) {
	report, err := readReport(body)
	if err == nil {
		err = report.check(command)
	}
	if err != nil {
		var input *readstate.InputError
		if errors.As(err, &input) {
			input.UserID, input.GroupID = legible(report.sendID.text), legible(report.receiveID.text)
			if input.Code == readstate.CodeMalformedBody && !utf8.Valid(body) {
				input.Message = input.Field + " is not valid UTF-8"
			}
		}
		return readstate.Receipt{}, err
	}
	return report.receipt(), nil
}

// report is the body of a read callback, field by field.
type report struct {
	command, sendID, receiveID text
	unread, contentType        number
}

type text struct {
	text    string
	present bool
}

type number struct {
	value   int64
	present bool
}

// names are the fields that a callback is read for; it may hold any others.
type names []string

// The fields of the group read callback.
//
//nolint:gochecknoglobals // constant
var reportFields = names{fieldCommand, fieldSendID, fieldReceiveID, fieldUnread, fieldContentType}

// known gives the list's own copy of a name, or nothing: the one that was read needs
// no memory of its own.
func (n names) known(name string) string {
	for _, known := range n {
		if name == known {
			return known
		}
	}
	return ""
}

// readReport parses the body; what it could read before an error is returned
// beside the error.
func readReport(body []byte) (report, error) {
	var r report
	err := readBody(body, reportFields, func(dec *jsontext.Decoder, name string) error {
		switch name {
		case fieldCommand:
			return r.command.read(dec, name)
		case fieldSendID:
			return r.sendID.read(dec, name)
		case fieldReceiveID:
			return r.receiveID.read(dec, name)
		case fieldUnread:
			return r.unread.read(dec, name)
		default:
			return r.contentType.read(dec, name)
		}
	})
	return r, err
}

// readBody reads a body that must be one JSON object, see [readObject].
func readBody(body []byte, wanted names, visit func(dec *jsontext.Decoder, name string) error) error {
	dec, _ := decoders.Get().(*jsontext.Decoder)
	defer decoders.Put(dec)
	dec.Reset(bytes.NewReader(body))
	if kind := dec.PeekKind(); kind != '{' {
		if _, err := dec.ReadToken(); err != nil {
			return wanted.explain(err)
		}
		return &readstate.InputError{
			Code: readstate.CodeMalformedBody, Field: fieldBody,
			Message: "body is not a JSON object", Detail: "expected one JSON object",
		}
	}
	if err := readObject(dec, wanted, visit); err != nil {
		return wanted.explain(err)
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return &readstate.InputError{
			Code: readstate.CodeMalformedBody, Field: fieldBody,
			Message: "body has data after the JSON object", Detail: "expected one JSON object",
		}
	}
	return nil
}

// readObject reads an object: visit reads the values of the wanted members, all
// others are skipped.
func readObject(dec *jsontext.Decoder, wanted names, visit func(dec *jsontext.Decoder, name string) error) error {
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != '}' {
		token, err := dec.ReadToken()
		if err != nil {
			return err
		}
		if name := wanted.known(token.String()); name != "" {
			err = visit(dec, name)
		} else {
			err = dec.SkipValue()
		}
		if err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

func (t *text) read(dec *jsontext.Decoder, field string) error {
	switch dec.PeekKind() {
	case 'n':
		return dec.SkipValue()
	case '"', 0: // 0: a syntax error, which reading it tells
		token, err := dec.ReadToken()
		if err != nil {
			return err
		}
		t.text, t.present = token.String(), true
		return nil
	default:
		return invalid(field, "is not a string", "expected a string")
	}
}

func (n *number) read(dec *jsontext.Decoder, field string) error {
	switch dec.PeekKind() {
	case 'n':
		return dec.SkipValue()
	case '0', 0:
		value, err := dec.ReadValue()
		if err != nil {
			return err
		}
		// Not Token.Int: that would round 1.5 and saturate 1e30.
		if n.value, err = strconv.ParseInt(string(value), 10, 64); err != nil {
			return invalid(field, "is not an integer", "expected a whole number of 64 bits without fraction or exponent")
		}
		n.present = true
		return nil
	default:
		return invalid(field, "is not an integer", "expected a number")
	}
}

// checkCommand holds the body's command, if any, against the path's.
func checkCommand(body, path string) error {
	if body == "" || sameCommand(body, path) {
		return nil
	}
	expected := meaning(path)
	if other := otherName(expected); other != "" {
		expected = other + " or " + expected
	}
	return &readstate.InputError{
		Code: readstate.CodeCommandMismatch, Field: fieldCommand,
		Message: "callbackCommand contradicts the path's command",
		Detail:  "expected " + expected,
	}
}

// check applies the rules that hold beyond syntax, in the order in which the
// documentation lists the fields.
func (r *report) check(command string) error {
	if err := checkCommand(r.command.text, command); err != nil {
		return err
	}
	if err := r.sendID.checkID(fieldSendID); err != nil {
		return err
	}
	if err := r.receiveID.checkID(fieldReceiveID); err != nil {
		return err
	}
	switch {
	case !r.unread.present:
		return missing(fieldUnread, "expected the number of unread messages")
	case r.unread.value < 0:
		return invalid(fieldUnread, "is negative", "expected zero or more")
	}
	return nil
}

func (t *text) checkID(field string) error {
	const expected = "expected a non-empty string of at most 255 bytes, valid UTF-8, without control characters"
	err := readstate.CheckID(t.text)
	switch {
	case !t.present:
		return missing(field, expected)
	case errors.Is(err, readstate.ErrIDEmpty):
		return &readstate.InputError{
			Code: readstate.CodeMissingField, Field: field,
			Message: field + " is empty", Detail: expected,
		}
	case err != nil:
		return invalid(field, err.Error(), expected)
	}
	return nil
}

// receipt tells the dialect: released servers send the reader twice and a
// conversation type where the documentation has the group and the content type
// of the message (message contents begin at 101).
func (r *report) receipt() readstate.Receipt {
	ct := r.contentType.value
	if r.sendID.text == r.receiveID.text && ct >= readstate.ConversationSingle && ct <= readstate.ConversationNotification {
		return readstate.Receipt{
			Dialect: readstate.DialectServer, UserID: r.sendID.text,
			ReadSeq: r.unread.value, ContentType: ct,
		}
	}
	return readstate.Receipt{
		Dialect: readstate.DialectDocumented, UserID: r.sendID.text, GroupID: r.receiveID.text,
		UnreadCount: r.unread.value, ContentType: ct,
	}
}

// legible gives an ID back only if it could be stored.
func legible(id string) string {
	if readstate.CheckID(id) != nil {
		return ""
	}
	return id
}

func missing(field, detail string) error {
	return &readstate.InputError{
		Code: readstate.CodeMissingField, Field: field,
		Message: field + " is missing", Detail: detail,
	}
}

func invalid(field, problem, detail string) error {
	return &readstate.InputError{
		Code: readstate.CodeInvalidField, Field: field,
		Message: field + " " + problem, Detail: detail,
	}
}

// explain turns the JSON decoder's error into one that names a field of the list, but
// never quotes the body: nothing that the caller made up is repeated.
func (n names) explain(err error) error {
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
		if field := n.known(at.LastToken()); field != "" {
			input.Field = field
			input.Message = field + " is not valid JSON"
			if errors.Is(err, jsontext.ErrDuplicateName) {
				input.Message = field + " comes twice"
			}
			break
		}
		for top := range at.Tokens() { // inside a list
			if field := n.known(top); field != "" {
				input.Field = field
				input.Message = field + " is not valid JSON"
			}
			break
		}
	}
	return input
}

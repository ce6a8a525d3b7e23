package openim_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"readmark/internal/openim"
	"readmark/internal/readstate"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// capture is one captured request.
type capture struct {
	name, command string
	body          []byte
}

func captures(t testing.TB) []capture {
	t.Helper()
	files, err := filepath.Glob("testdata/captures/*.req")
	require.NoError(t, err)
	require.Len(t, files, 52)
	list := make([]capture, 0, len(files))
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		request, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		require.NoError(t, err)
		body, err := io.ReadAll(request.Body)
		require.NoError(t, err)
		list = append(list, capture{strings.TrimSuffix(filepath.Base(file), ".req"), path.Base(request.URL.Path), body})
	}
	return list
}

// TestDecodeCaptures holds what is decoded of each captured request against a
// golden file, and what it tells.
func TestDecodeCaptures(t *testing.T) {
	t.Parallel()
	for _, c := range captures(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			golden := map[string]any{
				"command": c.command, "label": openim.CommandLabel(c.command),
			}
			require.True(t, openim.IsCommand(c.command))
			if openim.IsUsed(c.command) {
				events, err := openim.DecodeCallback(c.command, c.body)
				require.NoError(t, err)
				golden["events"] = told(t, events)
			}
			got, err := json.MarshalIndent(golden, "", "  ")
			require.NoError(t, err)
			file := filepath.Join("testdata", "golden", c.name+".json")
			if *update {
				require.NoError(t, os.WriteFile(file, append(got, '\n'), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			require.JSONEq(t, string(want), string(got))
		})
	}
}

// told gives what events tell, without the fields that are empty.
func told(t *testing.T, events []readstate.Event) []map[string]any {
	t.Helper()
	list := []map[string]any{}
	for _, event := range events {
		requireStorable(t, event)
		fields := map[string]any{"Kind": event.Kind}
		for i, v := 0, reflect.ValueOf(event); i < v.NumField(); i++ {
			if !v.Field(i).IsZero() {
				fields[v.Type().Field(i).Name] = v.Field(i).Interface()
			}
		}
		list = append(list, fields)
	}
	return list
}

func TestDecodeDialects(t *testing.T) {
	t.Parallel()
	documented := func(user, group string, n, ct int64) readstate.Event {
		return readstate.Event{Kind: readstate.EventReceipt, UserID: user, GroupID: group, UnreadCount: n, ContentType: ct}
	}
	server := func(user string, seq, ct int64) readstate.Event {
		return readstate.Event{Kind: readstate.EventServerReceipt, UserID: user, ReadSeq: seq, ContentType: ct}
	}
	for name, test := range map[string]struct {
		body string
		want readstate.Event
	}{
		"documented":             {`{"callbackCommand":"callbackGroupMsgReadCommand","sendID":"user123","receiveID":"group789","unreadMsgNum":5,"contentType":101}`, documented("user123", "group789", 5, 101)},
		"no command":             {`{"sendID":"u","receiveID":"g","unreadMsgNum":0,"contentType":3}`, documented("u", "g", 0, 3)},
		"no content type":        {`{"sendID":"u","receiveID":"g","unreadMsgNum":1}`, documented("u", "g", 1, 0)},
		"null content type":      {`{"sendID":"u","receiveID":"g","unreadMsgNum":1,"contentType":null}`, documented("u", "g", 1, 0)},
		"same ids, no type":      {`{"sendID":"u","receiveID":"u","unreadMsgNum":1}`, documented("u", "u", 1, 0)},
		"same ids, text":         {`{"sendID":"u","receiveID":"u","unreadMsgNum":1,"contentType":101}`, documented("u", "u", 1, 101)},
		"same ids, type 5":       {`{"sendID":"u","receiveID":"u","unreadMsgNum":1,"contentType":5}`, documented("u", "u", 1, 5)},
		"server single":          {`{"sendID":"u","receiveID":"u","unreadMsgNum":42,"contentType":1}`, server("u", 42, 1)},
		"server group":           {`{"sendID":"u","receiveID":"u","unreadMsgNum":42,"contentType":3}`, server("u", 42, 3)},
		"server notification":    {`{"sendID":"u","receiveID":"u","unreadMsgNum":42,"contentType":4}`, server("u", 42, 4)},
		"extra fields":           {`{"x":{"sendID":"no"},"sendID":"u","y":[1,{"z":null}],"receiveID":"g","unreadMsgNum":1}`, documented("u", "g", 1, 0)},
		"largest count":          {`{"sendID":"u","receiveID":"g","unreadMsgNum":9223372036854775807}`, documented("u", "g", 9223372036854775807, 0)},
		"odd ids":                {`{"sendID":"ü/%. 😀","receiveID":"` + strings.Repeat("g", 255) + `","unreadMsgNum":1}`, documented("ü/%. 😀", strings.Repeat("g", 255), 1, 0)},
		"escaped field name":     {`{"send\u0049D":"u","receiveID":"g","unreadMsgNum":1}`, documented("u", "g", 1, 0)},
		"white space at the end": {"{\"sendID\":\"u\",\"receiveID\":\"g\",\"unreadMsgNum\":1} \r\n", documented("u", "g", 1, 0)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, command := range []string{openim.CommandAfterGroupMsgRead, openim.CommandGroupMsgRead} {
				got, err := openim.DecodeCallback(command, []byte(test.body))
				require.NoError(t, err)
				require.Equal(t, []readstate.Event{test.want}, got)
			}
		})
	}
}

func TestDecodeBadInput(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body, field, message string
		code                 readstate.Code
	}{
		"empty":                {``, "body", "body is empty", readstate.CodeMalformedBody},
		"not JSON":             {`hello`, "body", "body is not valid JSON", readstate.CodeMalformedBody},
		"a broken word":        {`tru`, "body", "body is not valid JSON", readstate.CodeMalformedBody},
		"a skipped name twice": {`{"seq":1,"seq":2,"ex":{"a":1,"a":2}}`, "sendID", "sendID is missing", readstate.CodeMissingField},
		"cut":                  {`{"sendID":"u","receiveID":"g"`, "body", "body is not valid JSON", readstate.CodeMalformedBody},
		"an array":             {`[1]`, "body", "body is not a JSON object", readstate.CodeMalformedBody},
		"trailing data":        {`{"sendID":"u","receiveID":"g","unreadMsgNum":1}{}`, "body", "body has data after the JSON object", readstate.CodeMalformedBody},
		"trailing garbage":     {`{"sendID":"u","receiveID":"g","unreadMsgNum":1}x`, "body", "body has data after the JSON object", readstate.CodeMalformedBody},
		"name twice":           {`{"sendID":"u","sendID":"v","receiveID":"g","unreadMsgNum":1}`, "sendID", "sendID comes twice", readstate.CodeMalformedBody},
		"no sendID":            {`{"receiveID":"g","unreadMsgNum":1}`, "sendID", "sendID is missing", readstate.CodeMissingField},
		"null sendID":          {`{"sendID":null,"receiveID":"g","unreadMsgNum":1}`, "sendID", "sendID is missing", readstate.CodeMissingField},
		"other case":           {`{"sendid":"u","receiveID":"g","unreadMsgNum":1}`, "sendID", "sendID is missing", readstate.CodeMissingField},
		"empty sendID":         {`{"sendID":"","receiveID":"g","unreadMsgNum":1}`, "sendID", "sendID is empty", readstate.CodeMissingField},
		"number as sendID":     {`{"sendID":7,"receiveID":"g","unreadMsgNum":1}`, "sendID", "sendID is not a string", readstate.CodeInvalidField},
		"no receiveID":         {`{"sendID":"u","unreadMsgNum":1}`, "receiveID", "receiveID is missing", readstate.CodeMissingField},
		"empty receiveID":      {`{"sendID":"u","receiveID":"","unreadMsgNum":1}`, "receiveID", "receiveID is empty", readstate.CodeMissingField},
		"long receiveID":       {`{"sendID":"u","receiveID":"` + strings.Repeat("g", 256) + `","unreadMsgNum":1}`, "receiveID", "receiveID is longer than 255 bytes", readstate.CodeInvalidField},
		"long in bytes":        {`{"sendID":"` + strings.Repeat("ü", 128) + `","receiveID":"g","unreadMsgNum":1}`, "sendID", "sendID is longer than 255 bytes", readstate.CodeInvalidField},
		"NUL":                  {`{"sendID":"a\u0000b","receiveID":"g","unreadMsgNum":1}`, "sendID", "sendID contains a control character", readstate.CodeInvalidField},
		"DEL":                  {"{\"sendID\":\"u\",\"receiveID\":\"g\x7f\",\"unreadMsgNum\":1}", "receiveID", "receiveID contains a control character", readstate.CodeInvalidField},
		"invalid UTF-8":        {"{\"sendID\":\"u\",\"receiveID\":\"g\xff\",\"unreadMsgNum\":1}", "receiveID", "receiveID is not valid UTF-8", readstate.CodeMalformedBody},
		"lone surrogate":       {`{"sendID":"\ud800","receiveID":"g","unreadMsgNum":1}`, "sendID", "sendID is not valid JSON", readstate.CodeMalformedBody},
		"no count":             {`{"sendID":"u","receiveID":"g"}`, "unreadMsgNum", "unreadMsgNum is missing", readstate.CodeMissingField},
		"null count":           {`{"sendID":"u","receiveID":"g","unreadMsgNum":null}`, "unreadMsgNum", "unreadMsgNum is missing", readstate.CodeMissingField},
		"negative count":       {`{"sendID":"u","receiveID":"g","unreadMsgNum":-1}`, "unreadMsgNum", "unreadMsgNum is negative", readstate.CodeInvalidField},
		"negative seq":         {`{"sendID":"u","receiveID":"u","unreadMsgNum":-1,"contentType":3}`, "unreadMsgNum", "unreadMsgNum is negative", readstate.CodeInvalidField},
		"fraction":             {`{"sendID":"u","receiveID":"g","unreadMsgNum":1.5}`, "unreadMsgNum", "unreadMsgNum is not an integer", readstate.CodeInvalidField},
		"exponent":             {`{"sendID":"u","receiveID":"g","unreadMsgNum":1e3}`, "unreadMsgNum", "unreadMsgNum is not an integer", readstate.CodeInvalidField},
		"beyond int64":         {`{"sendID":"u","receiveID":"g","unreadMsgNum":9223372036854775808}`, "unreadMsgNum", "unreadMsgNum is not an integer", readstate.CodeInvalidField},
		"count as string":      {`{"sendID":"u","receiveID":"g","unreadMsgNum":"5"}`, "unreadMsgNum", "unreadMsgNum is not an integer", readstate.CodeInvalidField},
		"type as string":       {`{"sendID":"u","receiveID":"g","unreadMsgNum":5,"contentType":"101"}`, "contentType", "contentType is not an integer", readstate.CodeInvalidField},
		"other command":        {`{"callbackCommand":"callbackAfterSendGroupMsgCommand","sendID":"u","receiveID":"g","unreadMsgNum":5}`, "callbackCommand", "callbackCommand contradicts the path's command", readstate.CodeCommandMismatch},
		"command not a string": {`{"callbackCommand":1,"sendID":"u","receiveID":"g","unreadMsgNum":5}`, "callbackCommand", "callbackCommand is not a string", readstate.CodeInvalidField},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			events, err := openim.DecodeCallback(openim.CommandAfterGroupMsgRead, []byte(test.body))
			var input *readstate.InputError
			require.ErrorAs(t, err, &input)
			require.Nil(t, events)
			require.Equal(t, test.field, input.Field)
			require.Equal(t, test.message, input.Message)
			require.Equal(t, test.code, input.Code)
			require.NotEmpty(t, input.Detail)
		})
	}
}

// A rejected callback keeps the IDs that are legible, and only those.
func TestDecodeKeepsLegibleIDs(t *testing.T) {
	t.Parallel()
	_, err := openim.DecodeCallback(openim.CommandGroupMsgRead, []byte(`{"sendID":"u","receiveID":"g\u0000","unreadMsgNum":-1}`))
	var input *readstate.InputError
	require.ErrorAs(t, err, &input)
	require.Equal(t, "u", input.UserID)
	require.Empty(t, input.GroupID)
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	success, err := json.Marshal(openim.Success())
	require.NoError(t, err)
	require.Equal(t, `{"actionCode":0,"errCode":0,"errMsg":"","errDlt":"","nextCode":0}`, string(success))
	failure, err := json.Marshal(openim.Failure(readstate.CodeMissingField, "sendID is missing", "expected"))
	require.NoError(t, err)
	require.Equal(t,
		`{"actionCode":1,"errCode":40002,"errMsg":"sendID is missing","errDlt":"expected","nextCode":0}`, string(failure))
}

func TestCommandLabel(t *testing.T) {
	t.Parallel()
	require.Equal(t, "other", openim.CommandLabel("callbackMadeUpCommand"))
	require.Equal(t, openim.CommandGroupMsgRead, openim.CommandLabel(openim.CommandGroupMsgRead))
}

// FuzzDecode: whatever comes as a read report, decoding does not panic, and what it
// accepts could be stored.
func FuzzDecode(f *testing.F) {
	for _, c := range captures(f) {
		f.Add(c.body)
	}
	f.Add([]byte(`{"sendID":"u","receiveID":"g\ud83d\ude00","unreadMsgNum":-0,"contentType":1e2}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		events, err := openim.DecodeCallback(openim.CommandGroupMsgRead, body)
		if err != nil {
			var input *readstate.InputError
			if !errors.As(err, &input) || input.Field == "" || input.Message == "" || !utf8.ValidString(input.Message) {
				t.Fatalf("error without field and message: %v", err)
			}
			return
		}
		require.True(t, json.Valid(body), "accepted what is not JSON: %q", body)
		require.Len(t, events, 1)
		require.True(t, events[0].Kind.IsReceipt())
		requireStorable(t, events[0])
	})
}

// Each kind of event that a callback tells has a command that OpenIM sends, in its newest spelling.
func TestCommandOf(t *testing.T) {
	t.Parallel()
	for _, kind := range []readstate.EventKind{
		readstate.EventReceipt, readstate.EventServerReceipt, readstate.EventGroupRead, readstate.EventMessage, readstate.EventJoined, readstate.EventLeft,
		readstate.EventDismissed, readstate.EventMembersChanged,
	} {
		for _, stored := range []bool{false, true} {
			command := openim.CommandOf(kind, stored)
			require.True(t, openim.IsUsed(command), kind)
			require.Equal(t, command, openim.Newest(command))
		}
	}
	require.NotEqual(t, openim.CommandOf(readstate.EventMessage, false), openim.CommandOf(readstate.EventMessage, true))
	require.Equal(t, "other", openim.CommandOf(readstate.EventSnapshot, false))
	require.Equal(t, openim.CommandAfterGroupMsgRead, openim.Newest(openim.CommandGroupMsgRead))
	require.Equal(t, "other", openim.Newest("callbackMadeUpCommand"))
}

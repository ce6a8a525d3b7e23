package server_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/readstate"
)

// TestCallbackPaths: every form of path and token that is pinned, and what
// each is answered.
func TestCallbackPaths(t *testing.T) {
	t.Parallel()
	const read = "/callbackAfterGroupMsgReadCommand"
	for name, test := range map[string]struct {
		token, target, basic string
		status               int
	}{
		"plain":                      {"", read + "?contenttype=json", "", 200},
		"other name":                 {"", "/callbackGroupMsgReadCommand", "", 200},
		"OpenIM's default base":      {"", "/callbackExample" + read, "", 200},
		"double slash":               {"", "/" + read, "", 200},
		"double slash behind base":   {"", "/callbackExample/" + read, "", 200},
		"trailing slash":             {"", read + "/", "", 200},
		"escaped":                    {"", "/callback%41fterGroupMsgReadCommand", "", 200},
		"two segments before":        {"", "/a/b" + read, "", 404},
		"a space behind the command": {"", read + "%20", "", 404},
		"a space, known command cut": {"", "/callbackAfterQuitGroupCommand%09", "", 404},
		"a parameter in the segment": {"", read + ";x", "", 404},
		"an escaped slash behind it": {"", read + "%2Fx", "", 404},
		"no command":                 {"", "/hello", "", 404},
		"root":                       {"", "/", "", 404},
		"below the read api":         {"", "/v1/nothing", "", 404},
		"deep below the read api":    {"", "/v1/users/a/callbackAfterGroupMsgReadCommand", "", 404},
		"read api, no token":         {"s3cret", "/v1/users/a/b", "", 401},
		"double slashes everywhere":  {"s3cret", "//s3cret///callbackAfterGroupMsgReadCommand//", "", 200},
		"token":                      {"s3cret", "/s3cret" + read, "", 200},
		"token and double slash":     {"s3cret", "//s3cret/" + read, "", 200},
		"basic":                      {"s3cret", read, basicSecret, 200},
		"basic behind base":          {"s3cret", "/callbackExample" + read, basicSecret, 200},
		"token missing":              {"s3cret", read, "", 401},
		"token wrong":                {"s3cret", "/s3cre" + read, "", 401},
		"token as base only":         {"s3cret", "/callbackExample" + read, "", 401},
		"basic wrong":                {"s3cret", read, basicWrong, 401},
		"token then base":            {"s3cret", "/s3cret/callbackExample" + read, "", 404},
		"token without command":      {"s3cret", "/s3cret", "", 404},
		"token and another path":     {"s3cret", "/s3cret/hello", "", 404},
		"another path without token": {"s3cret", "/hello", "", 401},
		"deep path without token":    {"s3cret", "/a/b/c/d", "", 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(test.token, false)
			got := f.do("POST", test.target, documentedBody, "Authorization", test.basic, "Operationid", "op-1")
			require.Equal(t, test.status, got.Code, got.Body)
			require.Equal(t, "application/json; charset=utf-8", got.Header().Get("Content-Type"))
			if test.status == 200 {
				require.Equal(t, successBody, got.Body.String())
				require.Len(t, f.sink.events, 1)
				require.Equal(t, "group789", f.sink.events[0].GroupID)
			} else {
				requireFailure(t, got)
				require.Empty(t, f.sink.events)
			}
			require.Empty(t, f.sink.rejected, "neither a 401 nor a 404 is recorded")
			require.NotContains(t, f.log.String(), "s3cret")
			require.NotContains(t, f.log.String(), "contenttype")
		})
	}
}

// requireFailure checks OpenIM's shape: all five fields, codes as numbers.
func requireFailure(t *testing.T, got *httptest.ResponseRecorder) (message string) {
	t.Helper()
	var answer map[string]any
	require.NoError(t, json.Unmarshal(got.Body.Bytes(), &answer))
	require.Len(t, answer, 5)
	require.EqualValues(t, 1, answer["actionCode"])
	require.EqualValues(t, 0, answer["nextCode"])
	require.Greater(t, answer["errCode"], float64(0))
	require.NotEmpty(t, answer["errDlt"])
	message, _ = answer["errMsg"].(string)
	require.NotEmpty(t, message)
	return message
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	f := newFixture("", false)
	got := f.do("POST", "/callbackGroupMsgReadCommand", `{"sendID":"u","receiveID":"g","unreadMsgNum":-1,"secretField":"do not keep"}`,
		"Operationid", "op-77")
	require.Equal(t, http.StatusBadRequest, got.Code)
	require.Equal(t, "unreadMsgNum is negative", requireFailure(t, got))
	require.Empty(t, f.sink.events)
	require.Equal(t, []readstate.Rejection{{
		Command: "callbackGroupMsgReadCommand", Code: readstate.CodeInvalidField, Field: "unreadMsgNum",
		Reason: "unreadMsgNum is negative", Size: 76, UserID: "u", GroupID: "g",
	}}, f.sink.rejected)
	require.Contains(t, f.log.String(), "op-77")
	require.Contains(t, f.log.String(), got.Header().Get("X-Request-Id"))
	require.NotContains(t, f.log.String(), "do not keep")
}

func TestBodyTooLarge(t *testing.T) {
	t.Parallel()
	f := newFixture("", false)
	pad := func(size int) string { return documentedBody + strings.Repeat(" ", size-len(documentedBody)) }
	require.Equal(t, 200, f.do("POST", "/callbackGroupMsgReadCommand", pad(1<<20)).Code)
	got := f.do("POST", "/callbackGroupMsgReadCommand", pad(1<<20+1))
	require.Equal(t, http.StatusRequestEntityTooLarge, got.Code)
	require.Equal(t, "body is too large", requireFailure(t, got))
	require.Len(t, f.sink.rejected, 1)
}

// Other commands are acknowledged without a look at their body.
func TestOtherCommands(t *testing.T) {
	t.Parallel()
	f := newFixture("", false)
	for _, command := range []string{"callbackBeforeSendGroupMsgCommand", "callbackMadeUpCommand"} {
		got := f.do("POST", "/"+command, "not json")
		require.Equal(t, 200, got.Code)
		require.Equal(t, successBody, got.Body.String())
	}
	require.Empty(t, f.sink.events)
	f.requireMetric(t, `readmark_callbacks_total{command="callbackBeforeSendGroupMsgCommand",dialect="none",result="acknowledged"} 1`)
	f.requireMetric(t, `readmark_callbacks_total{command="other",dialect="none",result="acknowledged"} 1`)
}

// A receipt that could not be made durable is not answered with success.
func TestNotDurable(t *testing.T) {
	t.Parallel()
	f := newFixture("", false)
	f.sink.err = errors.New("disk on fire")
	got := f.do("POST", "/callbackGroupMsgReadCommand", documentedBody)
	require.Equal(t, http.StatusServiceUnavailable, got.Code)
	require.NotContains(t, requireFailure(t, got), "fire")
	require.Contains(t, f.log.String(), "disk on fire")
}

// The log tells of unknown paths once a minute, the metric always.
func TestUnknownPathsAreLoggedOnce(t *testing.T) {
	t.Parallel()
	f := newFixture("", false)
	for range 3 {
		f.do("POST", "/callbackless/hello?key=s3cret", "")
	}
	require.Equal(t, 1, strings.Count(f.log.String(), "unknown path"))
	require.Contains(t, f.log.String(), "last_segment=hello")
	require.NotContains(t, f.log.String(), "s3cret")
	f.requireMetric(t, `readmark_callbacks_total{command="other",dialect="none",result="unknown_path"} 3`)
	f.requireMetric(t, `readmark_callback_errors_total{code="40401"} 3`)
}

func TestServerDialectIsCounted(t *testing.T) {
	t.Parallel()
	f := newFixture("", false)
	f.do("POST", "/callbackGroupMsgReadCommand", `{"sendID":"u","receiveID":"u","unreadMsgNum":42,"contentType":3}`)
	require.Len(t, f.sink.events, 1)
	require.EqualValues(t, 42, f.sink.events[0].ReadSeq)
	f.requireMetric(t, `readmark_unattributed_receipts_total 1`)
}

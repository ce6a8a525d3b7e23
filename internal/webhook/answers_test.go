package webhook

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/openim"
)

var update = flag.Bool("update", false, "rewrite the table in docs/callbacks.md")

// capturedBodies gives a body of each command that a real server sent: the last that came.
func capturedBodies(t *testing.T) map[string]string {
	t.Helper()
	bodies := map[string]string{}
	files, err := filepath.Glob("../openim/testdata/captures/*.req")
	require.NoError(t, err)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		request, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		require.NoError(t, err)
		text, err := io.ReadAll(request.Body)
		require.NoError(t, err)
		bodies[path.Base(request.URL.Path)] = string(text)
	}
	more, err := os.ReadFile("../openim/testdata/more.jsonl")
	require.NoError(t, err)
	for line := range strings.Lines(string(more)) {
		var sent struct{ Callback, Body string }
		require.NoError(t, json.Unmarshal([]byte(line), &sent))
		bodies[sent.Callback] = sent.Body
	}
	return bodies
}

// into gives what OpenIM has of a subject after it has merged an answer.
func (m merge) into(subject, answer map[string]any) map[string]any {
	merged := maps.Clone(subject)
	for _, field := range m.always {
		merged[field] = answer[field]
	}
	for _, field := range m.set {
		if answer[field] != nil {
			merged[field] = answer[field]
		}
	}
	for _, field := range m.filled {
		if list, isList := answer[field].([]any); answer[field] != nil && answer[field] != "" && (!isList || len(list) > 0) {
			merged[field] = answer[field]
		}
	}
	return merged
}

// TestAnswers holds the exact answer to each kind, under each of its names. OpenIM goes on
// with what it asks about, and changes nothing of it.
func TestAnswers(t *testing.T) {
	t.Parallel()
	bodies := capturedBodies(t)
	webhooks := map[string]bool{}
	for _, k := range kinds {
		webhooks[k.webhook] = true
		t.Run(k.webhook, func(t *testing.T) {
			t.Parallel()
			sent := k.body
			if sent == "" {
				sent = bodies[k.command]
			}
			command := k.command
			if command == "" { // whatever it might send one day
				command, sent = "callbackAfterGroupMsgRevokeCommand", "{}"
			}
			require.NotEmpty(t, sent, "there is a body")
			want := k.answer
			if want == "" {
				want = plainSuccess
			}
			for _, name := range append(slices.Clone(k.older), command) {
				got, told := answered(t, name, strings.Replace(sent, `"`+command+`"`, `"`+name+`"`, 1))
				require.Equal(t, want, got, name)
				require.Equal(t, k.tells, told, name)
				require.Equal(t, strings.HasPrefix(k.webhook, "before"), openim.IsBefore(name), name)
				if k.command != "" {
					require.Equal(t, name, openim.CommandLabel(name))
				}
			}
			var codes struct{ ActionCode, ErrCode, NextCode int32 } // as OpenIM decodes them
			require.NoError(t, json.Unmarshal([]byte(want), &codes))
			require.Zero(t, codes, "another code would undo what a user has done")
			var subject, answer map[string]any
			require.NoError(t, json.Unmarshal([]byte(sent), &subject))
			require.NoError(t, json.Unmarshal([]byte(want), &answer))
			require.Equal(t, subject, k.merge.into(subject, answer))
		})
	}
	require.Len(t, webhooks, 53)
	require.Len(t, kinds, 53)
	require.Len(t, slices.DeleteFunc(slices.Clone(kinds), func(k kind) bool { return k.command == "" }), 52)
}

// answered gives the answer to a callback, and how many events it told.
func answered(t *testing.T, command, sent string) (answer string, told int) {
	t.Helper()
	f := newFixture("")
	recorder := httptest.NewRecorder()
	f.engine.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, "/"+command, strings.NewReader(sent)))
	require.Equal(t, http.StatusOK, recorder.Code, "%s: %s", command, recorder.Body)
	require.Equal(t, "application/json; charset=utf-8", recorder.Header().Get("Content-Type"))
	require.Empty(t, f.sink.taken.Rejections)
	return recorder.Body.String(), len(f.sink.taken.Events)
}

// The documentation's table is made of the kinds. Run with -update to write it anew.
//
//nolint:paralleltest // it may write the file
func TestAnswersAreDocumented(t *testing.T) {
	const file, begin, end = "../../docs/callbacks.md", "<!-- kinds -->\n", "<!-- end of kinds -->\n"
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(text), begin)
	require.True(t, found)
	table, after, found := strings.Cut(rest, end)
	require.True(t, found)
	want := documented()
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(before+begin+want+end+after), 0o644))
		return
	}
	require.Equal(t, want, table)
}

// documented is the table of all kinds.
func documented() string {
	var b strings.Builder
	b.WriteString("| webhook | command (*older names*) | Readmark | answer |\n|---|---|---|---|\n")
	for _, k := range kinds {
		names := "–"
		if k.command != "" {
			names = "`" + k.command + "`"
		}
		if len(k.older) > 0 {
			names += " (*" + strings.Join(k.older, "*, *") + "*)"
		}
		answer := "success"
		if k.command == "" {
			answer = "–"
		}
		if len(k.merge.always) > 0 {
			answer += " and " + strings.Join(k.merge.always, ", ")
		}
		b.WriteString("| " + k.webhook + " | " + names + " | " + k.does + " | " + answer + " |\n")
	}
	return b.String()
}

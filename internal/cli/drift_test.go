package cli_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/openimsim"
	"readmark/internal/pgtest"
)

// changing answers as a model does, but says of one user a lower read seq each time.
type changing struct {
	http.Handler
	user string

	mu   sync.Mutex
	next int64 // 0: as the model
	told map[int64]bool
}

func (c *changing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	c.mu.Lock()
	defer c.mu.Unlock()
	var request struct{ UserID string }
	if r.URL.Path != "/msg/get_conversations_has_read_and_max_seq" || json.Unmarshal(body, &request) != nil || request.UserID != c.user || c.next == 0 {
		c.Handler.ServeHTTP(w, r)
		return
	}
	recorder := httptest.NewRecorder()
	c.Handler.ServeHTTP(recorder, r)
	var answer map[string]any
	if json.Unmarshal(recorder.Body.Bytes(), &answer) == nil {
		if data, told := answer["data"].(map[string]any); told {
			data["seqs"].(map[string]any)["sg_g"].(map[string]any)["hasReadSeq"] = c.next
			c.told[c.next] = true
			c.next--
		}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (c *changing) set(next int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next = next
}

func (c *changing) has(seq int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told[seq]
}

// What reconcile cannot repair it names, with both numbers, why and what to do, and its exit
// status is 1; the API and the doctor tell the same, until it is repaired.
func TestReconcileNamesWhatStaysOff(t *testing.T) {
	t.Parallel()
	model := openimsim.New(openimsim.Options{Webhooks: []string{"callbackAfterGroupMsgReadCommand"}})
	model.CreateGroup("g", "a", "b")
	for range 300 {
		model.Send("g", "a")
	}
	gate := &changing{Handler: model, user: "b", told: map[int64]bool{}}
	environment := withOpenIM(t, gate)
	s := serve(t, environment)
	environment["READMARK_ADDR"], environment["READMARK_OPS_ADDR"] = strings.TrimPrefix(s.URL, "http://"), strings.TrimPrefix(s.Ops, "http://")
	model.Read("g", "b", 301)
	s.deliver(model.Take(inOrder(), 1, 0))
	resolved(t, environment["DATABASE_URL"])
	doctor := func(want int) string {
		t.Helper()
		status, out, errs := run(t, environment, "doctor", "--no-callback")
		require.Equal(t, want, status, out+errs)
		return out
	}
	_, drift := s.get("/v1/drift")
	require.Equal(t, []any{}, drift["items"])

	gate.set(250)
	status, out, errs := run(t, environment, "reconcile", "--user", "b")
	require.Equal(t, 1, status, out+errs)
	require.Contains(t, errs, "could not be repaired")
	require.Regexp(t, `(?m)^user +group +count +at openim +why\nb +g +0 +\d+ +read_seq$`, out)
	require.Contains(t, out, "read_seq: OpenIM says that less is read than was known")
	require.Contains(t, out, "the same Redis and MongoDB")

	status, out, errs = run(t, environment, "reconcile", "--all", "--json")
	require.Equal(t, 1, status, out+errs)
	var report struct {
		StaysOff int
		Items    []map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	_, drift = s.get("/v1/drift")
	for _, items := range [][]map[string]any{report.Items, {drift["items"].([]any)[0].(map[string]any)}} {
		require.Len(t, items, 1)
		require.Subset(t, items[0], map[string]any{"userID": "b", "groupID": "g", "unreadCount": 0.0, "known": true, "reason": "read_seq"})
		require.True(t, gate.has(301-int64(items[0]["openimUnreadCount"].(float64))), "%v was never told", items[0])
		require.Contains(t, items[0]["explanation"], "less is read than was known")
		require.NotEmpty(t, items[0]["checkedAt"])
	}
	require.Equal(t, 1, report.StaysOff)
	require.EqualValues(t, 1, drift["staysOff"])
	out = doctor(1)
	require.Regexp(t, `(?m)^FAIL  drift: 1 of \d+ counts differ from OpenIM's and could not be repaired`, out)
	require.Contains(t, out, "drift: read_seq, 1: OpenIM says that less is read")
	require.NotRegexp(t, `drift: .*run readmark reconcile`, out, "it cannot help")

	gate.set(0)
	status, out, errs = run(t, environment, "reconcile", "--all")
	require.Equal(t, 0, status, out+errs)
	require.NotContains(t, out, "read_seq")
	_, drift = s.get("/v1/drift")
	require.Equal(t, []any{}, drift["items"])
	require.EqualValues(t, 0, drift["staysOff"])
	require.Contains(t, doctor(0), "ok    drift")
	s.end()
}

// The doctor fails where a count stays off, says for each reason what to do, and never to run
// reconcile where that cannot help; what passes by itself is a note.
func TestDoctorOnDrift(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"DATABASE_URL": pgtest.New(t)}
	s := serve(t, environment)
	environment["READMARK_ADDR"], environment["READMARK_OPS_ADDR"] = strings.TrimPrefix(s.URL, "http://"), strings.TrimPrefix(s.Ops, "http://")
	conn := pgtest.Connect(t, environment["DATABASE_URL"])
	_, err := conn.Exec(t.Context(), `INSERT INTO checks (user_id, group_id, due_at, checked_at, pairs, pairs_off, repaired, largest_difference)
		VALUES ('u', '', now() + interval '1 h', now(), 9, 4, 2, 7)`)
	require.NoError(t, err)
	for _, test := range []struct {
		reasons  []string
		status   int
		contains []string
		helps    bool // reconcile does
	}{
		{nil, 0, []string{"ok    drift: 9 counts of 1 users compared with OpenIM; 4 differed, and none stays off"}, false},
		{[]string{"max_seq", "max_seq"}, 1, []string{
			"FAIL  drift: 2 of 9 counts differ from OpenIM's and could not be repaired, by up to 7",
			"note  drift: max_seq, 2: OpenIM shows this user a highest seq", "reconcile cannot help", "leave the group and join it again",
		}, false},
		{[]string{"read_seq"}, 1, []string{"FAIL  drift: 1 of 9", "read_seq, 1: ", "the same Redis and MongoDB"}, false},
		{[]string{"unknown"}, 1, []string{"FAIL  drift: 1 of 9", "unknown, 1: "}, true},
		{[]string{"behind"}, 0, []string{"note  drift: 1 of 9", "behind, 1: ", "a second run"}, true},
		{[]string{"not_stored"}, 0, []string{"note  drift: 1 of 9", "not_stored, 1: ", "There is nothing to repair"}, false},
		{[]string{"not_stored", "read_seq"}, 1, []string{"FAIL  drift: 2 of 9", "read_seq, 1: ", "not_stored, 1: "}, false},
	} {
		_, err := conn.Exec(t.Context(), "DELETE FROM drifts")
		require.NoError(t, err)
		_, err = conn.Exec(t.Context(), `INSERT INTO drifts (user_id, group_id, unread_count, openim_unread_count, reason, checked_at)
			SELECT 'u', 'g' || place, 3, 5, reason::drift_reason, now() FROM unnest($1::text[]) WITH ORDINALITY AS off (reason, place)`, test.reasons)
		require.NoError(t, err)
		status, out, errs := run(t, environment, "doctor", "--no-callback")
		require.Equal(t, test.status, status, out+errs)
		for _, sentence := range test.contains {
			require.Contains(t, out, sentence)
		}
		require.Equal(t, test.helps, strings.Contains(out, "readmark reconcile"), out)
	}
	s.end()
}

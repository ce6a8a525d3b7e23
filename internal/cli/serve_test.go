package cli_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
)

// The main job: the documented callback in, the count out.
func TestCallbackToCount(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": pgtest.Empty(t)})
	status, problem := s.get("/v1/users/user123/groups/group789")
	require.Equal(t, 404, status, "unknown is not zero")
	require.EqualValues(t, 404, problem["status"])

	s.read("user123", "group789", 5)
	status, state := s.get("/v1/users/user123/groups/group789")
	require.Equal(t, 200, status)
	for _, field := range []string{"lastReadAt", "updatedAt", "asOf"} {
		at, err := time.Parse(time.RFC3339Nano, state[field].(string))
		require.NoError(t, err)
		require.WithinDuration(t, time.Now(), at, time.Minute)
		require.True(t, strings.HasSuffix(state[field].(string), "Z"))
		delete(state, field)
	}
	require.Equal(t, map[string]any{
		"userID": "user123", "groupID": "group789", "unreadCount": 5.0, "contentType": 101.0, "source": "receipt",
		"exact": false, "pending": false, "muted": false,
	}, state)

	s.read("user123", "group789", 0)
	s.read("user123", "group-b", 3)
	s.read("other", "group789", 9)
	_, badge := s.get("/v1/users/user123/unread")
	require.NotEmpty(t, badge["asOf"])
	delete(badge, "asOf")
	require.Equal(t, map[string]any{
		"userID": "user123", "unreadCount": 3.0, "unreadCountUnmuted": 3.0, "unreadGroups": 1.0, "groups": 2.0, "exact": false, "pending": false,
	}, badge)
	_, sum := s.get("/v1/groups/group789/unread")
	require.NotEmpty(t, sum["lastReadAt"])
	delete(sum, "asOf")
	delete(sum, "lastReadAt")
	require.Equal(t, map[string]any{
		"groupID": "group789", "users": 2.0, "usersWithUnread": 1.0, "unreadCount": 9.0, "maxUnread": 9.0, "exact": false,
	}, sum)

	status, body := s.do(http.MethodGet, s.Ops+"/metrics", "")
	require.Equal(t, 200, status)
	for _, line := range []string{
		`readmark_callbacks_total{command="callbackAfterGroupMsgReadCommand",dialect="documented",result="accepted"} 4`,
		`readmark_build_info{`, `readmark_pool_connections{pool="read"} `, `readmark_pool_connections{pool="write"} `, `readmark_callback_duration_seconds_bucket{`, `go_goroutines `,
	} {
		require.Contains(t, body, line)
	}
	status, body = s.do(http.MethodGet, s.Ops+"/readyz", "")
	require.Equal(t, "200 ready\n", fmt.Sprint(status, " ", body))
	status, _ = s.do(http.MethodGet, s.Ops+"/livez", "")
	require.Equal(t, 200, status)
	s.end()
}

// Every captured request of a real OpenIM, as it came over the wire on one
// keep-alive connection, is answered with success; its read reports are in the
// journal, unattributed, and its messages and members are known.
func TestCapturedRequests(t *testing.T) {
	t.Parallel()
	database := pgtest.Empty(t)
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": database})
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	answers := bufio.NewReader(conn)
	reads := 0
	for name, raw := range captures(t) {
		_, err := conn.Write(raw)
		require.NoError(t, err)
		response, err := http.ReadResponse(answers, nil)
		require.NoError(t, err, name)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, 200, response.StatusCode, name)
		require.Equal(t, `{"actionCode":0,"errCode":0,"errMsg":"","errDlt":"","nextCode":0}`, string(body), name)
		if bytes.Contains(raw, []byte("callbackAfterGroupMsgReadCommand")) {
			reads++
		}
	}
	require.Equal(t, 9, reads)
	var journaled, messages, rejected int
	require.NoError(t, pgtest.Connect(t, database).QueryRow(t.Context(),
		`SELECT (SELECT count(*) FROM journal WHERE kind = 'server_receipt' AND group_id IS NULL),
		        (SELECT count(*) FROM journal WHERE kind = 'message' AND read_seq IS NOT NULL), (SELECT count(*) FROM rejected_callbacks)`).
		Scan(&journaled, &messages, &rejected))
	require.Equal(t, []int{9, 6, 0}, []int{journaled, messages, rejected})
	require.Equal(t, 1, strings.Count(s.log.String(), "READMARK_OPENIM_API_URL"), "told once what to configure")
	_, metrics := s.do(http.MethodGet, s.Ops+"/metrics", "")
	require.Contains(t, metrics, "readmark_unattributed_receipts_total 9")
	require.Contains(t, s.log.String(), "op-220151-24206-31314", "OpenIM's operation ID")
	s.end()
}

// Bad input is answered naming the field, changes nothing, and is recorded
// without its body.
func TestBadInputIsRecorded(t *testing.T) {
	t.Parallel()
	database := pgtest.Empty(t)
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": database})
	s.read("u", "g", 5)
	status, answer := s.post("/callbackGroupMsgReadCommand", `{"sendID":"u","receiveID":"g","unreadMsgNum":-3,"note":"private"}`)
	require.Equal(t, 400, status)
	require.Equal(t, "unreadMsgNum is negative", answer["errMsg"])
	require.Len(t, answer, 5)
	_, state := s.get("/v1/users/u/groups/g")
	require.EqualValues(t, 5, state["unreadCount"])
	var record string
	require.NoError(t, pgtest.Connect(t, database).QueryRow(t.Context(),
		"SELECT row_to_json(r)::text FROM rejected_callbacks r").Scan(&record))
	require.Contains(t, record, `"reason":"unreadMsgNum is negative"`)
	require.NotContains(t, record, "private")
	s.end()
}

func TestOddIDs(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": pgtest.Empty(t)})
	ids := []string{
		"a/b", "a%2Fb", "a+b/c", "a b/c", "100%", ".", "..", "a.b", "ü😀", "'; DROP TABLE states; --", "?x=1", "#", "\\", "v1", "groups",
		strings.Repeat("x", 255),
	}
	for i, id := range ids {
		s.read(id, id, int64(i))
	}
	escape := func(id string) string { return strings.ReplaceAll(url.PathEscape(id), ".", "%2E") }
	for i, id := range ids {
		status, state := s.get("/v1/users/" + escape(id) + "/groups/" + escape(id))
		require.Equal(t, 200, status, id)
		require.Equal(t, id, state["userID"])
		require.Equal(t, id, state["groupID"])
		require.EqualValues(t, i, state["unreadCount"], id)
		// Dots as they are, too: not every client can encode them.
		_, literal := s.get("/v1/users/" + url.PathEscape(id) + "/groups/" + url.PathEscape(id))
		delete(state, "asOf")
		delete(literal, "asOf")
		require.Equal(t, state, literal)
		_, badge := s.get("/v1/users/" + escape(id) + "/unread")
		require.Equal(t, id, badge["userID"])
	}
	s.end()
}

func TestListsPageByPage(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": pgtest.Empty(t)})
	for i := range 7 {
		s.read("u", fmt.Sprint("g", i), int64(i%2))
		s.read(fmt.Sprint("u", i), "g", int64(i))
	}
	pages := func(path, key string) (keys []string, requests int) {
		cursor := ""
		for {
			requests++
			status, page := s.get(path + "&cursor=" + url.QueryEscape(cursor))
			require.Equal(t, 200, status, page)
			require.NotEmpty(t, page["asOf"])
			for _, item := range page["items"].([]any) {
				keys = append(keys, item.(map[string]any)[key].(string))
			}
			cursor = page["nextCursor"].(string)
			if cursor == "" {
				return keys, requests
			}
			// A row that comes before the cursor, or goes behind it, disturbs nothing.
			s.read("u", "a-new", 1)
		}
	}
	keys, requests := pages("/v1/users/u/groups?limit=3", "groupID")
	require.Equal(t, []string{"g0", "g1", "g2", "g3", "g4", "g5", "g6"}, keys)
	require.Equal(t, 3, requests)
	keys, _ = pages("/v1/users/u/groups?unread=true&limit=1", "groupID")
	require.Equal(t, []string{"a-new", "g1", "g3", "g5"}, keys)
	keys, requests = pages("/v1/groups/g/users?minUnread=5&limit=2", "userID")
	require.Equal(t, []string{"u5", "u6"}, keys)
	require.Equal(t, 1, requests, "a full last page says so")
	keys, _ = pages("/v1/groups/nobody/users?limit=1000", "userID")
	require.Empty(t, keys)
	status, body := s.do(http.MethodGet, s.URL+"/v1/users/nobody/groups", "")
	require.Equal(t, 200, status)
	require.Contains(t, body, `"items":[]`)
	s.end()
}

func TestInvalidParameters(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": pgtest.Empty(t)})
	s.read("u", "g", 1)
	s.read("u", "h", 1)
	_, page := s.get("/v1/users/u/groups?limit=1")
	ofUser := page["nextCursor"].(string)
	require.NotEmpty(t, ofUser)
	for path, field := range map[string]string{
		"/v1/users/u/groups?limit=0":                                 "limit",
		"/v1/users/u/groups?limit=1001":                              "limit",
		"/v1/users/u/groups?limit=x":                                 "limit",
		"/v1/users/u/groups?unread=maybe":                            "unread",
		"/v1/users/u/groups?cursor=!":                                "cursor",
		"/v1/groups/g/users?cursor=" + ofUser:                        "cursor",
		"/v1/groups/g/users?minUnread=-1":                            "minUnread",
		"/v1/users/a%00b/unread":                                     "userID",
		"/v1/users/%FF/unread":                                       "userID",
		"/v1/users/u/groups/" + strings.Repeat("x", 256):             "groupID",
		"/v1/users/" + strings.Repeat("%C3%BC", 128) + "/groups/abc": "userID",
	} {
		status, problem := s.get(path)
		require.Equal(t, 422, status, path)
		text, err := json.Marshal(problem["errors"])
		require.NoError(t, err)
		require.Contains(t, string(text), field, path)
	}
	s.end()
}

func TestQuery(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": pgtest.Empty(t)})
	s.read("u", "g", 5)
	status, answer := s.post("/v1/unread/query",
		`{"pairs":[{"userID":"x","groupID":"g"},{"userID":"u","groupID":"g"},{"userID":"u","groupID":"g"}],"userIDs":["u","x","u"]}`)
	require.Equal(t, 200, status, answer)
	pairs, users := answer["pairs"].([]any), answer["users"].([]any)
	require.Len(t, pairs, 3)
	require.Equal(t, map[string]any{"userID": "x", "groupID": "g", "status": "unknown"}, pairs[0])
	require.Equal(t, pairs[1], pairs[2])
	require.Equal(t, "known", pairs[1].(map[string]any)["status"])
	require.EqualValues(t, 5, pairs[1].(map[string]any)["state"].(map[string]any)["unreadCount"])
	require.Len(t, users, 3)
	require.Equal(t, map[string]any{"userID": "x", "status": "unknown"}, users[1])
	require.EqualValues(t, 5, users[0].(map[string]any)["unreadCount"])

	_, empty := s.post("/v1/unread/query", `{}`)
	require.Equal(t, []any{}, empty["pairs"])
	require.Equal(t, []any{}, empty["users"])

	ids := func(n int) string {
		quoted, err := json.Marshal(slices.Repeat([]string{"u"}, n))
		require.NoError(t, err)
		return `{"userIDs":` + string(quoted) + `}`
	}
	status, full := s.post("/v1/unread/query", ids(1000))
	require.Equal(t, 200, status)
	require.Len(t, full["users"], 1000)
	for _, body := range []string{
		ids(1001), `{"userIDs":[""]}`, `{"pairs":[{"userID":"u"}]}`, `{"pairs":[{"userID":"u\u0000","groupID":"g"}]}`, `{"userIDs":[7]}`,
	} {
		status, problem := s.post("/v1/unread/query", body)
		require.Equal(t, 422, status, "%s %v", body[:min(60, len(body))], problem)
	}
	// What is not one clear JSON text must not be answered for another user.
	s.read("a\ufffd", "g", 1)
	for body, want := range map[string]int{
		`{`: 400, "{\"userIDs\":[\"a\xff\"]}": 400, `{"userIDs":["a\ud800"]}`: 400,
		`{"userIDs":["u"],"userIDs":["v"]}`: 400, `{"userids":["u"]}`: 422, `{"other":1}`: 422,
	} {
		status, problem := s.post("/v1/unread/query", body)
		require.Equal(t, want, status, "%s %v", body, problem)
	}
	// A thousand of the longest IDs fit, however they are escaped.
	longest := strings.Repeat(`\u00fc`, 127)
	long := strings.Repeat(`{"userID":"`+longest+`","groupID":"`+longest+`"},`, 1000)
	many := strings.Repeat(`"`+longest+`",`, 1000)
	status, _ = s.post("/v1/unread/query", `{"pairs":[`+long[:len(long)-1]+`],"userIDs":[`+many[:len(many)-1]+`]}`)
	require.Equal(t, 200, status)
	s.end()
}

func TestToken(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": pgtest.Empty(t), "READMARK_CALLBACK_TOKEN": "s3cret-token"})
	const body = `{"sendID":"u","receiveID":"g","unreadMsgNum":5}`
	status, answer := s.post("/callbackGroupMsgReadCommand", body)
	require.Equal(t, 401, status)
	require.EqualValues(t, 1, answer["actionCode"])
	status, _ = s.post("/s3cret-token/callbackGroupMsgReadCommand?key=c2VjcmV0", body)
	require.Equal(t, 200, status)
	_, metrics := s.do(http.MethodGet, s.Ops+"/metrics", "")
	for _, text := range []string{metrics, s.log.String()} {
		require.NotContains(t, text, "s3cret")
		require.NotContains(t, text, "c2VjcmV0")
	}
	s.end()
}

// readyz tells when the schema is not current: receipts still find a place.
func TestReadyNeedsSchema(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"READMARK_DATABASE_URL": pgtest.Empty(t)}
	s := serve(t, environment)
	status, out, errs := run(t, environment, "migrate", "down")
	require.Equal(t, 0, status, errs)
	require.Contains(t, out, "took back")
	healthcheck := map[string]string{"READMARK_OPS_ADDR": strings.TrimPrefix(s.Ops, "http://")}
	becomes := func(answer string) {
		require.Eventually(t, func() bool {
			status, out, errs = run(t, healthcheck, "healthcheck")
			return status == 0 && strings.HasPrefix(out, answer)
		}, 30*time.Second, 10*time.Millisecond)
	}
	becomes("degraded\n")
	require.Contains(t, out, "schema: wrong_schema")
	status, _, errs = run(t, environment, "migrate", "up")
	require.Equal(t, 0, status, errs)
	becomes("ready\n")
	s.end()
	status, _, _ = run(t, healthcheck, "healthcheck")
	require.Equal(t, 1, status)
}

// serve drops old days at its start.
func TestServeRetires(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	conn := pgtest.Connect(t, url)
	for _, statement := range []string{
		"CREATE TABLE journal_20200101 (LIKE journal INCLUDING ALL)",
		"ALTER TABLE journal ATTACH PARTITION journal_20200101 FOR VALUES FROM ('2020-01-01 00:00+00') TO ('2020-01-02 00:00+00')",
	} {
		_, err := conn.Exec(t.Context(), statement)
		require.NoError(t, err)
	}
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": url, "READMARK_RETENTION": "48h"})
	require.Eventually(t, func() bool {
		var there bool
		require.NoError(t, conn.QueryRow(t.Context(), "SELECT to_regclass('journal_20200101') IS NOT NULL").Scan(&there))
		return !there
	}, time.Minute, 10*time.Millisecond)
	s.end()
}

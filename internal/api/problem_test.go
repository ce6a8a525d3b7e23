package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const someUUID = "019ab3c1-6c3b-7a52-9d0e-6f2a1c7b4d58"

// mistake is one thing that an answer says is wrong.
type mistake struct{ Location, Message string }

// goWords are what no caller should have to know.
const goWords = `api\.|\bGo\b|unmarshal|jsontext|json:|struct|u?int(8|16|32|64)|float64|uuid\.|2006-01-02|invalid UUID|map\[|\*`

// wrong sends a request that has mistakes, and gives what the answer says of them.
func (s *service) wrong(status int, method, target, body string) (list []mistake) {
	s.t.Helper()
	answer := s.ask(method, target, body)
	where := method + " " + target + " " + body
	require.Equal(s.t, status, answer.Code, "%s: %s", where, answer.Body)
	require.Equal(s.t, "application/problem+json", answer.Header().Get("Content-Type"), where)
	require.NotRegexp(s.t, goWords, answer.Body.String(), where)
	require.NotContains(s.t, answer.Body.String(), `\u00`, where)
	var problem struct {
		Detail string
		Errors []mistake
	}
	require.NoError(s.t, json.Unmarshal(answer.Body.Bytes(), &problem))
	require.NotEmpty(s.t, problem.Detail, where)
	return problem.Errors
}

// TestMistakesInBodies: a mistake in a body is told once, where it is, and in plain words.
func TestMistakesInBodies(t *testing.T) {
	t.Parallel()
	s := newService(t)
	const query, reminders, webhooks, webhook = "/v1/unread/query", "/v1/reminders", "/v1/webhooks", "/v1/webhooks/" + someUUID
	rule := func(field string) string { return `{"name":"x","after":"4h",` + field + `}` }
	for _, test := range []struct {
		name, target, body string
		status             int
		wrong              []mistake
	}{
		{"a mistyped field", query, `{"pairs":[{"userId":"a"}]}`, 422, []mistake{{"body.pairs[0]", "unknown field userId"}}},
		{"a mistyped field among good ones", query, `{"pairs":[{"userID":"a","groupID":"g"},{"userID":"a","groupid":"g"}]}`, 422, []mistake{{"body.pairs[1]", "unknown field groupid"}}},
		{"an unknown field", query, `{"users":["a"]}`, 422, []mistake{{"body", "unknown field users"}}},
		{"an unknown field among good ones", reminders, rule(`"x":{"y":[1]}`), 422, []mistake{{"body", "unknown field x"}}},
		{"an unknown field with a dot", query, `{"pairs":[{"userID":"a","groupID":"g","a.b[0]":1},{"userID":7,"groupID":"g"}]}`, 422, []mistake{
			{"body.pairs[0]", "unknown field a.b[0]"},
			{"body.pairs[1].userID", "expected string"},
		}},
		{"two unknown fields", query, `{"a.b":1,"b":2}`, 422, []mistake{{"body", "unknown field a.b"}, {"body", "unknown field b"}}},
		{"a missing field", query, `{"pairs":[{"userID":"a"}]}`, 422, []mistake{{"body.pairs[0]", "missing field groupID"}}},
		{"two missing fields", query, `{"pairs":[{}]}`, 422, []mistake{{"body.pairs[0]", "missing field userID"}, {"body.pairs[0]", "missing field groupID"}}},
		{"two missing fields of a rule", reminders, `{}`, 422, []mistake{{"body", "missing field name"}, {"body", "missing field after"}}},
		{"a missing field of a rule", reminders, `{"name":"x"}`, 422, []mistake{{"body", "missing field after"}}},
		{"no URL", webhooks, `{}`, 422, []mistake{{"body", "missing field url"}}},
		{"no list", query, `{"pairs":7}`, 422, []mistake{{"body.pairs", "expected array"}}},
		{"no object in the list", query, `{"pairs":[7]}`, 422, []mistake{{"body.pairs[0]", "expected object"}}},
		{"null in the list", query, `{"pairs":[null]}`, 422, []mistake{{"body.pairs[0]", "expected object"}}},
		{"a number for a text", query, `{"pairs":[{"userID":7,"groupID":"g"}]}`, 422, []mistake{{"body.pairs[0].userID", "expected string"}}},
		{"null for a text", query, `{"pairs":[{"userID":null,"groupID":"g"}]}`, 422, []mistake{{"body.pairs[0].userID", "expected string"}}},
		{"an object for a text", query, `{"userIDs":[{}]}`, 422, []mistake{{"body.userIDs[0]", "expected string"}}},
		{"a text for a number", reminders, rule(`"minUnread":"3"`), 422, []mistake{{"body.minUnread", "expected integer"}}},
		{"a fraction", reminders, rule(`"minUnread":1.5`), 422, []mistake{{"body.minUnread", "expected integer"}}},
		{"a fraction of nothing", reminders, rule(`"minUnread":1.0`), 422, []mistake{{"body.minUnread", "expected integer of at most 18 digits, without a fraction or an exponent"}}},
		{"a number that is too large", reminders, rule(`"minUnread":1e30`), 422, []mistake{{"body.minUnread", "expected integer of at most 18 digits, without a fraction or an exponent"}}},
		{"a number that is too small", reminders, rule(`"minUnread":0`), 422, []mistake{{"body.minUnread", "expected number >= 1"}}},
		{"a text for true", reminders, rule(`"repeat":"yes"`), 422, []mistake{{"body.repeat", "expected boolean"}}},
		{"a number for a time", reminders, `{"name":"x","after":7}`, 422, []mistake{{"body.after", "expected string"}}},
		{"a bad time", reminders, `{"name":"x","after":"4 hours"}`, 422, []mistake{{"body.after", "is not a time in whole seconds from 1s to 720h"}}},
		{"a wrong enum value", reminders, rule(`"scope":"all"`), 422, []mistake{{"body.scope", "expected one of group, user"}}},
		{"a number for an enum", reminders, rule(`"scope":7`), 422, []mistake{{"body.scope", "expected string"}}},
		{"an empty ID", query, `{"userIDs":["a",""]}`, 422, []mistake{{"body.userIDs[1]", "expected length >= 1"}}},
		{"an ID with a control character", query, `{"userIDs":["a\u0007"]}`, 422, []mistake{{"body.userIDs[0]", "contains a control character"}}},
		{"a long ID", query, `{"userIDs":["` + strings.Repeat("ü", 200) + `"]}`, 422, []mistake{{"body.userIDs[0]", "is longer than 255 bytes"}}},
		{"a longer ID", query, `{"userIDs":["` + strings.Repeat("x", 256) + `"]}`, 422, []mistake{{"body.userIDs[0]", "expected length <= 255"}}},
		{"mistakes in two places", query, `{"userIDs":["","a\u0007"]}`, 422, []mistake{{"body.userIDs[0]", "expected length >= 1"}, {"body.userIDs[1]", "contains a control character"}}},
		{"too many", query, `{"userIDs":[` + strings.Repeat(`"u",`, 1000) + `"u"]}`, 422, []mistake{{"body.userIDs", "expected array length <= 1000"}}},
		{"no object", query, `[]`, 422, []mistake{{"body", "expected object"}}},
		{"null", reminders, `null`, 422, []mistake{{"body", "expected object"}}},
		{"a text", reminders, `"x"`, 422, []mistake{{"body", "expected object"}}},
		{"a bad URL", webhooks, `{"url":"ftp://x"}`, 422, []mistake{{"body.url", "must be an address such as https://example.com/readmark"}}},
		{"a wrong type of changes", webhooks, `{"url":"https://example.com","types":["x"]}`, 422, []mistake{
			{"body.types", "must be among state.changed, state.removed, group.advanced, reminder.due, resync"},
		}},
		{"a bad cursor or time", webhook + "/replay", `{}`, 422, []mistake{{"body", "missing field from"}}},
		{"a bad duration", webhook + "/rotate", `{"overlap":"x"}`, 422, []mistake{{"body.overlap", "must be a duration from 0s to 720h0m0s"}}},
		{"an unknown field in what all may be left out of", webhook + "/rotate", `{"Overlap":"1h"}`, 422, []mistake{{"body", "unknown field Overlap"}}},

		{"nothing but a space", query, ` `, 400, []mistake{{"body", "is not JSON: it ends too early, after 1 bytes"}}},
		{"a beginning", reminders, `{"name":`, 400, []mistake{{"body", "is not JSON: it ends too early, after 8 bytes"}}},
		{"trailing data", query, `{"userIDs":["a"]} x`, 400, []mistake{{"body", "is not JSON: invalid character 'x' after top-level value, at byte 18"}}},
		{"two objects", query, `{}{}`, 400, []mistake{{"body", "is not JSON: invalid character '{' after top-level value, at byte 2"}}},
		{"a comma too many", query, `{"userIDs":["a",]}`, 400, []mistake{{"body", "is not JSON: invalid character ',' at start of value, at byte 15"}}},
		{"a name without quotes", query, `{userIDs:[]}`, 400, []mistake{{"body", "is not JSON: invalid character 'u' at start of value, at byte 1"}}},
		{"no UTF-8", query, "{\"userIDs\":[\"\xff\"]}", 400, []mistake{{"body", "is not JSON: invalid UTF-8, at byte 13"}}},
		{"a name twice", query, `{"userIDs":[],"userIDs":[]}`, 400, []mistake{{"body", "duplicate field userIDs"}}},
		{"a name twice within", query, `{"pairs":[{"userID":"a","userID":"b","groupID":"g"}]}`, 400, []mistake{{"body.pairs[0]", "duplicate field userID"}}},
		{"an unknown name twice", query, `{"x/y":{"a.b":1,"a.b":2}}`, 400, []mistake{{"body.x/y", "duplicate field a.b"}}},
		{"too much", query, `{"userIDs":[` + strings.Repeat("0,", 20_000) + `0]}`, 400, []mistake{{"body", "holds more than 16384 JSON tokens"}}},
		{"nothing", reminders, ``, 400, nil}, // the detail says so
	} {
		require.ElementsMatch(t, test.wrong, s.wrong(test.status, http.MethodPost, test.target, test.body), test.name)
	}
	require.Equal(t, []mistake{{"body.paused", "expected boolean"}}, s.wrong(422, http.MethodPatch, webhook, `{"paused":1}`))
	answer := s.ask(http.MethodPost, reminders, `{"name":"x"}`, "Content-Type", "text/plain")
	require.Equal(t, 415, answer.Code)
	require.Len(t, decoded(t, answer)["errors"], 1, answer.Body)
}

// TestMistakesInParameters: the same of what stands in the path and the query.
func TestMistakesInParameters(t *testing.T) {
	t.Parallel()
	s := newService(t)
	const groups, state, receipts, changes = "/v1/users/u/groups?", "/v1/users/u/groups/g?", "/v1/users/u/receipts?", "/v1/changes?"
	for _, test := range []struct {
		target string
		wrong  []mistake
	}{
		{groups + "limit=x", []mistake{{"query.limit", "expected integer"}}},
		{groups + "limit=1.5", []mistake{{"query.limit", "expected integer"}}},
		{groups + "limit=99999999999999999999", []mistake{{"query.limit", "expected integer"}}},
		{groups + "limit=99999999999", []mistake{{"query.limit", "expected number <= 1000"}}},
		{groups + "limit=0", []mistake{{"query.limit", "expected number >= 1"}}},
		{groups + "minUnread=-1", []mistake{{"query.minUnread", "expected number >= 0"}}},
		{groups + "unread=maybe", []mistake{{"query.unread", "expected boolean"}}},
		{groups + "muted=maybe", []mistake{{"query.muted", "expected boolean"}}},
		{groups + "sort=up", []mistake{{"query.sort", "expected one of -unreadCount, -lastReadAt"}}},
		{groups + "updatedSince=yesterday", []mistake{{"query.updatedSince", "is not a time as in RFC 3339"}}},
		{groups + "updatedSince=2026-11-24T02:40:19+01:00", []mistake{{"query.updatedSince", "is not a time as in RFC 3339"}}},
		{groups + "cursor=x", []mistake{{"query.cursor", "is not a cursor of this list in this order"}}},
		{groups + "cursor=" + strings.Repeat("x", 513), []mistake{{"query.cursor", "expected length <= 512"}}},
		{groups + "minunread=1", []mistake{{"query.minunread", "unknown query parameter"}}},
		{groups + "a.b=1", []mistake{{"query.a.b", "unknown query parameter"}}},
		{groups + "limit=1&limit=2", []mistake{{"query.limit", "is given more than once"}}},
		{groups + "limit=1&limit=2&x=1&sort=&sort=&x=1", []mistake{{"query.limit", "is given more than once"}, {"query.sort", "is given more than once"}, {"query.x", "is given more than once"}}},
		{groups + "limit=%zz", []mistake{{"query", "is not percent-encoded name=value pairs joined by &"}}},
		{groups + "limit=x&unread=maybe", []mistake{{"query.limit", "expected integer"}, {"query.unread", "expected boolean"}}},
		{state + "at=yesterday", []mistake{{"query.at", "is not a time as in RFC 3339"}}},
		{state + "at=2999-01-01T00:00:00Z", []mistake{{"query.at", "lies in the future"}}},
		{receipts + "from=x", []mistake{{"query.from", "is not a time as in RFC 3339"}}},
		{receipts + "from=x&to=x", []mistake{{"query.from", "is not a time as in RFC 3339"}, {"query.to", "is not a time as in RFC 3339"}}},
		{receipts + "from=2026-11-24T02:40:19Z&to=2025-11-24T02:40:19Z", []mistake{{"query.from", "does not lie before to"}}},
		{receipts + "cursor=x", []mistake{{"query.cursor", "is not a cursor of this list"}}},
		{changes + "after=x", []mistake{{"query.after", "is not a cursor of this feed"}}},
		{changes + "after=", []mistake{{"query.after", "is empty: leave it out"}}},
		{changes + "wait=9h", []mistake{{"query.wait", "is not a time from 0s to 60s"}}},
		{changes + "types=x", []mistake{
			{"query.types", "is not a list of state.changed, state.removed, group.advanced, reminder.due, resync, with commas between"},
		}},
		{changes + "userID=%01", []mistake{{"query.userID", "contains a control character"}}},
		{"/v1/users//unread", []mistake{{"path.userID", "required path parameter is missing"}}},
		{"/v1/users/%01/unread", []mistake{{"path.userID", "contains a control character"}}},
		{"/v1/users/%ff/unread", []mistake{{"path.userID", "is not valid UTF-8"}}},
		{"/v1/users/" + strings.Repeat("x", 256) + "/unread", []mistake{{"path.userID", "expected length <= 255"}}},
		{"/v1/users/%01/groups/%02", []mistake{{"path.userID", "contains a control character"}, {"path.groupID", "contains a control character"}}},
		{"/v1/webhooks/x", []mistake{{"path.id", "is not a UUID"}}},
		{"/v1/webhooks/" + someUUID + "x", []mistake{{"path.id", "is not a UUID"}}},
	} {
		require.ElementsMatch(t, test.wrong, s.wrong(422, http.MethodGet, test.target, ""), test.target)
	}
	require.Equal(t, []mistake{{"path.id", "is not a UUID"}}, s.wrong(422, http.MethodDelete, "/v1/reminders/x", ""))
}

// TestMistakesEverywhere: whatever is wrong in whatever place of whatever operation, no answer needs knowledge of the program, and no
// place is named twice for one reason.
func TestMistakesEverywhere(t *testing.T) {
	t.Parallel()
	s := newService(t)
	asked := 0
	for _, o := range operations(t, s.handler) {
		for _, text := range []string{"x", "77", "-1", "1.5", "true", "null", "\x01", strings.Repeat("x", 70_000)} {
			for _, try := range o.tries(text) {
				answer := s.ask(o.method, try.target, try.body)
				if answer.Code < 400 || answer.Code == 404 {
					continue
				}
				asked++
				where := o.method + " " + o.path + " with " + try.place
				require.NotRegexp(t, goWords, answer.Body.String(), where)
				var problem struct{ Errors []mistake }
				require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &problem), where)
				seen := map[mistake]bool{}
				for _, one := range problem.Errors {
					require.NotEmpty(t, one.Location, where)
					require.False(t, seen[one], "%s: %v twice", where, one)
					seen[one] = true
				}
			}
		}
	}
	require.Greater(t, asked, 500)
}

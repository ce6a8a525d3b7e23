package cli_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/openimsim"
	"readmark/internal/pgtest"
	"readmark/internal/readstate"
)

// receipts gives a page of a history.
func (s *service) receipts(path string) (items []map[string]any, next string) {
	s.t.Helper()
	status, body := s.do(http.MethodGet, s.URL+path, "")
	require.Equal(s.t, 200, status, body)
	var page struct {
		Items      []map[string]any
		NextCursor string
		AsOf       time.Time
	}
	require.NoError(s.t, json.Unmarshal([]byte(body), &page), body)
	require.WithinDuration(s.t, time.Now(), page.AsOf, time.Minute)
	require.NotNil(s.t, page.Items, body)
	return page.Items, page.NextCursor
}

func counts(items []map[string]any) []any {
	list := make([]any, len(items))
	for i, item := range items {
		list[i] = item["unreadCount"]
	}
	return list
}

// The history of a pair, of a user and of a group, the newest receipt first.
func TestReceipts(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": pgtest.Empty(t)})
	for i := range 4 {
		s.read("u", "g/ü", int64(i))
		s.read("u", "h", int64(10+i))
		s.read("v", "g/ü", int64(20+i))
	}
	// The server dialect: the reader twice, a seq, no group. A read of single messages: a
	// group and seqs.
	status, answer := s.post("/callbackAfterGroupMsgReadCommand", `{"sendID":"u","receiveID":"u","unreadMsgNum":42,"contentType":3}`)
	require.Equal(t, 200, status, answer)
	status, answer = s.post("/callbackAfterSingleMsgReadCommand", `{"conversationID":"sg_h","userID":"u","Seqs":[6,7],"contentType":3}`)
	require.Equal(t, 200, status, answer)
	// What is no receipt is in no history.
	status, answer = s.post("/callbackAfterSendGroupMsgCommand",
		`{"sendID":"u","groupID":"h","serverMsgID":"m","sessionType":3,"contentType":101,"sendTime":1795471312460,"content":"secret","seq":0}`)
	require.Equal(t, 200, status, answer)

	items, next := s.receipts("/v1/users/u/groups/g%2F%C3%BC/receipts")
	require.Empty(t, next)
	require.Equal(t, []any{3.0, 2.0, 1.0, 0.0}, counts(items))
	at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(items[0]["receivedAt"]))
	require.NoError(t, err)
	require.Equal(t, time.UTC, at.Location())
	require.WithinDuration(t, time.Now(), at, time.Minute)
	require.Len(t, items[0]["id"], 36)
	delete(items[0], "id")
	delete(items[0], "receivedAt")
	require.Equal(t, map[string]any{
		"unreadCount": 3.0, "readSeq": nil, "contentType": 101.0, "source": "receipt", "dialect": "documented",
	}, items[0])

	items, _ = s.receipts("/v1/users/u/receipts")
	require.Equal(t, []any{nil, nil, 13.0, 3.0, 12.0, 2.0, 11.0, 1.0, 10.0, 0.0}, counts(items), "unknown is not zero")
	for i, want := range []map[string]any{
		{"userID": "u", "groupID": "h", "readSeq": 7.0, "dialect": "conversation", "contentType": 3.0, "source": "receipt"},
		{"userID": "u", "groupID": nil, "readSeq": 42.0, "dialect": "server", "contentType": 3.0, "source": "receipt"},
		{"userID": "u", "groupID": "h", "readSeq": nil, "dialect": "documented", "contentType": 101.0, "source": "receipt"},
	} {
		for name, value := range want {
			require.Equal(t, value, items[i][name], "%s of %v", name, items[i])
		}
	}
	items, _ = s.receipts("/v1/groups/g%2F%C3%BC/receipts")
	require.Equal(t, []any{23.0, 3.0, 22.0, 2.0, 21.0, 1.0, 20.0, 0.0}, counts(items))
	require.Equal(t, []any{"v", "g/ü"}, []any{items[0]["userID"], items[0]["groupID"]})

	for _, path := range []string{"/v1/users/nobody/receipts", "/v1/groups/none/receipts", "/v1/users/u/groups/none/receipts"} {
		items, next = s.receipts(path)
		require.Empty(t, items)
		require.Empty(t, next)
	}
	s.end()
}

// Pages neither miss nor repeat a receipt while new ones arrive, and keep to their
// bounds.
func TestReceiptsPageByPage(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": pgtest.Empty(t)})
	for i := range 7 {
		s.read("u", "g", int64(i))
	}
	for _, path := range []string{"/v1/users/u/groups/g/receipts", "/v1/users/u/receipts", "/v1/groups/g/receipts"} {
		all, _ := s.receipts(path)
		var paged []map[string]any
		cursor, requests := "", 0
		for first := true; first || cursor != ""; first = false {
			var items []map[string]any
			items, cursor = s.receipts(path + "?limit=2&cursor=" + url.QueryEscape(cursor))
			paged = append(paged, items...)
			requests++
			s.read("u", "g", 99)
		}
		require.Equal(t, all, paged)
		require.Equal(t, (len(all)+1)/2, requests)

		// from is included, to is not; also across pages.
		all, _ = s.receipts(path)
		moment := func(i int) string { return url.QueryEscape(fmt.Sprint(all[i]["receivedAt"])) }
		items, _ := s.receipts(path + "?from=" + moment(4) + "&to=" + moment(1))
		require.Equal(t, all[2:5], items)
		items, cursor = s.receipts(path + "?limit=2&from=" + moment(4) + "&to=" + moment(1))
		require.Equal(t, all[2:4], items)
		items, cursor = s.receipts(path + "?limit=2&from=" + moment(4) + "&to=" + moment(1) + "&cursor=" + cursor)
		require.Equal(t, all[4:5], items)
		require.Empty(t, cursor)
		items, _ = s.receipts(path + "?from=" + moment(0))
		require.Equal(t, all[:1], items)
		items, _ = s.receipts(path + "?from=&to=" + moment(0) + "&limit=1000")
		require.Equal(t, all[1:], items)
		items, _ = s.receipts(path + "?from=9998-12-31T23:59:59-12:00")
		require.Empty(t, items)
	}
	s.end()
}

func TestHistoryRefuses(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": pgtest.Empty(t), "READMARK_RETENTION": "48h"})
	s.read("u", "g", 1)
	s.read("u", "g", 2)
	cursors := map[string]string{}
	for _, list := range []string{"/v1/users/u/groups/g/receipts", "/v1/users/u/receipts", "/v1/groups/g/receipts"} {
		_, cursors[list] = s.receipts(list + "?limit=1")
		require.NotEmpty(t, cursors[list])
	}
	wrong := map[string]string{
		"/v1/users/u/groups/g?at=yesterday":                 "query.at",
		"/v1/users/u/groups/g?at=2026-11-24":                "query.at",
		"/v1/users/u/unread?at=2026-13-24T00:00:00Z":        "query.at",
		"/v1/users/u/groups/g?at=2999-01-01T00:00:00Z":      "lies in the future",
		"/v1/users/u/unread?at=2999-01-01T00:00:00%2B01:00": "lies in the future",
	}
	for list, cursor := range cursors {
		wrong[list+"?from=x"] = "query.from"
		wrong[list+"?to=1795471312"] = "query.to"
		wrong[list+"?from=2026-01-02T00:00:00Z&to=2026-01-02T00:00:00Z"] = "query.from"
		wrong[list+"?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z"] = "query.from"
		wrong[list+"?limit=0"] = "limit"
		wrong[list+"?limit=1001"] = "limit"
		wrong[list+"?cursor=!"] = "query.cursor"
		wrong[list+"?cursor="+cursor[:len(cursor)-2]] = "query.cursor"
		wrong[list+"?cursor="+cursor+"AAAA"] = "query.cursor"
		for other := range cursors {
			if other != list {
				wrong[other+"?cursor="+cursor] = "query.cursor"
			}
		}
		wrong["/v1/users/u/groups?cursor="+cursor] = "cursor"
	}
	for path, want := range wrong {
		status, problem := s.get(path)
		require.Equal(t, 422, status, path)
		text, err := json.Marshal(problem)
		require.NoError(t, err)
		require.Contains(t, string(text), want, path)
	}
	for _, path := range []string{"/v1/users/u/groups/g", "/v1/users/u/unread"} {
		for _, at := range []string{"2001-01-01T00:00:00Z", "0001-01-01T00:00:00Z", time.Now().UTC().Add(-48*time.Hour - time.Second).Format(time.RFC3339)} {
			status, problem := s.get(path + "?at=" + at)
			require.Equal(t, 410, status, at)
			require.Contains(t, problem["detail"], "48h0m0s")
		}
		status, _ := s.get(path + "?at=" + time.Now().UTC().Add(-47*time.Hour).Format(time.RFC3339))
		require.Equal(t, 404, status, "nothing was known then")
	}
	s.end()
}

// A state and a badge as they were: the documented callback and the sending of
// messages, without OpenIM's REST API.
func TestStateAndBadgeAt(t *testing.T) {
	t.Parallel()
	database := pgtest.Empty(t)
	s := serve(t, map[string]string{"READMARK_DATABASE_URL": database})
	now := func() string { return time.Now().UTC().Format(time.RFC3339Nano) }
	send := func(id string) {
		status, answer := s.post("/callbackAfterSendGroupMsgCommand", `{"sendID":"s","groupID":"g","serverMsgID":"`+id+
			`","sessionType":3,"contentType":101,"sendTime":1795471312460,"content":"","seq":0}`)
		require.Equal(t, 200, status, answer)
	}
	before := now()
	s.read("u", "g", 5)
	read := now()
	_, state := s.get("/v1/users/u/groups/g")
	send("m1")
	send("m2")
	sent := now()
	s.read("u", "h", 3)
	s.read("u", "g", 0)
	after := now()
	send("m3")
	for at, want := range map[string][]any{
		before: {404.0, nil, nil}, read: {200.0, 5.0, 5.0}, sent: {200.0, 7.0, 7.0}, after: {200.0, 0.0, 3.0}, now(): {200.0, 1.0, 4.0},
	} {
		status, one := s.get("/v1/users/u/groups/g?at=" + at)
		badgeStatus, badge := s.get("/v1/users/u/unread?at=" + at)
		require.Equal(t, status, badgeStatus)
		require.Equal(t, want, []any{float64(status), one["unreadCount"], badge["unreadCount"]}, at)
		if status == 200 {
			asked, err := time.Parse(time.RFC3339Nano, at)
			require.NoError(t, err)
			require.Equal(t, asked.Truncate(time.Microsecond).Format(time.RFC3339Nano), badge["asOf"], "the moment asked for")
		}
	}
	_, past := s.get("/v1/users/u/groups/g?at=" + read)
	delete(state, "asOf") // when it was asked, and what for
	delete(past, "asOf")
	require.Equal(t, state, past, "all fields of an estimate, as they were")
	status, past := s.get("/v1/users/u/groups/g?at=")
	require.Equal(t, 200, status)
	require.EqualValues(t, 1, past["unreadCount"], "no moment: now")

	// Days were dropped, and the pairs were known in them.
	for _, statement := range []string{
		"UPDATE states SET first_estimate_at = now() - interval '1 hour'", "UPDATE retention SET dropped_until = now() - interval '1 minute'",
	} {
		_, err := pgtest.Connect(t, database).Exec(t.Context(), statement)
		require.NoError(t, err)
	}
	for _, path := range []string{"/v1/users/u/groups/g?at=", "/v1/users/u/unread?at="} {
		status, problem := s.get(path + before)
		require.Equal(t, 410, status, problem)
		require.Contains(t, problem["detail"], "dropped")
		status, _ = s.get(path + after)
		require.Equal(t, 200, status, "what the journal has")
	}
	s.end()
}

// past asks what was at a moment; a database that many tests share may be slow.
func (s *service) past(path string) map[string]any {
	s.t.Helper()
	for range 10 {
		if status, answer := s.get(path); status == 200 || status == 404 {
			return answer
		}
	}
	s.t.Fatal(s.get(path))
	return nil
}

// Whatever webhooks are enabled: a state or badge at a moment is what was answered
// then, with OpenIM being asked.
func TestAtIsWhatWasShown(t *testing.T) {
	t.Parallel()
	sets := webhookSets()
	for _, name := range []string{"read and send", "read and save", "all", "messages only", "documented", "documented, everything"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Log("seed", seed)
			random := rand.New(rand.NewPCG(seed, 2))
			model := openimsim.New(sets[name])
			environment := withOpenIM(t, model)
			environment["READMARK_COMMIT_BUDGET"] = "1m" // what waits in the spool is not shown yet
			s := serve(t, environment)
			model.CreateGroup("g1", "a", "b", "c")
			model.CreateGroup("g2", "b", "d")
			model.CreateGroup("g3", "e", "a", "b", "c", "d")
			users := []string{"a", "b", "c", "d", "e"}
			type shown struct {
				at     string
				states map[readstate.Pair]any
				badges map[string]any
			}
			look := func() (v shown) {
				v = shown{time.Now().UTC().Format(time.RFC3339Nano), map[readstate.Pair]any{}, map[string]any{}}
				for pair, state := range s.shown(users) {
					v.states[pair] = state["unreadCount"]
				}
				for _, user := range users {
					_, badge := s.get("/v1/users/" + user + "/unread")
					v.badges[user] = badge["unreadCount"]
				}
				return v
			}
			var recorded []shown
			for range 7 {
				play(s, model, random, 12, 1, 0)
				resolved(t, environment["DATABASE_URL"])
				recorded = append(recorded, look())
			}
			for i, then := range slices.Backward(recorded) {
				for _, user := range users {
					for _, group := range []string{"g1", "g2", "g3"} {
						state := s.past("/v1/users/" + user + "/groups/" + group + "?at=" + then.at)
						require.Equal(t, then.states[readstate.Pair{UserID: user, GroupID: group}], state["unreadCount"], "%s in %s, round %d: %v", user, group, i, state)
					}
					badge := s.past("/v1/users/" + user + "/unread?at=" + then.at)
					require.Equal(t, then.badges[user], badge["unreadCount"], "%s, round %d: %v", user, i, badge)
				}
			}
			s.end()
		})
	}
}

package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// in is the same service for a test of its own.
func (s *service) in(t testing.TB) *service {
	t.Helper()
	other := *s
	other.t = t
	return &other
}

// FuzzCursorParameter: whatever stands for a cursor, every list answers 200 or 422,
// with a page of its own, and never breaks.
func FuzzCursorParameter(f *testing.F) {
	s := newService(f)
	for _, key := range []string{"a", "b", "'; DROP TABLE states; --", "%"} {
		s.read("u", key, 1)
		s.read(key, "g", 1)
	}
	s.sumGroups()
	var lists []string // every list of the document in each of its orders
	for _, operation := range operations(f, s.handler) {
		if _, paged := operation.query["cursor"]; !paged {
			continue
		}
		path := strings.NewReplacer("{userID}", "u", "{groupID}", "g").Replace(operation.path)
		lists = append(lists, path+"?limit=2")
		if sort, sorted := operation.query["sort"]; sorted {
			for _, order := range sort.Enum {
				lists = append(lists, path+query("limit", "2", "sort", order.(string)))
			}
		}
	}
	require.GreaterOrEqual(f, len(lists), 6)
	for _, list := range lists {
		if next, _ := s.get(list)["nextCursor"].(string); next != "" {
			f.Add(next)
		}
	}
	for _, seed := range []string{"", "!", "MWc6", "MW5nOi0xOmc", "MXRnOjkyMjMzNzIwMzY4NTQ3NzU4MDc6Zw", "\x00", "' OR '1'='1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, cursor string) {
		for _, list := range lists {
			answer := s.in(t).ask(http.MethodGet, list+"&"+query("cursor", cursor)[1:], "")
			require.Contains(t, []int{200, 422}, answer.Code, "%s %q: %s", list, cursor, answer.Body)
			require.True(t, json.Valid(answer.Body.Bytes()))
		}
	})
}

// FuzzQueryBody: whatever is posted as a batch is answered 200, 400, 413 or 422; what
// is answered stands in the order asked, repeats included, with known what is known.
func FuzzQueryBody(f *testing.F) {
	s := newService(f)
	s.read("u", "g", 1)
	s.read("ü", "g/h", 1)
	for _, seed := range []string{
		`{}`, `{"pairs":[{"userID":"u","groupID":"g"},{"userID":"x","groupID":"g"},{"userID":"u","groupID":"g"}],"userIDs":["u","x","u"]}`,
		`{"userIDs":["\u00fc","ü"],"pairs":[]}`, `{"userIDs":["a\ud800"]}`, `{"userIDs":[""]}`, `{"userIDs":null}`, `null`, `[]`, `"`, ``,
		`{"userIDs":["u"],"userIDs":["v"]}`, `{"userids":["u"]}`, "{\"userIDs\":[\"\xff\"]}", `{"userIDs":["\u0000"]}`, `{"userIDs":[1e999]}`,
		`{"pairs":[{"userID":"u"}]}`, `{"pairs":[[]]}`, ` {"userIDs" : [ "u" ] } `, `{} {}`, strings.Repeat("[", 300), `{"userIDs":["'; DROP TABLE states; --"]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		answer := s.in(t).ask(http.MethodPost, "/v1/unread/query", string(body))
		require.Contains(t, []int{200, 400, 413, 422}, answer.Code, "%s", answer.Body)
		require.True(t, json.Valid(answer.Body.Bytes()))
		if answer.Code != 200 {
			return
		}
		type item struct{ UserID, GroupID, Status string }
		var asked struct {
			Pairs   []item
			UserIDs []string
		}
		var told struct{ Pairs, Users []item }
		require.NoError(t, json.Unmarshal(body, &asked))
		require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &told))
		require.Len(t, told.Pairs, len(asked.Pairs))
		require.Len(t, told.Users, len(asked.UserIDs))
		status := map[bool]string{true: "known", false: "unknown"}
		for i, pair := range asked.Pairs {
			known := pair == item{UserID: "u", GroupID: "g"} || pair == item{UserID: "ü", GroupID: "g/h"}
			pair.Status = status[known]
			require.Equal(t, pair, told.Pairs[i])
		}
		for i, userID := range asked.UserIDs {
			require.Equal(t, item{UserID: userID, Status: status[userID == "u" || userID == "ü"]}, told.Users[i])
		}
	})
}

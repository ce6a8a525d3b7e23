package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
)

// hostile is what would mean something to SQL, LIKE, JSON, a path or a log if it were
// taken for more than a text.
var hostile = []string{
	"'; DROP TABLE states; --", "' OR '1'='1", "1; DELETE FROM journal", "x' UNION SELECT 1,2,3 --", "') OR TRUE --", "1 OR 1=1", "$1", "$$", "/*", "--",
	"%", "_", "%%", "u%", "\\", "\\'", "'", "''", `"`, "`", "\x00", "a\x00b", "\xff", "\n", "\r\nX-Injected: 1",
	"null", "NULL", "true", "{}", "[]", "0", "-1", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
	"1e309", "NaN", "infinity", "-infinity", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "294277-01-01T00:00:00Z", "..", "😀", "\u202e", "${jndi:ldap://x}",
}

// TestNothingIsInjected: every parameter and every field of every operation in the
// OpenAPI document, whoever wrote it, takes texts that would mean something to SQL
// for mere texts: answers are ordinary ones, no table changes, and a pattern matches
// nothing but itself.
func TestNothingIsInjected(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.read("u", "g", 3)
	s.read("v", "g", 0)
	s.read("u", "h", 1)
	s.message("u")
	s.sumGroups()
	before := tables(t, s.url)
	require.NotEmpty(t, before["states"])
	asked := 0
	for _, o := range operations(t, s.handler) {
		for _, text := range hostile {
			for _, try := range o.tries(text) {
				asked++
				request := httptest.NewRequest(o.method, try.target, strings.NewReader(try.body))
				request.Header.Set("Content-Type", "application/json")
				for name, value := range try.header {
					request.Header[http.CanonicalHeaderKey(name)] = []string{value}
				}
				answer := httptest.NewRecorder()
				s.handler.ServeHTTP(answer, request)
				where := fmt.Sprintf("%s %s with %q in %s: %d %.300s", o.method, o.path, text, try.place, answer.Code, answer.Body)
				require.Less(t, answer.Code, 500, where)
				require.NotContains(t, answer.Body.String(), "SQLSTATE", where)
				require.Empty(t, answer.Header().Get("X-Injected"), where)
				if answer.Code == http.StatusOK && strings.HasPrefix(try.place, "path") && o.method == http.MethodGet {
					require.NotContains(t, answer.Body.String(), `"unreadCount":3`, "another one's count: "+where)
				}
			}
		}
	}
	require.Greater(t, asked, 500)
	after := tables(t, s.url)
	require.Equal(t, slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
	for name, rows := range before {
		if len(rows) > 0 && name != "changes" && !strings.HasPrefix(name, "changes_") { // an erasure of nobody may be noted in a table that was empty
			require.Equal(t, rows, after[name], name)
		}
	}
}

// attempt is one request with a hostile text in one place.
type attempt struct {
	place, target, body string
	header              map[string]string
}

// tries puts the text into each place of the operation in turn, among values that are
// right. What it would erase is nobody's: the text is in the path, too.
func (o *operation) tries(text string) (list []attempt) {
	path := func(hostileName string) string {
		target := o.path
		for _, name := range o.inPath {
			value := map[string]string{"userID": "u", "groupID": "g"}[name]
			if value == "" {
				value = "x"
			}
			if name == hostileName || o.method == http.MethodDelete {
				value = text
			}
			// PathEscape leaves dots, which a client may send as they are.
			target = strings.ReplaceAll(target, "{"+name+"}", url.PathEscape(value))
		}
		return target
	}
	body := ""
	if o.body != nil {
		encoded, _ := json.Marshal(o.sample(o.body, "u"))
		body = string(encoded)
	}
	for _, name := range o.inPath {
		list = append(list, attempt{place: "path." + name, target: path(name), body: body})
	}
	for name := range o.query {
		list = append(list, attempt{place: "query." + name, target: path("") + query(name, text), body: body},
			attempt{place: "query." + name + " as it is", target: path("") + "?" + name + "=" + url.PathEscape(text), body: body},
			attempt{place: "query name", target: path("") + query(text, "1", name+text, text), body: body})
	}
	for _, name := range o.header {
		list = append(list, attempt{place: "header." + name, target: path(""), body: body, header: map[string]string{name: text}})
	}
	if o.body != nil {
		raw, _ := json.Marshal(text)
		// Every string of the body is the text, then the body itself, raw and as a name.
		encoded, _ := json.Marshal(o.sample(o.body, text))
		list = append(list,
			attempt{place: "body", target: path(""), body: string(encoded)},
			attempt{place: "body, raw bytes", target: path(""), body: strings.ReplaceAll(body, `"u"`, `"`+text+`"`)},
			attempt{place: "whole body", target: path(""), body: text},
			attempt{place: "body as a string", target: path(""), body: string(raw)},
			attempt{place: "body's name", target: path(""), body: `{` + string(raw) + `:` + string(raw) + `}`})
		for name := range o.resolve(o.body).Properties {
			list = append(list, attempt{place: "body." + name, target: path(""), body: `{"` + name + `":` + string(raw) + `}`})
		}
	}
	return list
}

// sample makes a value of a schema, with the text for every string.
func (o *operation) sample(s *schema, text string) any {
	s = o.resolve(s)
	switch {
	case s.is("object"):
		value := map[string]any{}
		for name, property := range s.Properties {
			value[name] = o.sample(property, text)
		}
		return value
	case s.is("array"):
		return []any{o.sample(s.Items, text), o.sample(s.Items, text)}
	case s.is("integer"), s.is("number"):
		return 1
	case s.is("boolean"):
		return true
	default:
		return text
	}
}

// tables gives every row of every table, as texts.
func tables(t *testing.T, database string) map[string][]string {
	t.Helper()
	conn := pgtest.Connect(t, database)
	rows, err := conn.Query(t.Context(), "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
	require.NoError(t, err)
	var names []string
	for rows.Next() {
		var name string
		require.NoError(t, rows.Scan(&name))
		names = append(names, name)
	}
	require.NoError(t, rows.Err())
	all := map[string][]string{}
	for _, name := range names {
		rows, err := conn.Query(t.Context(), `SELECT t::text FROM "`+name+`" t ORDER BY 1`)
		require.NoError(t, err)
		all[name] = []string{}
		for rows.Next() {
			var row string
			require.NoError(t, rows.Scan(&row))
			all[name] = append(all[name], row)
		}
		require.NoError(t, rows.Err())
	}
	return all
}

// TestPatternsMatchThemselvesOnly: IDs that are patterns to LIKE, or SQL, are IDs.
func TestPatternsMatchThemselvesOnly(t *testing.T) {
	t.Parallel()
	s := newService(t)
	ids := []string{"%", "_", "u%", "\\", "'; DROP TABLE states; --", "' OR '1'='1", `"`, "u"}
	for i, user := range ids {
		for j, group := range ids {
			s.read(user, group, int64(100*i+j))
		}
	}
	for i, user := range ids {
		escaped := url.PathEscape(user)
		for j, group := range ids {
			require.EqualValues(t, 100*i+j, s.get("/v1/users/" + escaped + "/groups/" + url.PathEscape(group))["unreadCount"])
		}
		require.EqualValues(t, len(ids), s.get("/v1/users/" + escaped + "/unread")["groups"])
		require.EqualValues(t, len(ids), s.get("/v1/groups/" + escaped + "/unread")["users"])
		keys, _ := s.page("/v1/groups/"+escaped+"/users", "userID")
		require.ElementsMatch(t, ids, keys)
	}
	for _, nobody := range []string{"%%", "__", "u_", "\\%", "''"} {
		require.Equal(t, 404, s.ask(http.MethodGet, "/v1/users/"+url.PathEscape(nobody)+"/unread", "").Code, nobody)
		keys, _ := s.page("/v1/users/"+url.PathEscape(nobody)+"/groups", "groupID")
		require.Empty(t, keys)
	}
}

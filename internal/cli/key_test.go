package cli_test

import (
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/auth"
	"readmark/internal/pgtest"
)

// makeKey makes an API key with the real command.
func makeKey(t testing.TB, environment map[string]string, args ...string) string {
	t.Helper()
	status, out, errs := run(t, environment, append([]string{"key", "create"}, args...)...)
	require.Equal(t, 0, status, errs)
	require.Regexp(t, "^rmk_[0-9A-Za-z]{49}\n$", out, "the key alone on one line")
	require.NotContains(t, errs, strings.TrimSpace(out))
	return strings.TrimSpace(out)
}

// keyAnswer is what a request with a key is answered.
type keyAnswer struct {
	status int
	header http.Header
	body   string
}

// problem gives the detail of an RFC 9457 error.
func (a keyAnswer) problem(t testing.TB) string {
	t.Helper()
	require.Equal(t, "application/problem+json", a.header.Get("Content-Type"), a.body)
	var problem struct {
		Status int
		Detail string
	}
	require.NoError(t, json.Unmarshal([]byte(a.body), &problem))
	require.Equal(t, a.status, problem.Status)
	return problem.Detail
}

// ask sends a request with a key, or without one when it is empty.
func (s *service) ask(key, method, path, body string) keyAnswer {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.URL+path, strings.NewReader(body))
	require.NoError(s.t, err)
	request.Header.Set("Content-Type", "application/json")
	if key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	response, err := s.client.Do(request)
	require.NoError(s.t, err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	return keyAnswer{response.StatusCode, response.Header, string(answer)}
}

// withKeys is the environment of a readmark that asks for keys.
func withKeys(t testing.TB) map[string]string {
	t.Helper()
	return map[string]string{"DATABASE_URL": pgtest.New(t), "READMARK_AUTH": "required"}
}

// A key opens what its scope says, on every operation; without one nothing below /v1
// is answered, and the key reaches no log.
func TestKeys(t *testing.T) {
	t.Parallel()
	environment := withKeys(t)
	s := serve(t, environment)
	require.Eventually(t, func() bool { return strings.Contains(s.log.String(), "readmark key create") }, time.Minute, 5*time.Millisecond)
	s.read("u", "g", 5)
	paths := []string{
		"/v1/users/u/groups/g", "/v1/users/u/groups", "/v1/users/u/unread", "/v1/groups/g/users", "/v1/groups/g/unread", "/v1/drift",
	}
	const query = `{"pairs":[{"userID":"u","groupID":"g"}],"userIDs":["u"]}`
	read := makeKey(t, environment, "--name", "badges", "--scope", "read")
	erase := makeKey(t, environment, "--name", "eraser", "--scope", "erase")
	admin := makeKey(t, environment, "--name", "admin", "--scope", "admin")
	mistyped := read[:len(read)-1] + map[bool]string{true: "0", false: "1"}[read[len(read)-1] != '0']

	refused := func(key, challenge string, status int, detail string) {
		t.Helper()
		for _, path := range append(paths, "/v1/unread/query") {
			method, body := http.MethodGet, ""
			if path == "/v1/unread/query" {
				method, body = http.MethodPost, "{not even JSON" // the key comes first
			}
			got := s.ask(key, method, path, body)
			require.Equal(t, status, got.status, path)
			require.Equal(t, challenge, got.header.Get("WWW-Authenticate"), path)
			require.Contains(t, got.problem(t), detail)
		}
	}
	refused("", `Bearer realm="readmark"`, 401, "required")
	refused(mistyped, `Bearer realm="readmark", error="invalid_token"`, 401, "mistyped")
	refused(auth.NewText(), `Bearer realm="readmark", error="invalid_token"`, 401, "unknown")
	refused(erase, `Bearer realm="readmark", error="insufficient_scope", scope="read"`, 403, `scope "read"`)
	for _, key := range []string{read, admin} {
		for _, path := range paths {
			got := s.ask(key, http.MethodGet, path, "")
			require.Equal(t, 200, got.status, "%s %s", path, got.body)
			require.Empty(t, got.header.Get("RateLimit-Limit"), "off by default")
		}
		require.Equal(t, 200, s.ask(key, http.MethodPost, "/v1/unread/query", query).status)
		require.Equal(t, 422, s.ask(key, http.MethodGet, "/v1/users/u/groups?limit=0", "").status)
	}
	// What holds no user's data needs no key.
	for path, status := range map[string]int{"/openapi.json": 200, "/docs": 200, "/v1/nothing/here": 404, "/nothing": 404} {
		require.Equal(t, status, s.ask("", http.MethodGet, path, "").status, path)
	}
	_, metrics := s.do(http.MethodGet, s.Ops+"/metrics", "")
	require.Contains(t, metrics, `readmark_api_requests_total{code="200",key="badges"} 7`)
	require.Contains(t, metrics, `readmark_api_requests_total{code="422",key="badges"} 1`)
	require.Contains(t, metrics, `readmark_api_requests_total{code="403",key="eraser"} 7`)
	require.Contains(t, metrics, `readmark_api_requests_total{code="401",key="none"} 21`)
	s.end()
	require.Contains(t, s.log.String(), `"route":"/v1/users/:userID/unread","status":200,`)
	require.Contains(t, s.log.String(), `"key_name":"badges","requests":8,"refused":0`)
	require.Contains(t, s.log.String(), `"key_name":"eraser","requests":7,"refused":7`)
	require.Contains(t, s.log.String(), `"key_name":"none","requests":21,"refused":21`)
	require.Regexp(t, `"msg":"request served".*"key_name":"badges"`, s.log.String())
	for _, key := range []string{read, erase, admin, mistyped} {
		require.NotContains(t, s.log.String()+metrics, key[4:40])
	}
	// The names of keys are stored, and hashes: nothing else of them.
	stored := rows(t, environment["DATABASE_URL"], "SELECT k::text FROM api_keys AS k")
	require.Len(t, stored, 3)
	require.NotContains(t, strings.Join(stored, ""), "rmk_")
}

// Prefixes close what goes beyond them, in paths as decoded and in bodies.
func TestKeyPrefixes(t *testing.T) {
	t.Parallel()
	environment := withKeys(t)
	s := serve(t, environment)
	for _, pair := range [][2]string{{"a/1", "g-1"}, {"a/1", "other"}, {"b", "g-1"}, {"b", "other"}} {
		s.read(pair[0], pair[1], 1)
	}
	users := makeKey(t, environment, "--name", "users", "--scope", "read", "--users", "a/")
	groups := makeKey(t, environment, "--name", "groups", "--scope", "read", "--groups", "g-")
	both := makeKey(t, environment, "--name", "both", "--scope", "read", "--users", "a/", "--groups", "g-")
	for path, statuses := range map[string][3]int{ // users, groups, both
		"/v1/users/a%2F1/groups/g-1":   {200, 200, 200},
		"/v1/users/%61%2f1/groups/g-1": {200, 200, 200},
		"/v1/users/a%2F1/groups/other": {200, 403, 403},
		"/v1/users/b/groups/g-1":       {403, 200, 403},
		"/v1/users/b/groups/other":     {403, 403, 403},
		"/v1/users/A%2F1/groups/g-1":   {403, 404, 403},
		"/v1/users/a%252F1/groups/g-1": {403, 404, 403},
		"/v1/users/a%2F1/groups":       {200, 403, 403},
		"/v1/users/b/groups":           {403, 403, 403},
		"/v1/users/a%2F1/unread":       {200, 403, 403},
		"/v1/users/b/unread":           {403, 403, 403},
		"/v1/groups/g-1/users":         {403, 200, 403},
		"/v1/groups/other/users":       {403, 403, 403},
		"/v1/groups/g-1/unread":        {403, 200, 403},
		"/v1/groups/other/unread":      {403, 403, 403},
		"/v1/drift":                    {403, 403, 403},
	} {
		for i, key := range []string{users, groups, both} {
			got := s.ask(key, http.MethodGet, path, "")
			require.Equal(t, statuses[i], got.status, "%d %s %s", i, path, got.body)
		}
	}
	const (
		mine     = `{"userID":"a/1","groupID":"g-1"}`
		ofOthers = `{"userID":"b","groupID":"g-1"}`
		outside  = `{"userID":"a/1","groupID":"other"}`
	)
	for body, locations := range map[string][3]string{
		`{"pairs":[` + mine + `]}`:                       {},
		`{"pairs":[` + mine + `,` + ofOthers + `]}`:      {"body.pairs[1]", "", "body.pairs[1]"},
		`{"pairs":[` + mine + `,` + outside + `]}`:       {"", "body.pairs[1]", "body.pairs[1]"},
		`{"userIDs":["a/1","a/2"]}`:                      {"", "body.userIDs[0]", "body.userIDs[0]"},
		`{"userIDs":["a/1","b"],"pairs":[` + mine + `]}`: {"body.userIDs[1]", "body.userIDs[0]", "body.userIDs[0]"},
		`{}`: {},
	} {
		for i, key := range []string{users, groups, both} {
			got := s.ask(key, http.MethodPost, "/v1/unread/query", body)
			if locations[i] == "" {
				require.Equal(t, 200, got.status, "%d %s %s", i, body, got.body)
				continue
			}
			require.Equal(t, 403, got.status, "%d %s %s", i, body, got.body)
			require.Contains(t, got.problem(t), locations[i])
			require.Contains(t, got.body, `"location":"`+locations[i]+`"`)
		}
	}
	s.end()
}

// A new key is good at once and a revoked one refused within five seconds, on every
// replica; a key's last use is listed.
func TestKeyOnReplicas(t *testing.T) {
	t.Parallel()
	environment := withKeys(t)
	replicas := []*service{serve(t, environment), serve(t, environment)}
	const path = "/v1/users/u/unread"
	require.Equal(t, 401, replicas[0].ask(auth.NewText(), http.MethodGet, path, "").status)
	key := makeKey(t, environment, "--name", "k", "--scope", "read,erase")
	expiring := makeKey(t, environment, "--name", "short", "--scope", "read", "--expires", "3s")
	made := time.Now()
	list := func() string {
		status, out, errs := run(t, environment, "key", "list")
		require.Equal(t, 0, status, errs)
		for _, k := range []string{key, expiring} {
			require.NotContains(t, out, k[4:20])
		}
		return out
	}
	require.Regexp(t, `(?m)^NAME +SCOPES +USERS +GROUPS +CREATED +EXPIRES +LAST USED +STATE$`, list())
	require.Regexp(t, `(?m)^k +read,erase +all +all +2\S+Z +never +never +active$`, list())
	for _, s := range replicas {
		require.Equal(t, 404, s.ask(key, http.MethodGet, path, "").status, "at once")
		require.Equal(t, 404, s.ask(expiring, http.MethodGet, path, "").status)
	}
	for _, s := range replicas {
		require.Eventually(t, func() bool { return s.ask(expiring, http.MethodGet, path, "").status == 401 },
			10*time.Second, 10*time.Millisecond)
		require.GreaterOrEqual(t, time.Since(made), 2*time.Second)
		require.Contains(t, s.ask(expiring, http.MethodGet, path, "").problem(t), "expired")
	}
	require.Eventually(t, func() bool { return !strings.Contains(strings.SplitN(list(), "\n", 3)[1], "never  active") },
		20*time.Second, 100*time.Millisecond, "last used")
	require.Regexp(t, `(?m)^short +read .* expired$`, list())

	status, out, errs := run(t, environment, "key", "revoke", "k")
	require.Equal(t, 0, status, errs)
	require.Empty(t, out)
	revoked := time.Now()
	for _, s := range replicas {
		require.Eventually(t, func() bool { return s.ask(key, http.MethodGet, path, "").status == 401 },
			5*time.Second-time.Since(revoked), 10*time.Millisecond)
		require.Contains(t, s.ask(key, http.MethodGet, path, "").problem(t), "revoked")
	}
	require.Regexp(t, `(?m)^k .* revoked 2\S+Z$`, list())
	for _, name := range []string{"k", "nobody"} {
		status, _, errs = run(t, environment, "key", "revoke", name)
		require.Equal(t, 1, status)
		require.Contains(t, errs, `no API key named "`+name+`"`)
	}
	require.NotEqual(t, key, makeKey(t, environment, "--name", "k", "--scope", "read"), "the name is free again")
	for _, s := range replicas {
		s.end()
	}
}

// A last use is stored at the end, too.
func TestLastUseAtShutdown(t *testing.T) {
	t.Parallel()
	environment := withKeys(t)
	key := makeKey(t, environment, "--name", "k", "--scope", "read")
	s := serve(t, environment)
	require.Equal(t, 404, s.ask(key, http.MethodGet, "/v1/users/u/unread", "").status)
	s.end()
	require.Equal(t, []string{"true"}, rows(t, environment["DATABASE_URL"],
		"SELECT (last_used_at > created_at)::text FROM api_keys"))
	require.NotContains(t, s.log.String(), "answers 401 to everybody", "there is a key")
}

// While the database is away a key that is not known cannot be refused: 503.
func TestKeysWithoutDatabase(t *testing.T) {
	t.Parallel()
	database := pgtest.New(t)
	proxy, through := proxied(t, database)
	known := makeKey(t, map[string]string{"DATABASE_URL": database}, "--name", "k", "--scope", "read")
	s := serve(t, map[string]string{"DATABASE_URL": through, "READMARK_AUTH": "required"})
	const path = "/v1/users/u/unread"
	require.Equal(t, 404, s.ask(known, http.MethodGet, path, "").status)
	proxy.Stop()
	got := s.ask(auth.NewText(), http.MethodGet, path, "")
	require.Equal(t, 503, got.status)
	require.Contains(t, got.problem(t), "cannot be checked")
	require.NotEmpty(t, got.header.Get("Retry-After"))
	got = s.ask(known, http.MethodGet, path, "")
	require.Equal(t, 503, got.status)
	require.Contains(t, got.problem(t), "database", "let in, and then")
	require.Equal(t, 401, s.ask("rmk_nonsense", http.MethodGet, path, "").status)
	pgtest.ListenAgain(t, proxy.Start)
	require.Eventually(t, func() bool { return s.ask(auth.NewText(), http.MethodGet, path, "").status == 401 },
		time.Minute, 50*time.Millisecond)
	s.end()
}

// Each key has its own rate; where no key is asked for, all share one.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	environment := withKeys(t)
	environment["READMARK_RATE_LIMIT"] = "0.01"
	one := makeKey(t, environment, "--name", "one", "--scope", "read")
	two := makeKey(t, environment, "--name", "two", "--scope", "read")
	s := serve(t, environment)
	const path = "/v1/users/u/unread"
	for _, key := range []string{one, two} {
		got := s.ask(key, http.MethodGet, path, "")
		require.Equal(t, 404, got.status)
		require.Equal(t, "1", got.header.Get("RateLimit-Limit"))
		require.Equal(t, "0", got.header.Get("RateLimit-Remaining"))
		require.Equal(t, "1;w=100", got.header.Get("RateLimit-Policy"))
		require.Equal(t, "100", got.header.Get("RateLimit-Reset"))
		got = s.ask(key, http.MethodGet, path, "")
		require.Equal(t, 429, got.status)
		require.Contains(t, got.problem(t), "0.01 requests per second")
		require.Regexp(t, "^(9[0-9]|100)$", got.header.Get("Retry-After"))
		require.Equal(t, "0", got.header.Get("RateLimit-Remaining"))
		require.Equal(t, got.header.Get("Retry-After"), got.header.Get("RateLimit-Reset"))
	}
	require.Equal(t, 401, s.ask("", http.MethodGet, path, "").status)
	s.read("u", "g", 1) // callbacks are not limited
	s.read("u", "g", 2)
	s.end()

	environment["READMARK_AUTH"] = "off"
	s = serve(t, environment)
	require.Equal(t, 200, s.ask("", http.MethodGet, path, "").status)
	require.Equal(t, 429, s.ask(one, http.MethodGet, "/v1/drift", "").status)
	s.end()
}

// Wrong values are named by their flag, and make no key.
func TestKeyCreateRefuses(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"DATABASE_URL": pgtest.Empty(t)}
	good := []string{"--name", "k", "--scope", "read"}
	status, _, errs := run(t, environment, append([]string{"key", "create"}, good...)...)
	require.Equal(t, 1, status)
	require.Contains(t, errs, "readmark migrate up")
	for _, command := range [][]string{{"key", "list"}, {"key", "revoke", "k"}} {
		status, _, errs = run(t, environment, command...)
		require.Equal(t, 1, status)
		require.Contains(t, errs, "readmark migrate up")
	}
	status, _, errs = run(t, environment, "migrate", "up")
	require.Equal(t, 0, status, errs)
	for _, test := range []struct {
		flag string
		args []string
	}{
		{"--name", []string{"--scope", "read"}},
		{"--name", []string{"--scope", "read", "--name", "a b"}},
		{"--name", []string{"--scope", "read", "--name", "none"}},
		{"--scope", []string{"--name", "k"}},
		{"--scope", []string{"--name", "k", "--scope", "write"}},
		{"--users", append([]string{"--users", ""}, good...)},
		{"--users", append([]string{"--users", "a\x00"}, good...)},
		{"--groups", append([]string{"--groups", ""}, good...)},
		{"--groups", append([]string{"--groups", strings.Repeat("x", 256)}, good...)},
		{"--expires", append([]string{"--expires", ""}, good...)},
		{"--expires", append([]string{"--expires", "soon"}, good...)},
		{"--expires", append([]string{"--expires", "-1h"}, good...)},
		{"--expires", append([]string{"--expires", "0s"}, good...)},
		{"--expires", append([]string{"--expires", "2020-01-01"}, good...)},
		{"--expires", append([]string{"--expires", "2026-13-01"}, good...)},
	} {
		status, out, errs := run(t, environment, append([]string{"key", "create"}, test.args...)...)
		require.Equal(t, 2, status, test.args)
		require.Empty(t, out)
		require.Contains(t, errs, "readmark: "+test.flag+" ", test.args)
	}
	for _, args := range [][]string{{"key"}, {"key", "revoke"}, {"key", "list", "x"}, {"key", "show"}} {
		status, _, _ := run(t, environment, args...)
		require.Equal(t, 2, status, args)
	}
	require.Empty(t, rows(t, environment["DATABASE_URL"], "SELECT name FROM api_keys"))
	makeKey(t, environment, good...)
	status, _, errs = run(t, environment, append([]string{"key", "create"}, good...)...)
	require.Equal(t, 1, status)
	require.Contains(t, errs, "--name k: there is a key of this name")
	for name, expires := range map[string]string{"hours": "720h", "day": "2999-01-02", "time": "2999-01-02T03:04:05+01:00"} {
		makeKey(t, environment, "--name", name, "--scope", "admin", "--expires", expires)
	}
	_, out, _ := run(t, environment, "key", "list")
	require.Regexp(t, `(?m)^day +admin .* 2999-01-02T00:00:00Z +never +active$`, out)
	require.Regexp(t, `(?m)^time +admin .* 2999-01-02T02:04:05Z +never +active$`, out)
}

// The commands work beside a serve on the embedded database.
func TestKeysOnEmbedded(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"READMARK_DATA_DIR": filepath.Join(openDir(t), "data"), "READMARK_AUTH": "required"}
	s := serve(t, environment)
	key := makeKey(t, environment, "--name", "k", "--scope", "read")
	s.read("u", "g", 7)
	require.Equal(t, 200, s.ask(key, http.MethodGet, "/v1/users/u/unread", "").status)
	s.end()
}

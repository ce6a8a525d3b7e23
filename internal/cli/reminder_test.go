package cli_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
)

// A rule that was made by the command or over REST reminds, in the feed of whichever process is asked.
func TestReminders(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"READMARK_DATABASE_URL": pgtest.New(t), "READMARK_AUTH": "off"}
	one, other := serve(t, environment), serve(t, environment)

	status, stdout, stderr := run(t, environment, "reminder", "create", "--name", "digest", "--after", "1s", "--min-unread", "2", "--users", "u", "--json")
	require.Zero(t, status, stderr)
	var made struct{ ID, Name, After, UsersPrefix, GroupsPrefix, Scope string }
	require.NoError(t, json.Unmarshal([]byte(stdout), &made))
	require.Equal(t, "digest 1s u  group", strings.Join([]string{made.Name, made.After, made.UsersPrefix, made.GroupsPrefix, made.Scope}, " "))
	code, answer := one.post("/v1/reminders", `{"name":"all","after":"1s","scope":"user","repeat":false,"groupsPrefix":"g"}`)
	require.Equal(t, http.StatusCreated, code, answer)
	require.EqualValues(t, 1, answer["minUnread"])

	all := map[string]float64{"digest u1 g1": 2, "all u1 ": 2, "all u2 ": 1}
	consumers := []*struct {
		*service
		query, cursor string
		want          map[string]float64
	}{
		{one, "", "", all},
		{other, "", "", all},
		{one, "&userID=u2", "", map[string]float64{"all u2 ": 1}},
		{other, "&userID=u1", "", map[string]float64{"all u1 ": 2, "digest u1 g1": 2}},
		{one, "&groupsPrefix=g", "", map[string]float64{"digest u1 g1": 2}},
		{one, "&userID=u1&groupID=g1", "", map[string]float64{"digest u1 g1": 2}},
	}
	for _, c := range consumers {
		_, page := c.get("/v1/changes?types=reminder.due" + c.query)
		c.cursor = page["nextCursor"].(string)
	}
	one.read("u1", "g1", 2)
	one.read("u2", "g1", 1)
	for _, c := range consumers {
		told := map[string]float64{}
		for len(told) < len(c.want) {
			code, page := c.get("/v1/changes?types=reminder.due&wait=60s" + c.query + "&after=" + c.cursor)
			require.Equal(t, http.StatusOK, code, page)
			c.cursor = page["nextCursor"].(string)
			for _, item := range page["items"].([]any) {
				change := item.(map[string]any)
				require.Equal(t, "reminder.due", change["type"])
				require.NotEmpty(t, change["ruleID"])
				group, counted := "", change["badge"]
				if change["groupID"] != nil {
					group, counted = change["groupID"].(string), change["state"]
				}
				key := change["ruleName"].(string) + " " + change["userID"].(string) + " " + group
				require.NotContains(t, told, key)
				told[key] = counted.(map[string]any)["unreadCount"].(float64)
			}
		}
		require.Equal(t, c.want, told, c.query)
	}

	code, list := other.get("/v1/reminders")
	require.Equal(t, http.StatusOK, code)
	require.Len(t, list["items"], 2)
	code, problem := one.post("/v1/reminders", `{"name":"all","after":"1s"}`)
	require.Equal(t, http.StatusConflict, code, problem)
	for body, location := range map[string]string{
		`{"name":"x","after":"1.5s"}`: "body.after", `{"name":"x","after":"721h"}`: "body.after", `{"name":"","after":"1s"}`: "body.name",
		`{"name":"x","after":"1s","minUnread":0}`: "body.minUnread", `{"name":"x","after":"1s","scope":"all"}`: "body.scope",
	} {
		code, problem := one.post("/v1/reminders", body)
		require.Equal(t, http.StatusUnprocessableEntity, code, body)
		require.Contains(t, problem["errors"].([]any)[0].(map[string]any)["location"], location, body)
	}
	code, _ = one.do(http.MethodDelete, one.URL+"/v1/reminders/"+made.ID, "")
	require.Equal(t, http.StatusNoContent, code)
	code, _ = one.do(http.MethodDelete, one.URL+"/v1/reminders/"+made.ID, "")
	require.Equal(t, http.StatusNotFound, code)
	status, stdout, _ = run(t, environment, "reminder", "list")
	require.Zero(t, status)
	require.Regexp(t, `(?m)^NAME .*\nall +1 +1s +user +false +all +g… .*\n$`, stdout)
	status, stdout, _ = run(t, environment, "reminder", "delete", "all", "--json")
	require.Zero(t, status)
	require.Contains(t, stdout, `"name":"all"`)
	status, stdout, _ = run(t, environment, "reminder", "list", "--json")
	require.Zero(t, status)
	require.JSONEq(t, `{"items":[]}`, stdout)
}

// Commands refuse what is no rule, and only admin keys may see or change rules.
func TestRemindersRefuse(t *testing.T) {
	t.Parallel()
	environment := withKeys(t)
	s := serve(t, environment)
	for arguments, says := range map[string]string{
		"--after 1s": "--name", "--name x": "--after", "--name x --after 1500ms": "whole seconds", "--name x --after 721h": "720h",
		"--name x --after 1s --min-unread 0": "--min-unread", "--name x --after 1s --scope all": "--scope", "--name x --after 1s --users=": "--users",
	} {
		status, _, stderr := run(t, environment, append([]string{"reminder", "create"}, strings.Fields(arguments)...)...)
		require.Equal(t, 2, status, arguments)
		require.Contains(t, stderr, says, arguments)
	}
	for _, rule := range []string{"--name x --after 1s", "--name x --after 2s"} {
		status, _, stderr := run(t, environment, append([]string{"reminder", "create"}, strings.Fields(rule)...)...)
		require.Equal(t, rule == "--name x --after 2s", status == 1, stderr)
	}
	status, _, stderr := run(t, environment, "reminder", "delete", "nobody")
	require.Equal(t, 1, status)
	require.Contains(t, stderr, "readmark reminder list")
	reads := makeKey(t, environment, "--name", "reads", "--scope", "read,erase")
	admin := makeKey(t, environment, "--name", "admin", "--scope", "admin")
	for _, request := range []struct{ method, path, body string }{
		{http.MethodGet, "/v1/reminders", ""},
		{http.MethodPost, "/v1/reminders", `{"name":"y","after":"4h"}`},
		{http.MethodDelete, "/v1/reminders/019ab3c1-6c3b-7a52-9d0e-6f2a1c7b4d58", ""},
	} {
		require.Equal(t, http.StatusForbidden, s.ask(reads, request.method, request.path, request.body).status, request.path)
		require.NotEqual(t, http.StatusForbidden, s.ask(admin, request.method, request.path, request.body).status, request.path)
	}
}

// Where reminders wait, /readyz and doctor say so, until they do not any more.
func TestRemindersWait(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	environment := map[string]string{"READMARK_DATABASE_URL": url}
	doctor := func() string {
		_, stdout, _ := run(t, environment, "doctor", "--no-callback")
		return stdout
	}
	require.Regexp(t, `reminders: there are no rules`, doctor())
	status, _, stderr := run(t, environment, "reminder", "create", "--name", "x", "--after", "1s")
	require.Zero(t, status, stderr)
	require.Regexp(t, `reminders: rules: 1, and no group waits`, doctor())
	conn := pgtest.Connect(t, url)
	_, err := conn.Exec(t.Context(), "INSERT INTO reminder_groups (rule_id, group_id, due_at) SELECT id, 'g', now() - interval '20 minutes' FROM reminder_rules")
	require.NoError(t, err)
	require.Regexp(t, `reminders: a group waits since 20m`, doctor())

	_, err = conn.Exec(t.Context(), "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'not now'; END$$")
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "CREATE TRIGGER fail BEFORE DELETE ON reminder_groups FOR EACH STATEMENT EXECUTE FUNCTION fail()")
	require.NoError(t, err)
	s := serve(t, environment)
	s.awaitNote("reminders wait: a step failed, and is tried again")
	_, err = conn.Exec(t.Context(), "DROP TRIGGER fail ON reminder_groups")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return !strings.Contains(s.notes(), "reminders") }, 2*time.Minute, 20*time.Millisecond)
	require.Regexp(t, `reminders: rules: 1, and no group waits`, doctor())
}

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each rule finds what breaks it, and lets pass what does the same rightly.
func TestRules(t *testing.T) {
	t.Parallel()
	for rule, test := range map[string]struct{ wrong, right []string }{
		"lock-many": {
			wrong: []string{
				"SELECT 1 FROM states WHERE user_id = ANY (@user_ids::text[]) FOR UPDATE",
				"SELECT s.user_id FROM states AS s JOIN api_keys AS w ON w.name = s.user_id FOR NO KEY UPDATE OF s",
				"WITH due AS (SELECT user_id FROM lookups WHERE due_at < now() LIMIT 5 FOR UPDATE SKIP LOCKED) DELETE FROM lookups AS l USING due WHERE l.user_id = due.user_id",
			},
			right: []string{
				"SELECT 1 FROM states WHERE user_id = @user_id FOR UPDATE",
				"SELECT 1 FROM api_keys FOR UPDATE",
			},
		},
		"lateral-sum": {
			wrong: []string{"SELECT u.id, b.n FROM api_keys AS u CROSS JOIN LATERAL (SELECT count(*) AS n FROM served_states AS s WHERE s.user_id = u.name) AS b"},
			right: []string{
				"SELECT s.user_id, count(*) FROM served_states AS s WHERE s.user_id = ANY (@user_ids::text[]) GROUP BY s.user_id",
				"SELECT j.id FROM api_keys AS u CROSS JOIN LATERAL (SELECT id FROM journal WHERE user_id = u.name LIMIT 1) AS j",
			},
		},
		"lateral-limit": {
			wrong: []string{
				"SELECT j.id FROM api_keys AS u CROSS JOIN LATERAL (SELECT o.id FROM journal AS o WHERE o.group_id = u.name ORDER BY o.id LIMIT 1) AS j",
				"SELECT j.id FROM api_keys AS u CROSS JOIN LATERAL (SELECT o.id FROM journal AS o JOIN states AS s ON s.user_id = o.user_id WHERE o.group_id = u.name LIMIT 1) AS j",
			},
			right: []string{
				"SELECT j.id FROM api_keys AS u CROSS JOIN LATERAL (SELECT o.id FROM journal AS o WHERE o.user_id = u.name LIMIT 1) AS j",
				"SELECT j.id FROM api_keys AS u CROSS JOIN LATERAL (SELECT o.id FROM changes AS o LIMIT 1) AS j",
			},
		},
		"recursive": {
			wrong: []string{"WITH RECURSIVE w AS (SELECT user_id FROM states WHERE user_id > @after::text UNION ALL SELECT (SELECT s.user_id FROM states AS s WHERE s.user_id > w.user_id LIMIT 1) FROM w) SELECT user_id FROM w"},
			right: []string{
				"WITH RECURSIVE w AS (SELECT name FROM api_keys UNION ALL SELECT (SELECT k.name FROM api_keys AS k WHERE k.name > w.name LIMIT 1) FROM w) SELECT name FROM w",
				"WITH w AS (SELECT user_id FROM states) SELECT user_id FROM w",
			},
		},
		"conflict-parameter": {
			wrong: []string{
				"INSERT INTO states (user_id, updated_at) SELECT unnest(@user_ids::text[]), @now ON CONFLICT (user_id) DO UPDATE SET updated_at = @now::timestamptz",
				"INSERT INTO states (user_id) SELECT unnest(@user_ids::text[]) ON CONFLICT (user_id) DO UPDATE SET updated_at = sqlc.arg('now')",
			},
			right: []string{
				"INSERT INTO states (user_id, updated_at) SELECT unnest(@user_ids::text[]), @now ON CONFLICT (user_id) DO UPDATE SET updated_at = excluded.updated_at",
				"INSERT INTO states (user_id, updated_at) VALUES (@user_id, @now) ON CONFLICT (user_id) DO UPDATE SET updated_at = @now::timestamptz",
				"INSERT INTO api_keys (name) SELECT unnest(@names::text[]) ON CONFLICT (name) DO UPDATE SET name = @other::text",
			},
		},
		"changes-select": {
			wrong: []string{"WITH gone AS (DELETE FROM lookups WHERE user_id = @user_id RETURNING user_id) INSERT INTO changes (user_ids) SELECT array_agg(g.user_id) FROM gone AS g"},
			right: []string{
				"INSERT INTO changes (user_ids) VALUES (@user_ids::text[])",
				"INSERT INTO changes (user_ids) SELECT array_agg(k.name) FROM api_keys AS k",
			},
		},
		"bare-correlated": {
			wrong: []string{"SELECT s.user_id FROM states AS s CROSS JOIN LATERAL (SELECT EXISTS (SELECT 1 FROM lookups AS l WHERE l.user_id = s.user_id) AS pending) AS p"},
			right: []string{"SELECT s.user_id FROM states AS s LEFT JOIN lookups AS l ON l.user_id = s.user_id"},
		},
		"anti-join": {
			wrong: []string{
				"SELECT q.user_id FROM lookups AS q WHERE NOT EXISTS (SELECT 1 FROM journal AS j WHERE j.group_id = q.group_id)",
				"DELETE FROM lookups AS q WHERE q.group_id = @group_id AND NOT EXISTS (SELECT 1 FROM journal AS j WHERE j.group_id = @group_id)",
				"SELECT s.user_id FROM states AS s LEFT JOIN checks AS c ON c.group_id = s.group_id WHERE c.user_id IS NULL",
				"SELECT s.user_id FROM states AS s WHERE s.group_id NOT IN (SELECT c.group_id FROM checks AS c)",
			},
			right: []string{
				"SELECT q.user_id FROM lookups AS q WHERE NOT EXISTS (SELECT 1 FROM journal AS j WHERE j.user_id = q.user_id)",
				"DELETE FROM lookups AS q WHERE q.user_id = @user_id AND NOT EXISTS (SELECT 1 FROM journal AS j WHERE j.user_id = @user_id)",
				"SELECT s.user_id FROM states AS s LEFT JOIN checks AS c ON c.user_id = s.user_id AND c.group_id = s.group_id WHERE c.user_id IS NULL",
				"WITH later AS MATERIALIZED (SELECT 1 FROM journal WHERE group_id = @group_id) DELETE FROM lookups AS q WHERE q.group_id = @group_id AND NOT EXISTS (SELECT 1 FROM later)",
			},
		},
		"unnest-any": {
			wrong: []string{
				"SELECT s.user_id FROM (SELECT unnest(@user_ids::text[]) AS user_id) AS w JOIN states AS s ON s.user_id = w.user_id",
				"UPDATE lookups AS l SET due_at = now() FROM (SELECT unnest(@user_ids::text[]) AS user_id) AS w WHERE l.user_id = w.user_id",
			},
			right: []string{
				"SELECT s.user_id FROM (SELECT unnest(@user_ids::text[]) AS user_id) AS w JOIN states AS s ON s.user_id = w.user_id WHERE s.user_id = ANY (@user_ids::text[])",
				"SELECT s.user_id FROM (SELECT unnest(@group_ids::text[]) AS group_id) AS w JOIN states AS s ON s.group_id = w.group_id",
			},
		},
		"apart": {
			wrong: []string{
				"SELECT s.user_id FROM states AS s LEFT JOIN positions AS p ON p.group_id = s.group_id WHERE s.user_id = @user_id",
				"SELECT v.user_id FROM served_states AS v, positions AS p WHERE p.group_id = v.group_id AND v.user_id = @user_id",
				"SELECT c.unread_count FROM current_states AS c WHERE c.user_id = @user_id",
				"UPDATE states AS s SET updated_at = p.updated_at FROM positions AS p WHERE s.user_id = @user_id AND p.group_id = s.group_id",
			},
			right: []string{
				"SELECT s.user_id FROM states AS s JOIN lookups AS l ON l.user_id = s.user_id",
				"SELECT p.max_seq FROM positions AS p JOIN group_sums AS g ON g.group_id = p.group_id",
				"SELECT p.group_id FROM positions AS p WHERE p.group_id = @group_id UNION SELECT s.group_id FROM states AS s WHERE s.group_id = @group_id",
			},
		},
		"unnest-correlated": {
			wrong: []string{
				"SELECT w.user_id FROM (SELECT unnest(@user_ids::text[]) AS user_id) AS w WHERE NOT EXISTS (SELECT 1 FROM states AS s WHERE s.user_id = w.user_id)",
				"SELECT w.user_id FROM unnest(@user_ids::text[]) AS w (user_id) WHERE EXISTS (SELECT 1 FROM states AS s WHERE s.user_id = w.user_id)",
				"SELECT (SELECT s.read_seq FROM states AS s WHERE s.user_id = w.user_id LIMIT 1) FROM unnest(@user_ids::text[]) AS w (user_id)",
			},
			right: []string{
				"SELECT w.user_id FROM unnest(@user_ids::text[]) AS w (user_id) WHERE w.user_id NOT IN (SELECT s.user_id FROM states AS s)",
				"SELECT w.user_id FROM unnest(@user_ids::text[]) AS w (user_id) WHERE EXISTS (SELECT 1 FROM api_keys AS k WHERE k.name = w.user_id)",
				"SELECT w.user_id FROM unnest(@user_ids::text[]) AS w (user_id) LEFT JOIN states AS s ON s.user_id = w.user_id AND s.user_id = ANY (@user_ids::text[]) WHERE s.user_id IS NULL",
			},
		},
		"conflict-function": {
			wrong: []string{
				"INSERT INTO states (user_id) SELECT unnest(@user_ids::text[]) ON CONFLICT (user_id) DO UPDATE SET updated_at = now()",
				"INSERT INTO states (user_id) VALUES (@user_id) ON CONFLICT (user_id) DO UPDATE SET updated_at = current_timestamp",
				"INSERT INTO states (user_id) VALUES (@user_id) ON CONFLICT (user_id) DO UPDATE SET read_seq = random()",
				"INSERT INTO states (user_id) VALUES (@user_id) ON CONFLICT (user_id) DO UPDATE SET updated_at = excluded.updated_at + interval '1 s'",
			},
			right: []string{
				"INSERT INTO states (user_id, updated_at) VALUES (@user_id, now()) ON CONFLICT (user_id) DO UPDATE SET updated_at = excluded.updated_at",
				"INSERT INTO states (user_id) VALUES (@user_id) ON CONFLICT (user_id) DO UPDATE SET read_seq = excluded.read_seq + 1",
				"INSERT INTO api_keys (name) VALUES (@name) ON CONFLICT (name) DO UPDATE SET used_at = now()",
			},
		},
		"write-function": {
			wrong: []string{
				"UPDATE lookups SET due_at = due_at + interval '1 s' WHERE user_id = @user_id",
				"UPDATE lookups SET due_at = clock_timestamp() WHERE user_id = @user_id",
				"UPDATE lookups SET version = 2 WHERE due_at + interval '1 s' < now()",
				"DELETE FROM lookups WHERE due_at - interval '1 s' < @moment",
				"WITH gone AS (DELETE FROM lookups WHERE date_trunc('day', due_at) = @day RETURNING user_id) SELECT count(*) FROM gone",
			},
			right: []string{
				"UPDATE lookups SET version = 2 WHERE due_at < now() - interval '1 s'",
				"UPDATE lookups SET version = version + 1 WHERE user_id = @user_id",
				"SELECT count(*) FROM lookups WHERE due_at + interval '1 s' < now()",
				"UPDATE api_keys SET expires_at = expires_at + interval '1 s'",
			},
		},
		"apart-insert": {
			wrong: []string{"INSERT INTO states (user_id, read_seq) SELECT @user_id::text, p.max_seq FROM positions AS p WHERE p.group_id = @group_id"},
			right: []string{
				"INSERT INTO states (user_id, read_seq) VALUES (@user_id, @read_seq)",
				"INSERT INTO reminders (user_id) SELECT s.user_id FROM states AS s WHERE s.user_id = @user_id",
				"INSERT INTO group_sums (group_id) SELECT p.group_id FROM positions AS p",
			},
		},
		"one-subcommand": {
			wrong: []string{"ALTER TABLE states ADD COLUMN a text, ADD COLUMN b text"},
			right: []string{"ALTER TABLE states ADD COLUMN a text"},
		},
		"detach-concurrently": {
			wrong: []string{
				"ALTER TABLE journal DETACH PARTITION journal_20260101 CONCURRENTLY",
				"ALTER TABLE journal DETACH PARTITION journal_20260101 FINALIZE",
			},
			right: []string{"ALTER TABLE journal DETACH PARTITION journal_20260101"},
		},
		"session-state": {
			wrong: []string{"SET lock_timeout = 1", "LISTEN changed", "SELECT pg_advisory_lock(1)", "SELECT pg_catalog.pg_try_advisory_lock_shared(1)"},
			right: []string{"SET LOCAL lock_timeout = 1", "SELECT pg_advisory_xact_lock(1)"},
		},
		"generic-plan": {
			wrong: []string{"SET LOCAL plan_cache_mode = force_generic_plan"},
			right: []string{"SET LOCAL enable_seqscan = off"},
		},
		"sql-function": {
			wrong: []string{
				"CREATE FUNCTION f(a text) RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM states WHERE user_id = a'",
				"CREATE FUNCTION f(a text) RETURNS SETOF text LANGUAGE sql AS $$ SELECT user_id FROM served_states WHERE user_id = a $$",
			},
			right: []string{
				"CREATE FUNCTION f(a bigint) RETURNS bigint LANGUAGE sql AS 'SELECT a + 1'",
				"CREATE FUNCTION f(a bigint) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$",
			},
		},
		"key": {
			wrong: []string{
				"CREATE TABLE states (user_id text, group_id text, PRIMARY KEY (group_id, user_id))",
				"CREATE TABLE checks (user_id text, id uuid PRIMARY KEY)",
				"CREATE UNIQUE INDEX i ON journal (id)",
			},
			right: []string{
				"CREATE TABLE states (user_id text, group_id text, PRIMARY KEY (user_id, group_id))",
				"CREATE TABLE api_keys (id uuid PRIMARY KEY)",
				"CREATE UNIQUE INDEX i ON journal (user_id, id)",
				"CREATE INDEX i ON journal (id)",
			},
		},
		"foreign-key": {
			wrong: []string{
				"ALTER TABLE states ADD CONSTRAINT f FOREIGN KEY (group_id) REFERENCES positions (group_id)",
				"CREATE TABLE notes (user_id text REFERENCES states (user_id))",
			},
			right: []string{"CREATE TABLE notes (id uuid REFERENCES api_keys (id))"},
		},
	} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			for _, text := range test.wrong {
				findings, err := check("\n-- name: X :exec\n" + text + ";\n")
				require.NoError(t, err, text)
				require.Len(t, findings, 1, text)
				require.Equal(t, rule, findings[0].rule, text)
				require.Equal(t, 3, findings[0].line, text)

				findings, err = check("-- citus: " + rule + ": it is known\n" + text + ";\n")
				require.NoError(t, err, text)
				require.Empty(t, findings, "a reason is given: %s", text)
				findings, err = check("-- citus: plain: another one is asked there\n" + text + ";\n")
				require.NoError(t, err, text)
				require.Empty(t, findings, "it is not asked there: %s", text)
			}
			for _, text := range test.right {
				findings, err := check(text)
				require.NoError(t, err, text)
				require.Empty(t, findings, text)
			}
		})
	}
	for rule := range queryRules() {
		require.NotContains(t, statementRules(), rule)
	}
}

// The project's own files pass, a file with a planted violation and one that cannot be parsed do not.
func TestRun(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	found, err := run([]string{"../../queries", "../../migrations"}, &out)
	require.NoError(t, err)
	require.False(t, found, out.String())

	dir := t.TempDir()
	planted := filepath.Join(dir, "planted.sql")
	require.NoError(t, os.WriteFile(planted, []byte("SELECT 1;\n\nSELECT pg_advisory_lock(1);\n"), 0o600))
	found, err = run([]string{dir}, &out)
	require.NoError(t, err)
	require.True(t, found)
	require.Contains(t, out.String(), planted+":3: session-state: a lock of the session")

	require.NoError(t, os.WriteFile(planted, []byte("SELEC 1;"), 0o600))
	_, err = run([]string{dir}, &out)
	require.ErrorContains(t, err, "planted.sql")
	_, err = run([]string{t.TempDir()}, &out)
	require.ErrorContains(t, err, "there is no *.sql")
	_, err = run(nil, &out)
	require.Error(t, err)
}

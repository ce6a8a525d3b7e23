package cli_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"readmark/internal/openimsim"
	"readmark/internal/pgtest"
)

// roles are the URLs of one database as each of the roles of deploy/postgres/role.sql.
type roles struct{ super, owner, app, reader string }

// withRoles makes a database with the roles that role.sql makes, as its comment says.
func withRoles(t testing.TB, schema string) roles {
	t.Helper()
	super := pgtest.Empty(t)
	u, err := url.Parse(super)
	require.NoError(t, err)
	database := strings.TrimPrefix(u.Path, "/")
	names := map[string]string{"schema": schema, "DBNAME": database}
	for _, role := range []string{"owner", "app", "reader"} {
		names[role] = role + strings.TrimPrefix(database, "readmark_test")
	}
	conn := pgtest.Connect(t, super)
	runRoleSQL(t, conn, super, names)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		conn, err := pgx.Connect(ctx, super)
		require.NoError(t, err)
		defer func() { _ = conn.Close(ctx) }()
		for _, role := range []string{"reader", "app", "owner"} {
			_, err := conn.Exec(ctx, fmt.Sprintf("DROP OWNED BY %s CASCADE; DROP ROLE %[1]s", names[role]))
			require.NoError(t, err)
		}
	})
	as := func(role string) string {
		_, err := conn.Exec(t.Context(), fmt.Sprintf("ALTER ROLE %s PASSWORD 'p'", names[role]))
		require.NoError(t, err)
		w := *u
		w.User = url.UserPassword(names[role], "p")
		query := w.Query()
		if schema != "public" {
			query.Set("search_path", `"`+schema+`"`)
		}
		w.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20") // which PostgreSQL takes for a plus
		return w.String()
	}
	return roles{super: super, owner: as("owner"), app: as("app"), reader: as("reader")}
}

// runRoleSQL runs it through psql, or, where there is none, does what psql would do with its
// variables.
func runRoleSQL(t testing.TB, conn *pgx.Conn, databaseURL string, names map[string]string) {
	t.Helper()
	const file = "../../deploy/postgres/role.sql"
	if psql, err := exec.LookPath("psql"); err == nil {
		args := []string{"--no-psqlrc", "--dbname", databaseURL, "--file", file}
		for name, value := range names {
			if name != "DBNAME" {
				args = append(args, "--set", name+"="+value)
			}
		}
		output, err := exec.CommandContext(t.Context(), psql, args...).CombinedOutput()
		require.NoError(t, err, "%s", output)
		return
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	sql := regexp.MustCompile(`(?m)^\\.*$`).ReplaceAllString(string(text), "")
	for name, value := range names {
		sql = strings.ReplaceAll(sql, `:"`+name+`"`, pgx.Identifier{value}.Sanitize())
	}
	_, err = conn.Exec(t.Context(), sql)
	require.NoError(t, err)
}

// The whole of serve, and every command that writes, as a role that owns nothing and may make no
// table; reads as a role that may only read. The owner migrates and makes days.
func TestServeAsApplicationRole(t *testing.T) {
	t.Parallel()
	for _, schema := range []string{"public", "read mark"} {
		t.Run(schema, func(t *testing.T) {
			t.Parallel()
			r := withRoles(t, schema)
			model := openimsim.New(openimsim.Options{Webhooks: []string{"callbackAfterGroupMsgReadCommand"}})
			model.CreateGroup("g", "u", "v")
			environment := withOpenIM(t, model)
			delete(environment, "DATABASE_URL")
			environment["READMARK_DATABASE_URL"], environment["READMARK_REPLICA_URL"] = r.app, r.reader
			environment["READMARK_AUTH"] = "off"

			status, _, errs := run(t, environment, "migrate", "up")
			require.Equal(t, 1, status)
			require.Contains(t, errs, "may not migrate schema "+schema)
			require.Contains(t, errs, "READMARK_MIGRATE_URL")
			owned := map[string]string{"READMARK_DATABASE_URL": r.app, "READMARK_MIGRATE_URL": r.owner}
			status, out, errs := run(t, owned, "migrate", "up")
			require.Equal(t, 0, status, errs)
			require.Contains(t, out, "partitions are made until")
			requireNoSecrets(t, r)

			s := serve(t, environment)
			s.everyWriter(t, environment, model)
			status, body := s.do(http.MethodGet, s.Ops+"/readyz", "")
			require.Equal(t, "200 ready\n", fmt.Sprint(status, " ", body))
			log := s.log.String()
			s.end()
			require.NotContains(t, log, "permission denied")
			require.NotContains(t, log, "must be owner")
			require.NotContains(t, log, `"level":"ERROR"`)
			require.NotContains(t, log, `"part":"retention","reason":"permission"`)

			status, out, _ = run(t, environment, "doctor", "--no-callback")
			require.Equal(t, 1, status, "nobody serves any more")
			require.Contains(t, out, "ok    privileges: the role has all it needs")
			require.Contains(t, out, "ok    partitions: they are made until ")
			require.Contains(t, out, "readmark partitions has to run daily")
		})
	}
}

// requireNoSecrets: who only reads may read everything but what is about secrets.
func requireNoSecrets(t testing.TB, r roles) {
	t.Helper()
	rows, err := pgtest.Connect(t, r.reader).Query(t.Context(), `
		SELECT c.relname::text FROM pg_class AS c
		WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND c.relkind IN ('r', 'p', 'v')
			AND NOT has_table_privilege(c.oid, 'SELECT') ORDER BY 1`)
	require.NoError(t, err)
	closed, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Equal(t, []string{"api_keys", "erasure_keys", "openim_tokens", "webhooks"}, closed)
	var may bool
	require.NoError(t, pgtest.Connect(t, r.app).QueryRow(t.Context(),
		"SELECT has_table_privilege('api_keys', 'SELECT, INSERT, UPDATE, DELETE')").Scan(&may))
	require.True(t, may, "serve needs it")
}

// everyWriter has each writer of the store write.
func (s *service) everyWriter(t testing.TB, environment map[string]string, model *openimsim.Server) {
	t.Helper()
	s.read("u", "g", 3)
	s.read("v", "g", 5)
	status, _ := s.post("/callbackAfterSendGroupMsgCommand", `{"callbackCommand":"callbackAfterSendGroupMsgCommand","sendID":"v","groupID":"g","clientMsgID":"m1","serverMsgID":"s1","seq":1,"sendTime":1,"contentType":101}`)
	require.Equal(t, http.StatusOK, status)
	status, _ = s.post("/callbackGroupMsgReadCommand", `{"sendID":"u","receiveID":"g","unreadMsgNum":-3}`)
	require.Equal(t, http.StatusBadRequest, status)
	require.Eventually(t, func() bool {
		status, state := s.get("/v1/users/u/groups/g")
		return status == http.StatusOK && state["pending"] == false && model.CallsOf("/msg/get_conversations_has_read_and_max_seq") > 0
	}, 30*time.Second, 10*time.Millisecond)
	status, _ = s.get("/v1/users/u/groups/g/receipts")
	require.Equal(t, http.StatusOK, status)

	for _, args := range [][]string{
		{"key", "create", "--name", "k", "--scope", "read"},
		{"key", "list"},
		{"key", "revoke", "k"},
		{"replay"},
		{"reconcile", "--user", "u"},
		{"doctor", "--no-callback"},
	} {
		_, out, errs := run(t, environment, args...)
		require.NotContains(t, out+errs, "permission denied", args)
	}
	status, _ = s.do(http.MethodDelete, s.URL+"/v1/users/v", "")
	require.Equal(t, http.StatusOK, status)
}

// Where days end and the role may not make them, serve says so as it starts and takes receipts as
// long as there are days; afterwards they wait in the spool until the owner has made some.
func TestDaysEnd(t *testing.T) {
	t.Parallel()
	r := withRoles(t, "public")
	owned := map[string]string{"READMARK_DATABASE_URL": r.owner}
	status, _, errs := run(t, owned, "migrate", "up")
	require.Equal(t, 0, status, errs)
	conn := pgtest.Connect(t, r.super)
	drop := func(offset int) {
		for _, table := range []string{"journal", "changes"} {
			_, err := conn.Exec(t.Context(), "DROP TABLE IF EXISTS "+table+"_"+time.Now().UTC().AddDate(0, 0, offset).Format("20060102"))
			require.NoError(t, err)
		}
	}
	for offset := 1; offset <= 7; offset++ {
		drop(offset)
	}
	environment := map[string]string{"READMARK_DATABASE_URL": r.app}
	s := serve(t, environment)
	require.Contains(t, s.log.String(), `"part":"retention","reason":"permission"`)
	require.Contains(t, s.log.String(), "run readmark partitions as the owner of the tables")
	s.read("u", "g", 3)
	_, out, _ := run(t, environment, "doctor", "--no-callback")
	require.Contains(t, out, "FAIL  partitions: they are made until ")

	for offset := -1; offset <= 0; offset++ {
		drop(offset)
	}
	s.read("u", "g", 4) // is taken all the same
	_, body := s.do(http.MethodGet, s.Ops+"/readyz", "")
	require.Contains(t, body, "degraded\n")
	require.Contains(t, s.log.String(), "may not make partitions")
	// As the timer and the CronJob run it: with the settings of serve, and the owner's URL.
	status, out, errs = run(t, map[string]string{"READMARK_DATABASE_URL": r.app, "READMARK_MIGRATE_URL": r.owner}, "partitions")
	require.Equal(t, 0, status, errs)
	require.Regexp(t, `^partitions are made until \d{4}-\d\d-\d\dT00:00:00Z\n$`, out)
	require.Eventually(t, func() bool {
		status, state := s.get("/v1/users/u/groups/g")
		return status == http.StatusOK && state["unreadCount"] == 4.0
	}, 30*time.Second, 10*time.Millisecond)
	s.end()
}

// The owner's command drops old days, and makes earlier ones when asked to.
func TestPartitionsCommand(t *testing.T) {
	t.Parallel()
	database := pgtest.New(t)
	conn := pgtest.Connect(t, database)
	for _, statement := range []string{
		"CREATE TABLE journal_20200101 (LIKE journal INCLUDING ALL)",
		"ALTER TABLE journal ATTACH PARTITION journal_20200101 FOR VALUES FROM ('2020-01-01 00:00+00') TO ('2020-01-02 00:00+00')",
	} {
		_, err := conn.Exec(t.Context(), statement)
		require.NoError(t, err)
	}
	from := time.Now().UTC().AddDate(0, 0, -20)
	status, out, errs := run(t, map[string]string{"READMARK_DATABASE_URL": database}, "partitions", "--days", "3", "--from", from.Format(time.DateOnly))
	require.Equal(t, 0, status, errs)
	require.Contains(t, out, "partitions are made until "+time.Now().UTC().AddDate(0, 0, 4).Format(time.DateOnly))
	require.Contains(t, out, "dropped journal_20200101")
	var there bool
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT to_regclass($1) IS NOT NULL", from.Format("journal_20060102")).Scan(&there))
	require.True(t, there)
	for _, args := range [][]string{{"--days", "0"}, {"--from", "yesterday"}} {
		status, _, errs = run(t, map[string]string{"READMARK_DATABASE_URL": database}, append([]string{"partitions"}, args...)...)
		require.Equal(t, 2, status)
		require.Contains(t, errs, args[0])
	}
}

// The doctor names what the role lacks, and the statement that mends it does.
func TestDoctorNamesGrants(t *testing.T) {
	t.Parallel()
	r := withRoles(t, "public")
	status, _, errs := run(t, map[string]string{"READMARK_DATABASE_URL": r.owner}, "migrate", "up")
	require.Equal(t, 0, status, errs)
	owner := pgtest.Connect(t, r.owner)
	app, err := url.Parse(r.app)
	require.NoError(t, err)
	user := app.User.Username()
	today := time.Now().UTC().Format("20060102")
	_, err = owner.Exec(t.Context(), fmt.Sprintf(`REVOKE INSERT, DELETE ON states FROM %s; REVOKE ALL ON lookups, positions, journal_%s FROM %[1]s;
		REVOKE SELECT ON current_states FROM %[1]s; REVOKE ALL ON goose_db_version FROM %[1]s;
		REVOKE EXECUTE ON FUNCTION hold_erasures(bigint, timestamptz) FROM PUBLIC, %[1]s`, user, today))
	require.NoError(t, err)
	doctor := func() string {
		_, out, _ := run(t, map[string]string{"READMARK_DATABASE_URL": r.app}, "doctor", "--no-callback")
		return out
	}
	out := doctor()
	require.Contains(t, out, "role "+user+" may not read goose_db_version: GRANT SELECT ON")
	_, err = owner.Exec(t.Context(), "GRANT SELECT ON goose_db_version TO "+user)
	require.NoError(t, err)

	out = doctor()
	for _, lacks := range []string{
		"INSERT, DELETE on states", "SELECT, INSERT, UPDATE, DELETE on lookups, positions", "SELECT on current_states", "SELECT, INSERT on journal_" + today,
		"EXECUTE on hold_erasures(bigint, timestamp with time zone)",
	} {
		require.Contains(t, out, "FAIL  privileges: the role lacks "+lacks+".")
	}
	for _, grant := range regexp.MustCompile(`GRANT [^;]*;`).FindAllString(out, -1) {
		_, err := owner.Exec(t.Context(), grant)
		require.NoError(t, err, grant)
	}
	require.Contains(t, doctor(), "ok    privileges: the role has all it needs")
}

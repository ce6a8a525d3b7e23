package cli_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
)

// object decodes standard output, which is one JSON object.
func object(t *testing.T, out string, into any) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(out))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(into), out)
	require.False(t, decoder.More(), out)
}

// The doctor's findings as one object, where all is well and where it is not.
func TestDoctorJSON(t *testing.T) {
	t.Parallel()
	type found struct {
		Well     bool
		Findings []struct{ Level, Topic, Text string }
	}
	environment := map[string]string{"DATABASE_URL": pgtest.New(t)}
	s := serve(t, environment)
	environment["READMARK_ADDR"] = strings.TrimPrefix(s.URL, "http://")
	environment["READMARK_OPS_ADDR"] = strings.TrimPrefix(s.Ops, "http://")
	status, out, errs := run(t, environment, "doctor", "--json")
	require.Equal(t, 0, status, out+errs)
	var report found
	object(t, out, &report)
	require.True(t, report.Well)
	levels := map[string]bool{}
	for _, f := range report.Findings {
		levels[f.Level] = true
		require.NotEmpty(t, f.Topic)
		require.NotEmpty(t, f.Text)
	}
	require.Equal(t, map[string]bool{"ok": true, "note": true}, levels)
	s.end()

	status, out, errs = run(t, environment, "doctor", "--json")
	require.Equal(t, 1, status)
	report = found{}
	object(t, out, &report)
	require.False(t, report.Well)
	require.Contains(t, out, `"level":"fail","topic":"serve"`)
	require.Contains(t, errs, "not all is well")

	_, out, errs = runWith(t, environment, []string{"READMARK_ADDRR=hunter"}, "doctor", "--json")
	require.Contains(t, out, `"level":"note","topic":"configuration","text":"there is no variable READMARK_ADDRR, it has no effect: is READMARK_ADDR meant?"`)
	require.NotContains(t, out+errs, "hunter")
	require.NotContains(t, errs, "READMARK_ADDRR", "it is said once")

	environment["READMARK_ADDR"] = "nowhere"
	status, out, _ = run(t, environment, "doctor", "--json")
	require.Equal(t, 1, status)
	report = found{}
	object(t, out, &report)
	require.Len(t, report.Findings, 1)
	require.Equal(t, "configuration", report.Findings[0].Topic)
}

// The exit status is 0 when all went well, 1 when it failed, 2 when the command line is not understood.
func TestExitStatus(t *testing.T) {
	t.Parallel()
	database := map[string]string{"DATABASE_URL": pgtest.New(t)}
	for _, c := range []struct {
		status int
		says   string
		line   string
	}{
		{0, "", "version"},
		{0, "", "--version"},
		{0, "", "--help"},
		{0, "", "completion bash"},
		{0, "", "key list"},
		{1, "no API key named", "key revoke nobody"},
		{1, "readmark does not answer", "healthcheck --ops-addr=127.0.0.1:1"},
		{1, "READMARK_ADDR must be host:port", "serve --addr=nowhere"},
		{1, "not all is well", "doctor --ops-addr=127.0.0.1:1"},
		{2, "readmark needs a command", ""},
		{2, "readmark has no command sevre: did you mean serve?", "sevre"},
		{2, "readmark migrate has no command u: did you mean up?", "migrate u"},
		{2, "readmark key needs a command", "key"},
		{2, "readmark serve takes no arguments", "serve postgres://u:hunter@h/db"},
		{2, "readmark has no command", "postgres://u:hunter@h/db"},
		{2, "there is no such flag --database-ur: did you mean --database-url?", "serve --database-ur=postgres://u:hunter@h/db"},
		{2, "flags begin with two dashes", "serve -database-url=postgres://u:hunter@h/db"},
		{2, "the flag --database-url needs a value", "serve --database-url"},
		{2, "the flag --no-migrate does not take this value, but a bool", "serve --no-migrate=hunter"},
		{2, "the flags cannot be read", "serve --=hunter"},
		{2, "needs one argument, the name of the key", "key revoke"},
		{2, "--name", "key create"},
		{2, "--from must be a time", "replay --from=yesterday"},
		{2, "say --user", "reconcile"},
	} {
		status, out, errs := run(t, database, strings.Fields(c.line)...)
		require.Equal(t, c.status, status, "%s: %s", c.line, out+errs)
		require.Contains(t, errs, c.says, c.line)
		require.NotContains(t, out+errs, "hunter", c.line)
	}
	_, help, _ := run(t, nil, "--help")
	require.Contains(t, help, "completion")
	_, version, _ := run(t, nil, "version")
	_, flag, _ := run(t, nil, "--version")
	require.Equal(t, version, flag)
}

// What scripts read is one JSON object.
func TestJSON(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"DATABASE_URL": pgtest.New(t)}
	command := func(into any, args ...string) {
		t.Helper()
		status, out, errs := run(t, environment, append(args, "--json")...)
		require.Equal(t, 0, status, errs)
		object(t, out, into)
	}
	var version struct{ Version, Commit, Go string }
	command(&version, "version")
	require.NotEmpty(t, version.Version)
	require.Contains(t, version.Go, "go1.")

	var migrations struct {
		Migrations []struct {
			Version int64
			Name    string
			Applied bool
		}
	}
	command(&migrations, "migrate", "status")
	require.Len(t, migrations.Migrations, len(migrationFiles(t)))
	require.Equal(t, "00001_journal.sql", migrations.Migrations[0].Name)
	require.EqualValues(t, 1, migrations.Migrations[0].Version)
	require.True(t, migrations.Migrations[0].Applied)

	var keys struct {
		Keys []struct {
			Name, UsersPrefix, GroupsPrefix, State      string
			Scopes                                      []string
			CreatedAt, ExpiresAt, LastUsedAt, RevokedAt *time.Time
		}
	}
	command(&keys, "key", "list")
	require.NotNil(t, keys.Keys)
	require.Empty(t, keys.Keys)
	for _, args := range [][]string{{"create", "--name=a", "--scope=read", "--users=u", "--expires=1h"}, {"create", "--name=b", "--scope=admin"}, {"revoke", "b"}} {
		status, _, errs := run(t, environment, append([]string{"key"}, args...)...)
		require.Equal(t, 0, status, errs)
	}
	command(&keys, "key", "list")
	require.Len(t, keys.Keys, 2)
	a, b := keys.Keys[0], keys.Keys[1]
	require.Equal(t, []any{"a", "u", "", "active", []string{"read"}}, []any{a.Name, a.UsersPrefix, a.GroupsPrefix, a.State, a.Scopes})
	require.NotNil(t, a.CreatedAt)
	require.NotNil(t, a.ExpiresAt)
	require.Nil(t, a.LastUsedAt)
	require.Nil(t, a.RevokedAt)
	require.Equal(t, "revoked", b.State)
	require.NotNil(t, b.RevokedAt)

	var replayed struct {
		Events, Pairs, States, Positions int64
		DryRun                           bool
	}
	command(&replayed, "replay", "--dry-run")
	require.True(t, replayed.DryRun)
}

// Only serve, demo and migrate up make a data directory; all others say where they looked.
func TestNoData(t *testing.T) {
	t.Parallel()
	environment := map[string]string{
		"READMARK_DATA_DIR": filepath.Join(t.TempDir(), "data"), "READMARK_OPENIM_API_URL": "http://127.0.0.1:1", "READMARK_OPENIM_SECRET": "s",
	}
	for _, line := range []string{
		"key create --name=a --scope=read", "key list", "key revoke a", "doctor --ops-addr=127.0.0.1:1", "replay", "reconcile --all",
		"migrate down", "migrate status", "migrate version",
	} {
		status, out, errs := run(t, environment, strings.Fields(line)...)
		require.Equal(t, 1, status, line)
		require.Contains(t, out+errs, "there is no data in "+environment["READMARK_DATA_DIR"]+": run it where serve runs, or set READMARK_DATABASE_URL", line)
		require.NoDirExists(t, environment["READMARK_DATA_DIR"], line)
	}
	_, out, errs := run(t, nil, "key", "list") // the default is said with what it stands for
	require.Regexp(t, `there is no data in \./data \(/.*/data\)`, out+errs)
}

// A command speaks to people, serve to machines, unless told otherwise.
func TestLogFormat(t *testing.T) {
	t.Parallel()
	database := pgtest.New(t)
	for format, want := range map[string]string{"": "level=WARN msg=", "json": `"level":"WARN"`, "text": "level=WARN"} {
		status, _, errs := runWith(t, map[string]string{"DATABASE_URL": database, "READMARK_LOG_FORMAT": format}, []string{"READMARK_ADDRR=hunter"}, "key", "list")
		require.Equal(t, 0, status, errs)
		require.Contains(t, errs, want)
		require.Contains(t, errs, "READMARK_ADDR")
		require.Equal(t, 1, strings.Count(errs, "READMARK_ADDRR"), "it is said once")
		require.NotContains(t, errs, "hunter")
	}
	status, _, errs := runWith(t, map[string]string{"READMARK_ADDR": "127.0.0.1:0", "READMARK_OPS_ADDR": "127.0.0.1:0", "READMARK_DATA_DIR": "/proc/none"},
		[]string{"READMARK_ADDRR=hunter", "READMARK_PORT=tcp://10.0.0.1:8080"}, "serve")
	require.Equal(t, 1, status)
	require.Contains(t, errs, `"level":"WARN","msg":"there is no such variable: it has no effect","variable":"READMARK_ADDRR","nearest":"READMARK_ADDR"`)
	require.NotContains(t, errs, "READMARK_PORT")
	require.Contains(t, errs, "READMARK_DATA_DIR: /proc/none cannot be written to: ")
}

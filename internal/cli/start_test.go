package cli_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"readmark/internal/pgtest"
)

// The start log ends with a line of URLs, which work.
func TestStartTellsURLs(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]string{"DATABASE_URL": pgtest.Empty(t), "READMARK_LOG_LEVEL": "info", "READMARK_AUTH": "required"})
	require.Eventually(t, func() bool { return strings.Contains(s.log.String(), `"msg":"readmark serves"`) }, time.Minute, 10*time.Millisecond)
	before, line, _ := strings.Cut(s.log.String(), `"msg":"readmark serves"`)
	line, _, _ = strings.Cut(`{"msg":"readmark serves"`+line, "\n")
	var last struct{ API, Docs, Metrics string }
	require.NoError(t, json.Unmarshal([]byte(line), &last))
	for _, earlier := range []string{"listening", "schema is current", "there is an api key"} {
		require.Contains(t, before, earlier, "the line comes last of what a start says")
	}
	require.Equal(t, []string{s.URL + "/v1", s.URL + "/docs", s.Ops + "/metrics"}, []string{last.API, last.Docs, last.Metrics})
	for _, address := range []string{last.Docs, last.Metrics} {
		status, _ := s.do(http.MethodGet, address, "")
		require.Equal(t, 200, status, address)
	}
	s.end()
}

// As under systemd: an ordinary user in the working directory /, where ./data cannot be made. Nothing is started.
func TestUnwritableDataDir(t *testing.T) {
	t.Parallel()
	binary := built(t)
	require.NoError(t, os.Chmod(filepath.Dir(binary), 0o755))
	command := exec.CommandContext(t.Context(), binary, "serve")
	command.Dir = "/"
	command.Env = []string{"READMARK_ADDR=127.0.0.1:0", "READMARK_OPS_ADDR=127.0.0.1:0", "PATH=" + os.Getenv("PATH")}
	if os.Geteuid() == 0 {
		const nobody = 65534
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	out, err := command.CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit, string(out))
	require.Equal(t, 1, exit.ExitCode())
	require.Contains(t, string(out), "READMARK_DATA_DIR: ./data (/data) cannot be written to: permission denied")
	require.NotContains(t, string(out), "PostgreSQL")

	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	status, _, errs := run(t, map[string]string{"READMARK_DATA_DIR": file}, "migrate", "up")
	require.Equal(t, 1, status)
	require.Contains(t, errs, "READMARK_DATA_DIR: "+file+" cannot be written to: not a directory")
}

// Whatever a password is made of, encoded or not, and wherever its URL is given: no command shows a piece of it.
func TestNoCommandShowsPassword(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		password := rapid.StringOfN(rapid.RuneFrom([]rune("QXZJKWYVqxzjk@@//##??:%&=+ ,;[]<>{}|^~!$*()'\"\\\t\n-._äé漢")), 4, 24, -1).Draw(r, "password")
		if rapid.Bool().Draw(r, "encoded") {
			password = url.PathEscape(password)
		}
		address := fmt.Sprintf(rapid.SampledFrom([]string{
			"postgres://u:%s@127.0.0.1:1/db", "postgres://%s@127.0.0.1:1/db", "postgres://127.0.0.1:1/db?password=%s", "postgres://u:%s@127.0.0.1:1,127.0.0.1:2/db",
		}).Draw(r, "form"), password)
		environment := map[string]string{"READMARK_ADDR": "127.0.0.1:1", "READMARK_OPS_ADDR": "127.0.0.1:2"}
		variable := rapid.SampledFrom([]string{
			"DATABASE_URL", "READMARK_DATABASE_URL", "READMARK_DATABASE_URL_FILE", "READMARK_REPLICA_URL", "READMARK_MIGRATE_URL", "READMARK_OPENIM_API_URL", "READMARK_ADDR",
		}).Draw(r, "variable")
		environment[variable] = address
		if variable == "READMARK_OPENIM_API_URL" {
			environment[variable] = strings.Replace(address, "postgres", "http", 1)
			environment["READMARK_OPENIM_SECRET"] = "s"
		}
		if variable != "DATABASE_URL" && variable != "READMARK_DATABASE_URL" {
			environment["DATABASE_URL"] = "postgres://127.0.0.1:1/db"
		}
		args := rapid.SampledFrom([][]string{
			{"serve", "--print-config"},
			{"migrate", "version"},
			{"doctor", "--no-callback"},
			{"key", "list"},
			{"reconcile", "--all"},
			{address},
			{"serve", address},
			{"key", address},
			{"key", "revoke", address, address},
			{"migrate", "version", "--database-url=" + address},
			{"serve", "--database-ulr=" + address},
			{"serve", "-database-url=" + address},
			{"serve", "--" + address},
			{"serve", "--no-migrate=" + address},
		}).Draw(r, "args")
		_, out, errs := run(t, environment, args...)
		for i := range len(password) - 3 {
			piece := password[i : i+4]
			if strings.ContainsAny(piece, "QXZJKWYVqxzjk") && strings.Contains(out+errs, piece) {
				r.Fatalf("%q is in %s%s", piece, out, errs)
			}
		}
	})
}

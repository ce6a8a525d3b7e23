package release

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// runScript runs a package's script as dpkg or rpm does, on a machine where systemd runs or does
// not. It gives what systemctl was asked; systemctl fails where fails is a part of that.
func runScript(t *testing.T, script, argument string, systemd bool, fails string) (calls []string, stderr string, err error) {
	t.Helper()
	folder := t.TempDir()
	log := filepath.Join(folder, "calls")
	const systemctl = `#!/bin/sh
echo "$@" >> "$CALLS"
case "$*" in *"${FAILS:-nothing}"*) exit 1 ;; esac
`
	require.NoError(t, os.WriteFile(filepath.Join(folder, "systemctl"), []byte(systemctl), 0o700))
	running := folder
	if !systemd {
		running += "/none"
	}
	text := strings.ReplaceAll(string(readFile(t, script)), "/run/systemd/system", running)
	cmd := exec.Command("sh", "-c", text, script, argument)
	cmd.Env = append(os.Environ(), "PATH="+folder+":"+os.Getenv("PATH"), "CALLS="+log, "FAILS="+fails)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	require.Empty(t, out.String())
	if content, readErr := os.ReadFile(log); readErr == nil {
		calls = strings.Split(strings.TrimSpace(string(content)), "\n")
	}
	return calls, errs.String(), err
}

// TestScripts: what each script asks of systemd, for each word that dpkg and rpm call it with. An
// upgrade disables nothing.
func TestScripts(t *testing.T) {
	t.Parallel()
	const reload, disable = "daemon-reload", "disable --now readmark-partitions.timer readmark.service"
	for script, want := range map[string]map[string][]string{
		"postinstall.sh": {"configure": {reload, "try-restart readmark.service"}, "1": {reload, "try-restart readmark.service"}, "2": {reload, "try-restart readmark.service"}},
		"preremove.sh":   {"remove": {disable}, "0": {disable}, "upgrade": nil, "1": nil},
		"postremove.sh":  {"remove": {reload}, "purge": {reload}, "upgrade": {reload}, "0": {reload}, "1": {reload}},
	} {
		for argument, calls := range want {
			got, stderr, err := runScript(t, script, argument, true, "")
			require.NoError(t, err, "%s %s", script, argument)
			require.Equal(t, calls, got, "%s %s", script, argument)
			require.Empty(t, stderr)
			got, stderr, err = runScript(t, script, argument, false, "")
			require.NoError(t, err, "%s %s", script, argument)
			require.Empty(t, got, "a container has no systemd: %s %s", script, argument)
			require.Empty(t, stderr)
		}
	}
}

// TestScriptsFail: what systemd refuses is not passed over.
func TestScriptsFail(t *testing.T) {
	t.Parallel()
	_, stderr, err := runScript(t, "postinstall.sh", "configure", true, "try-restart")
	require.NoError(t, err, "the program is installed all the same")
	require.Contains(t, stderr, "readmark.service does not start: journalctl -u readmark says why")
	for script, fails := range map[string]string{"postinstall.sh": "daemon-reload", "preremove.sh": "disable", "postremove.sh": "daemon-reload"} {
		_, _, err := runScript(t, script, "remove", true, fails)
		require.Error(t, err, script)
	}
}

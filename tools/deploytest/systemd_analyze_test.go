//go:build systemd

package deploytest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// systemd-analyze says that the units are right, and how much is left open. It is part of systemd,
// which macOS and many containers lack: make test builds this test where it is there, and says so
// where it is not.
func TestUnitVerified(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	require.NoError(t, err)
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	verify := func(paths ...string) string {
		t.Helper()
		output, err := exec.CommandContext(t.Context(), analyze, append([]string{"verify", "--man=no"}, paths...)...).CombinedOutput()
		require.NoError(t, err, "%s", output)
		return string(output)
	}
	for _, name := range []string{"readmark.service", "readmark-partitions.service"} {
		// Readmark need not be installed here.
		installed := strings.Replace(read(t, "systemd", name), "ExecStart=readmark", "ExecStart=/bin/true", 1)
		mistaken := strings.Replace(installed, "ProtectSystem=", "ProtectSytem=", 1)
		require.Contains(t, verify(write(name, mistaken)), "ProtectSytem", "systemd-analyze sees mistakes")
		path := write(name, installed)
		require.Empty(t, verify(path))
		output, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--threshold=20", "--no-pager", path).CombinedOutput()
		require.NoError(t, err, "%s is exposed more than 2.0 of 10:\n%s", name, output)
	}
	require.Empty(t, verify(write("readmark-partitions.timer", read(t, "systemd", "readmark-partitions.timer"))))
}

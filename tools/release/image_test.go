package release

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestImageVersion: make image names the image as `readmark version` names the program, without
// the tag's v.
func TestImageVersion(t *testing.T) {
	t.Parallel()
	checkout, programs := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(checkout, "Makefile"), readFile(t, "../../Makefile"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(programs, "docker"), []byte("#!/bin/sh\nprintf '%s\\n' \"$@\"\n"), 0o700))
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = checkout
		cmd.Env = append(os.Environ(), "PATH="+programs+":"+os.Getenv("PATH"), "GIT_CONFIG_GLOBAL="+os.DevNull)
		out, err := cmd.Output()
		require.NoError(t, err, "%s %v: %s", name, args, out)
		return string(out)
	}
	run("git", "init", "--quiet")
	run("git", "add", ".")
	run("git", "-c", "user.name=n", "-c", "user.email=e@example.com", "commit", "--quiet", "--message", "first")
	run("git", "tag", "v1.2.3")
	asked := strings.Fields(run("make", "--silent", "image"))
	require.Contains(t, asked, "readmark:1.2.3")
	require.Contains(t, asked, "VERSION=1.2.3")
}

package release

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestInstall: make install puts its files below DESTDIR and PREFIX, and says where.
func TestInstall(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "with a space")
	out, err := exec.Command("make", "-C", "../..", "install", "DESTDIR="+root, "PREFIX=/opt/readmark").CombinedOutput()
	require.NoError(t, err, string(out))
	program := filepath.Join(root, "opt", "readmark", "bin", "readmark")
	require.Contains(t, string(out), "installed: "+program+"\n")
	require.NotContains(t, string(out), "PATH", "what is packaged is not used from there")

	modes := map[string]fs.FileMode{}
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		require.NoError(t, err)
		name, err := filepath.Rel(root, path)
		require.NoError(t, err)
		modes[name] = info.Mode()
		return nil
	}))
	require.Equal(t, map[string]fs.FileMode{
		"opt/readmark/bin/readmark":                                  0o755,
		"opt/readmark/share/bash-completion/completions/readmark":    0o644,
		"opt/readmark/share/zsh/site-functions/_readmark":            0o644,
		"opt/readmark/share/fish/vendor_completions.d/readmark.fish": 0o644,
	}, modes)
	out, err = exec.Command(program, "version").CombinedOutput()
	require.NoError(t, err, string(out))

	// As root with sudo, whose PATH lacks Go: what is built is installed.
	home := filepath.Join(t.TempDir(), "local")
	out, err = exec.Command("make", "-C", "../..", "install", "PREFIX="+home, "GO=/there/is/no/go").CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), home+"/bin is not on your PATH")
	_, err = os.Stat(filepath.Join(home, "bin", "readmark"))
	require.NoError(t, err)
}

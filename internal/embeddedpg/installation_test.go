package embeddedpg

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// fakeInstallation makes programs that say they are of a version: links to this
// test binary, which looks at the path it was called by.
func fakeInstallation(t *testing.T, root, version string) string {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	dir := filepath.Join(root, version, "bin")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	for _, name := range []string{"initdb", "postgres"} {
		require.NoError(t, os.Symlink(self, filepath.Join(dir, name)))
	}
	return dir
}

func TestInstallations(t *testing.T) {
	t.Parallel()
	found := Installations("")
	require.NotEmpty(t, found)
	for _, one := range found {
		require.GreaterOrEqual(t, one.Major, oldestMajor)
		require.FileExists(t, one.program("initdb"))
	}

	preferred := fakeInstallation(t, t.TempDir(), "15.0")
	found = Installations(preferred)
	require.Equal(t, Installation{BinDir: preferred, Version: "15.0", Major: 15}, found[0])
	require.Greater(t, len(found), 1)

	require.Len(t, Installations(local(t).BinDir), len(Installations("")), "each once")
}

func TestInstallationOrder(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	var dirs []string
	for _, version := range []string{"15.2", "17.0", "14.9", "15.10", "9.6.24", "18beta1"} {
		dirs = append(dirs, fakeInstallation(t, root, version))
	}
	incomplete := fakeInstallation(t, root, "19.1")
	require.NoError(t, os.Remove(filepath.Join(incomplete, "initdb")))
	broken := filepath.Join(root, "20.1", "bin")
	require.NoError(t, os.MkdirAll(broken, 0o755))
	for _, name := range []string{"initdb", "postgres"} {
		require.NoError(t, os.WriteFile(filepath.Join(broken, name), []byte("not a program"), 0o755))
	}
	dirs = append(dirs, incomplete, broken, filepath.Join(root, "absent"), dirs[0])

	var versions []string
	for _, one := range usable(t.Context(), dirs) {
		versions = append(versions, one.Version)
	}
	require.Equal(t, []string{"18beta1", "17.0", "15.10", "15.2"}, versions)
}

func TestPlacesComeInOrder(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dirs := map[string]string{}
	for _, version := range []string{"15.1", "16.1", "17.1", "18.1"} {
		dirs[version] = fakeInstallation(t, root, version)
	}
	var versions []string
	for _, one := range search(t.Context(), [][]string{
		{dirs["16.1"]}, nil, {dirs["15.1"], dirs["16.1"], dirs["17.1"]}, {dirs["18.1"], dirs["15.1"]},
	}) {
		versions = append(versions, one.Version)
	}
	require.Equal(t, []string{"16.1", "17.1", "15.1", "18.1"}, versions)
}

func TestPathIsFollowedThroughLinks(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	actual := filepath.Join(root, "real")
	links := filepath.Join(root, "links")
	for _, dir := range []string{actual, links} {
		require.NoError(t, os.Mkdir(dir, 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(actual, "postgres"), nil, 0o755))
	require.NoError(t, os.Symlink(filepath.Join(actual, "postgres"), filepath.Join(links, "postgres")))
	path := "relative" + string(os.PathListSeparator) + links + string(os.PathListSeparator) + filepath.Join(root, "absent")
	require.Equal(t, []string{actual}, pathDirs(path))
}

func TestUnusableBinDir(t *testing.T) {
	t.Parallel()
	old := fakeInstallation(t, t.TempDir(), "14.3")
	for dir, why := range map[string]string{
		"/nowhere":  "no such file",
		t.TempDir(): "initdb",
		old:         "14.3 is too old",
	} {
		opts, _ := options(t)
		opts.BinDir = dir
		_, err := Start(t.Context(), opts)
		require.ErrorContains(t, err, "PG_BIN")
		require.ErrorContains(t, err, dir)
		require.ErrorContains(t, err, why)
	}
}

func TestClusterPicksItsInstallation(t *testing.T) {
	t.Parallel()
	opts, _ := prepared(t)
	opts.BinDir = fakeInstallation(t, t.TempDir(), "19.1") // preferred, but for other clusters
	require.Equal(t, local(t).BinDir, start(t, opts).BinDir())
}

func TestParseVersion(t *testing.T) {
	t.Parallel()
	for output, want := range map[string]Installation{
		"postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n": {Version: "15.18", Major: 15},
		"postgres (PostgreSQL) 18devel\n":                        {Version: "18devel", Major: 18},
		"postgres (PostgreSQL) 17.5\n":                           {Version: "17.5", Major: 17},
	} {
		version, major, err := parseVersion(output)
		require.NoError(t, err)
		require.Equal(t, want, Installation{Version: version, Major: major})
	}
	for _, output := range []string{"", "postgres 15", "(PostgreSQL)", "(PostgreSQL) x"} {
		_, _, err := parseVersion(output)
		require.Error(t, err, output)
	}
}

package embeddedpg

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// oldestMajor is the oldest major version of PostgreSQL that readmark works with.
const oldestMajor = 15

// versionTimeout bounds how long a program may take to say its version.
const versionTimeout = 10 * time.Second

// Installation is a set of PostgreSQL's server programs.
type Installation struct {
	// BinDir is the directory that holds initdb and postgres.
	BinDir string
	// Version is what the server calls itself, such as "15.18" or "18beta1".
	Version string
	// Major is the part of the version that a cluster is tied to.
	Major int
}

func (i Installation) program(name string) string { return filepath.Join(i.BinDir, name) }

// Installations returns the usable installations on this machine, none older than
// PostgreSQL 15, in the order of preference: the one in binDir ($PG_BIN, empty for
// none), those of PATH in its order, Debian's newest first, Homebrew's newest first.
// One in binDir that cannot be used is left out; Start refuses it. It runs each
// server program once to learn its version.
func Installations(binDir string) []Installation {
	return installed(context.Background(), binDir)
}

// installed is Installations, given up when ctx ends.
func installed(ctx context.Context, binDir string) []Installation {
	var places [][]string
	if binDir != "" {
		places = append(places, []string{binDir})
	}
	for _, dir := range pathDirs(os.Getenv("PATH")) {
		places = append(places, []string{dir})
	}
	return search(ctx, append(places, matching("/", "usr/lib/postgresql/*/bin"), slices.Concat(
		matching("/", "opt/homebrew/opt/postgresql@*/bin"),
		matching("/", "usr/local/opt/postgresql@*/bin"),
		matching("/", "home/linuxbrew/.linuxbrew/opt/postgresql@*/bin"),
	)))
}

// search returns the usable installations of one place after the other, each once,
// the newest of a place first.
func search(ctx context.Context, places [][]string) []Installation {
	var found []Installation
	for _, dirs := range places {
		for _, one := range usable(ctx, dirs) {
			if !slices.Contains(found, one) {
				found = append(found, one)
			}
		}
	}
	return found
}

// matching returns the paths below a directory that match a pattern.
func matching(dir, pattern string) []string {
	paths, _ := fs.Glob(os.DirFS(dir), pattern) // the only error is a malformed pattern
	for i := range paths {
		paths[i] = filepath.Join(dir, paths[i])
	}
	return paths
}

// pathDirs returns the directories that hold the postgres programs of a search
// path, links followed: a link (or a farm of links) is not where a server lives.
func pathDirs(path string) []string {
	var dirs []string
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue
		}
		program, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres"))
		if err == nil {
			dirs = append(dirs, filepath.Dir(program))
		}
	}
	return dirs
}

// usable returns the installations in dirs, newest first, each once. What cannot
// be used or is too old is left out.
func usable(ctx context.Context, dirs []string) []Installation {
	var found []Installation
	for _, dir := range dirs {
		one, err := inspect(ctx, dir)
		if err == nil && !slices.Contains(found, one) {
			found = append(found, one)
		}
	}
	slices.SortStableFunc(found, func(a, b Installation) int {
		return cmp.Or(cmp.Compare(b.Major, a.Major), cmp.Compare(minorOf(b.Version), minorOf(a.Version)))
	})
	return found
}

// inspect reads the installation in a directory. It fails when a program is
// missing or does not run, and when the version is too old.
func inspect(ctx context.Context, dir string) (Installation, error) {
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return Installation{}, err
	}
	one := Installation{BinDir: resolved}
	for _, name := range []string{"initdb", "postgres"} {
		info, err := os.Stat(one.program(name))
		if err != nil {
			return Installation{}, err
		}
		if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
			return Installation{}, fmt.Errorf("%s is not a program", one.program(name))
		}
	}
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	output, err := exec.CommandContext(ctx, one.program("postgres"), "--version").Output()
	if err != nil {
		return Installation{}, fmt.Errorf("ask %s for its version: %w", one.program("postgres"), err)
	}
	one.Version, one.Major, err = parseVersion(string(output))
	if err != nil {
		return Installation{}, err
	}
	if one.Major < oldestMajor {
		return Installation{}, fmt.Errorf("PostgreSQL %s is too old, %d or newer is needed", one.Version, oldestMajor)
	}
	return one, nil
}

// parseVersion reads a line such as "postgres (PostgreSQL) 15.18 (Debian …)".
func parseVersion(output string) (version string, major int, err error) {
	if _, err := fmt.Sscanf(output, "postgres (PostgreSQL) %s", &version); err != nil {
		return "", 0, fmt.Errorf("%q names no version of PostgreSQL", output)
	}
	if major = majorOf(version); major == 0 {
		return "", 0, fmt.Errorf("%q is not a version of PostgreSQL", version)
	}
	return version, major, nil
}

// majorOf is the first number of a version such as "15.18" or "18beta1", 0 without one.
func majorOf(version string) (major int) {
	_, _ = fmt.Sscanf(version, "%d", &major)
	return major
}

// minorOf is the number after the major version, 0 where there is none.
func minorOf(version string) (minor int) {
	_, after, _ := strings.Cut(version, ".")
	return majorOf(after)
}

// chooseInstallation returns the programs to run a server with: $PG_BIN, else the
// first installed ones, else downloaded ones. With an existing cluster only the same
// major version will do; one in $PG_BIN that does not fit is passed over then.
func chooseInstallation(ctx context.Context, opts Options, dir dataDir, version string) (Installation, error) {
	if opts.BinDir != "" {
		if _, err := inspect(ctx, opts.BinDir); err != nil {
			return Installation{}, fmt.Errorf("PG_BIN %q is unusable: %w", opts.BinDir, err)
		}
	}
	// Hidden are the lock of the downloads, and those under way.
	found := append(opts.installed(ctx, opts.BinDir), usable(ctx, matching(dir.binaries(), "[0-9]*/bin"))...)
	for _, one := range found {
		if version == "" || one.Major == majorOf(version) {
			return one, nil
		}
	}
	if err := ctx.Err(); err != nil {
		return Installation{}, fmt.Errorf("find postgres: %w", err)
	}
	one, err := Fetch(ctx, opts, majorOf(version))
	if err != nil && version == "" {
		return Installation{}, fmt.Errorf(
			"find postgres: none is installed (set PG_BIN to the directory of its programs), and none can be downloaded: %w", err)
	}
	if err != nil {
		have := []string{"none"}
		for i, one := range found {
			have = append(have[:i], one.Version+" in "+one.BinDir)
		}
		return Installation{}, fmt.Errorf(
			"find postgres for the cluster in %s, which PostgreSQL %s made: found %s, and none can be downloaded: %w",
			dir.cluster(), version, strings.Join(have, ", "), err)
	}
	return one, nil
}

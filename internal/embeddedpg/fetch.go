package embeddedpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
	"github.com/gofrs/flock"
)

// fetching is the pattern of the directories that a download works in.
const fetching = ".fetch-*"

// fetchLockPoll is how often a fetch looks whether another one has ended.
const fetchLockPoll = 100 * time.Millisecond

// errNotOffered says that no download exists for a major version.
var errNotOffered = errors.New("there is no download for it")

// Fetch returns downloaded programs of a major version, 0 for the newest one,
// from DataDir/postgres-binaries. It downloads them only when they are not there
// yet; several processes may fetch into the same directory at once. Of the
// options it uses DataDir, RepositoryURL and Logger.
//
// Fetch blocks for the whole download and returns when ctx ends; the abandoned
// download then runs on in the background until its connection ends, and leaves
// nothing behind.
func Fetch(ctx context.Context, opts Options, major int) (Installation, error) {
	opts = opts.withDefaults()
	release, err := offered(major)
	if err != nil {
		return Installation{}, err
	}
	dir, err := openDataDir(opts.DataDir)
	if err != nil {
		return Installation{}, err
	}
	if err := os.MkdirAll(dir.binaries(), 0o755); err != nil { //nolint:gosec // the server's user must enter it
		return Installation{}, fmt.Errorf("fetch postgres: %w", err)
	}
	lock := flock.New(filepath.Join(dir.binaries(), ".lock"), flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, fetchLockPoll); err != nil {
		return Installation{}, fmt.Errorf("wait for another download of postgres: %w", err)
	}

	place := filepath.Join(dir.binaries(), string(release))
	done := make(chan error, 1)
	go func() { done <- errors.Join(fetchLocked(ctx, opts, release, place), lock.Close()) }()
	var one Installation
	select {
	case <-ctx.Done():
		err = ctx.Err()
	case err = <-done:
		if err == nil {
			one, err = inspect(ctx, filepath.Join(place, "bin"))
		}
	}
	if err != nil {
		return Installation{}, fmt.Errorf("fetch postgres %s: %w", release, err)
	}
	return one, nil
}

// offered returns the release that the library downloads for a major version.
func offered(major int) (embeddedpostgres.PostgresVersion, error) {
	for _, release := range []embeddedpostgres.PostgresVersion{
		embeddedpostgres.V18, embeddedpostgres.V17, embeddedpostgres.V16, embeddedpostgres.V15,
	} {
		if major == 0 || majorOf(string(release)) == major {
			return release, nil
		}
	}
	return "", fmt.Errorf("fetch postgres %d: %w", major, errNotOffered)
}

// fetchLocked downloads a release and renames it into place once it is complete.
// The caller holds the lock of the directory that place is in.
func fetchLocked(ctx context.Context, opts Options, release embeddedpostgres.PostgresVersion, place string) (err error) {
	if _, err := inspect(ctx, filepath.Join(place, "bin")); err == nil {
		return nil
	}
	removeMatches(opts.Logger, filepath.Dir(place), fetching)
	work, err := os.MkdirTemp(filepath.Dir(place), fetching)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()

	opts.Logger.Info("embedded postgres download started", "version", string(release))
	programs := filepath.Join(work, "programs")
	if err := extract(opts, release, work, programs); err != nil {
		return err
	}
	one, err := inspect(ctx, filepath.Join(programs, "bin"))
	if err != nil {
		return fmt.Errorf("check the download: %w", err)
	}
	if one.Major != majorOf(string(release)) {
		return fmt.Errorf("check the download: it holds PostgreSQL %s", one.Version)
	}
	if err := openToAll(programs); err != nil {
		return err
	}
	// What lies in the way did not pass inspection: it goes with the work directory.
	if err := os.Rename(place, filepath.Join(work, "unusable")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(programs, place); err != nil {
		return err
	}
	opts.Logger.Info("embedded postgres download finished", "version", one.Version, "dir", place)
	return nil
}

// extract lets the library download a release and unpack it into programs, and
// no more. The library goes on to run initdb and a server of its own, which root
// may not do and a killed readmark would leave behind; its data directory is put
// below a file, so that it fails right after unpacking. It makes its runtime
// directory between the two, which tells a complete unpacking from a failed one.
func extract(opts Options, release embeddedpostgres.PostgresVersion, work, programs string) (err error) {
	defer func() {
		if cause := recover(); cause != nil { // the library panics when it cannot clean up
			err = fmt.Errorf("unpack: %v", cause)
		}
	}()
	barrier, reached := filepath.Join(work, "barrier"), filepath.Join(work, "runtime")
	if err := os.WriteFile(barrier, nil, 0o600); err != nil {
		return err
	}
	config := embeddedpostgres.DefaultConfig().Version(release).Port(0).Logger(io.Discard).
		CachePath(filepath.Join(work, "cache")).BinariesPath(programs).RuntimePath(reached).DataPath(filepath.Join(barrier, "data"))
	if opts.RepositoryURL != "" {
		config = config.BinaryRepositoryURL(strings.TrimRight(opts.RepositoryURL, "/"))
	}
	err = embeddedpostgres.NewDatabase(config).Start()
	if err == nil {
		return errors.New("unpack: the library started a server of its own")
	}
	if _, statErr := os.Stat(reached); statErr != nil {
		return err
	}
	return nil
}

// openToAll lets every user read and run a tree of downloaded programs, whatever
// the umask was: the server's user is not always the one that downloaded them.
func openToAll(tree string) error {
	return filepath.WalkDir(tree, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type()&fs.ModeSymlink != 0 {
			return err
		}
		mode := fs.FileMode(0o755)
		if info, err := entry.Info(); err != nil || !entry.IsDir() && info.Mode().Perm()&0o100 == 0 {
			mode = 0o644
		}
		return os.Chmod(path, mode) //nolint:gosec // a fresh directory of ours, links are left out
	})
}

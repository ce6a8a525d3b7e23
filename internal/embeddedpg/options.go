package embeddedpg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
)

// Options say where a server keeps its files and where its programs come from.
type Options struct {
	// DataDir holds everything that belongs to the server: the cluster in
	// DataDir/postgres, and next to it the lock, the password, the output of the
	// last start and downloaded programs. It is made when it does not exist.
	DataDir string
	// BinDir is the directory of the programs to use, $PG_BIN. Empty means search.
	BinDir string
	// Settings are server settings beyond (or instead of) the defaults. What the
	// package depends on, such as the port and the listen address, stays as it is.
	Settings map[string]string
	// NoSync has a cluster be created without waiting for the disk: that takes less time, and a
	// loss of power in the next seconds may damage it.
	NoSync bool
	// RepositoryURL is the Maven repository that programs are downloaded from.
	// Empty means the one that the download library knows.
	RepositoryURL string
	// Logger gets what happens to the server. Nil discards it.
	Logger *slog.Logger

	// freePort and installed replace the choice of a port and the search for
	// installations in tests.
	freePort  func() (int, error)
	installed func(ctx context.Context, binDir string) []Installation
}

// withDefaults returns the options with every optional field set.
func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.freePort == nil {
		o.freePort = freePort
	}
	if o.installed == nil {
		o.installed = installed
	}
	return o
}

// dataDir is the absolute path, free of symbolic links, of Options.DataDir.
type dataDir string

// openDataDir makes the data directory when it is missing. Everybody may enter
// it, so that the unprivileged user of a server started by root can reach the
// cluster; each secret in it has its own closed mode.
func openDataDir(path string) (dataDir, error) {
	if path == "" {
		return "", errors.New("open data directory: the path is empty")
	}
	absolute, err := filepath.Abs(path)
	if err == nil {
		err = os.MkdirAll(absolute, 0o755) //nolint:gosec // the server's user must enter it
	}
	if err == nil {
		absolute, err = filepath.EvalSymlinks(absolute)
	}
	if err != nil {
		return "", fmt.Errorf("open data directory: %w", err)
	}
	return dataDir(absolute), nil
}

func (d dataDir) cluster() string  { return filepath.Join(string(d), "postgres") }
func (d dataDir) lock() string     { return filepath.Join(string(d), "postgres.lock") }
func (d dataDir) password() string { return filepath.Join(string(d), "postgres.password") }
func (d dataDir) binaries() string { return filepath.Join(string(d), "postgres-binaries") }

// startupLog takes what the server writes before its log collector runs. It lies
// beside the cluster, in which the server's user could put a link in its place.
func (d dataDir) startupLog() string { return filepath.Join(string(d), "postgres-startup.log") }

// unfinished is the pattern of what an interrupted creation leaves behind.
const unfinished = "postgres.new-*"

package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"readmark/internal/embeddedpg"
)

// errNoData says that serve has not made the embedded database, or not here.
var errNoData = errors.New("there is no data")

// checkCluster reports whether serve has made the embedded database. It makes nothing.
func checkCluster(dir string) error {
	found, err := embeddedpg.Exists(dir)
	switch {
	case err != nil:
		return fmt.Errorf("READMARK_DATA_DIR: the data in %s cannot be read: %w: run this as the user that serve runs as, or set READMARK_DATABASE_URL",
			where(dir), cause(err))
	case !found:
		return fmt.Errorf("%w in %s: run it where serve runs, or set READMARK_DATABASE_URL", errNoData, where(dir))
	default:
		return nil
	}
}

// checkDataDir makes the data directory and tries to write to it, before anything is started.
func checkDataDir(dir string) error {
	err := os.MkdirAll(dir, 0o755) //nolint:gosec // the embedded PostgreSQL's user must enter it
	if err == nil {
		var file *os.File
		if file, err = os.CreateTemp(dir, ".try-*"); err == nil {
			err = errors.Join(file.Close(), os.Remove(file.Name()))
		}
	}
	if err == nil || errors.Is(err, syscall.ENOSPC) { // receipts may still go to the database
		return nil
	}
	return fmt.Errorf("READMARK_DATA_DIR: %s cannot be written to: %w: give this process a directory that it may write to", where(dir), cause(err))
}

// where names a directory, and what it stands for where that depends on the working directory.
func where(dir string) string {
	absolute, err := filepath.Abs(dir)
	if err != nil || filepath.IsAbs(dir) {
		return dir
	}
	return dir + " (" + absolute + ")"
}

// cause is an error without the path that it is about.
func cause(err error) error {
	var about *fs.PathError
	if errors.As(err, &about) {
		return about.Err
	}
	return err
}

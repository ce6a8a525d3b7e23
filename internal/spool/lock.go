package spool

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/gofrs/flock"
)

// ErrInUse says that another process has the spool open: every replica needs a data
// directory of its own.
var ErrInUse = errors.New("spool is in use by another process")

// lockName names the file that guards a directory. It holds the process ID of its holder
// and is never removed: a lock on a removed file would guard nothing.
const lockName = "lock"

// lock is held for the life of the process. It ends with the process, however that ends.
type lock struct {
	path string
	file *flock.Flock
}

// acquire takes the lock, or fails at once with ErrInUse.
func acquire(dir string) (*lock, error) {
	path := filepath.Join(dir, lockName)
	l := &lock{path: path, file: flock.New(path, flock.SetPermissions(0o600))}
	held, err := l.file.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock spool directory: %w", errors.Join(err, l.file.Close()))
	}
	if !held {
		_ = l.file.Close() // nothing is held
		return nil, fmt.Errorf("%w: %s holds %s", ErrInUse, holder(path), path)
	}
	if !l.valid() {
		return nil, fmt.Errorf("lock spool directory: %w", errors.Join(errVanished, l.file.Close()))
	}
	// The name of the holder is a help, not a condition: a full disk must not keep the
	// process from draining.
	_ = os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600)
	return l, nil
}

// Holder tells which process has the spool in a directory open; "" where none has, or there is no
// spool.
func Holder(dir string) string {
	path := filepath.Join(dir, lockName)
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	file := flock.New(path, flock.SetFlag(os.O_RDWR))
	held, err := file.TryRLock()
	_ = file.Close()
	if err != nil || held {
		return ""
	}
	return holder(path)
}

// holder tells who wrote the lock file.
func holder(path string) string {
	content, err := os.ReadFile(path)
	pid, parseErr := strconv.Atoi(string(bytes.TrimSpace(content)))
	if err != nil || parseErr != nil {
		return "a process whose ID is not known"
	}
	return "process " + strconv.Itoa(pid)
}

// valid reports whether the path still leads to the file that is locked.
func (l *lock) valid() bool {
	held, err := l.file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(l.path)
	return err == nil && os.SameFile(held, there)
}

func (l *lock) release() error {
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("unlock spool directory: %w", err)
	}
	return nil
}

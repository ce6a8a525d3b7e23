package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

const (
	// shrinkAbove is the size in bytes above which an emptied file is recreated.
	shrinkAbove = 256 << 10
	// growBy is the step in bytes by which a file grows.
	growBy = 1 << 20
)

// errDamaged says that the file is not what was written.
var errDamaged = errors.New("spool file is damaged")

// bucket holds the entries: a sequence number → what one Append brought.
func bucket() []byte { return []byte("callbacks") }

// guard runs what touches a bbolt file. bbolt panics on pages that make no
// sense, and reading the memory map of a file that was cut faults: both come
// back as errDamaged.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%w: %v", errDamaged, cause)
		}
	}()
	return f()
}

// openFile opens or creates a file, and waits for another process's lock so
// long. A new file is durable when it returns.
func openFile(path string, lockWait time.Duration) (db *bbolt.DB, err error) {
	err = guard(func() error {
		opened, err := bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout: max(lockWait, time.Millisecond), FreelistType: bbolt.FreelistMapType, NoStatistics: true,
		})
		if err != nil {
			return classify(path, err)
		}
		opened.AllocSize = growBy
		db = opened
		known := false
		err = opened.View(func(tx *bbolt.Tx) error {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			if tx.Size() > info.Size() {
				return fmt.Errorf("%w: %d bytes where %d were written", errDamaged, info.Size(), tx.Size())
			}
			known = tx.Bucket(bucket()) != nil
			return nil
		})
		if err != nil || known { // nothing is written to a file that was not checked
			return err
		}
		return opened.Update(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucket(bucket())
			return err
		})
	})
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		if opened := db; opened != nil {
			go func() { _ = guard(opened.Close) }() // may hang after a panic
		}
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return db, nil
}

// classify tells a damaged file from one that cannot be opened.
func classify(path string, err error) error {
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return ErrInUse
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	// bbolt has no name for "file size too small". What the system refuses
	// (permission, space) comes with the system's number.
	var system syscall.Errno
	if info, statErr := os.Stat(path); statErr == nil && info.Mode().IsRegular() && info.Size() > 0 &&
		!errors.As(err, &system) {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	return err
}

// put adds an entry behind all others, syncs the file, and gives the entry's key.
func put(db *bbolt.DB, value []byte) (n uint64, err error) {
	err = guard(func() error {
		return db.Update(func(tx *bbolt.Tx) error {
			entries := tx.Bucket(bucket())
			n, err = entries.NextSequence()
			if err != nil {
				return err
			}
			entries.FillPercent = 1 // keys only grow
			return entries.Put(key(n), value)
		})
	})
	return n, err
}

// walk calls visit for each entry in order, until it returns false. The value
// is valid during the call.
func walk(db *bbolt.DB, visit func(key uint64, value []byte) (bool, error)) error {
	return guard(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			cursor := tx.Bucket(bucket()).Cursor()
			for k, v := cursor.First(); k != nil; k, v = cursor.Next() {
				if len(k) != 8 {
					return fmt.Errorf("%w: a key of %d bytes", errDamaged, len(k))
				}
				more, err := visit(binary.BigEndian.Uint64(k), v)
				if err != nil || !more {
					return err
				}
			}
			return nil
		})
	})
}

// remove deletes the entries up to a key and reports how many, their size, and
// the arrival of the oldest callback that stays.
func remove(db *bbolt.DB, upTo uint64) (removed, size int64, oldest time.Time, err error) {
	err = guard(func() error {
		return db.Update(func(tx *bbolt.Tx) error {
			removed, size = 0, 0
			entries := tx.Bucket(bucket())
			cursor := entries.Cursor()
			for k, v := cursor.First(); k != nil && binary.BigEndian.Uint64(k) <= upTo; k, v = cursor.First() {
				removed++
				size += entrySize(v)
				if err := cursor.Delete(); err != nil {
					return err
				}
			}
			if _, v := cursor.First(); v != nil {
				batch, err := decode(v)
				if err != nil {
					return err
				}
				oldest, _ = span(batch)
			}
			return nil
		})
	})
	return removed, size, oldest, err
}

// makeDir makes a directory that survives a crash.
func makeDir(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	// The parent is the data directory, which the embedded database's own user
	// must be able to enter.
	err := os.MkdirAll(filepath.Dir(dir), 0o755) //nolint:gosec // see above
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		return fmt.Errorf("make spool directory: %w", err)
	}
	for d := dir; ; d = filepath.Dir(d) {
		if err := syncDir(d); err != nil {
			return err
		}
		if d == filepath.Dir(dir) || d == filepath.Dir(d) {
			return nil
		}
	}
}

// syncDir makes a directory's entries durable.
func syncDir(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	err = file.Sync()
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

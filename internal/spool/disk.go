package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// disk is the few things that a spool does with its directory. Tests put one in between
// that fails.
type disk interface {
	// list names the regular files with their sizes in bytes.
	list() (map[string]int64, error)
	// create makes a file that does not exist, for writing.
	create(name string) (writer, error)
	// open opens a file for reading.
	open(name string) (reader, error)
	remove(name string) error
	rename(from, to string) error
	// sync makes the names in the directory durable.
	sync() error
	// reachable reports whether the spool's path leads to the file now.
	reachable(name string, file fs.FileInfo) bool
	close() error
}

type writer interface {
	io.Writer
	Sync() error
	Stat() (fs.FileInfo, error)
	Close() error
}

type reader interface {
	io.ReaderAt
	Close() error
}

// directory is a disk that stays with one directory, whatever its path leads to later: a
// process that lost its directory never touches the files of the one that came after.
type directory struct {
	path string
	root *os.Root
}

// openDirectory makes the directory where it is missing.
func openDirectory(path string) (*directory, error) {
	if err := makeDirectory(path, 0o700); err != nil {
		return nil, fmt.Errorf("make spool directory: %w", err)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open spool directory: %w", err)
	}
	return &directory{path: path, root: root}, nil
}

// makeDirectory makes a directory and what is missing above it, durably. The directories
// above can be entered by others: the embedded database runs as a user of its own there.
func makeDirectory(path string, mode fs.FileMode) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(path)
	if err := makeDirectory(parent, 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(path, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	file, err := os.Open(parent)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

func (d *directory) list() (map[string]int64, error) {
	entries, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("list spool directory: %w", err)
	}
	files := map[string]int64{}
	for _, entry := range entries {
		if !entry.Type().IsRegular() {
			continue
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since
		}
		if err != nil {
			return nil, fmt.Errorf("list spool directory: %w", err)
		}
		files[entry.Name()] = info.Size()
	}
	return files, nil
}

func (d *directory) create(name string) (writer, error) {
	file, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create segment: %w", err)
	}
	return file, nil
}

func (d *directory) open(name string) (reader, error) {
	file, err := d.root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open segment: %w", err)
	}
	return file, nil
}

func (d *directory) remove(name string) error {
	if err := d.root.Remove(name); err != nil {
		return fmt.Errorf("remove segment: %w", err)
	}
	return nil
}

func (d *directory) rename(from, to string) error {
	if err := d.root.Rename(from, to); err != nil {
		return fmt.Errorf("rename segment: %w", err)
	}
	return nil
}

func (d *directory) sync() error {
	file, err := d.root.Open(".")
	if err == nil {
		err = errors.Join(file.Sync(), file.Close())
	}
	if err != nil {
		return fmt.Errorf("sync spool directory: %w", err)
	}
	return nil
}

func (d *directory) reachable(name string, file fs.FileInfo) bool {
	info, err := os.Stat(filepath.Join(d.path, name))
	return err == nil && os.SameFile(info, file) && info.Size() == file.Size()
}

func (d *directory) close() error {
	if err := d.root.Close(); err != nil {
		return fmt.Errorf("close spool directory: %w", err)
	}
	return nil
}

// lenient gives zeros for what cannot be read, so that the rest of a file can.
type lenient struct{ file io.ReaderAt }

// ReadAt implements io.ReaderAt.
func (l lenient) ReadAt(b []byte, offset int64) (int, error) {
	n, err := l.file.ReadAt(b, offset)
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	const block = 4 << 10
	for done := 0; done < len(b); {
		part := b[done:min(done+block-int((offset+int64(done))%block), len(b))]
		n, err := l.file.ReadAt(part, offset+int64(done))
		if errors.Is(err, io.EOF) {
			return done + n, io.EOF
		}
		if err != nil {
			clear(part)
		}
		done += len(part)
	}
	return len(b), nil
}

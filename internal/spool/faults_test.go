package spool

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	errDisk = errors.New("input/output error")
	errDead = errors.New("the process is dead")
)

// faults is a layer between a spool and its disk. It counts the operations, fails those
// that it is told to, and knows what a power loss would leave.
type faults struct {
	mu     sync.Mutex
	ops    []string
	fail   func(op, name string) error // nil: nothing fails
	half   bool                        // a write that fails writes half of it before
	skip   int                         // so many operations that would fail go well first
	failed int
	read   int64             // bytes
	synced map[string]int64  // size of the files that a power loss leaves
	names  map[string]bool   // files whose names are durable
	before map[string]string // durable names of renamed files, by the names that are not durable yet
}

func newFaults() *faults {
	return &faults{synced: map[string]int64{}, names: map[string]bool{}, before: map[string]string{}}
}

// wrap is for Options: it survives that the directory is opened anew.
func (f *faults) wrap(d disk) disk { return faultyDisk{disk: d, f: f} }

// set says what fails from now on.
func (f *faults) set(fail func(op, name string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

// once lets the next operation of a kind fail.
func (f *faults) once(kind string) {
	done := false
	f.set(func(op, _ string) error {
		if op == kind && f.skip > 0 {
			f.skip--
		} else if op == kind && !done {
			done = true
			return errDisk
		}
		return nil
	})
}

// always lets all operations of some kinds fail.
func (f *faults) always(kinds ...string) {
	f.set(func(op, _ string) error {
		for _, kind := range kinds {
			if op == kind {
				return errDisk
			}
		}
		return nil
	})
}

func (f *faults) step(op, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ops = append(f.ops, op)
	if f.fail == nil {
		return nil
	}
	err := f.fail(op, name)
	if err != nil {
		f.failed++
	}
	return err
}

// killAt ends the process before its n-th operation, from 1.
func (f *faults) killAt(n int) {
	f.set(func(string, string) error {
		if len(f.ops) >= n {
			return errDead
		}
		return nil
	})
}

// losePower does to a directory what a power loss does: what was not synced is gone.
func (f *faults) losePower(t require.TestingT, dir string) {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), segmentSuffix) {
			continue
		}
		name := entry.Name()
		path := filepath.Join(dir, name)
		if before := f.before[name]; before != "" {
			require.NoError(t, os.Rename(path, filepath.Join(dir, before)))
			name, path = before, filepath.Join(dir, before)
		}
		if !f.names[name] {
			require.NoError(t, os.Remove(path))
			continue
		}
		require.NoError(t, os.Truncate(path, f.synced[name]))
	}
}

type faultyDisk struct {
	disk
	f *faults
}

func (d faultyDisk) list() (map[string]int64, error) {
	if err := d.f.step("list", ""); err != nil {
		return nil, err
	}
	return d.disk.list()
}

func (d faultyDisk) create(name string) (writer, error) {
	if err := d.f.step("create", name); err != nil {
		return nil, err
	}
	w, err := d.disk.create(name)
	return faultyWriter{writer: w, f: d.f, name: name}, err
}

func (d faultyDisk) open(name string) (reader, error) {
	if err := d.f.step("open", name); err != nil {
		return nil, err
	}
	r, err := d.disk.open(name)
	return faultyReader{reader: r, f: d.f, name: name}, err
}

func (d faultyDisk) remove(name string) error {
	if err := d.f.step("remove", name); err != nil {
		return err
	}
	return d.disk.remove(name)
}

func (d faultyDisk) rename(from, to string) error {
	if err := d.f.step("rename", from); err != nil {
		return err
	}
	err := d.disk.rename(from, to)
	if err == nil {
		d.f.synced[to] = d.f.synced[from]
		d.f.before[to] = cmp.Or(d.f.before[from], from)
		delete(d.f.before, from)
	}
	return err
}

func (d faultyDisk) sync() error {
	if err := d.f.step("sync directory", ""); err != nil {
		return err
	}
	files, err := d.disk.list()
	for name := range maps.Keys(files) {
		d.f.names[name] = true
	}
	clear(d.f.before)
	return errors.Join(err, d.disk.sync())
}

type faultyWriter struct {
	writer
	f    *faults
	name string
}

func (w faultyWriter) Write(b []byte) (int, error) {
	if err := w.f.step("write", w.name); err != nil {
		if w.f.half {
			_, _ = w.writer.Write(b[:len(b)/2])
		}
		return 0, err
	}
	return w.writer.Write(b)
}

func (w faultyWriter) Sync() error {
	if err := w.f.step("sync", w.name); err != nil {
		return err
	}
	info, err := w.writer.Stat()
	if err == nil {
		w.f.synced[w.name] = info.Size()
	}
	return errors.Join(err, w.writer.Sync())
}

func (w faultyWriter) Stat() (fs.FileInfo, error) {
	if err := w.f.step("stat", w.name); err != nil {
		return nil, err
	}
	return w.writer.Stat()
}

type faultyReader struct {
	reader
	f    *faults
	name string
}

func (r faultyReader) ReadAt(b []byte, offset int64) (int, error) {
	if err := r.f.step("read", r.name); err != nil {
		return 0, err
	}
	n, err := r.reader.ReadAt(b, offset)
	r.f.mu.Lock()
	r.f.read += int64(n)
	r.f.mu.Unlock()
	return n, err
}

func TestFaultsCountOperations(t *testing.T) {
	t.Parallel()
	f := newFaults()
	s, _ := openWith(t, t.TempDir(), func(o *Options) { o.wrap = f.wrap })
	require.NoError(t, put(s, batch(0, 1)))
	require.Subset(t, f.ops, []string{"list", "create", "write", "sync", "sync directory", "stat"})
}

// Package spool is the durable local queue that takes callbacks while
// PostgreSQL cannot: a bbolt file, synced before an append is reported done,
// read back in the order of appending. A damaged file is set aside and what is
// legible of it is queued again.
package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"readmark/internal/readstate"
)

// ErrFull says that an append would exceed the spool's bound.
var ErrFull = errors.New("spool is full")

// ErrInUse says that another process has the spool open: every replica needs a
// data directory of its own.
var ErrInUse = errors.New("spool is in use by another process")

const (
	// lockTimeout bounds the wait for a process that is about to end.
	lockTimeout = 5 * time.Second
	// freshSuffix names the file that takes the place of a damaged one.
	freshSuffix = ".new"
	// reopenPause is how often a spool that could not be opened is tried again.
	reopenPause = time.Second
)

// Options configures a spool.
type Options struct {
	Dir      string // made when missing; holds spool.db and damaged files
	MaxBytes int64  // bound of what is queued
	Now      func() time.Time
	Logger   *slog.Logger
}

// Spool is a durable queue of callbacks. It is safe for concurrent use; one
// process at a time may have it open.
type Spool struct {
	options Options
	path    string

	mu         sync.Mutex
	db         *bbolt.DB // nil while the file cannot be opened
	generation int       // counts files, so that a Mark of an earlier one is told apart
	entries    int64
	callbacks  int64
	used       int64 // bytes of keys and values
	oldest     time.Time
	newest     time.Time
	latest     time.Time // arrival of what is, or was, in this file
	late       []lateEntry
	behind     atomic.Pointer[time.Time] // see Behind; nil while nothing is queued
	damaged    []string                  // files set aside, as found in the directory
	recovered  int64                     // callbacks taken from damaged files by this process
	fault      error                     // why the last append or opening failed
	reopen     time.Time
	lockWait   time.Duration // for the first opening only: nobody may wait for a later one
	closed     bool
}

// lateEntry is one that holds what arrived before something that was queued earlier: of
// all others the first one is the earliest.
type lateEntry struct {
	key   uint64
	first time.Time
}

// Mark names the end of what Next returned.
type Mark struct {
	generation int
	key        uint64
	callbacks  int64
}

// Stats is the state of a spool.
type Stats struct {
	Callbacks int64
	Bytes     int64
	MaxBytes  int64
	Oldest    time.Time // arrival of the first callback, zero when empty
	Damaged   []string  // names of damaged files that lie in the directory
	Recovered int64     // callbacks taken from damaged files by this process
	Fault     error     // why nothing can be appended at the moment, or nil
}

// Open opens the spool in a directory, and checks it through. Only a wrong
// set-up ([ErrInUse]) is an error: a file that cannot be opened for another
// reason is logged, shown in the Stats, and tried again by each Append.
func Open(options Options) (*Spool, error) {
	s := &Spool{options: options, path: filepath.Join(options.Dir, "spool.db"), lockWait: lockTimeout}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ensureOpen(); errors.Is(err, ErrInUse) {
		return nil, fmt.Errorf("open spool in %s: %w", options.Dir, err)
	} else if err != nil {
		s.options.Logger.Error("spool cannot be opened: while the database is away callbacks would be lost",
			"dir", options.Dir, "error", err)
	}
	return s, nil
}

// Append makes a batch durable behind what is queued. It blocks until the file
// is synced. On an error, [ErrFull] among them, nothing was queued.
func (s *Spool) Append(batch readstate.Batch) error {
	if batch.Len() == 0 {
		return nil
	}
	value, err := encode(batch)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = s.mended(func() error { return s.append(value, batch) })
	if err := s.fault; err != nil {
		return fmt.Errorf("append to spool: %w", err)
	}
	return nil
}

func (s *Spool) append(value []byte, batch readstate.Batch) error {
	if err := s.ensureOpen(); err != nil {
		return err
	}
	size := entrySize(value)
	if s.used+size > s.options.MaxBytes {
		return fmt.Errorf("%w: %d of %d bytes are used", ErrFull, s.used, s.options.MaxBytes)
	}
	key, err := put(s.db, value)
	if err != nil {
		return err
	}
	s.count(key, batch, size)
	s.noteBehind()
	return nil
}

// count adds an entry to the figures.
func (s *Spool) count(key uint64, batch readstate.Batch, size int64) {
	first, last := span(batch)
	if s.entries == 0 {
		s.oldest = first
	} else if first.Before(s.latest) {
		s.late = append(s.late, lateEntry{key, first})
	}
	if last.After(s.latest) {
		s.latest = last
	}
	if last.After(s.newest) {
		s.newest = last
	}
	s.entries++
	s.callbacks += int64(batch.Len())
	s.used += size
}

// Next gives the oldest callbacks, at least limit where so many are queued,
// and leaves them in the queue: Remove takes them out. An empty batch says that
// nothing is queued.
func (s *Spool) Next(limit int) (readstate.Batch, Mark, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var batch readstate.Batch
	var mark Mark
	err := s.mended(func() (err error) {
		batch, mark, err = s.next(limit)
		return err
	})
	if err != nil {
		return readstate.Batch{}, Mark{}, fmt.Errorf("read spool: %w", err)
	}
	return batch, mark, nil
}

func (s *Spool) next(limit int) (readstate.Batch, Mark, error) {
	var batch readstate.Batch
	mark := Mark{}
	if err := s.ensureOpen(); err != nil {
		return batch, mark, err
	}
	mark.generation = s.generation
	if s.entries == 0 {
		return batch, mark, nil
	}
	err := walk(s.db, func(key uint64, value []byte) (bool, error) {
		part, err := decode(value)
		if err != nil {
			return false, err
		}
		batch.Append(part)
		mark.key = key
		return batch.Len() < limit, nil
	})
	mark.callbacks = int64(batch.Len())
	return batch, mark, err
}

// Remove takes out what Next returned with the mark. It blocks until that is
// durable; the space of an emptied file is given back to the disk.
func (s *Spool) Remove(mark Mark) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.mended(func() error { return s.remove(mark) }); err != nil {
		return fmt.Errorf("remove from spool: %w", err)
	}
	return nil
}

func (s *Spool) remove(mark Mark) error {
	if mark.generation != s.generation || s.db == nil || mark.callbacks == 0 {
		return nil // the file was replaced meanwhile: the same callbacks come once more
	}
	removed, size, oldest, err := remove(s.db, mark.key)
	if err != nil {
		return err
	}
	s.entries -= removed
	s.callbacks -= mark.callbacks
	s.used -= size
	s.oldest = oldest
	s.late = slices.DeleteFunc(s.late, func(e lateEntry) bool { return e.key <= mark.key })
	s.noteBehind()
	if errors.Is(s.fault, ErrFull) {
		s.fault = nil
	}
	if s.entries == 0 {
		return s.recreate()
	}
	return nil
}

// mended does what touches the file; where the file turns out to be damaged it
// is replaced, and the call made again. s.mu is held.
func (s *Spool) mended(touch func() error) error {
	err := touch()
	if !errors.Is(err, errDamaged) {
		return err
	}
	if err := s.replace(err); err != nil {
		return err
	}
	return touch()
}

// Len is the number of callbacks that are queued. A file that could not be
// opened before is tried again, and counts as empty while it cannot.
func (s *Spool) Len() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.ensureOpen() // shown in the Stats
	return s.callbacks
}

// NewestArrival is the latest arrival that was ever seen in the spool by this
// process; zero when there was none.
func (s *Spool) NewestArrival() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest
}

// Behind is the earliest arrival of what is queued; zero while nothing is. It never
// blocks.
func (s *Spool) Behind() time.Time {
	if behind := s.behind.Load(); behind != nil {
		return *behind
	}
	return time.Time{}
}

// Stats gives the spool's state.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		Callbacks: s.callbacks, Bytes: s.used, MaxBytes: s.options.MaxBytes, Oldest: s.oldest,
		Damaged: append([]string(nil), s.damaged...), Recovered: s.recovered, Fault: s.fault,
	}
}

// Close gives the file back. What is queued stays for the next process.
func (s *Spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.db == nil {
		return nil
	}
	db := s.db
	s.db = nil
	if err := guard(db.Close); err != nil {
		return fmt.Errorf("close spool: %w", err)
	}
	return nil
}

// ensureOpen opens the file where it is not; s.mu is held.
func (s *Spool) ensureOpen() error {
	switch {
	case s.closed:
		return errors.New("spool is closed")
	case s.db != nil:
		return nil
	case s.options.Now().Before(s.reopen):
		return s.fault
	}
	err := s.mended(s.open)
	s.lockWait = 0
	s.fault = err
	if err != nil {
		s.reopen = s.options.Now().Add(reopenPause)
	}
	return err
}

// open opens and checks the file.
func (s *Spool) open() error {
	if err := makeDir(s.options.Dir); err != nil {
		return err
	}
	if err := s.settle(); err != nil {
		return err
	}
	s.damaged = nil
	files, err := filepath.Glob(s.path + ".corrupt-*")
	if err != nil {
		return fmt.Errorf("list damaged files: %w", err)
	}
	for _, file := range files {
		s.damaged = append(s.damaged, filepath.Base(file))
	}
	if s.db != nil { // replace has opened it
		return nil
	}
	db, err := openFile(s.path, s.lockWait)
	if err != nil {
		return err
	}
	s.adopt(db)
	err = walk(db, func(key uint64, value []byte) (bool, error) {
		batch, err := decode(value)
		if err != nil {
			return false, err
		}
		s.count(key, batch, entrySize(value))
		return true, nil
	})
	if err != nil {
		s.abandon()
		return err
	}
	s.noteBehind()
	return nil
}

// noteBehind keeps what Behind tells.
func (s *Spool) noteBehind() {
	if s.entries == 0 {
		s.behind.Store(nil)
		return
	}
	behind := s.oldest
	for _, e := range s.late {
		if e.first.Before(behind) {
			behind = e.first
		}
	}
	s.behind.Store(&behind)
}

// adopt takes a file with nothing counted yet.
func (s *Spool) adopt(db *bbolt.DB) {
	s.db = db
	s.generation++
	s.entries, s.callbacks, s.used = 0, 0, 0
	s.oldest, s.latest, s.late = time.Time{}, time.Time{}, nil
}

// abandon lets go of a file that is damaged. bbolt may hold locks for ever
// after a panic, so closing it must not be waited for.
func (s *Spool) abandon() {
	db := s.db
	s.db = nil
	s.generation++
	if db != nil {
		go func() { _ = guard(db.Close) }()
	}
}

// recreate gives the space of an emptied file back; s.mu is held.
func (s *Spool) recreate() error {
	info, err := os.Stat(s.path)
	if err != nil || info.Size() <= shrinkAbove {
		return nil //nolint:nilerr // the file is in use as it is; the next append shows what is wrong with it
	}
	db := s.db
	s.db = nil
	if err := guard(db.Close); err != nil {
		return err
	}
	if err := os.Remove(s.path); err != nil {
		return fmt.Errorf("remove emptied file: %w", err)
	}
	fresh, err := openFile(s.path, 0)
	if err != nil {
		return err
	}
	s.adopt(fresh)
	return nil
}

// replace queues what is legible of a damaged file in a new one, and sets the
// damaged one aside; s.mu is held. A crash at any point leaves either the
// damaged file or the new one in place, see settle. Its error does not count as
// damage: the next opening tries again.
func (s *Spool) replace(cause error) error {
	s.abandon()
	batches, salvageErr := salvage(s.path)
	fresh := s.path + freshSuffix
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("replace damaged file (%s): %w", cause.Error(), err)
	}
	db, err := openFile(fresh, 0)
	if err != nil {
		return fmt.Errorf("replace damaged file (%s): %w", cause.Error(), err)
	}
	s.adopt(db)
	var recovered int64
	for _, batch := range batches {
		value, err := encode(batch)
		var key uint64
		if err == nil {
			key, err = put(db, value)
		}
		if err != nil {
			s.abandon()
			return fmt.Errorf("queue what is legible of a damaged file (%s): %w", cause.Error(), err)
		}
		s.count(key, batch, entrySize(value))
		recovered += int64(batch.Len())
	}
	aside := s.path + ".corrupt-" + s.options.Now().UTC().Format("20060102T150405.000000000Z")
	err = os.Rename(s.path, aside)
	if err == nil {
		err = os.Rename(fresh, s.path)
	}
	if err == nil {
		err = syncDir(s.options.Dir)
	}
	if err != nil {
		s.abandon()
		return fmt.Errorf("set damaged file aside (%s): %w", cause.Error(), err)
	}
	s.noteBehind()
	s.damaged = append(s.damaged, filepath.Base(aside))
	s.recovered += recovered
	s.options.Logger.Error("spool file is damaged: it was set aside, what is legible is queued again",
		"file", aside, "callbacks_recovered", recovered, "error", cause, "salvage_error", salvageErr)
	return nil
}

// settle ends a replace that was interrupted.
func (s *Spool) settle() error {
	fresh := s.path + freshSuffix
	if _, err := os.Stat(fresh); err != nil {
		return nil //nolint:nilerr // nothing was interrupted
	}
	if _, err := os.Stat(s.path); errors.Is(err, os.ErrNotExist) {
		if err := os.Rename(fresh, s.path); err != nil {
			return fmt.Errorf("take the new spool file: %w", err)
		}
	}
	return nil // where both are there, the damaged one is salvaged again
}

func entrySize(value []byte) int64 {
	const overhead = 8 + 16 // the key, and bbolt's page element
	return int64(len(value)) + overhead
}

func key(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

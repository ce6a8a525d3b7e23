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
	"sync"
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
	tally      tally
	damaged    []string // files set aside, as found in the directory
	recovered  int64    // callbacks taken from damaged files by this process
	fault      error    // why the last append or opening failed
	reopen     time.Time
	lockWait   time.Duration // for the first opening only: nobody may wait for a later one
	closed     bool
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
	if s.tally.used+size > s.options.MaxBytes {
		return fmt.Errorf("%w: %d of %d bytes are used", ErrFull, s.tally.used, s.options.MaxBytes)
	}
	key, err := put(s.db, value)
	if err != nil {
		return err
	}
	s.tally.add(key, batch, size)
	s.tally.noteBehind()
	return nil
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
	if s.tally.entries == 0 {
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
	s.tally.remove(mark, removed, size, oldest)
	if errors.Is(s.fault, ErrFull) {
		s.fault = nil
	}
	if s.tally.entries == 0 {
		return s.recreate()
	}
	return nil
}

// Len is the number of callbacks that are queued. A file that could not be
// opened before is tried again, and counts as empty while it cannot.
func (s *Spool) Len() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.ensureOpen() // shown in the Stats
	return s.tally.callbacks
}

// NewestArrival is the latest arrival that was ever seen in the spool by this
// process; zero when there was none.
func (s *Spool) NewestArrival() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tally.newest
}

// Behind is the earliest arrival of what is queued; zero while nothing is. It never
// blocks.
func (s *Spool) Behind() time.Time {
	if behind := s.tally.behind.Load(); behind != nil {
		return *behind
	}
	return time.Time{}
}

// Stats gives the spool's state.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		Callbacks: s.tally.callbacks, Bytes: s.tally.used, MaxBytes: s.options.MaxBytes, Oldest: s.tally.oldest,
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
		s.tally.add(key, batch, entrySize(value))
		return true, nil
	})
	if err != nil {
		s.abandon()
		return err
	}
	s.tally.noteBehind()
	return nil
}

// adopt takes a file with nothing counted yet.
func (s *Spool) adopt(db *bbolt.DB) {
	s.db = db
	s.generation++
	s.tally.clear()
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

func entrySize(value []byte) int64 {
	const overhead = 8 + 16 // the key, and bbolt's page element
	return int64(len(value)) + overhead
}

func key(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

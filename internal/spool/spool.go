// Package spool is the durable local queue that takes events while PostgreSQL cannot: an
// append-only log in segment files, synced before an append is reported done, read back
// in the order of appending. A segment is deleted when all of it is drained.
package spool

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"readmark/internal/readstate"
)

// ErrFull says that an append would exceed the spool's bound.
var ErrFull = errors.New("spool is full")

var errClosed = errors.New("spool is closed")

// reopenPause is how often a spool that could not be opened is tried again.
const reopenPause = time.Second

// Options configures a spool.
type Options struct {
	Dir      string // made when missing; holds the segments, the lock, and damaged files
	MaxBytes int64  // bound of what is queued; the disk holds up to one segment more
	Now      func() time.Time
	Logger   *slog.Logger

	segmentSize int64           // tests have small segments
	wrap        func(disk) disk // tests put faults in between
}

// Spool is a durable queue of events and rejections, its entries. It is safe for
// concurrent use; one process at a time may have it open.
type Spool struct {
	options Options

	mu       sync.Mutex
	disk     disk // nil while the directory cannot be opened
	lock     *lock
	segments []*segment
	head     place  // of the first queued entry, in the first segment
	active   writer // the last segment, while it may be written
	sequence uint64 // of the last segment that there was

	generation  int // counts openings, so that a Mark of an earlier one removes nothing
	leftovers   []leftover
	sweepFailed bool // was logged

	loadFailures int  // openings that failed because a segment could not be read
	unsynced     bool // names of corrected segments may not be durable yet

	oldest    time.Time // no queued entry arrived before it; zero while nothing is queued
	newest    time.Time // kept with the last entry that was ever seen
	damaged   []string  // names of the files that were set aside
	recovered int64
	fault     error // why the last append or opening failed
	reopen    time.Time
	closed    bool

	view atomic.Pointer[view]
}

// view is what can be asked without waiting for the disk.
type view struct {
	stats  Stats
	oldest time.Time
	newest time.Time
	open   bool
}

// Open opens the spool in a directory. It reads the ends of each segment, not the whole.
// Only [ErrInUse] is an error, and comes at once: a directory that cannot be opened for
// another reason is logged, shown in the Stats, and tried again by each Append.
func Open(options Options) (*Spool, error) {
	if options.segmentSize == 0 {
		options.segmentSize = defaultSegmentSize
	}
	s := &Spool{options: options}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.publish()
	if err := s.ensureOpen(); errors.Is(err, ErrInUse) {
		return nil, fmt.Errorf("open spool in %s: %w", options.Dir, err)
	} else if err != nil {
		s.options.Logger.Error("spool cannot be opened: while the database is away events would be lost",
			"dir", options.Dir, "error", err)
	}
	return s, nil
}

// Append makes a batch durable behind what is queued: events first, then rejections. It
// blocks until the file is synced. oldest: no event that is appended later arrived
// before it; newest: no arrival that was given so far is later. Both are kept with the
// entries. On an error, [ErrFull] among them, nothing of the batch is queued; after a
// failed write or sync some of it may come back with the next process. A batch by the
// machine's clock stays until Correct has been called.
func (s *Spool) Append(batch readstate.Batch, oldest, newest time.Time) error {
	if batch.Len() == 0 {
		return nil
	}
	oldest, newest = span(batch, oldest, newest)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.publish()
	s.fault = s.append(batch, oldest, newest)
	if err := s.fault; err != nil {
		return fmt.Errorf("append to spool: %w", err)
	}
	return nil
}

// Next gives the oldest entries: at least one where any is queued, at most maxEvents,
// and beyond the first at most maxBytes as they are stored. They stay queued until
// Remove. An empty batch without an error says that nothing is queued.
func (s *Spool) Next(maxEvents int, maxBytes int64) (readstate.Batch, Mark, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.publish()
	batch, mark, err := s.next(maxEvents, maxBytes)
	if err != nil {
		return readstate.Batch{}, Mark{}, fmt.Errorf("read spool: %w", err)
	}
	return batch, mark, nil
}

// Remove takes out of the queue what Next gave with the mark, and deletes the segments
// that are drained. Where in a segment the queue begins is not kept on disk: after a
// restart the entries of a segment that was not drained to its end come once more.
// Removing what is not queued any more does nothing.
func (s *Spool) Remove(mark Mark) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.publish()
	if err := s.remove(mark); err != nil {
		return fmt.Errorf("remove from spool: %w", err)
	}
	return nil
}

// Len is the number of queued events and rejections. What is not legible in a damaged
// segment counts until Next has passed it. A spool that could not be opened before is
// tried again, and counts as empty while it cannot.
func (s *Spool) Len() int64 {
	if !s.view.Load().open {
		s.mu.Lock()
		_ = s.ensureOpen() // shown in the Stats
		s.publish()
		s.mu.Unlock()
	}
	return s.view.Load().stats.Events
}

// OldestQueued is a moment before which no queued event arrived by the database's clock; zero
// while nothing is queued. While anything waits for Correct it is 1970: when that arrived is not
// known. It never blocks.
func (s *Spool) OldestQueued() time.Time { return s.view.Load().oldest }

// NewestArrival is what was given as newest with the last entry by the database's clock that this
// process has seen in the spool; zero when there was none. It never blocks.
func (s *Spool) NewestArrival() time.Time { return s.view.Load().newest }

// Close gives the directory back. What is queued stays for the next process.
func (s *Spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.publish()
	s.closed = true
	if s.disk != nil {
		s.sweep()
	}
	return s.shut(true)
}

// ensureOpen opens the directory where it is not open; s.mu is held.
func (s *Spool) ensureOpen() error {
	switch {
	case s.closed:
		return errClosed
	case s.disk != nil:
		return nil
	case s.options.Now().Before(s.reopen):
		return s.fault
	}
	s.fault = s.open()
	return s.fault
}

func (s *Spool) open() error {
	s.generation++
	err := s.openFiles()
	if err != nil {
		s.reopen = s.options.Now().Add(reopenPause)
		_ = s.shut(false) // the first error tells more
	}
	return err
}

func (s *Spool) openFiles() error {
	dir, err := openDirectory(s.options.Dir)
	if err != nil {
		return err
	}
	s.disk = dir
	if s.options.wrap != nil {
		s.disk = s.options.wrap(dir)
	}
	if s.lock == nil {
		if s.lock, err = acquire(s.options.Dir); err != nil {
			return err
		}
	}
	return s.load()
}

// shut lets go of the files, and of the lock where nobody may keep it.
func (s *Spool) shut(unlock bool) error {
	var errs []error
	s.seal()
	if s.disk != nil {
		errs = append(errs, s.disk.close())
		s.disk = nil
	}
	if s.lock != nil && (unlock || !s.lock.valid()) {
		errs = append(errs, s.lock.release())
		s.lock = nil
	}
	s.segments, s.leftovers, s.head, s.damaged, s.oldest, s.unsynced = nil, nil, place{}, nil, time.Time{}, false
	return errors.Join(errs...)
}

// reload opens what the path leads to now, after files turned out to have vanished.
func (s *Spool) reload(cause error) {
	before := s.events()
	_ = s.shut(false) // the files are gone
	s.fault = s.open()
	s.options.Logger.Error("spool files vanished while they were in use: what was queued in them is lost",
		"dir", s.options.Dir, "queued_before", before, "queued_now", s.events(), "cause", cause, "error", s.fault)
}

package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"readmark/internal/readstate"
)

// errVanished says that the directory, or a file in it, is not where it was.
var errVanished = errors.New("spool files vanished")

// vanishTries bounds how often a call begins anew because a file vanished.
const vanishTries = 3

func (s *Spool) append(batch readstate.Batch, oldest, newest time.Time) error {
	var err error
	for range vanishTries {
		if err := s.ensureOpen(); err != nil {
			return err
		}
		if err = s.appendOnce(batch, oldest, newest); !errors.Is(err, errVanished) {
			return err
		}
		s.reload(err)
	}
	return err
}

// appendOnce writes the batch behind the last acknowledged entry, syncs it, and makes
// sure that the file is still where it belongs. After a failure the segment ends where
// it was acknowledged last and is never written again: what a failed write or sync left
// behind that place cannot be known.
func (s *Spool) appendOnce(batch readstate.Batch, oldest, newest time.Time) error {
	if s.active != nil && !s.last().takes(&batch, oldest, s.options.segmentSize) {
		s.seal()
	}
	s.sweep()
	var ordinal int64
	if s.active != nil {
		ordinal = s.last().count
	}
	chunks, err := encode(batch, ordinal, oldest, newest)
	if err != nil {
		return err
	}
	var size int64
	for _, chunk := range chunks {
		size += int64(len(chunk))
	}
	if used := s.bytes(); used+size > s.options.MaxBytes {
		return fmt.Errorf("%w: %d of %d bytes are used", ErrFull, used, s.options.MaxBytes)
	}
	fresh := s.active == nil
	if fresh {
		if err := s.begin(dating{machineTime: batch.MachineTime}); err != nil {
			return err
		}
	}
	g := s.last()
	if err := s.write(g, chunks, g.size+size, fresh); err != nil {
		s.seal()
		return err
	}
	g.size += size
	g.count += int64(batch.Len())
	if fresh {
		g.oldest, g.firstNewest = oldest, newest
	}
	g.lastOldest, g.newest = oldest, newest
	s.noteNewest()
	if s.oldest.IsZero() || oldest.Before(s.oldest) {
		s.oldest = oldest
	}
	return nil
}

// takes reports whether a batch may come into the segment. It has one dating, and what is kept as
// oldest never goes back within it, so that the first queued entry tells for the whole.
func (g *segment) takes(batch *readstate.Batch, oldest time.Time, limit int64) bool {
	return g.size < limit && g.machineTime == batch.MachineTime && !oldest.Before(g.lastOldest)
}

func (s *Spool) write(g *segment, chunks [][]byte, size int64, fresh bool) error {
	for _, chunk := range chunks {
		if _, err := s.active.Write(chunk); err != nil {
			return fmt.Errorf("write segment: %w", err)
		}
	}
	if err := s.active.Sync(); err != nil {
		return fmt.Errorf("sync segment: %w", err)
	}
	if fresh {
		if err := s.disk.sync(); err != nil {
			return err
		}
	}
	info, err := s.active.Stat()
	if err != nil {
		return fmt.Errorf("look at segment: %w", err)
	}
	if info.Size() != size || !s.disk.reachable(g.name(), info) || !s.lock.valid() {
		return fmt.Errorf("%w: %s", errVanished, g.name())
	}
	return nil
}

// begin makes a new segment, the last one from now on.
func (s *Spool) begin(d dating) error {
	failed := 0
	for _, l := range s.leftovers {
		if l.segment.count == 0 {
			failed++
		}
	}
	if failed >= maxFailed {
		return fmt.Errorf("create segment: %d files of failed appends cannot be deleted", failed)
	}
	s.sequence++
	g := &segment{sequence: s.sequence, written: true, dating: d}
	file, err := s.disk.create(g.name())
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", errVanished, err)
	}
	if err != nil {
		return err
	}
	s.active = file
	s.segments = append(s.segments, g)
	return nil
}

// seal ends the segment that is written. One without entries goes.
func (s *Spool) seal() {
	if s.active == nil {
		return
	}
	_ = s.active.Close() // what was acknowledged was synced
	s.active = nil
	if g := s.last(); g.count == 0 {
		s.segments = s.segments[:len(s.segments)-1]
		s.retire(g)
	}
}

func (s *Spool) last() *segment { return s.segments[len(s.segments)-1] }

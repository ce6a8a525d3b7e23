package spool

import (
	"errors"
	"io"

	"readmark/internal/readstate"
)

// Mark names the end of what Next gave. The zero Mark names nothing.
type Mark struct {
	generation int // of the segments that were read
	sequence   uint64
	end        place
}

func (s *Spool) next(maxEvents int, maxBytes int64) (readstate.Batch, Mark, error) {
	if err := s.ensureOpen(); err != nil {
		return readstate.Batch{}, Mark{}, err
	}
	if err := s.syncNames(); err != nil {
		return readstate.Batch{}, Mark{}, err
	}
	b := &reading{maxEvents: max(maxEvents, 1), maxBytes: maxBytes, mark: Mark{generation: s.generation}}
	at := s.head
	for i := 0; i < len(s.segments) && !b.full; {
		g := s.segments[i]
		if g.machineTime {
			if b.batch.Len() > 0 {
				break
			}
			return readstate.Batch{}, Mark{}, errNotDated
		}
		err := s.readInto(b, g, at)
		if err != nil && b.batch.Len() > 0 {
			break // the next call meets it again
		}
		if errors.Is(err, errVanished) {
			s.reload(err)
			return s.next(maxEvents, maxBytes)
		}
		if err != nil {
			return readstate.Batch{}, Mark{}, err
		}
		if i == 0 && b.batch.Len() == 0 { // nothing is legible from the head on
			s.advance(1, place{})
			at = s.head
			continue
		}
		i, at = i+1, place{}
	}
	return b.batch, b.mark, nil
}

// reading is a batch that is being read.
type reading struct {
	maxEvents int
	maxBytes  int64

	batch readstate.Batch
	mark  Mark
	bytes int64
	full  bool
}

// take adds an entry, and reports false where it does not fit any more.
func (b *reading) take(h frameHeader, entry record) bool {
	size := frameHeaderSize + h.length
	if n := b.batch.Len(); n >= b.maxEvents || n > 0 && b.bytes+size > b.maxBytes {
		b.full = true
		return false
	}
	entry.addTo(&b.batch)
	b.bytes += size
	return true
}

// readInto adds the entries of a segment from a place on, until the batch is full or
// the segment ends. What is not legible is skipped.
func (s *Spool) readInto(b *reading, g *segment, at place) error {
	r, done, err := s.read(g, at, readAhead)
	if err != nil {
		return err
	}
	defer done()
	for !b.full {
		before := r.place
		h, entry, err := r.nextEntry()
		if err == nil && h.ordinal < g.count {
			if h.ordinal > before.ordinal {
				s.noteDamage(g, before) // entries are missing
			}
			if b.take(h, entry) {
				b.mark.sequence, b.mark.end = g.sequence, r.place
			}
			continue
		}
		if err == nil || errors.Is(err, io.EOF) || before.ordinal >= g.count {
			break
		}
		if err := s.skip(g, r, err); err != nil {
			return err
		}
	}
	if g.failures < readTries {
		g.failures = 0
	}
	if !b.full {
		return s.finish(g, r.place)
	}
	return nil
}

// skip passes what is not legible. Reading that fails is tried again some times before
// the place counts as not legible.
func (s *Spool) skip(g *segment, r *frameReader, cause error) error {
	if !errors.Is(cause, errIllegible) {
		g.failures++
		return cause
	}
	bad := r.place
	more, err := r.skip()
	if err != nil {
		g.failures++
		return err
	}
	if more {
		s.noteDamage(g, bad)
		return nil
	}
	if err := s.finish(g, bad); err != nil {
		return err
	}
	r.place, r.limit = place{ordinal: g.count, offset: g.size}, g.size
	return nil
}

// remove moves the head to the mark.
func (s *Spool) remove(mark Mark) error {
	if s.closed {
		return errClosed
	}
	if mark.generation != s.generation || len(s.segments) == 0 || s.segments[0].sequence > mark.sequence {
		return nil // the files were replaced, or the entries removed: nothing else may go
	}
	n := 0
	for n < len(s.segments) && s.segments[n].sequence < mark.sequence {
		n++
	}
	if n == len(s.segments) || n == 0 && mark.end.ordinal <= s.head.ordinal {
		return nil
	}
	g, head := s.segments[n], mark.end
	if head.ordinal >= g.count {
		if err := s.finish(g, head); err != nil && !errors.Is(err, errVanished) {
			return err
		}
		n, head = n+1, place{}
	}
	s.advance(n, head)
	return nil
}

// advance lets the first n segments go and puts the head into the next one.
func (s *Spool) advance(n int, head place) {
	drained := s.segments[:n:n]
	if n > 0 && n == len(s.segments) {
		s.seal()
	}
	s.segments, s.head = s.segments[n:], head
	for _, g := range drained {
		s.retire(g)
	}
	s.sweep()
	s.noteOldest()
	if errors.Is(s.fault, ErrFull) {
		s.fault = nil
	}
}

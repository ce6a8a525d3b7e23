package spool

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// defaultSegmentSize is the size at which a segment takes no further append, in bytes.
	// One append is never divided, so a segment may be larger by one batch.
	defaultSegmentSize = 16 << 20
	// readTries is how often in a row reading a segment may fail before what cannot be
	// read is given up.
	readTries = 3

	// peekSize is how much is read for one entry's header, in bytes.
	peekSize = 4 << 10
	// maxFailed bounds the files of failed appends that a broken disk leaves behind.
	maxFailed = 8

	sequenceDigits = 16
	// machineMark is in the name of a segment that is dated by the machine's clock.
	machineMark   = "-machine"
	segmentSuffix = ".log"
	corruptMark   = ".corrupt-"
)

// segment is a file that holds at least one entry. Only the last one may be open for
// writing.
type segment struct {
	sequence uint64 // orders the segments
	count    int64  // ordinal of the last legible entry plus one
	size     int64  // bytes; what lies behind them in the file was never acknowledged
	written  bool   // by this process: all of size was acknowledged
	damaged  bool   // was noticed and logged
	failures int    // reads in a row that failed
	dating

	// What is kept with the first entry and with the last one, see Append; by the dating.
	oldest, firstNewest time.Time
	lastOldest, newest  time.Time // lastOldest only where written
}

// dating says by which clock the moments in a segment are. It is a part of the file's name, so
// that it changes for all of them at once, and durably.
type dating struct {
	machineTime bool          // by the machine's, and not corrected yet
	corrected   bool          // was by the machine's
	correction  time.Duration // from what is written to the database's
}

func (g *segment) name() string {
	mark := ""
	switch {
	case g.machineTime:
		mark = machineMark
	case g.corrected:
		mark = fmt.Sprintf("%+d", g.correction.Microseconds())
	}
	return fmt.Sprintf("%016x%s%s", g.sequence, mark, segmentSuffix)
}

// parseName is the inverse of name.
func parseName(name string) (sequence uint64, d dating, ok bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) < sequenceDigits {
		return 0, d, false
	}
	digits, mark := digits[:sequenceDigits], digits[sequenceDigits:]
	sequence, err := strconv.ParseUint(digits, 16, 62)
	switch {
	case err != nil:
		return 0, d, false
	case mark == "":
	case mark == machineMark:
		d.machineTime = true
	default:
		n, err := strconv.ParseInt(mark, 10, 64)
		if err != nil || mark[0] != '+' && mark[0] != '-' {
			return 0, d, false
		}
		d.corrected, d.correction = true, time.Duration(n)*time.Microsecond
	}
	return sequence, d, true
}

// leftover is a drained file that has to go yet.
type leftover struct {
	segment *segment
	aside   string // new name of a damaged file; empty: the file is deleted
}

// load finds the segments in the directory; s.mu is held.
func (s *Spool) load() error {
	files, err := s.disk.list()
	if err != nil {
		return err
	}
	for name, size := range files {
		if strings.Contains(name, corruptMark) {
			s.damaged = append(s.damaged, name)
		} else if sequence, d, ok := parseName(name); ok {
			s.segments = append(s.segments, &segment{sequence: sequence, size: size, dating: d})
			s.sequence = max(s.sequence, sequence)
			s.unsynced = s.unsynced || d.corrected
		}
	}
	slices.Sort(s.damaged)
	slices.SortFunc(s.segments, func(a, b *segment) int { return cmp.Compare(a.sequence, b.sequence) })
	for _, g := range slices.Clone(s.segments) {
		last, found, err := s.lastFrame(g)
		if err != nil {
			return err
		}
		if found {
			g.count, g.newest = last.ordinal+1, last.newest
			if err := s.noteFirst(g); err != nil {
				return err
			}
			continue
		}
		if err := s.finish(g, place{}); err != nil {
			return err
		}
		s.segments = slices.DeleteFunc(s.segments, func(o *segment) bool { return o == g })
		s.retire(g)
	}
	s.loadFailures = 0
	s.noteNewest()
	s.noteOldest()
	return nil
}

// noteFirst finds out what is kept with a segment's first entry.
func (s *Spool) noteFirst(g *segment) error {
	first, found, err := s.peek(g, place{})
	switch {
	case errors.Is(err, errVanished):
		return err
	case err != nil || !found:
		g.oldest = unknownOldest
	default:
		g.oldest, g.firstNewest = first.oldest, first.newest
	}
	return nil
}

func (s *Spool) lastFrame(g *segment) (frameHeader, bool, error) {
	r, done, err := s.read(g, place{}, tailSize)
	if err != nil {
		return frameHeader{}, false, err
	}
	defer done()
	last, found, err := r.last()
	if err != nil && s.loadFailures < readTries {
		s.loadFailures++ // opening fails, and is tried again
		return last, false, err
	}
	if err != nil { // a bad block must not keep the others back for ever
		g.failures = readTries
		r.file = lenient{r.file}
		last, found, err = r.last()
	}
	return last, found, err
}

// read gives a reader of a segment, and what closes it.
func (s *Spool) read(g *segment, at place, chunk int) (*frameReader, func(), error) {
	file, err := s.disk.open(g.name())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%w: %w", errVanished, err)
	}
	if err != nil {
		return nil, nil, err
	}
	r := &frameReader{file: file, limit: g.size, place: at, chunk: chunk, correction: g.correction}
	if g.failures >= readTries {
		r.file = lenient{file}
	}
	return r, func() { _ = file.Close() }, nil // it was read only
}

// finish judges what lies behind the last legible entry of a segment, before the segment
// goes: nothing, an append that was cut, or damage.
func (s *Spool) finish(g *segment, end place) error {
	if end.offset >= g.size || g.damaged {
		return nil
	}
	torn := false
	if !g.written && g.failures < readTries { // what cannot be read is not torn
		r, done, err := s.read(g, end, frameHeaderSize)
		if err != nil {
			return err
		}
		defer done()
		if torn, err = r.torn(); err != nil {
			g.failures++
			return err
		}
	}
	if !torn {
		s.noteDamage(g, end)
		return nil
	}
	s.options.Logger.Warn("spool segment ends in what looks like an append that a crash cut",
		"file", g.name(), "entries", g.count, "bytes_cut", g.size-end.offset)
	g.size = end.offset
	return nil
}

// noteDamage says once that a segment is damaged. Its file is set aside when what is
// legible of it from the place on has been drained.
func (s *Spool) noteDamage(g *segment, from place) {
	if g.damaged {
		return
	}
	g.damaged = true
	legible := s.countLegible(g, from)
	s.recovered += legible
	s.options.Logger.Error("spool segment is damaged: what is legible of it stays queued, then the file is set aside",
		"file", g.name(), "offset", from.offset, "entries_legible", legible, "entries_expected", g.count-from.ordinal)
}

func (s *Spool) countLegible(g *segment, from place) (n int64) {
	r, done, err := s.read(g, from, readAhead)
	if err != nil {
		return 0
	}
	defer done()
	r.file = lenient{r.file}
	for {
		_, _, err := r.nextEntry()
		switch {
		case err == nil:
			n++
		case errors.Is(err, io.EOF):
			return n
		default:
			if more, err := r.skip(); err != nil || !more {
				return n
			}
		}
	}
}

// retire deletes the file of a drained segment, or sets it aside where it is damaged.
// Where that fails it is tried again later: until then the entries come once more after
// a restart, which is harmless.
func (s *Spool) retire(g *segment) {
	l := leftover{segment: g}
	if g.damaged {
		l.aside = g.name() + corruptMark + s.options.Now().UTC().Format("20060102T150405.000000000Z")
	}
	s.leftovers = append(s.leftovers, l)
	s.sweep()
}

// sweep tries to delete, or to set aside, what is left over.
func (s *Spool) sweep() {
	s.leftovers = slices.DeleteFunc(s.leftovers, func(l leftover) bool {
		var err error
		if l.aside == "" {
			err = s.disk.remove(l.segment.name())
		} else {
			err = s.disk.rename(l.segment.name(), l.aside)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			if !s.sweepFailed {
				s.options.Logger.Warn("drained spool segment cannot be deleted: tried again later",
					"file", l.segment.name(), "error", err)
			}
			s.sweepFailed = true
			return false
		}
		if err == nil && l.aside != "" {
			s.damaged = append(s.damaged, l.aside)
		}
		return true
	})
	if len(s.leftovers) == 0 {
		s.sweepFailed = false
	}
}

// noteNewest finds out what NewestArrival gives. It is what was appended last: an earlier entry may
// be from a clock that was ahead.
func (s *Spool) noteNewest() {
	for _, g := range slices.Backward(s.segments) {
		if !g.machineTime {
			s.newest = g.newest
			return
		}
	}
}

// noteOldest finds out what OldestQueued gives: what is kept with the first queued entry, or
// with the first one of a later segment, since clocks may have been set back between them. Where
// that cannot be read the old answer stays: it is not wrong, only too early.
func (s *Spool) noteOldest() {
	var oldest time.Time
	for i, g := range s.segments {
		bound := g.oldest
		if i == 0 && s.head.ordinal > 0 {
			h, found, err := s.peek(g, s.head)
			switch {
			case err != nil && s.oldest.IsZero():
				bound = unknownOldest
			case err != nil:
				bound = s.oldest
			case !found:
				continue
			default:
				bound = h.oldest
			}
		}
		if oldest.IsZero() || bound.Before(oldest) {
			oldest = bound
		}
	}
	s.oldest = oldest
}

// peek gives the header of the first legible entry from a place on. It reports false where there
// is none.
func (s *Spool) peek(g *segment, at place) (frameHeader, bool, error) {
	r, done, err := s.read(g, at, peekSize)
	if err != nil {
		return frameHeader{}, false, err
	}
	defer done()
	h, err := r.header()
	if errors.Is(err, errIllegible) {
		var more bool
		if more, err = r.skip(); err == nil && !more {
			return h, false, nil
		}
		if err == nil {
			h, err = r.header()
		}
	}
	if errors.Is(err, io.EOF) {
		return h, false, nil
	}
	return h, err == nil, err
}

package spool

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

var errNotDated = errors.New("entries are dated by the machine's clock, and not corrected yet")

// Correct moves what is queued with arrivals by the machine's clock to the database's, for
// good: the same arrivals come again after a crash. What this process has queued moves by the
// correction. So does what an earlier one has left, unless it would lie behind this one's
// start: then the machine's clock has been set since, and it moves to just before that. Entries
// keep their order. After an error, which may leave some of them as they were, the same call
// goes on.
func (s *Spool) Correct(correction time.Duration, started time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.ContainsFunc(s.segments, func(g *segment) bool { return g.machineTime }) {
		return nil
	}
	defer s.publish()
	if err := s.correct(correction.Truncate(time.Microsecond), started); err != nil {
		return fmt.Errorf("correct spool: %w", err)
	}
	return nil
}

func (s *Spool) correct(correction time.Duration, started time.Time) error {
	if s.active != nil && s.last().machineTime {
		s.seal()
	}
	earlier := correction
	for _, g := range slices.Backward(s.segments) {
		if !g.machineTime {
			continue
		}
		last, found, err := s.lastFrame(g)
		if err != nil {
			return err
		}
		move := correction
		if !g.written && found {
			earlier = min(earlier, started.Sub(last.newest))
			move = earlier
		}
		dated := *g
		dated.dating = dating{correction: move}
		if err := s.disk.rename(g.name(), dated.name()); err != nil {
			return err
		}
		g.dating = dated.dating
		if newest := last.newest.Add(move); newest.After(s.newest) {
			s.newest = newest
		}
	}
	if err := s.disk.sync(); err != nil {
		return err
	}
	s.noteOldest()
	return nil
}

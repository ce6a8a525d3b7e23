package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

var errNotDated = errors.New("entries are dated by the machine's clock, and not corrected yet")

// Correct moves what is queued with arrivals by the machine's clock to the database's, for
// good: the same arrivals come again after a crash. What this process has queued moves by the
// correction. So does what an earlier one has left, unless it would not lie between the segments
// around it and before this one's start: then the machine's clock has been set since, and it moves
// to the nearest place that does. Entries keep their order. After an error, which may leave some
// of them as they were, the same call goes on.
func (s *Spool) Correct(correction time.Duration, started time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.publish()
	var err error
	for range vanishTries {
		if err = s.correct(correction.Truncate(time.Microsecond), started); !errors.Is(err, errVanished) {
			break
		}
		s.reload(err)
	}
	if err != nil {
		return fmt.Errorf("correct spool: %w", err)
	}
	return nil
}

func (s *Spool) correct(correction time.Duration, started time.Time) error {
	if s.active != nil && s.last().machineTime {
		s.seal()
	}
	moves := s.moves(correction, started)
	for i, g := range slices.Backward(s.segments) {
		if !g.machineTime {
			continue
		}
		if err := s.date(g, moves[i]); err != nil {
			return err
		}
	}
	return s.syncNames()
}

// moves gives by what the segments with the machine's time move.
func (s *Spool) moves(correction time.Duration, started time.Time) []time.Duration {
	moves, latest := make([]time.Duration, len(s.segments)), make([]time.Duration, len(s.segments))
	// Backward: by the correction or less, so that each lies before what is later.
	bound, latestBound := started, started
	for i, g := range slices.Backward(s.segments) {
		switch next := s.beside(i); {
		case !g.machineTime:
		case g.written:
			moves[i], latest[i] = correction, correction
		case next != nil && next.machineTime:
			moves[i], latest[i] = moves[i+1], latest[i+1]
		case next != nil:
			moves[i], latest[i] = next.correction, next.correction
		default:
			moves[i] = min(correction, bound.Add(-time.Microsecond).Sub(g.newest))
			latest[i] = latestBound.Add(-time.Microsecond).Sub(g.newest)
		}
		if !g.oldest.Equal(unknownOldest) {
			bound, latestBound = earlier(bound, g.oldest.Add(moves[i])), earlier(latestBound, g.oldest.Add(latest[i]))
		}
	}
	// Forward: by more, where it would lie before what is earlier.
	var newest time.Time
	for i, g := range s.segments {
		switch {
		case !g.machineTime || g.written || g.oldest.Equal(unknownOldest):
		case i > 0 && s.beside(i-1) != nil:
			moves[i] = max(moves[i], moves[i-1])
		default:
			moves[i] = min(max(moves[i], newest.Add(time.Microsecond).Sub(g.oldest)), latest[i])
		}
		if end := g.newest.Add(moves[i]); end.After(newest) && end.Before(started) {
			newest = end
		}
	}
	return moves
}

// beside gives the segment behind one of an earlier process's, if entries of both arrived beside
// each other: then they are of one process, and move together.
func (s *Spool) beside(i int) *segment {
	if i+1 == len(s.segments) {
		return nil
	}
	g, next := s.segments[i], s.segments[i+1]
	end := g.newest
	if !next.machineTime {
		end = end.Add(next.correction)
	}
	if !g.machineTime || g.written || !next.machineTime && !next.corrected || end.Before(next.oldest) || end.After(next.firstNewest) {
		return nil
	}
	return next
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// date moves a segment to the database's clock.
func (s *Spool) date(g *segment, move time.Duration) error {
	dated := *g
	dated.dating = dating{corrected: true, correction: move}
	if err := s.disk.rename(g.name(), dated.name()); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", errVanished, err)
	} else if err != nil {
		return err
	}
	s.unsynced = true
	g.dating = dated.dating
	if !g.oldest.Equal(unknownOldest) {
		g.oldest = g.oldest.Add(move)
	}
	g.firstNewest, g.newest = g.firstNewest.Add(move), g.newest.Add(move)
	s.noteNewest()
	s.oldest = time.Time{} // was by the machine's clock
	s.noteOldest()
	return nil
}

// syncNames makes the names of corrected segments durable. Nothing leaves the spool before: with
// an old name, which a power loss would bring back, it could have another arrival the next time.
func (s *Spool) syncNames() error {
	if !s.unsynced {
		return nil
	}
	if err := s.disk.sync(); err != nil {
		return err
	}
	s.unsynced = false
	return nil
}

package ingest

import (
	"slices"
	"sync"
	"time"

	"readmark/internal/readstate"
)

const (
	// maxMoves is how many moves are told apart.
	maxMoves = 1024
	// maxSkew is what the clocks of this machine and the database may differ by: more is
	// named in the log at start.
	maxSkew = time.Second
)

// drained remembers when callbacks came from the spool into the database, for as long
// as a replica may not have them. It is safe for concurrent use.
type drained struct {
	mu    sync.Mutex
	moves []move
}

// move is one batch of the spool.
type move struct {
	first time.Time // nothing in it arrived before
	at    time.Time // by then it was in the database, by the database's clock
}

// add notes that a batch has just moved.
func (d *drained) add(batch readstate.Batch, now time.Time) {
	m := move{at: now.Add(maxSkew)}
	for subject := range batch.All() {
		if m.first.IsZero() || subject.ReceivedAt.Before(m.first) {
			m.first = subject.ReceivedAt
		}
	}
	if m.first.IsZero() { // rejected callbacks only
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.moves); n == maxMoves { // the last ones count as one
		last := &d.moves[n-1]
		if last.first.Before(m.first) {
			m.first = last.first
		}
		if last.at.After(m.at) {
			m.at = last.at
		}
		*last = m
		return
	}
	d.moves = append(d.moves, m)
}

// since gives the earliest arrival of what moved at a moment or later, zero where
// nothing did, and forgets what moved before.
func (d *drained) since(moment time.Time) (first time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.moves = slices.DeleteFunc(d.moves, func(m move) bool { return m.at.Before(moment) })
	for _, m := range d.moves {
		if first.IsZero() || m.first.Before(first) {
			first = m.first
		}
	}
	return first
}

package ingest

import (
	"sync"
	"time"
)

// maxDrains is how many drains are told apart.
const maxDrains = 1024

// drained remembers when callbacks came from the spool into the database, for as long
// as a replica may not have them. It is safe for concurrent use.
type drained struct {
	mu    sync.Mutex
	moves []move // in order of their time
}

// move is one batch of the spool.
type move struct {
	first time.Time // nothing in it arrived before
	at    time.Time // it was in the database
}

// add notes a move that has just ended.
func (d *drained) add(first, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.moves); n == maxDrains { // the last ones count as one
		last := &d.moves[n-1]
		last.at = at
		if first.Before(last.first) {
			last.first = first
		}
		return
	}
	d.moves = append(d.moves, move{first, at})
}

// since gives the earliest arrival of what moved at a moment or later, zero where
// nothing did, and forgets what moved before.
func (d *drained) since(moment time.Time) (first time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	done := 0
	for _, m := range d.moves {
		if m.at.Before(moment) {
			done++
		} else if first.IsZero() || m.first.Before(first) {
			first = m.first
		}
	}
	d.moves = d.moves[done:]
	if len(d.moves) == 0 {
		d.moves = nil
	}
	return first
}

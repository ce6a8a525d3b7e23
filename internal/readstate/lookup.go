package readstate

import "time"

// Settling is how long OpenIM may take until its REST API knows what a callback
// has told: a message is announced before it is stored, and so are the
// notifications of a membership change, which take seqs too.
const Settling = time.Second

// Debounce is how long a lookup waits for more of its kind before OpenIM is asked.
const Debounce = 100 * time.Millisecond

// Lookup is something that OpenIM has to be asked: all conversations of a user (no
// GroupID), one of them, or the members of a group (no UserID).
type Lookup struct {
	Pair
	// DueAt is when OpenIM is asked, at the earliest.
	DueAt time.Time
	// SettlesAt is the moment before which an answer is not the last one: OpenIM may not
	// know yet what a callback has told. Zero when any answer is.
	SettlesAt time.Time
}

// LeasedLookup is a lookup that one process has taken, for as long as its lease lasts.
type LeasedLookup struct {
	Pair
	// Since is when it was first asked for.
	Since time.Time
	// Version tells whether it was asked for again since it was taken.
	Version   int64
	SettlesAt time.Time // as in [Lookup]
}

package readstate

import "time"

// Erased is what an erasure has removed. Counts are of rows.
type Erased struct {
	States   int64
	Journal  int64 // events; of a user, what others' counts need stays without the user
	Messages int64 // of a group: those of the events that were messages
	Lookups  int64 // work that was waiting: lookups at OpenIM, comparisons
	Rejected int64 // records of rejected callbacks, which stay without the ID
	// At is the moment of the erasure: what arrived until then does not come back.
	At time.Time
}

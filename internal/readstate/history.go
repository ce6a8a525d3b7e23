package readstate

import "time"

// EventCursor is a receipt's place in the order of everything.
type EventCursor struct {
	At time.Time
	ID ID
}

// History says which receipts are wanted: of a pair, of a user, or of a group.
type History struct {
	UserID  string // empty: of everybody in the group
	GroupID string // empty: of all groups of the user, and those not known
	// From is included and To is not; the zero time sets no bound.
	From, To time.Time
	// Before is the place of the last receipt of the page before; the zero EventCursor is
	// the first page.
	Before EventCursor
	Limit  int32
}

package readstate

import "time"

// KeyPage asks for a part of the users or groups with a prefix, in key order. The zero value of After is
// the beginning.
type KeyPage struct {
	Prefix string
	After  string
	Limit  int32
}

// MinuteCount is how many callbacks of a kind came in a minute: those that told an event of a kind, or those of a
// command that were rejected.
type MinuteCount struct {
	Minute  time.Time
	Kind    EventKind // "": they were rejected
	Stored  bool      // of messages: they had a seq
	Command string    // of rejections, as it came
	Count   int64
}

// GroupPage asks for a part of the groups with a prefix, in the order of their IDs or of their unread counts. The zero
// value of After is the beginning.
type GroupPage struct {
	Prefix string
	Order  Order // OrderKey or OrderUnread
	After  Cursor
	Limit  int32
}

// KeptGroupSum is the sum of a group as it was at a moment: all that was acknowledged before is in it.
type KeptGroupSum struct {
	GroupSum // without UpdatedAt

	AsOf time.Time
}

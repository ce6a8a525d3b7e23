package readstate

import "time"

// Order is the order of a list of states.
type Order int

const (
	// OrderKey is by group ID in the list of a user, by user ID in that of a group.
	OrderKey Order = iota
	// OrderUnread is by unread count, the largest first, then by key.
	OrderUnread
	// OrderLastRead is by the moment of the last read, the last one first and who
	// never read at the end, then by key.
	OrderLastRead
)

// Cursor is a keyset cursor: the last state of a page. The zero value is the
// beginning.
type Cursor struct {
	Key         string
	UnreadCount int64     // in OrderUnread
	LastReadAt  time.Time // in OrderLastRead; zero for never
}

// Page asks for a part of a list.
type Page struct {
	Order Order
	After Cursor
	// MinUnread leaves out whoever has fewer unread messages, UpdatedSince whatever was
	// last written before, the state and its group's position.
	MinUnread    int64
	UpdatedSince time.Time
	// Muted leaves out groups that are not muted, or those that are; nil: neither.
	Muted *bool
	Limit int32
}

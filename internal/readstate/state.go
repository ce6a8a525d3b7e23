package readstate

import (
	"errors"
	"time"
)

// ErrUnknown says that nothing is known of a pair, user or group. Unknown is
// not zero: no count can be given.
var ErrUnknown = errors.New("unknown")

// ErrGone says that something was known at a moment, and that what it was has been
// dropped with the days of the journal.
var ErrGone = errors.New("dropped from the journal")

// ErrUnavailable says that the store could not be asked; the same call may
// succeed later.
var ErrUnavailable = errors.New("store unavailable")

// ErrLeaseTaken says that another process has the lease of work that one process of all does.
var ErrLeaseTaken = errors.New("another process does this work")

// UnavailableError is an [ErrUnavailable] that says why, in a sentence for whoever asks.
type UnavailableError struct{ Text string }

// Error implements error.
func (e *UnavailableError) Error() string { return e.Text }

// Is makes it an ErrUnavailable.
func (e *UnavailableError) Is(target error) bool { return target == ErrUnavailable }

// ErrRetry says that the store did not do a call for a reason of the moment, a
// deadlock or a dropped connection: the same call may succeed at once. It comes
// with [ErrUnavailable].
var ErrRetry = errors.New("try again")

// Source says where a state's count comes from.
type Source string

const (
	// SourceReceipt is a read position that a documented read callback reported.
	SourceReceipt Source = "receipt"
	// SourceMessage is a read position that a message of the user's own tells.
	SourceMessage Source = "message"
	// SourceFact is a read position that OpenIM's REST API gave.
	SourceFact Source = "fact"
)

// State is the current truth of one pair.
type State struct {
	Pair
	// UnreadCount is the number of unread messages, never negative.
	UnreadCount int64
	// ContentType is that of the receipt which made the state.
	ContentType int64
	// LastReadAt is when the user last read, as far as known: the arrival of a
	// receipt or of an own message, or when OpenIM said so. UTC, whole microseconds;
	// zero for a member who never read.
	LastReadAt time.Time
	Source     Source
	// Exact reports whether the count is what OpenIM itself would show, as far as
	// callbacks and its REST API tell; otherwise it is an estimate.
	Exact bool
	// Pending reports that OpenIM is still to be asked about the user.
	Pending bool
	// Muted reports whether the user has muted the group, as far as OpenIM has told.
	Muted bool
	// UpdatedAt is when the state or its group's position was last written, UTC,
	// whole microseconds.
	UpdatedAt time.Time
	Numbers
}

// Numbers is what a count follows from: max(0, min(Position, PositionCap) − ReadPosition). Whoever keeps it
// counts on when the group moves.
type Numbers struct {
	// Position is the running number of the group's last message, and ReadPosition up to which the
	// user has read. It may be negative: of what came before anything was known.
	Position, ReadPosition int64
	// PositionExact and ReadExact say whether they are OpenIM's own. The count is exact where both are.
	PositionExact, ReadExact bool
	// PositionCap is the highest number that the user can see, where Capped.
	PositionCap int64
	Capped      bool
}

// Badge sums the states of one user. Counts saturate at the ends of int64.
type Badge struct {
	UserID             string
	UnreadCount        int64
	UnreadCountUnmuted int64 // without muted groups: OpenIM's own total
	UnreadGroups       int64 // groups with at least one unread message
	Groups             int64 // groups with a known state
	Exact              bool  // all of the states are
	Pending            bool  // one of the states is
	// UpdatedAt is that of the state which was written last, see [State].
	UpdatedAt time.Time
}

// GroupSum sums the states of one group. Counts saturate at the ends of int64.
type GroupSum struct {
	GroupID         string
	Users           int64 // users with a known state
	UsersWithUnread int64
	UnreadCount     int64
	MaxUnread       int64
	Exact           bool      // all of the states are
	LastReadAt      time.Time // the newest of all; zero when nobody is known to have read
	UpdatedAt       time.Time // that of the state which was written last, see [State]
}

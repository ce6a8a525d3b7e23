// Package readstate is Readmark's domain: events, what they do to read states and
// group positions, the rules for identifiers, and the error codes of the outside. It
// imports the standard library only.
package readstate

import (
	"bytes"
	"math"
	"time"
)

// ID is the identity of an event or of a rejected callback: a UUIDv7, given once, on
// arrival.
type ID [16]byte

// EventKind says what an event tells. Its text is stored: by the database as a value
// of its enum event_kind, and by the spool.
type EventKind string

const (
	// EventReceipt is OpenIM's documented read callback: it names a group and the number
	// of messages that stay unread.
	EventReceipt EventKind = "receipt"
	// EventServerReceipt is the read callback as released OpenIM servers (v3.6.1-beta.0
	// and later) send it: the reader twice, no group, and a hasReadSeq in place of a count.
	EventServerReceipt EventKind = "server_receipt"
	// EventGroupRead is a read of single messages in a group
	// (callbackAfterSingleMsgReadCommand, v3.7 and later): it names the group and no count.
	EventGroupRead EventKind = "group_read"
	// EventMessage is a group message that was accepted (without a seq) or stored (with
	// one). The same message may come several times.
	EventMessage EventKind = "message"
	// EventSnapshot is what OpenIM's REST API said of a user in a group.
	EventSnapshot EventKind = "snapshot"
	// EventJoined is a user who joined a group, or one of its first members.
	EventJoined EventKind = "joined"
	// EventLeft is a user who quit or was kicked.
	EventLeft EventKind = "left"
	// EventDismissed is a group that is gone, with all its members.
	EventDismissed EventKind = "dismissed"
	// EventListed is a user whom OpenIM lists as a member.
	EventListed EventKind = "listed"
	// EventUnlisted is a user whom OpenIM does not list as a member: the user left some
	// time before.
	EventUnlisted EventKind = "unlisted"
	// EventMembersChanged is a group whose members changed, without saying who.
	EventMembersChanged EventKind = "members_changed"
	// EventMuted is a user who has muted a group, as OpenIM says: the group's conversation,
	// or everything.
	EventMuted EventKind = "muted"
	// EventUnmuted is a user who has not.
	EventUnmuted EventKind = "unmuted"
)

// IsReceipt reports whether the event is a read callback in any dialect: these make up
// the history.
func (k EventKind) IsReceipt() bool {
	return k == EventReceipt || k == EventServerReceipt || k == EventGroupRead
}

// Dialect gives the name of a read callback's dialect, as used in the API and in
// metrics; "none" for everything else.
func (k EventKind) Dialect() string {
	switch k {
	case EventReceipt:
		return "documented"
	case EventServerReceipt:
		return "server"
	case EventGroupRead:
		return "conversation"
	default:
		return "none"
	}
}

// movesPosition reports whether the event may change its group's position.
func (k EventKind) movesPosition() bool {
	switch k {
	case EventMessage, EventSnapshot, EventJoined, EventLeft, EventDismissed, EventMembersChanged:
		return true
	default:
		return false
	}
}

// FromOpenIM reports whether the event is what OpenIM answered, and not a callback.
func (k EventKind) FromOpenIM() bool {
	switch k {
	case EventSnapshot, EventListed, EventUnlisted, EventMuted, EventUnmuted:
		return true
	default:
		return false
	}
}

// Conversation types of OpenIM: what a server receipt has as content type.
const (
	ConversationSingle       = 1
	ConversationGroup        = 2
	ConversationSuperGroup   = 3
	ConversationNotification = 4
)

// Event is one thing that happened, as a callback or OpenIM's REST API told it. It is
// immutable once it has its identity and arrival, and kept in the journal.
type Event struct {
	Kind EventKind
	// ID and At order all events, see [Event.Compare].
	ID ID
	// At is the arrival; of what OpenIM answered, the moment before it was asked. UTC, in
	// whole microseconds.
	At time.Time
	// UserID is the reader, the sender, or the member; empty where a group is meant.
	UserID string
	// GroupID is empty where it is not known (EventServerReceipt).
	GroupID string
	// UnreadCount is the number of messages that stay unread (EventReceipt).
	UnreadCount int64
	// ReadSeq is the seq up to which the user has read: as the callback says
	// (EventServerReceipt, EventGroupRead), or OpenIM's hasReadSeq, which may lie above
	// MaxSeq (EventSnapshot). Of a message it is its own seq, from 1, up to which its
	// sender has read; 0 when OpenIM had not given it one yet.
	ReadSeq int64
	// MaxSeq is OpenIM's maxSeq (EventSnapshot). It is the user's own: OpenIM freezes it
	// when the user quits.
	MaxSeq int64
	// Confirmed says of a snapshot that other members were asked, and agree: the group's
	// highest seq has leapt to MaxSeq. Restarted says that it has fallen to MaxSeq, since
	// OpenIM's seqs began anew: what was told to be read before does not count.
	Confirmed, Restarted bool
	// OwnMaxSeq says of a snapshot that others were asked, and disagree: where MaxSeq
	// contradicts what is known of the group, it is known to be the user's own.
	OwnMaxSeq bool
	// AllowReadDecrease says of a snapshot that OpenIM has said ReadSeq twice, at least
	// [ReadConfirmation] apart: it is taken, also where more was known to be read.
	AllowReadDecrease bool
	// ContentType is that of the message read (EventReceipt) or sent (EventMessage), or
	// the conversation type, 1 to 4 (EventServerReceipt).
	ContentType int64
	// MessageID is OpenIM's serverMsgID, the same in all callbacks of a message.
	MessageID string
	// SentAt is OpenIM's sendTime of a message, or its maxSeqTime (EventSnapshot): when the
	// highest seq of the group was given out. UTC, whole milliseconds; zero when missing.
	SentAt time.Time
}

// MaxAhead is how far ahead of the database's clock a moment may lie that some process has
// noted. What lies further ahead is from a clock that was wrong.
const MaxAhead = time.Minute

// Age is how long ago a moment was. One that lies further ahead than [MaxAhead] is from before
// a clock was set back: it counts as ages ago, so that nobody waits for it.
func Age(now, moment time.Time) time.Duration {
	if moment.Sub(now) > MaxAhead {
		return math.MaxInt64
	}
	return now.Sub(moment)
}

// Pair names the user and the group.
func (e *Event) Pair() Pair { return Pair{UserID: e.UserID, GroupID: e.GroupID} }

// Compare gives the order of everything: by arrival, then by identity.
func (e *Event) Compare(o *Event) int {
	if c := e.At.Compare(o.At); c != 0 {
		return c
	}
	return bytes.Compare(e.ID[:], o.ID[:])
}

// NeedsLookup reports whether only OpenIM can tell which count a receipt means. A
// server receipt of a single chat or of a notification means none.
func (e *Event) NeedsLookup() bool {
	switch e.Kind {
	case EventServerReceipt:
		return e.ContentType == ConversationGroup || e.ContentType == ConversationSuperGroup
	case EventGroupRead:
		return true
	default:
		return false
	}
}

// Rejection records a callback that was refused: why, and what of it is
// legible. It never holds the callback's body.
type Rejection struct {
	ID         ID
	ReceivedAt time.Time // UTC, whole microseconds
	Command    string    // from the path
	Code       Code
	Field      string // the field that is wrong, "body" for the whole of it
	Reason     string // the sentence that the caller was told
	Size       int64  // bytes of the body as far as they were read
	UserID     string // empty where not legible
	GroupID    string // empty where not legible
}

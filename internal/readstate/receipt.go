// Package readstate is Readmark's domain: receipts, the states that they make,
// the rules for identifiers, and the error codes of the outside. It imports
// the standard library only.
package readstate

import (
	"bytes"
	"time"
)

// ID is the identity of a receipt or of a rejected callback: a UUIDv7, given
// once, on arrival.
type ID [16]byte

// Dialect says which meaning the four fields of a read callback have.
type Dialect int16

const (
	// DialectDocumented is OpenIM's published callback: it names a group and
	// the number of messages that stay unread.
	DialectDocumented Dialect = 1
	// DialectServer is what released OpenIM servers (v3.6.1-beta.0 and later)
	// send: the reader twice, no group, and a hasReadSeq instead of a count.
	DialectServer Dialect = 2
	// DialectConversation is the read callback of single messages, which names the
	// conversation and no count (callbackAfterSingleMsgReadCommand, v3.7 and later
	// send it for groups too).
	DialectConversation Dialect = 3
)

// String gives the dialect's name as used in metrics and logs.
func (d Dialect) String() string {
	switch d {
	case DialectDocumented:
		return "documented"
	case DialectServer:
		return "server"
	case DialectConversation:
		return "conversation"
	default:
		return "none"
	}
}

// Receipt is what a read callback tells: a user has read a group chat. It is
// immutable once it has its identity and time of arrival.
type Receipt struct {
	// ID and ReceivedAt order all receipts; see [Receipt.After].
	ID ID
	// ReceivedAt is the time of arrival, UTC, in whole microseconds.
	ReceivedAt time.Time
	// Dialect decides which of the fields below have a meaning.
	Dialect Dialect
	// UserID is the reader.
	UserID string
	// GroupID is the group that was read; empty in DialectServer, which does
	// not send it: such a receipt is unattributed.
	GroupID string
	// UnreadCount is the number of messages that stay unread
	// (DialectDocumented only).
	UnreadCount int64
	// ReadSeq is the sequence number up to which the user has read
	// (DialectServer only).
	ReadSeq int64
	// ContentType is OpenIM's content type of the message read
	// (DialectDocumented), or the conversation type, 1 to 4 (DialectServer).
	ContentType int64
}

// Attributed reports whether the receipt tells a count of a group by itself.
func (r *Receipt) Attributed() bool { return r.Dialect == DialectDocumented }

// Conversation types of OpenIM: what the server dialect has as content type.
const (
	ConversationSingle       = 1
	ConversationGroup        = 2
	ConversationSuperGroup   = 3
	ConversationNotification = 4
)

// Unresolved reports whether only OpenIM can tell which count the receipt means:
// it has to be asked. A receipt of the server dialect that is about a single chat
// or a notification means none.
func (r *Receipt) Unresolved() bool {
	switch r.Dialect {
	case DialectServer:
		return r.ContentType == ConversationGroup || r.ContentType == ConversationSuperGroup
	case DialectConversation:
		return true
	default:
		return false
	}
}

// After reports whether r comes later than o in the order of everything:
// by time of arrival, then by identity.
func (r *Receipt) After(o *Receipt) bool {
	if c := r.ReceivedAt.Compare(o.ReceivedAt); c != 0 {
		return c > 0
	}
	return bytes.Compare(r.ID[:], o.ID[:]) > 0
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

package readstate

import "time"

// Message is what a message callback tells of a group message: never its
// content. The same message may come several times, with and without a seq.
type Message struct {
	ID         ID
	ReceivedAt time.Time // UTC, whole microseconds
	GroupID    string
	// UserID is the sender. Sending a message advances the sender's own read
	// cursor to that message, as OpenIM does.
	UserID string
	// MessageID is OpenIM's serverMsgID: the same in all callbacks of a message.
	MessageID string
	// Seq is the message's place in the group, from 1; 0 when OpenIM had not
	// given it one yet (callbackAfterSendGroupMsgCommand).
	Seq int64
	// SentAt is OpenIM's sendTime, UTC, whole milliseconds; zero when missing.
	SentAt      time.Time
	ContentType int64
}

// ChangeKind says what happened to a group's membership.
type ChangeKind int16

const (
	// ChangeJoined is a group that was created with these members, or users who
	// joined it.
	ChangeJoined ChangeKind = 1
	// ChangeLeft is users who quit or were kicked.
	ChangeLeft ChangeKind = 2
	// ChangeDismissed is a group that is gone, with all its members.
	ChangeDismissed ChangeKind = 3
	// ChangeMembers is a group whose members changed, without saying who: OpenIM
	// has to be asked.
	ChangeMembers ChangeKind = 4
	// ChangeAbsent is users whom OpenIM does not list as members: they left some time
	// before.
	ChangeAbsent ChangeKind = 5
)

// Change is what a membership callback tells.
type Change struct {
	ID         ID
	ReceivedAt time.Time // UTC, whole microseconds
	Kind       ChangeKind
	GroupID    string
	UserIDs    []string // without repeats; empty where the group is meant
}

// Fact is what OpenIM itself said of one user in one group.
type Fact struct {
	ID ID
	// AskedAt is the moment before OpenIM was asked, UTC, whole microseconds: what
	// the fact says is not older.
	AskedAt time.Time
	Pair
	MaxSeq  int64
	ReadSeq int64 // OpenIM's hasReadSeq; may lie above MaxSeq
	// Lowers has the fact replace what was learnt before, also by less: OpenIM has
	// said so twice.
	Lowers bool
}

// Listing is what OpenIM said of a group's members.
type Listing struct {
	ID      ID
	GroupID string
	AskedAt time.Time // as in [Fact]
	UserIDs []string
}

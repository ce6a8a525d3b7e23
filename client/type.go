package client

import "readmark/client/internal/rest"

// The types of the API, as generated from its document.
type (
	// State is the unread count of a user in a group, with where it comes from.
	State = rest.State
	// StateAnswer is a state, and as of when it was answered.
	StateAnswer = rest.StateAnswer
	// Badge is the sums over a user's groups.
	Badge = rest.Badge
	// GroupSum is the sums over a group's readers.
	GroupSum = rest.GroupSum
	// Receipt is a read callback about a pair.
	Receipt = rest.Receipt
	// SubjectReceipt is a read callback in the history of a user or of a group.
	SubjectReceipt = rest.SubjectReceipt
	// Pair names a user in a group.
	Pair = rest.Item
	// QueryAnswer is the answer to a query of many pairs and users.
	QueryAnswer = rest.QueryOutputBody
	// PairAnswer is what such an answer says of one pair.
	PairAnswer = rest.PairAnswer
	// UserAnswer is what it says of one user.
	UserAnswer = rest.UserAnswer
	// Drift is how far counts were from OpenIM's, and which stay off.
	Drift = rest.Drift
	// Off is a pair in it whose count stays off.
	Off = rest.Off
	// Rejection is a callback that was refused.
	Rejection = rest.Rejection
	// Stats is what the last hour and day of a process were like.
	Stats = rest.Stats
	// Change is one change of the feed. Which fields it has depends on its type.
	Change = rest.Change
	// ChangeType is the type of a change.
	ChangeType = rest.ChangeType
	// UserErasure says what the erasure of a user has removed.
	UserErasure = rest.UserErasure
	// GroupErasure says what the erasure of a group has removed.
	GroupErasure = rest.GroupErasure
)

// Whether anything is known of a pair or a user in a QueryAnswer.
const (
	PairKnown   = rest.PairAnswerStatusKnown
	PairUnknown = rest.PairAnswerStatusUnknown
	UserKnown   = rest.UserAnswerStatusKnown
	UserUnknown = rest.UserAnswerStatusUnknown
)

// The values of State.Source.
const (
	SourceReceipt = rest.StateSourceReceipt
	SourceMessage = rest.StateSourceMessage
	SourceFact    = rest.StateSourceFact
)

// The values of Change.Type.
const (
	// StateChanged tells the state of a user in a group, as it is now.
	StateChanged = rest.StateChanged
	// StateRemoved tells that there is none any more: without a group of all of the user's
	// groups, without a user of all users of the group.
	StateRemoved = rest.StateRemoved
	// GroupAdvanced tells that messages came: the counts of all users of the group follow
	// from its position.
	GroupAdvanced = rest.GroupAdvanced
	// ReminderDue tells that messages have been unread for as long as a rule says. Without a
	// group, those of all of the user's groups.
	ReminderDue = rest.ReminderDue
	// Resync tells that anything may have changed, of the user or group where one is named:
	// read the lists again.
	Resync = rest.Resync
)

// The values of Off.Reason.
const (
	OffUnknown   = rest.OffReasonUnknown
	OffBehind    = rest.OffReasonBehind
	OffMaxSeq    = rest.OffReasonMaxSeq
	OffReadSeq   = rest.OffReasonReadSeq
	OffNotStored = rest.OffReasonNotStored
)

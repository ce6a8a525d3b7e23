package api

import (
	"strconv"
	"time"

	"readmark/internal/readstate"
)

// The types of changes.
const (
	typeChanged  = "state.changed"
	typeRemoved  = "state.removed"
	typeAdvanced = "group.advanced"
	typeReminder = "reminder.due"
	typeResync   = "resync"
)

// ChangeType names a kind of changes.
func ChangeType(kind readstate.FeedKind) string {
	switch kind {
	case readstate.FeedChanged:
		return typeChanged
	case readstate.FeedRemoved:
		return typeRemoved
	case readstate.FeedAdvanced:
		return typeAdvanced
	case readstate.FeedReminder:
		return typeReminder
	default:
		return typeResync
	}
}

// Change is one change of the feed. Which fields it has depends on its type.
type Change struct {
	Cursor  string    `json:"cursor" doc:"the place behind this change: pass it as after to go on from here"`
	Type    string    `json:"type" enum:"state.changed,state.removed,group.advanced,reminder.due,resync" doc:"state.changed: the state of a user in a group, as it is now. state.removed: there is none any more, since the user left, the group was dismissed, or one was erased; without groupID of all of the user's groups, without userID of all users of the group. group.advanced: messages came, and the counts of all users of the group follow from its position. reminder.due: messages have been unread for as long as a rule says; without groupID those of all groups of the user. resync: anything may have changed, of the user or group where one is named: start again from the lists"`
	At      time.Time `json:"at" doc:"what the change says is not older than this, UTC"`
	UserID  string    `json:"userID,omitempty" doc:"the user"`
	GroupID string    `json:"groupID,omitempty" doc:"the group"`
	State   *State    `json:"state,omitempty" doc:"of state.changed, and of reminder.due with groupID"`
	// Of reminders.
	RuleID   string `json:"ruleID,omitempty" doc:"of reminder.due: the rule"`
	RuleName string `json:"ruleName,omitempty" doc:"of reminder.due: its name"`
	Badge    *Badge `json:"badge,omitempty" doc:"of reminder.due without groupID"`
	// The rest lets a consumer count forward when a group advances.
	Position      *int64 `json:"position,omitempty" doc:"of state.changed and group.advanced: the running number of the group's last message"`
	PositionExact *bool  `json:"positionExact,omitempty" doc:"of state.changed and group.advanced: whether the position is OpenIM's own; no count in the group is exact else"`
	ReadPosition  *int64 `json:"readPosition,omitempty" doc:"of state.changed: the number up to which the user has read. The unread count is max(0, min(position, positionCap) - readPosition)"`
	PositionCap   *int64 `json:"positionCap,omitempty" doc:"of state.changed: the highest number that the user can see, where that is not the group's"`
	ReadExact     *bool  `json:"readExact,omitempty" doc:"of state.changed: whether the read position is OpenIM's own; the count is exact while the position is, too"`
}

// ChangeList is one page of changes.
type ChangeList struct {
	Items      []Change  `json:"items" nullable:"false" doc:"changes, by group and user; a user or group is in it once at most"`
	NextCursor string    `json:"nextCursor" doc:"pass it as after to get what comes next; never empty"`
	AsOf       time.Time `json:"asOf" doc:"what the changes say is not older than this, UTC; where there are fewer than limit, all that was acknowledged before is in them"`
}

// NewChange gives a change as it is told, at a moment.
func NewChange(c *readstate.FeedChange, cursor string, at time.Time) Change {
	change := Change{Cursor: cursor, Type: ChangeType(c.Kind), At: at, UserID: c.UserID, GroupID: c.GroupID}
	if c.Kind == readstate.FeedChanged || c.Kind == readstate.FeedAdvanced {
		number, exact := c.Position.Number(), c.Position.Exact()
		change.Position, change.PositionExact = &number, &exact
	}
	if c.Kind == readstate.FeedReminder {
		change.RuleID, change.RuleName = c.RuleID, c.RuleName
	}
	if c.Badge != nil {
		badge := newBadge(*c.Badge, at)
		change.Badge = &badge
	}
	if c.Kind != readstate.FeedChanged && (c.Kind != readstate.FeedReminder || c.GroupID == "") {
		return change
	}
	if served, shown := c.State(c.Pair(), &c.Position); shown { // else it would be removed
		state := newState(&served)
		change.State = &state
	}
	if c.Kind == readstate.FeedReminder {
		return change
	}
	read, exact := c.ReadPosition(&c.Position), c.ReadExact(&c.Position)
	change.ReadPosition, change.ReadExact = &read, &exact
	if c.Capped {
		change.PositionCap = &c.MaxSeqCap
	}
	return change
}

// AppendJSON appends the change.
func (c *Change) AppendJSON(b []byte) []byte {
	b = appendText(append(b, `{"cursor":`...), c.Cursor)
	b = appendText(append(b, `,"type":`...), c.Type)
	b = appendTime(append(b, `,"at":`...), c.At)
	if c.UserID != "" {
		b = appendText(append(b, `,"userID":`...), c.UserID)
	}
	if c.GroupID != "" {
		b = appendText(append(b, `,"groupID":`...), c.GroupID)
	}
	if c.State != nil {
		b = append(c.State.appendFields(append(b, `,"state":`...)), '}')
	}
	if c.RuleID != "" {
		b = appendText(append(b, `,"ruleID":`...), c.RuleID)
	}
	if c.RuleName != "" {
		b = appendText(append(b, `,"ruleName":`...), c.RuleName)
	}
	if c.Badge != nil {
		b = c.Badge.appendJSON(append(b, `,"badge":`...))
		b = b[:len(b)-1] // without the end of the line
	}
	return append(appendNumbers(b, c.Position, c.PositionExact, c.ReadPosition, c.PositionCap, c.ReadExact), '}')
}

func appendNumber(b []byte, name string, n *int64) []byte {
	if n == nil {
		return b
	}
	return strconv.AppendInt(append(b, name...), *n, 10)
}

func appendFlag(b []byte, name string, flag *bool) []byte {
	if flag == nil {
		return b
	}
	return strconv.AppendBool(append(b, name...), *flag)
}

func (l *ChangeList) appendJSON(b []byte) []byte {
	b = append(b, `{"items":[`...)
	for i := range l.Items {
		b = l.Items[i].AppendJSON(appendComma(b, i))
	}
	b = appendText(append(b, `],"nextCursor":`...), l.NextCursor)
	b = appendTime(append(b, `,"asOf":`...), l.AsOf)
	return append(b, "}\n"...)
}

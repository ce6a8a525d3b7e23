package api

import (
	"time"

	"github.com/danielgtaylor/huma/v2"

	"readmark/internal/readstate"
)

// id is a user or group ID in a request. Huma counts characters; Resolve
// holds the rules that it cannot say.
type id string

// Schema describes an ID in the OpenAPI document.
func (id) Schema(huma.Registry) *huma.Schema {
	shortest, longest := 1, readstate.MaxIDBytes
	schema := &huma.Schema{
		Type: huma.TypeString, MinLength: &shortest, MaxLength: &longest,
		Description: "at most 255 bytes of UTF-8 without control characters",
	}
	schema.PrecomputeMessages()
	return schema
}

// Resolve implements huma.ResolverWithPath.
func (i id) Resolve(_ huma.Context, path *huma.PathBuffer) []error {
	if err := readstate.CheckID(string(i)); err != nil {
		return []error{mistake(path.String(), err.Error(), nil)}
	}
	return nil
}

// State is the answer for one user in one group.
type State struct {
	UserID      string `json:"userID" doc:"the user"`
	GroupID     string `json:"groupID" doc:"the group"`
	UnreadCount int64  `json:"unreadCount" minimum:"0" doc:"unread messages, however many: nothing caps the count. It is OpenIM's own number where exact is true, else an estimate"`
	ContentType int64  `json:"contentType" doc:"OpenIM's content type in the last receipt, 0 when it had none"`
	// LastReadAt is null for a member who is not known to have read anything.
	LastReadAt *time.Time `json:"lastReadAt" nullable:"true" doc:"when the user last read, as far as known, UTC; null when never"`
	Source     string     `json:"source" doc:"where the read position comes from: a documented receipt, a message of the user's own, or OpenIM's REST API" enum:"receipt,message,fact"`
	Exact      bool       `json:"exact" doc:"whether the count is what OpenIM itself would show, as far as callbacks and its REST API tell; else an estimate"`
	Pending    bool       `json:"pending" doc:"whether OpenIM is still to be asked about this user: the count may be about to change"`
	Muted      bool       `json:"muted" doc:"whether the user has muted the group, or everything, as far as OpenIM's REST API has told; false where it has not"`
	UpdatedAt  time.Time  `json:"updatedAt" doc:"when this state or its group's position was last written, UTC"`
	// The rest comes where it was asked for.
	Position      *int64 `json:"position,omitempty" doc:"with positions=true: the running number of the group's last message"`
	PositionExact *bool  `json:"positionExact,omitempty" doc:"with positions=true: whether the position is OpenIM's own; no count in the group is exact else"`
	ReadPosition  *int64 `json:"readPosition,omitempty" doc:"with positions=true: the number up to which the user has read. The unread count is max(0, min(position, positionCap) - readPosition)"`
	PositionCap   *int64 `json:"positionCap,omitempty" doc:"with positions=true: the highest number that the user can see, where that is not the group's"`
	ReadExact     *bool  `json:"readExact,omitempty" doc:"with positions=true: whether the read position is OpenIM's own; the count is exact while the position is, too"`
}

// addNumbers adds what the count follows from.
func (s *State) addNumbers(n *readstate.Numbers) {
	s.Position, s.PositionExact, s.ReadPosition, s.ReadExact = &n.Position, &n.PositionExact, &n.ReadPosition, &n.ReadExact
	if n.Capped {
		s.PositionCap = &n.PositionCap
	}
}

// StateAnswer is the answer to a request for one state.
type StateAnswer struct {
	State
	AsOf time.Time `json:"asOf" doc:"the answer is not older than this, UTC"`
}

func newState(s *readstate.State) State {
	return State{
		UserID: s.UserID, GroupID: s.GroupID, UnreadCount: s.UnreadCount, ContentType: s.ContentType,
		LastReadAt: optionalTime(s.LastReadAt), Source: string(s.Source), Exact: s.Exact, Pending: s.Pending,
		Muted: s.Muted, UpdatedAt: s.UpdatedAt,
	}
}

func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// StateList is one page of states.
type StateList struct {
	Items      []State   `json:"items" nullable:"false" doc:"states, in the order asked for"`
	NextCursor string    `json:"nextCursor" doc:"pass it as cursor to get the next page; empty at the end"`
	AsOf       time.Time `json:"asOf" doc:"the answer is not older than this, UTC"`
}

// Badge is the sum over one user's groups.
type Badge struct {
	UserID             string    `json:"userID" doc:"the user"`
	UnreadCount        int64     `json:"unreadCount" minimum:"0" doc:"unread messages in all groups, muted ones included, uncapped; OpenIM's own number where exact is true, else an estimate"`
	UnreadCountUnmuted int64     `json:"unreadCountUnmuted" minimum:"0" doc:"unread messages in the groups that are not muted"`
	UnreadGroups       int64     `json:"unreadGroups" minimum:"0" doc:"groups with unread messages"`
	Groups             int64     `json:"groups" minimum:"0" doc:"groups with a known state"`
	Exact              bool      `json:"exact" doc:"whether the counts of all groups are exact"`
	Pending            bool      `json:"pending" doc:"whether OpenIM is still to be asked about one of the groups: the sums may be about to change"`
	AsOf               time.Time `json:"asOf" doc:"the answer is not older than this, UTC"`
}

func newBadge(b readstate.Badge, asOf time.Time) Badge {
	return Badge{
		UserID: b.UserID, UnreadCount: b.UnreadCount, UnreadCountUnmuted: b.UnreadCountUnmuted,
		UnreadGroups: b.UnreadGroups, Groups: b.Groups, Exact: b.Exact, Pending: b.Pending, AsOf: asOf,
	}
}

// Drift is how far counts were from OpenIM's when they were last compared.
type Drift struct {
	Users             int64      `json:"users" minimum:"0" doc:"users that are compared with OpenIM"`
	UsersChecked      int64      `json:"usersChecked" minimum:"0" doc:"of these, those that have been compared"`
	Pairs             int64      `json:"pairs" minimum:"0" doc:"counts compared, in each user's newest comparison"`
	PairsOff          int64      `json:"pairsOff" minimum:"0" doc:"of these, those that differed"`
	Repaired          int64      `json:"repaired" minimum:"0" doc:"of these, those that were repaired"`
	StaysOff          int64      `json:"staysOff" minimum:"0" doc:"of these, those that were not"`
	LargestDifference int64      `json:"largestDifference" minimum:"0" doc:"the largest difference of a count"`
	OldestCheckAt     *time.Time `json:"oldestCheckAt" nullable:"true" doc:"the oldest of these comparisons, UTC; null when there is none"`
	NewestCheckAt     *time.Time `json:"newestCheckAt" nullable:"true" doc:"the newest of these comparisons, UTC; null when there is none"`
	Items             []Off      `json:"items" nullable:"false" maxItems:"100" doc:"the first hundred of the pairs that stay off, the newest comparison first"`
	AsOf              time.Time  `json:"asOf" doc:"the answer is not older than this, UTC"`
}

// Off is a pair whose count differed from OpenIM's and was not repaired.
type Off struct {
	UserID  string `json:"userID" doc:"the user"`
	GroupID string `json:"groupID" doc:"the group"`
	// UnreadCount is null where none was known: unknown is not zero.
	UnreadCount       *int64    `json:"unreadCount" nullable:"true" minimum:"0" doc:"the count here, when OpenIM was asked; null when none was known"`
	OpenIMUnreadCount int64     `json:"openimUnreadCount" minimum:"0" doc:"the count that follows from OpenIM's answer"`
	Known             bool      `json:"known" doc:"whether a count was known here"`
	Reason            string    `json:"reason" enum:"unknown,behind,max_seq,read_seq,not_stored" doc:"why they differ"`
	Explanation       string    `json:"explanation" doc:"the reason, and what to do, in plain words"`
	CheckedAt         time.Time `json:"checkedAt" doc:"when OpenIM was asked, UTC"`
}

// NewOff gives a pair with an explanation for people.
func NewOff(o *readstate.Off, explanation string) Off {
	off := Off{
		UserID: o.UserID, GroupID: o.GroupID, OpenIMUnreadCount: o.Want, Known: o.Known, Reason: string(o.Reason),
		Explanation: explanation, CheckedAt: o.At,
	}
	if o.Known {
		off.UnreadCount = &o.UnreadCount
	}
	return off
}

// GroupSum is the sum over one group's readers.
type GroupSum struct {
	GroupID         string `json:"groupID" doc:"the group"`
	Users           int64  `json:"users" minimum:"0" doc:"users with a known state"`
	UsersWithUnread int64  `json:"usersWithUnread" minimum:"0" doc:"users with unread messages"`
	UnreadCount     int64  `json:"unreadCount" minimum:"0" doc:"unread messages of all users, uncapped; OpenIM's own number where exact is true, else an estimate"`
	MaxUnread       int64  `json:"maxUnread" minimum:"0" doc:"the largest count of one user"`
	Exact           bool   `json:"exact" doc:"whether the counts of all users are exact"`
	// LastReadAt is null when nobody is known to have read.
	LastReadAt *time.Time `json:"lastReadAt" nullable:"true" doc:"when one of the group last read, as far as known, UTC; null when never"`
	AsOf       time.Time  `json:"asOf" doc:"the answer is not older than this, UTC"`
}

func newGroupSum(s *readstate.GroupSum, asOf time.Time) GroupSum {
	return GroupSum{
		GroupID: s.GroupID, Users: s.Users, UsersWithUnread: s.UsersWithUnread, UnreadCount: s.UnreadCount, MaxUnread: s.MaxUnread, Exact: s.Exact,
		LastReadAt: optionalTime(s.LastReadAt), AsOf: asOf,
	}
}

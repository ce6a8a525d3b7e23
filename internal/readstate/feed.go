package readstate

import (
	"cmp"
	"slices"
	"strings"
)

// FeedKind is what a change of the feed tells.
type FeedKind uint8

// The kinds, in the order in which they come where they are about the same.
const (
	// FeedRemoved: nothing is served of a pair any more. Without a user it is all users of the
	// group, without a group all groups of the user.
	FeedRemoved FeedKind = iota + 1
	// FeedAdvanced: the position of a group has moved.
	FeedAdvanced
	// FeedChanged: the state of a pair may have changed.
	FeedChanged
	// FeedReminder: a user is reminded of what stays unread, by a rule. Without a group it is what
	// is unread in all groups of the user.
	FeedReminder
	// FeedResync: anything may have changed, of the user, of the group, or of all where neither is
	// named. It is to be read anew.
	FeedResync
)

// FeedKey is what a change is about, and what it tells. Changes come in the order of their keys: by
// group, user, kind and rule. What is about all groups of a user has no group and comes first, what is
// about a whole group has no user and comes before its users.
type FeedKey struct {
	GroupID, UserID string
	Kind            FeedKind
	RuleID          string // of a reminder
}

// Compare gives the order of changes.
func (k FeedKey) Compare(o FeedKey) int {
	return cmp.Or(cmp.Compare(k.GroupID, o.GroupID), cmp.Compare(k.UserID, o.UserID), cmp.Compare(k.Kind, o.Kind), cmp.Compare(k.RuleID, o.RuleID))
}

// Pair is the pair that a change is about.
func (k FeedKey) Pair() Pair { return Pair{UserID: k.UserID, GroupID: k.GroupID} }

// FeedChange is a change, and what is served at the snapshot of its page: of a pair both, of a group
// that has moved the position. A reminder has the name of its rule, and, where all groups count, the
// badge.
type FeedChange struct {
	FeedKey
	Served
	Position ServedPosition
	RuleName string
	Badge    *Badge
	// XID is the transaction that recorded a reminder; 0 for other changes, which do no harm when they are told twice.
	XID uint64
	// Erased says of a whole group that is removed that it was erased. Subscribers of single users are
	// told that, too, whether they were members or not: what says so has gone with the group.
	Erased bool
}

// FeedFilter says which changes are wanted. The zero value wants all.
type FeedFilter struct {
	// UserID and GroupID want those of one user or group. With a user, what moves a group is told as
	// a change of the user's state in it.
	UserID, GroupID string
	// Users are the only users of whom states are wanted; nil: all.
	Users map[string]bool
	// UserPrefix and GroupPrefix are bytes with which IDs begin.
	UserPrefix, GroupPrefix string
	// OnlyUsers keeps groups apart that have no user with UserPrefix: what moves a group is told as
	// changes of those users' states in it.
	OnlyUsers bool
}

// WantsUser reports whether changes of a user may be wanted.
func (f *FeedFilter) WantsUser(userID string) bool {
	return (f.UserID == "" || f.UserID == userID) && (f.Users == nil || f.Users[userID]) && strings.HasPrefix(userID, f.UserPrefix)
}

// WantsGroup reports whether changes of a group may be wanted.
func (f *FeedFilter) WantsGroup(groupID string) bool {
	return (f.GroupID == "" || f.GroupID == groupID) && strings.HasPrefix(groupID, f.GroupPrefix)
}

// WantsPositions reports whether it is told that a group has moved, and not its users' states.
func (f *FeedFilter) WantsPositions() bool { return f.UserID == "" && !f.OnlyUsers }

// FeedPage is a part of the changes between two revisions of the database.
type FeedPage struct {
	Changes []FeedChange // in the order of their keys
	// From and Next are the cursors before and behind the page.
	From, Next FeedCursor
	Large      FeedLarge // of its round
	// More says that more is there at once.
	More bool
	// Pending says of users, of whom a lookup of all groups was queued or has ended, whether one
	// waits now. Of states that were not written meanwhile no change is told.
	Pending map[string]bool
}

// CursorAfter gives the cursor behind one change of the page, which has those of its changes as
// the page's last.
func (p *FeedPage) CursorAfter(i int) FeedCursor {
	if i == len(p.Changes)-1 {
		return p.Next
	}
	next := p.Next
	if next.Until == nil { // the page is the last one up to its snapshot
		until := next.Seen
		next.Until = &until
	}
	next.Seen, next.After, next.Large = p.From.Seen, p.Changes[i].FeedKey, p.Large
	if p.Next.Until == nil { // else they are in it
		next.Own = slices.Concat(next.Own, p.From.Own) // some are still to be told
	}
	return next
}

const (
	// maxOwn is how many pairs and groups a cursor watches for own messages, at most, and maxOwnOfGroup
	// how many pairs of one group.
	maxOwn        = 64
	maxOwnOfGroup = 8
	// maxOwnBytes is how many bytes their IDs may have in all: cursors go into addresses.
	maxOwnBytes = 2048
)

// FoldOwn bounds how many pairs a cursor watches: of a group with many of them it watches all
// members, and where there are many groups, everything.
func FoldOwn(pairs []Pair) []Pair {
	byGroup := func(a, b Pair) int { return cmp.Or(cmp.Compare(a.GroupID, b.GroupID), cmp.Compare(a.UserID, b.UserID)) }
	slices.SortFunc(pairs, byGroup)
	pairs = slices.Compact(pairs)
	var folded []Pair
	for len(pairs) > 0 {
		n := 1
		for n < len(pairs) && pairs[n].GroupID == pairs[0].GroupID {
			n++
		}
		if pairs[0].UserID == "" || n > maxOwnOfGroup {
			folded = append(folded, Pair{GroupID: pairs[0].GroupID})
		} else {
			folded = append(folded, pairs[:n]...)
		}
		pairs = pairs[n:]
	}
	size := 0
	for _, pair := range folded {
		size += len(pair.GroupID) + len(pair.UserID)
	}
	if len(folded) > maxOwn || size > maxOwnBytes {
		return []Pair{{}}
	}
	return folded
}

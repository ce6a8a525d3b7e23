package readstate

import (
	"errors"
	"time"
)

var (
	// ErrReminderName says that there is a rule of a name.
	ErrReminderName = errors.New("there is a rule of this name")
	// ErrReminderRules says that there are [MaxReminderRules].
	ErrReminderRules = errors.New("there are as many rules as there may be")
	// ErrReminderAfter says that a time is none that may pass before a reminder.
	ErrReminderAfter = errors.New("is not a time in whole seconds from 1s to 720h")
)

// ReminderScope says whose messages a reminder counts.
type ReminderScope string

const (
	// ReminderGroup counts the messages of each group for themselves.
	ReminderGroup ReminderScope = "group"
	// ReminderUser counts those of all groups of a user.
	ReminderUser ReminderScope = "user"
)

const (
	// minReminderAfter and maxReminderAfter bound [ReminderRule.After], which is in whole seconds.
	minReminderAfter = time.Second
	maxReminderAfter = 30 * 24 * time.Hour
	// MaxReminderRules is how many rules there may be: each is looked at for each group that moves.
	MaxReminderRules = 100
	// minReminderPause and maxReminderPause bound the pause between two looks at one group.
	minReminderPause = time.Second
	maxReminderPause = 10 * time.Minute
	// minAskPause and maxAskPause bound the pauses after which it is looked whether OpenIM has answered.
	minAskPause = time.Second
	maxAskPause = 15 * time.Second
	// minReminderWait and maxReminderWait bound how long a reminder waits for OpenIM's word.
	minReminderWait = time.Minute
	maxReminderWait = 10 * time.Minute
)

// ReminderRule says who is reminded of what stays unread. See docs/decisions/reminders.md.
type ReminderRule struct {
	ID   ID
	Name string
	// MinUnread is how many messages have to be unread, from 1, and After for how long.
	MinUnread int64
	After     time.Duration
	// UserPrefix and GroupPrefix are bytes with which IDs begin. Where all groups of a user count,
	// only what comes in such groups has the user looked at.
	UserPrefix, GroupPrefix string
	// Repeat reminds again whenever After has passed since, without a read.
	Repeat    bool
	Scope     ReminderScope
	CreatedAt time.Time
}

// CheckReminderAfter gives [ErrReminderAfter] for a time that is no [ReminderRule.After].
func CheckReminderAfter(after time.Duration) error {
	if after < minReminderAfter || after > maxReminderAfter || after%time.Second != 0 {
		return ErrReminderAfter
	}
	return nil
}

// Pause is how long it takes from one look at a group to the next, at least: a reminder may be late
// by as much.
func (r *ReminderRule) Pause() time.Duration {
	return min(max(r.After/16, minReminderPause), maxReminderPause)
}

// Wait is how long a reminder waits for OpenIM's word, at most.
func (r *ReminderRule) Wait() time.Duration {
	return min(max(r.After/8, minReminderWait), maxReminderWait)
}

// Filter says of which users and groups the rule is.
func (r *ReminderRule) Filter() FeedFilter {
	return FeedFilter{UserPrefix: r.UserPrefix, GroupPrefix: r.GroupPrefix}
}

// Unread is what a rule looks at: the unread messages of a user in a group, or in all groups. The zero
// value has none, and is added to.
type Unread struct {
	// Count is how many messages are unread. Then is how many of them had come a time ago.
	Count, Then int64
	// Since is when the user read last, or joined the group: what is unread has been so since then
	// at the earliest. 0: that is not known. OwnSince is the same without what only OpenIM's answers
	// to our questions say.
	Since, OwnSince Moment
	// MovedAt is when something came that had not come then: 0 where nothing did.
	MovedAt Moment
	// Read is up to where the user has read, behind the base of the group, or the sum of these. It
	// tells whether OpenIM's word says that more was read than was known.
	Read int64
	// Exact says that the count is OpenIM's own; Fact that the read position is.
	Exact, Fact bool
	groups      int
}

// PastPosition is the position of a group as it was a time ago.
type PastPosition struct {
	ServedPosition
	// MovedAt is the arrival of the first event since that may have moved it; 0: there is none, and
	// it is as now.
	MovedAt Moment
}

// Add adds the messages of a group, at its position and that of before; false as in [Served.Count].
// joins says that joining the group is taken for a read.
func (u *Unread) Add(v *Served, now *ServedPosition, then *PastPosition, joins bool) bool {
	unread, exact, shown := v.Count(now)
	if !shown {
		return false
	}
	first := u.groups == 0
	u.groups++
	u.Exact, u.Fact = exact && (first || u.Exact), !v.Estimated && (first || u.Fact)
	u.Count, u.Then = add(u.Count, unread), add(u.Then, min(unread, v.unreadThen(now, then)))
	u.Read = add(u.Read, sub(v.ReadPosition(now), now.BaseSeq))
	u.OwnSince = max(u.OwnSince, v.OwnReadAt)
	if joins {
		u.OwnSince = max(u.OwnSince, v.JoinedAt)
	}
	u.Since = max(u.Since, v.LastReadAt, u.OwnSince)
	if then.MovedAt != 0 && (u.MovedAt == 0 || then.MovedAt < u.MovedAt) {
		u.MovedAt = then.MovedAt
	}
	return true
}

// unreadThen gives how many messages lie between the read position and an earlier position. Where
// seqs have begun anew since, none is known to.
func (v *Served) unreadThen(now *ServedPosition, then *PastPosition) int64 {
	if then.MovedAt == 0 {
		then = &PastPosition{ServedPosition: *now}
	}
	if then.RestartedAt != now.RestartedAt {
		return 0
	}
	number := then.Number()
	if now.HasSeq && !then.HasSeq { // it counted from zero
		number = add(number, now.BaseSeq)
	}
	if !v.Estimated && v.Capped {
		number = min(number, v.MaxSeqCap)
	}
	return max(0, sub(number, v.ReadPosition(now)))
}

// Reminded is that a user was reminded by a rule, or is to be looked at.
type Reminded struct {
	// At is when the user was reminded; 0: not yet.
	At Moment
	// AskedAt is since when OpenIM is asked about the user first; 0: it is not.
	AskedAt Moment
	// DueAt is when to look at the user again; 0: with the group.
	DueAt Moment
	// Since, Read and Exact are as in [Unread], then.
	Since Moment
	Read  int64
	Exact bool
}

// RearmedBy reports whether the user has read since. OpenIM's answer about a count that was estimated tells no
// read where it says that no more is read than was known.
func (m *Reminded) RearmedBy(u *Unread) bool {
	corrected := !m.Exact && u.Fact && u.Read <= m.Read
	return u.OwnSince > m.Since || u.Since > m.Since && !corrected
}

// Note gives what is to be remembered of a user who was not reminded yet.
func (u *Unread) Note() Reminded { return Reminded{Since: u.Since, Read: u.Read, Exact: u.Exact} }

// Remind gives what is to be remembered of a user who is reminded.
func (r *ReminderRule) Remind(u *Unread, at time.Time) Reminded {
	m := u.Note()
	m.At = MomentOf(at)
	if r.Repeat {
		m.DueAt = MomentOf(at.Add(r.After))
	}
	return m
}

// Ask gives what is to be remembered of a user about whom OpenIM is asked before, at a moment. wait is
// false when that has taken long enough. The pauses grow, since it may take long.
func (r *ReminderRule) Ask(u *Unread, before *Reminded, at time.Time) (m Reminded, first, wait bool) {
	m = u.Note()
	if before != nil && !before.RearmedBy(u) {
		m.At, m.AskedAt = before.At, before.AskedAt
		if before.AskedAt != 0 { // what was known then is what OpenIM's word is compared with
			m.Since, m.Read, m.Exact = before.Since, before.Read, before.Exact
		}
	}
	if first = m.AskedAt == 0; first {
		m.AskedAt = MomentOf(at)
	}
	waited := at.Sub(m.AskedAt.Time())
	m.DueAt = MomentOf(at.Add(min(max(waited/2, minAskPause), maxAskPause)))
	return m, first, waited < r.Wait()
}

// Again gives what is to be remembered of a user who is not to be reminded before a moment.
func (m *Reminded) Again(u *Unread, lookAt time.Time) Reminded {
	next := *m
	if m.RearmedBy(u) {
		next = u.Note()
	}
	next.AskedAt, next.DueAt = 0, MomentOf(lookAt)
	return next
}

// Judgement is what a rule says of a user.
type Judgement struct {
	// Due says that the user is to be reminded.
	Due bool
	// LookAt is when to look again, where nothing else happens; zero: not before something does.
	LookAt time.Time
	// Forget says that what was remembered of the user means nothing any more.
	Forget bool
}

// Judge says whether a user is to be reminded at a moment. u.Then is as of After before it. before is
// what is remembered of the user, nil for nothing.
func (r *ReminderRule) Judge(u *Unread, before *Reminded, now time.Time) Judgement {
	begin, rearmed := u.Since, before == nil || before.RearmedBy(u)
	if u.Count < r.MinUnread {
		return Judgement{Forget: before != nil && (rearmed || before.DueAt != 0)}
	}
	if !rearmed {
		begin = before.Since
		switch {
		case before.At != 0 && !r.Repeat:
			return Judgement{}
		case before.At != 0:
			begin = before.At
		}
	}
	switch {
	case begin > MomentOf(now.Add(-r.After)):
		return Judgement{LookAt: begin.Time().Add(r.After)}
	case u.Then < r.MinUnread:
		return Judgement{LookAt: max(begin, u.MovedAt).Time().Add(r.After)}
	default:
		return Judgement{Due: true}
	}
}

// NextLook gives the earlier of two moments at which to look at a group again, not before the pause has
// passed; zero is none.
func (r *ReminderRule) NextLook(next, at, now time.Time) time.Time {
	if at.IsZero() {
		return next
	}
	return earlier(next, later(at, now.Add(r.Pause())))
}

// ReminderLook is what one step of looking did.
type ReminderLook struct {
	Looked                   bool // false: nobody is due
	Members, Reminded, Asked int  // how many users were looked at, are reminded, and are asked about first
	Scope                    ReminderScope
	// Forgotten says that the journal does not reach back to when a group's messages came: nobody of it is
	// reminded.
	Forgotten bool
}

package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"readmark/db"
	"readmark/internal/readstate"
)

const (
	// lookedMembers is how many members of a group one step looks at, and lookedUsers how many where all
	// groups of each count.
	lookedMembers = 1000
	lookedUsers   = 200
	// askPause is after how long a group is looked at again about which OpenIM is asked first.
	askPause = time.Second
)

// Look looks at the next members of the group that has been due for longest, has those be reminded who are
// to be, and says what it did. It looked at nothing where no group is due.
func (w *ReminderWork) Look(ctx context.Context) (done readstate.ReminderLook, err error) {
	if w.stopped {
		return done, nil
	}
	now := w.at().UTC().Truncate(time.Microsecond)
	if _, err := w.queries.GetDueReminderGroup(ctx, w.reads, now); err != nil {
		if errors.Is(err, pgx.ErrNoRows) {
			return done, nil
		}
		return done, fmt.Errorf("ask which group is due: %w", translate(err))
	}
	err = w.step(ctx, "look at a group", func(tx pgx.Tx, _ *db.HoldRemindersRow) error {
		row, err := w.queries.GetDueReminderGroup(ctx, tx, now)
		if errors.Is(err, pgx.ErrNoRows) {
			done = readstate.ReminderLook{}
			return nil
		}
		if err != nil {
			return err
		}
		l := groupLook{ReminderWork: w, tx: tx, row: row, results: remindResults{}, done: readstate.ReminderLook{Looked: true}}
		l.now = now
		if row.LookedAt != nil {
			l.now = moment(row.LookedAt)
		}
		err = l.run(ctx)
		done = l.done
		return err
	})
	return done, err
}

// groupLook is one step of a look at a group.
type groupLook struct {
	*ReminderWork
	tx       pgx.Tx
	row      db.ReminderGroup
	now      time.Time // when the look began
	rule     readstate.ReminderRule
	position readstate.ServedPosition
	then     readstate.PastPosition
	next     time.Time // when to look again
	results  remindResults
	done     readstate.ReminderLook
}

// remindedMember is a member of a group, and what is remembered of the member; nil: nothing.
type remindedMember struct {
	readstate.Pair
	readstate.Served
	before *readstate.Reminded
}

func (l *groupLook) run(ctx context.Context) error {
	rules, err := l.reminderRules(ctx, l.tx)
	if err != nil {
		return err
	}
	for i := range rules {
		if l.row.RuleID.Bytes == rules[i].ID {
			l.rule = rules[i]
		}
	}
	key := db.DeleteReminderGroupParams{RuleID: l.row.RuleID, GroupID: l.row.GroupID}
	if l.rule.Name == "" { // it was deleted
		return l.queries.DeleteReminderGroup(ctx, l.tx, key)
	}
	past, err := l.loadPast(ctx)
	if err != nil || !past {
		return err
	}
	asks, err := l.askFirst(ctx)
	if err != nil || asks {
		return err
	}
	members, more, err := l.members(ctx)
	if err != nil {
		return err
	}
	l.next = moment(l.row.NextDueAt)
	judge := l.judge
	if l.rule.Scope == readstate.ReminderUser {
		if judge, err = l.judgeUsers(ctx, members); err != nil {
			return err
		}
	}
	for i := range members {
		judge(&members[i])
	}
	l.done.Members, l.done.Reminded, l.done.Scope = len(members), len(l.results.told), l.rule.Scope
	if err := l.results.write(ctx, l.ReminderWork, l.tx, &l.rule); err != nil {
		return err
	}
	switch {
	case more:
		return l.queries.SaveReminderLook(ctx, l.tx, db.SaveReminderLookParams{
			RuleID: key.RuleID, GroupID: key.GroupID, LookedAt: l.now, AfterUserID: members[len(members)-1].UserID, NextDueAt: bound(l.next),
		})
	case l.next.IsZero():
		return l.queries.DeleteReminderGroup(ctx, l.tx, key)
	default:
		return l.queries.EndReminderLook(ctx, l.tx, db.EndReminderLookParams{RuleID: key.RuleID, GroupID: key.GroupID, DueAt: l.next})
	}
}

// loadPast reads where the group is, and where it was; false where the journal does not reach back so
// far: then nobody can be reminded, and the group is looked at again later.
func (l *groupLook) loadPast(ctx context.Context) (bool, error) {
	then := l.now.Add(-l.rule.After)
	dropped, err := l.queries.GetDroppedUntil(ctx, l.tx)
	if err != nil {
		return false, err
	}
	if until := moment(dropped); then.Before(until) {
		l.done.Forgotten = true
		return false, l.queries.EndReminderLook(ctx, l.tx, db.EndReminderLookParams{
			RuleID: l.row.RuleID, GroupID: l.row.GroupID, DueAt: until.Add(l.rule.After),
		})
	}
	var queue pipeline
	if err := l.queries.ListServedPositions(ctx, &queue, []string{l.row.GroupID}); err != nil {
		return false, err
	}
	queue.decode(func(d *decoder) {
		d.text()
		l.position = d.position()
	})
	if err := queue.send(ctx, l.tx); err != nil {
		return false, err
	}
	past, err := l.pastPositions(ctx, l.tx, []string{l.row.GroupID}, then)
	l.then = past[l.row.GroupID]
	return true, err
}

// askFirst has OpenIM be asked about a group whose position is not exact, by one of its members, and
// reports whether the look waits for that.
func (l *groupLook) askFirst(ctx context.Context) (waits bool, err error) {
	now := l.at().UTC().Truncate(time.Microsecond)
	asked := moment(l.row.AskedAt)
	if !l.canLookUp || l.position.Exact() || l.row.LookedAt != nil || !asked.IsZero() && now.Sub(asked) >= l.rule.Wait() {
		return false, nil
	}
	if asked.IsZero() {
		users, err := l.queries.SomeMembers(ctx, l.tx, db.SomeMembersParams{
			GroupID: l.row.GroupID, NotUserIds: []string{}, DismissedAt: bound(l.position.DismissedAt.Time()), MaxRows: 1,
		})
		if err != nil || len(users) == 0 {
			return false, err
		}
		l.done.Asked = 1
		if err := l.ask(ctx, l.tx, []readstate.Pair{{UserID: users[0], GroupID: l.row.GroupID}}); err != nil {
			return false, err
		}
	}
	return true, l.queries.PostponeReminderGroup(ctx, l.tx, db.PostponeReminderGroupParams{
		RuleID: l.row.RuleID, GroupID: l.row.GroupID, DueAt: now.Add(askPause), AskedAt: now,
	})
}

// members reads the next members in key order, and says whether there may be more.
func (l *groupLook) members(ctx context.Context) (list []remindedMember, more bool, err error) {
	most, filter, toldGroup := lookedMembers, l.rule.Filter(), l.row.GroupID
	if l.rule.Scope == readstate.ReminderUser {
		most, toldGroup = lookedUsers, ""
	}
	list = make([]remindedMember, 0, most)
	var queue pipeline
	_, _ = queue.Exec(ctx, inKeyOrder)
	err = l.queries.ListReminderMembers(ctx, &queue, db.ListReminderMembersParams{
		RuleID: l.row.RuleID, ToldGroupID: toldGroup, GroupID: l.row.GroupID, AfterUserID: value(l.row.AfterUserID),
		FromUserID: filter.UserPrefix, ToUserID: prefixEnd(filter.UserPrefix), MaxRows: int32(most),
	})
	if err != nil {
		return nil, false, err
	}
	queue.decode(func(d *decoder) {
		list = append(list, remindedMember{readstate.Pair{UserID: d.text(), GroupID: d.text()}, d.served(), d.reminded()})
	})
	err = queue.send(ctx, l.tx)
	return list, len(list) == most, err
}

// judge looks at a member in the group. Who is to be looked at alone is not.
func (l *groupLook) judge(m *remindedMember) {
	if m.before != nil && m.before.DueAt != 0 {
		return
	}
	var unread readstate.Unread
	filter := l.rule.Filter()
	if !filter.WantsUser(m.UserID) || !unread.Add(&m.Served, &l.position, &l.then, true) {
		return
	}
	j := l.rule.Judge(&unread, m.before, l.now)
	switch {
	case j.Due:
		// About the group OpenIM was asked first.
		l.results.remind(&l.rule, m.Pair, &unread, m.before, l.now, l.canLookUp && !m.ReadExact(&l.position))
	case j.Forget:
		l.results.forget = append(l.results.forget, m.Pair)
	default:
		l.next = l.rule.NextLook(l.next, j.LookAt, l.now)
	}
}

// judgeUsers reads all groups of those members of whom that may matter: of who was not reminded and has
// unread messages here, or was and has read here since.
func (l *groupLook) judgeUsers(ctx context.Context, members []remindedMember) (judge func(*remindedMember), err error) {
	var users []string
	filter := l.rule.Filter()
	for i := range members {
		m := &members[i]
		unread, _, shown := m.Count(&l.position)
		matters := shown && unread > 0
		if m.before != nil {
			matters = m.before.DueAt == 0 && m.LastReadAt > m.before.Since
		}
		if matters && filter.WantsUser(m.UserID) {
			users = append(users, m.UserID)
		}
	}
	sums, err := l.sumUsers(ctx, l.tx, users, l.now.Add(-l.rule.After))
	if err != nil {
		return nil, err
	}
	return func(m *remindedMember) {
		unread, found := sums[m.UserID]
		if !found {
			return
		}
		pair := readstate.Pair{UserID: m.UserID}
		j := l.rule.Judge(unread, m.before, l.now)
		switch {
		case j.Due:
			l.results.remind(&l.rule, pair, unread, m.before, l.now, l.canLookUp && !unread.Exact)
		case j.Forget:
			l.results.forget = append(l.results.forget, pair)
		case j.LookAt.IsZero():
		case m.before != nil: // the read may have been the last thing in this group
			l.results.save(pair, m.before.Again(unread, j.LookAt))
		default:
			l.next = l.rule.NextLook(l.next, j.LookAt, l.now)
		}
	}, nil
}

// sumUsers gives what is unread in all groups of each of some users, and what of it was at a moment.
func (w *ReminderWork) sumUsers(ctx context.Context, tx pgx.Tx, users []string, then time.Time) (map[string]*readstate.Unread, error) {
	sums := make(map[string]*readstate.Unread, len(users))
	if len(users) == 0 {
		return sums, nil
	}
	var states []readstate.ServedState
	reading, err := w.serving(ctx, tx)
	if err == nil {
		err = reading.askUsers(ctx, users, maxRows, &states)
	}
	if err == nil {
		err = reading.send(ctx, tx, "")
	}
	if err != nil {
		return nil, err
	}
	moved := map[string]bool{}
	since := readstate.MomentOf(then.Add(-clockMargin))
	for i := range states {
		if s := &states[i]; s.Position.UpdatedAt >= since {
			moved[s.GroupID] = true
		}
	}
	past, err := w.pastPositions(ctx, tx, sortedKeys(moved), then)
	if err != nil {
		return nil, err
	}
	for i := range states {
		s := &states[i]
		if sums[s.UserID] == nil {
			sums[s.UserID] = &readstate.Unread{}
		}
		was := past[s.GroupID]
		sums[s.UserID].Add(&s.Served, &s.Position, &was, false)
	}
	return sums, nil
}

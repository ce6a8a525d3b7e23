package store

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"

	"readmark/db"
	"readmark/internal/readstate"
)

// remindedUsers is of how many users one page tells the badge.
const remindedUsers = 50

// reminding is what the reminders of a page are told from.
type reminding struct {
	rules  map[string]readstate.ReminderRule
	known  map[readstate.FeedKey]readstate.Reminded
	states []readstate.ServedState // of users of whom all groups count, in key order
}

// of gives the states of a user.
func (r *reminding) of(userID string) []readstate.ServedState {
	from, _ := slices.BinarySearchFunc(r.states, userID, func(s readstate.ServedState, userID string) int { return strings.Compare(s.UserID, userID) })
	to := from
	for to < len(r.states) && r.states[to].UserID == userID {
		to++
	}
	return r.states[from:to]
}

// recordedReminder is the latest that the rows of a page have of a reminder.
type recordedReminder struct {
	at  readstate.Moment
	xid uint64
}

// takeReminders takes who was reminded, as far as it is wanted. What counts all groups of a user is not
// for who wants some groups only.
func (r *feedRound) takeReminders(row *db.ListChangesRow) {
	xid := uint64(value(row.Xid)) //nolint:gosec // transactions count from 0
	if r.since.Reminded.Told(xid, row.RecordedAt) {
		return
	}
	for i, userID := range row.ReminderUserIds {
		pair := readstate.Pair{UserID: userID, GroupID: row.ReminderGroupIds[i]}
		wanted := r.wants(pair)
		if pair.GroupID == "" {
			wanted = r.filter.WantsUser(userID) && r.filter.GroupID == "" && r.filter.GroupPrefix == ""
		}
		if wanted {
			key := reminderKey(pair, row.ReminderRuleID)
			if at := momentOf(row.ReminderToldAt); at > r.reminders[key].at {
				r.reminders[key] = recordedReminder{at, xid}
			}
		}
	}
}

// reminds reports whether rows tell reminders, of any rule, prefix or group.
func reminds(rows []db.ListChangesRow) bool {
	return slices.ContainsFunc(rows, func(row db.ListChangesRow) bool { return row.ReminderRuleID.Valid })
}

func reminderKey(pair readstate.Pair, ruleID pgtype.UUID) readstate.FeedKey {
	return readstate.FeedKey{GroupID: pair.GroupID, UserID: pair.UserID, Kind: readstate.FeedReminder, RuleID: ruleText(ruleID.Bytes)}
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// mostSingles is how many of the singles may be told of, by users of whom all groups are read: they come
// first in the order of keys.
func (t *telling) mostSingles() int {
	if len(t.singles) > remindedUsers && t.singles[remindedUsers].GroupID == "" {
		return remindedUsers
	}
	return math.MaxInt
}

// loadReminders queues reading what the reminders of the page are told from.
func (t *telling) loadReminders(ctx context.Context, reading *serving) error {
	if len(t.reminders) == 0 {
		return nil
	}
	t.reminding = reminding{
		rules: map[string]readstate.ReminderRule{}, known: map[readstate.FeedKey]readstate.Reminded{},
	}
	here := make(map[readstate.Pair]bool, len(t.singles))
	var users []string
	for _, pair := range t.singles {
		here[pair] = true
		if pair.UserID != "" && pair.GroupID == "" {
			users = append(users, pair.UserID)
		}
	}
	var params db.ListRemindersParams
	for key := range t.reminders {
		if here[key.Pair()] {
			params.UserIDs, params.GroupIDs = append(params.UserIDs, key.UserID), append(params.GroupIDs, key.GroupID)
			params.RuleIds = append(params.RuleIds, pgtype.UUID{Bytes: uuid.MustParse(key.RuleID), Valid: true})
		}
	}
	reading.queue.ask(func(conn db.DBTX) error {
		rules, err := t.reminderRules(ctx, conn)
		for i := range rules {
			t.reminding.rules[ruleText(rules[i].ID)] = rules[i]
		}
		return err
	})
	reading.queue.ask(func(conn db.DBTX) error {
		rows, err := t.queries.ListReminders(ctx, conn, params)
		for i := range rows {
			pair := readstate.Pair{UserID: rows[i].UserID, GroupID: rows[i].GroupID}
			t.reminding.known[reminderKey(pair, rows[i].RuleID)] = reminded(&rows[i])
		}
		return err
	})
	if len(users) == 0 {
		return nil
	}
	return reading.askUsers(ctx, users, math.MaxInt32, &t.reminding.states)
}

// tellReminders tells who is still to be reminded: whoever has read since, is gone or was erased is
// not, nor by a rule that was deleted. A reminder that another one has followed is left to that one's row.
func (t *telling) tellReminders() {
	for key, recorded := range t.reminders {
		rule, found := t.reminding.rules[key.RuleID]
		before, told := t.reminding.known[key]
		if !found || !told || before.At != recorded.at {
			continue
		}
		change := readstate.FeedChange{FeedKey: key, RuleName: rule.Name, XID: recorded.xid}
		var unread readstate.Unread
		if key.GroupID != "" {
			state := t.known[key.Pair()]
			change.Served, change.Position = state.Served, state.Position
			unread.Add(&state.Served, &state.Position, &readstate.PastPosition{}, true)
		} else {
			change.Badge = &readstate.Badge{UserID: key.UserID}
			states := t.reminding.of(key.UserID)
			for i := range states {
				change.Badge.Add(&states[i].Served, &states[i].Position)
				unread.Add(&states[i].Served, &states[i].Position, &readstate.PastPosition{}, false)
			}
		}
		if unread.Count >= rule.MinUnread && !before.RearmedBy(&unread) {
			t.add(&change)
		}
	}
}

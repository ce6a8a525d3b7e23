package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"readmark/db"
	"readmark/internal/readstate"
)

const (
	// remindedAlone is how many users one step looks at alone.
	remindedAlone = 500
	maxRows       = math.MaxInt32
)

// remindResults is what a step has found: who is reminded, what is remembered beside, and who OpenIM is
// asked about.
type remindResults struct {
	told, forget, asked []readstate.Pair
	toldAt              time.Time // one moment for all: that of the look
	saved               []readstate.Pair
	notes               []readstate.Reminded // of saved
}

func (r *remindResults) save(pair readstate.Pair, m readstate.Reminded) {
	r.saved, r.notes = append(r.saved, pair), append(r.notes, m)
}

// remind has a user be reminded. Where the count is not exact OpenIM is asked first, for a while.
func (r *remindResults) remind(
	rule *readstate.ReminderRule, pair readstate.Pair, unread *readstate.Unread, before *readstate.Reminded, at time.Time, ask bool,
) {
	if ask {
		if m, first, wait := rule.Ask(unread, before, at); wait {
			if first {
				r.asked = append(r.asked, pair)
			}
			r.save(pair, m)
			return
		}
	}
	r.told, r.toldAt = append(r.told, pair), at
	r.save(pair, rule.Remind(unread, at))
}

// write writes it: what is remembered of who is reminded, and the change that tells it, at once.
func (r *remindResults) write(ctx context.Context, w *ReminderWork, tx pgx.Tx, rule *readstate.ReminderRule) error {
	var queue pipeline
	id := identity(rule.ID)
	if len(r.forget) > 0 {
		users, groups := splitPairs(r.forget)
		if err := w.queries.DeleteReminders(ctx, &queue, db.DeleteRemindersParams{RuleID: id, UserIDs: users, GroupIDs: groups}); err != nil {
			return err
		}
	}
	if len(r.saved) > 0 {
		if err := w.queries.SaveReminders(ctx, &queue, r.params(id)); err != nil {
			return err
		}
	}
	if len(r.told) > 0 {
		users, groups := splitPairs(r.told)
		err := w.queries.InsertReminderChange(ctx, &queue, db.InsertReminderChangeParams{RecordedAt: w.recordedAt(), RuleID: id, UserIDs: users, GroupIDs: groups, ToldAt: r.toldAt})
		if err != nil {
			return err
		}
	}
	if err := queue.send(ctx, tx); err != nil {
		return err
	}
	return w.ask(ctx, tx, r.asked)
}

func (r *remindResults) params(ruleID pgtype.UUID) db.SaveRemindersParams {
	p := db.SaveRemindersParams{RuleID: ruleID}
	p.UserIDs, p.GroupIDs = splitPairs(r.saved)
	for i := range r.notes {
		m := &r.notes[i]
		p.ToldAts, p.UnreadSinces = append(p.ToldAts, bound(m.At.Time())), append(p.UnreadSinces, bound(m.Since.Time()))
		p.ReadPositions, p.Exacts = append(p.ReadPositions, m.Read), append(p.Exacts, m.Exact)
		p.AskedAts, p.DueAts = append(p.AskedAts, bound(m.AskedAt.Time())), append(p.DueAts, bound(m.DueAt.Time()))
	}
	return p
}

func splitPairs(pairs []readstate.Pair) (users, groups []string) {
	for _, pair := range pairs {
		users, groups = append(users, pair.UserID), append(groups, pair.GroupID)
	}
	return users, groups
}

// ask queues lookups, as [Store.EnqueueLookups] does, but for those that somebody waits for.
func (w *ReminderWork) ask(ctx context.Context, tx pgx.Tx, pairs []readstate.Pair) error {
	if len(pairs) == 0 {
		return nil
	}
	trusted, err := w.filterTrusted(ctx, tx, pairs)
	if err != nil {
		return err
	}
	now := w.recordedAt()
	var change readstate.Change
	lookups := make([]readstate.Lookup, len(trusted))
	for i, pair := range trusted {
		lookups[i] = readstate.Lookup{Pair: pair, DueAt: now}
	}
	change.AddLookups(lookups)
	return errors.Join(w.enqueueLookups(ctx, tx, lookups, now), w.insertChange(ctx, tx, &change, now))
}

// LookAlone looks at users who are due alone, since OpenIM is asked about them or they are reminded again. It
// looked at nobody where none is due.
func (w *ReminderWork) LookAlone(ctx context.Context) (done readstate.ReminderLook, err error) {
	if w.stopped {
		return done, nil
	}
	now := w.at().UTC().Truncate(time.Microsecond)
	due, err := w.queries.ListDueReminders(ctx, w.reads, db.ListDueRemindersParams{Moment: now, MaxRows: 1})
	if err != nil {
		return done, fmt.Errorf("ask who is due: %w", translate(err))
	}
	if len(due) == 0 {
		return done, nil
	}
	err = w.step(ctx, "look at users", func(tx pgx.Tx, _ *db.HoldRemindersRow) error {
		done = readstate.ReminderLook{}
		rows, err := w.queries.ListDueReminders(ctx, tx, db.ListDueRemindersParams{Moment: now, MaxRows: remindedAlone})
		if err != nil || len(rows) == 0 {
			return err
		}
		rules, err := w.reminderRules(ctx, tx)
		if err != nil {
			return err
		}
		ruleID := rows[0].RuleID // one rule after the other
		rule := readstate.ReminderRule{ID: ruleID.Bytes}
		for i := range rules {
			if rules[i].ID == rule.ID {
				rule = rules[i]
			}
		}
		before := map[readstate.Pair]readstate.Reminded{}
		for i := range rows {
			if rows[i].RuleID == ruleID {
				before[readstate.Pair{UserID: rows[i].UserID, GroupID: rows[i].GroupID}] = reminded(&rows[i])
			}
		}
		results, err := w.lookAlone(ctx, tx, &rule, before, now)
		if err != nil {
			return err
		}
		done = readstate.ReminderLook{Looked: true, Members: len(before), Reminded: len(results.told), Asked: len(results.asked), Scope: rule.Scope}
		return results.write(ctx, w, tx, &rule)
	})
	return done, err
}

// lookAlone looks at what a rule remembers of users. Of a rule that was deleted all is forgotten.
func (w *ReminderWork) lookAlone(
	ctx context.Context, tx pgx.Tx, rule *readstate.ReminderRule, before map[readstate.Pair]readstate.Reminded, now time.Time,
) (results remindResults, err error) {
	unread, asks := map[readstate.Pair]*readstate.Unread{}, map[readstate.Pair]bool{}
	then := now.Add(-rule.After)
	switch {
	case rule.Name == "":
	case rule.Scope == readstate.ReminderUser:
		var users []string
		for pair := range before {
			users = append(users, pair.UserID)
		}
		sums, err := w.sumUsers(ctx, tx, users, then)
		if err != nil {
			return results, err
		}
		for userID, sum := range sums {
			pair := readstate.Pair{UserID: userID}
			unread[pair], asks[pair] = sum, w.canLookUp && !sum.Exact
		}
	default:
		if err := w.loadAlone(ctx, tx, before, then, unread, asks); err != nil {
			return results, err
		}
	}
	for pair, m := range before {
		u, found := unread[pair]
		if !found { // who has left, or was erased
			results.forget = append(results.forget, pair)
			continue
		}
		switch j := rule.Judge(u, &m, now); {
		case j.Due:
			results.remind(rule, pair, u, &m, now, asks[pair])
		case j.LookAt.IsZero():
			results.forget = append(results.forget, pair)
		default:
			results.save(pair, m.Again(u, rule.NextLook(time.Time{}, j.LookAt, now)))
		}
	}
	return results, nil
}

// loadAlone reads what is unread of pairs, and whether OpenIM is to be asked about them.
func (w *ReminderWork) loadAlone(
	ctx context.Context, tx pgx.Tx, pairs map[readstate.Pair]readstate.Reminded, then time.Time,
	unread map[readstate.Pair]*readstate.Unread, asks map[readstate.Pair]bool,
) error {
	list := make([]readstate.Pair, 0, len(pairs))
	groups := map[string]bool{}
	for pair := range pairs {
		list = append(list, pair)
		groups[pair.GroupID] = true
	}
	var states []readstate.ServedState
	reading, err := w.serving(ctx, tx)
	if err == nil {
		err = reading.askPairs(ctx, list, &states)
	}
	if err == nil {
		err = reading.send(ctx, tx, "")
	}
	if err != nil {
		return err
	}
	past, err := w.pastPositions(ctx, tx, sortedKeys(groups), then)
	if err != nil {
		return err
	}
	for i := range states {
		s, was, u := &states[i], past[states[i].GroupID], &readstate.Unread{}
		if u.Add(&s.Served, &s.Position, &was, true) {
			// About the group itself OpenIM was asked with the first of the members.
			inexact := !s.ReadExact(&s.Position) || pairs[s.Pair].AskedAt != 0 && !u.Exact
			unread[s.Pair], asks[s.Pair] = u, w.canLookUp && inexact
		}
	}
	return nil
}

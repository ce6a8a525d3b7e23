package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"readmark/db"
	"readmark/internal/readstate"
)

const (
	// cursorInterval is how often the place in changes is stored while nothing follows from them.
	cursorInterval = 10 * time.Second
	// walkedGroups is how many groups one step looks up where any may have moved.
	walkedGroups = 200
	// clockMargin is what the clocks of processes may differ by.
	clockMargin = time.Minute
	// purgedRows is how many rows of a deleted rule one step deletes.
	purgedRows = 5000
)

// ReminderWork is the work of the process that reminds, in steps. Each step is a transaction, which goes on
// where the one before has ended, whoever did it. It is used by one goroutine.
type ReminderWork struct {
	leasedWork[db.HoldRemindersRow] // its clock is that by which the rules go, too

	// cursor is the place in changes, nil where it is to be read. followed is its moment.
	cursor   *readstate.FeedCursor
	followed time.Time
	savedAt  time.Time
	walking  bool // some groups are still to be looked up
	stopped  bool // there is no rule, and nothing is followed
}

// ReminderWork returns the work, by a clock.
func (s *Store) ReminderWork(now func() time.Time) *ReminderWork {
	w := &ReminderWork{leasedWork: newLeasedWork(s, "reminders", now, leaseQueries[db.HoldRemindersRow]{
		take: s.queries.LeaseReminders, hold: s.queries.HoldReminders, release: s.queries.ReleaseReminders,
	})}
	w.forgotten = func() { w.cursor, w.stopped = nil, false }
	return w
}

// Follow reads what has changed, has the groups be looked at when a rule may be due in them, and reports whether
// there is more at once. Without a rule it does nothing.
func (w *ReminderWork) Follow(ctx context.Context) (more bool, err error) {
	rules, err := w.ReminderRules(ctx)
	if err != nil {
		return false, err
	}
	if len(rules) == 0 && w.stopped {
		return false, nil
	}
	if len(rules) == 0 || w.cursor == nil {
		if err := w.begin(ctx); err != nil || w.cursor == nil {
			return false, err
		}
	}
	round, err := w.feedPage(ctx, feedRound{Store: w.Store, since: w.cursor, limit: 1, onlyNames: true})
	if errors.Is(err, readstate.ErrGone) {
		return true, w.beginAnew(ctx)
	}
	if err != nil {
		return false, err
	}
	if groups := round.movedGroups(); len(groups) > 0 || len(round.users) > 0 || round.everything {
		err = w.schedule(ctx, &round, groups)
	} else {
		w.cursor, w.followed = &round.page.Next, round.began
		if w.at().Sub(w.savedAt) >= cursorInterval {
			err = w.step(ctx, "follow changes", func(tx pgx.Tx, _ *db.HoldRemindersRow) error { return w.saveCursor(ctx, tx) })
		}
	}
	if err != nil {
		return false, err
	}
	return round.page.More, nil
}

// begin reads the place that is stored. Without a rule there is none.
func (w *ReminderWork) begin(ctx context.Context) error {
	return w.step(ctx, "begin reminders", func(tx pgx.Tx, held *db.HoldRemindersRow) error {
		w.cursor = nil
		rules, err := w.reminderRules(ctx, tx)
		w.stopped = err == nil && len(rules) == 0
		switch {
		case err != nil:
			return err
		case w.stopped:
			return w.queries.StopReminders(ctx, tx)
		case held.FeedCursor == nil:
			return nil
		}
		cursor, err := readstate.ParseFeedCursor(*held.FeedCursor)
		if err != nil {
			return err
		}
		w.cursor, w.followed, w.walking = &cursor, moment(held.FollowedUntil), held.WalkSince != nil
		return nil
	})
}

// beginAnew goes on from now where changes are not kept any more: any group may have moved since.
func (w *ReminderWork) beginAnew(ctx context.Context) error {
	since := w.followed
	now := w.recordedAt()
	page, err := w.Changes(ctx, nil, readstate.FeedFilter{}, 1)
	if err != nil {
		return err
	}
	return w.step(ctx, "begin reminders anew", func(tx pgx.Tx, held *db.HoldRemindersRow) error {
		w.cursor, w.followed = &page.Next, now
		return errors.Join(w.saveWalk(ctx, tx, held, since), w.saveCursor(ctx, tx))
	})
}

func (w *ReminderWork) saveCursor(ctx context.Context, tx pgx.Tx) error {
	w.savedAt = w.at()
	return w.queries.SaveReminderCursor(ctx, tx, db.SaveReminderCursorParams{FeedCursor: w.cursor.String(), FollowedUntil: w.followed})
}

// saveWalk has all groups be looked up that may have moved since a moment.
func (w *ReminderWork) saveWalk(ctx context.Context, tx pgx.Tx, held *db.HoldRemindersRow, since time.Time) error {
	if under := moment(held.WalkSince); !under.IsZero() && under.Before(since) {
		since = under
	}
	w.walking = true
	return w.queries.SaveReminderWalk(ctx, tx, db.SaveReminderWalkParams{WalkSince: &since, WalkAfterGroupID: new("")})
}

// movedGroups are the groups that rows of changes name.
func (r *feedRound) movedGroups() []string {
	all := map[string]bool{}
	for pair := range r.pairs {
		all[pair.GroupID] = true
	}
	for _, set := range []map[string]bool{r.positions, r.rebased, r.groups} {
		for groupID := range set {
			all[groupID] = true
		}
	}
	return sortedKeys(all)
}

// schedule has groups be looked at that have moved.
func (w *ReminderWork) schedule(ctx context.Context, round *feedRound, groups []string) error {
	return w.step(ctx, "follow changes", func(tx pgx.Tx, held *db.HoldRemindersRow) error {
		if len(round.users) > 0 {
			more, err := w.queries.ListGroupIDsOfUsers(ctx, tx, sortedKeys(round.users))
			if err != nil {
				return err
			}
			groups = append(groups, more...)
		}
		// By a clock that was ahead it was written later than now.
		if err := w.scheduleGroups(ctx, tx, groups, earliest(round.began, w.at())); err != nil {
			return err
		}
		if round.everything {
			if err := w.saveWalk(ctx, tx, held, round.began); err != nil {
				return err
			}
		}
		w.cursor, w.followed = &round.page.Next, round.began
		return w.saveCursor(ctx, tx)
	})
}

// scheduleGroups has groups be looked at when rules may be due in them, since something came at a moment.
func (w *ReminderWork) scheduleGroups(ctx context.Context, tx pgx.Tx, groups []string, at time.Time) error {
	rules, err := w.reminderRules(ctx, tx)
	if err != nil {
		return err
	}
	for i := range rules {
		theirs := slices.DeleteFunc(slices.Clone(groups), func(groupID string) bool { return !strings.HasPrefix(groupID, rules[i].GroupPrefix) })
		if len(theirs) == 0 {
			continue
		}
		err := w.queries.ScheduleReminderGroups(ctx, tx, db.ScheduleReminderGroupsParams{
			RuleID: identity(rules[i].ID), GroupIDs: theirs, DueAt: at.Add(rules[i].After),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Walk looks up the next groups where any may have moved, and reports whether there is more to do.
func (w *ReminderWork) Walk(ctx context.Context) (more bool, err error) {
	if !w.walking {
		return false, nil
	}
	err = w.step(ctx, "look up groups that have moved", func(tx pgx.Tx, held *db.HoldRemindersRow) error {
		w.walking = held.WalkSince != nil
		if !w.walking {
			return nil
		}
		groups, err := w.listGroupIDs(ctx, tx, value(held.WalkAfterGroupID), walkedGroups)
		if err != nil {
			return err
		}
		moved, err := w.queries.ListWrittenGroups(ctx, tx, db.ListWrittenGroupsParams{GroupIDs: groups, Since: held.WalkSince.Add(-clockMargin)})
		if err != nil {
			return err
		}
		if err := w.scheduleGroups(ctx, tx, moved, moment(held.WalkSince)); err != nil {
			return err
		}
		next := db.SaveReminderWalkParams{}
		if len(groups) == walkedGroups {
			next = db.SaveReminderWalkParams{WalkSince: held.WalkSince, WalkAfterGroupID: &groups[len(groups)-1]}
		}
		w.walking = next.WalkSince != nil
		return w.queries.SaveReminderWalk(ctx, tx, next)
	})
	return w.walking && err == nil, err
}

// Purge deletes some of what deleted rules have left, and reports whether there is more to do.
func (w *ReminderWork) Purge(ctx context.Context) (more bool, err error) {
	deleted, err := w.queries.ListDeletedReminderRules(ctx, w.pool)
	if err != nil {
		return false, fmt.Errorf("list deleted reminder rules: %w", translate(err))
	}
	if len(deleted) == 0 {
		return false, nil
	}
	err = w.step(ctx, "purge reminders", func(tx pgx.Tx, _ *db.HoldRemindersRow) error {
		groups, err := w.queries.PurgeReminderGroups(ctx, tx, db.PurgeReminderGroupsParams{RuleID: deleted[0], MaxRows: purgedRows})
		if err != nil {
			return err
		}
		users, err := w.queries.PurgeReminders(ctx, tx, db.PurgeRemindersParams{RuleID: deleted[0], MaxRows: purgedRows})
		if err != nil || groups+users > 0 {
			return err
		}
		return w.queries.ForgetReminderRule(ctx, tx, deleted[0])
	})
	return err == nil, err
}

// Overdue gives for how long the group has waited that is due for longest; 0: none is.
func (w *ReminderWork) Overdue(ctx context.Context) (time.Duration, error) {
	if w.stopped {
		return 0, nil
	}
	now := w.at()
	since, err := w.queries.GetRemindersOverdue(ctx, w.reads, now)
	if err != nil {
		return 0, fmt.Errorf("ask which reminders are due: %w", translate(err))
	}
	if since == nil {
		return 0, nil
	}
	return now.Sub(*since), nil
}

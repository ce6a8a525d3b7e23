package cli

import (
	"context"
	"time"

	"readmark/internal/condition"
	"readmark/internal/store"
)

// lateReminders is for how long a group may wait to be looked at before doctor says that nobody looks.
const lateReminders = 10 * time.Minute

// reportReminders notes whether reminders wait. That the database is away is told as such.
func (v *service) reportReminders(err error) {
	switch {
	case err == nil:
		v.board.Clear(condition.Reminders)
	case !isAway(err):
		v.board.Report(condition.Reminders, condition.Failed, "reminders wait: a step failed, and is tried again: "+oneLine(err.Error()))
	}
}

// reminders says whether somebody reminds.
func (d *doctor) reminders(ctx context.Context, s *store.Store) {
	const topic = string(condition.Reminders)
	rules, err := s.ReminderRules(ctx)
	var overdue time.Duration
	if err == nil {
		overdue, err = s.ReminderWork(s.Clock().Now).Overdue(ctx)
	}
	switch {
	case err != nil:
		d.ill(topic, "%v", err)
	case len(rules) == 0:
		d.well(topic, "there are no rules")
	case overdue > lateReminders:
		d.ill(topic, "a group waits since %s to be looked at: the log of readmark serve says why, and readmark_reminder_failures_total", overdue.Round(time.Second))
	default:
		d.well(topic, "rules: %d, and no group waits", len(rules))
	}
}

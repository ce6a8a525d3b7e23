package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"readmark/db"
	"readmark/internal/readstate"
)

// AddReminderRule keeps a new rule, which counts what comes from now on. It fails with
// [readstate.ErrReminderName] and [readstate.ErrReminderRules].
func (s *Store) AddReminderRule(ctx context.Context, rule readstate.ReminderRule) error {
	page, err := s.Changes(ctx, nil, readstate.FeedFilter{}, 1) // before the rule is there, so that nothing is missed
	if err != nil {
		return fmt.Errorf("add reminder rule: %w", err)
	}
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if err := s.queries.LockReminderRules(ctx, tx); err != nil {
			return err
		}
		rules, err := s.reminderRules(ctx, tx)
		if err != nil {
			return err
		}
		if len(rules) >= readstate.MaxReminderRules {
			return readstate.ErrReminderRules
		}
		err = s.queries.InsertReminderRule(ctx, tx, db.InsertReminderRuleParams{
			ID: identity(rule.ID), Name: rule.Name, MinUnread: rule.MinUnread, AfterSeconds: int64(rule.After / time.Second),
			UserPrefix: rule.UserPrefix, GroupPrefix: rule.GroupPrefix, Repeat: rule.Repeat, Scope: db.ReminderScope(rule.Scope), CreatedAt: rule.CreatedAt,
		})
		if err != nil {
			return err
		}
		return s.queries.StartReminders(ctx, tx, db.StartRemindersParams{FeedCursor: page.Next.String(), FollowedUntil: s.recordedAt()})
	})
	var answered *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, readstate.ErrReminderRules):
		return fmt.Errorf("add reminder rule: %w", err)
	case errors.As(err, &answered) && answered.ConstraintName == "reminder_rules_name_idx":
		return fmt.Errorf("add reminder rule: %w", readstate.ErrReminderName)
	default:
		return fmt.Errorf("add reminder rule: %w", translate(err))
	}
}

// ReminderRules lists all rules, the oldest first.
func (s *Store) ReminderRules(ctx context.Context) (rules []readstate.ReminderRule, err error) {
	err = s.read(ctx, func(ctx context.Context) error {
		rules, err = s.reminderRules(ctx, s.reads)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list reminder rules: %w", translate(err))
	}
	return rules, nil
}

// reminderRules reads all rules; consumers of the feed see their names.
func (r *Reader) reminderRules(ctx context.Context, conn db.DBTX) ([]readstate.ReminderRule, error) {
	rows, err := r.queries.ListReminderRules(ctx, conn)
	rules := make([]readstate.ReminderRule, len(rows))
	for i, row := range rows {
		rules[i] = readstate.ReminderRule{
			ID: row.ID.Bytes, Name: row.Name, MinUnread: row.MinUnread, After: time.Duration(row.AfterSeconds) * time.Second,
			UserPrefix: row.UserPrefix, GroupPrefix: row.GroupPrefix, Repeat: row.Repeat, Scope: readstate.ReminderScope(row.Scope),
			CreatedAt: row.CreatedAt.UTC(),
		}
	}
	return rules, err
}

// ruleText is how changes name a rule.
func ruleText(id readstate.ID) string { return uuid.UUID(id).String() }

// DeleteReminderRule deletes a rule, or gives [readstate.ErrUnknown]. It reminds nobody from then on, and
// reminders that were not told yet are not.
func (s *Store) DeleteReminderRule(ctx context.Context, id readstate.ID) error {
	deleted, err := s.queries.DeleteReminderRule(ctx, s.pool, db.DeleteReminderRuleParams{ID: identity(id), DeletedAt: s.recordedAt()})
	if err != nil {
		return fmt.Errorf("delete reminder rule: %w", translate(err))
	}
	if deleted == 0 {
		return fmt.Errorf("delete reminder rule: %w", readstate.ErrUnknown)
	}
	return nil
}

// reminded gives what a row remembers.
func reminded(row *db.Reminder) readstate.Reminded {
	return readstate.Reminded{
		At: momentOf(row.ToldAt), AskedAt: momentOf(row.AskedAt), DueAt: momentOf(row.DueAt), Since: momentOf(row.UnreadSince),
		Read: row.ReadPosition, Exact: row.Exact,
	}
}

func momentOf(t *time.Time) readstate.Moment { return readstate.MomentOf(moment(t)) }

// reminded reads the columns of a row of reminders behind others; nil: there is none.
func (d *decoder) reminded() *readstate.Reminded {
	there := d.bool()
	m := readstate.Reminded{At: d.moment(), Since: d.moment(), Read: d.int64(), Exact: d.bool(), AskedAt: d.moment(), DueAt: d.moment()}
	if !there {
		return nil
	}
	return &m
}

// pastPositions gives where groups were at a moment, as the journal tells. Groups that nothing has moved since are
// not in it.
func (s *Store) pastPositions(ctx context.Context, tx pgx.Tx, groupIDs []string, at time.Time) (map[string]readstate.PastPosition, error) {
	past := map[string]readstate.PastPosition{}
	if len(groupIDs) == 0 {
		return past, nil
	}
	moves, err := s.firstMoves(ctx, tx, groupIDs, slices.Repeat([]time.Time{at}, len(groupIDs)))
	for i := range moves {
		moved := &moves[i]
		past[moved.GroupID] = readstate.PastPosition{ServedPosition: moved.Checkpoint.Serve(), MovedAt: readstate.MomentOf(moved.At)}
	}
	return past, err
}

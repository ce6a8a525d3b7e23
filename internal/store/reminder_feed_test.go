package store_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
)

// The feed tells a reminder beside the change of the state, in pages of any size, to who may see it.
func TestFeedTellsReminders(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	r := newRemindTest(t, open(t, url))
	group := r.rule(nil)
	second := r.rule(nil)
	user := r.rule(func(rule *readstate.ReminderRule) { rule.Scope = readstate.ReminderUser })
	for _, g := range []string{"a1", "a2", "b1"} {
		r.seq = 0
		r.joined(g, "ua", "ub")
		r.message(g)
	}
	r.pass(after + time.Second)
	since := r.cursor
	r.run()
	for name, test := range map[string]struct {
		filter readstate.FeedFilter
		want   int
	}{
		"all":          {readstate.FeedFilter{}, 2*3*2 + 2},
		"user":         {readstate.FeedFilter{UserID: "ua"}, 3*2 + 1},
		"users":        {readstate.FeedFilter{UserPrefix: "ub", OnlyUsers: true}, 3*2 + 1},
		"groups":       {readstate.FeedFilter{GroupPrefix: "a"}, 2 * 2 * 2},
		"group":        {readstate.FeedFilter{GroupID: "b1"}, 2 * 2},
		"pair":         {readstate.FeedFilter{UserID: "ua", GroupID: "b1"}, 2},
		"nobody":       {readstate.FeedFilter{UserPrefix: "x", OnlyUsers: true}, 0},
		"several":      {readstate.FeedFilter{Users: map[string]bool{"ua": true}}, 3*2 + 1},
		"other groups": {readstate.FeedFilter{GroupPrefix: "c"}, 0},
	} {
		for _, limit := range []int{1, 3, 1000} {
			keys := map[readstate.FeedKey]bool{}
			for cursor, more := since, true; more; {
				page, err := r.Changes(t.Context(), cursor, test.filter, limit)
				require.NoError(t, err)
				for i := range page.Changes {
					c := &page.Changes[i]
					if i > 0 {
						require.Negative(t, page.Changes[i-1].Compare(c.FeedKey))
					}
					if c.Kind != readstate.FeedReminder {
						continue
					}
					require.False(t, keys[c.FeedKey], "%s %d: %v comes twice", name, limit, c.FeedKey)
					keys[c.FeedKey] = true
					switch c.RuleID {
					case uuid.UUID(user.ID).String():
						require.Equal(t, user.Name, c.RuleName)
						require.Empty(t, c.GroupID)
						require.EqualValues(t, 3, c.Badge.UnreadCount)
					case uuid.UUID(group.ID).String(), uuid.UUID(second.ID).String():
						require.NotEmpty(t, c.GroupID)
						require.Nil(t, c.Badge)
					default:
						t.Fatal(c)
					}
				}
				next, err := readstate.ParseFeedCursor(page.Next.String())
				require.NoError(t, err)
				cursor, more = &next, page.More
			}
			require.Len(t, keys, test.want, "%s %d", name, limit)
		}
	}
	// What tells that anything may have changed takes no reminder with it.
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	_, err = conn.Exec(t.Context(), "INSERT INTO changes (recorded_at, everything) VALUES (now(), true)")
	require.NoError(t, err)
	require.Len(t, r.reminders(), 14)
	require.NoError(t, r.DeleteReminderRule(t.Context(), second.ID))
	r.cursor = since
	require.Len(t, r.reminders(), 8)
}

// Rules have names of their own, and there are so many of them.
// Whoever comes after a second reminder of the same is told it once, also where pages end between the two.
func TestReminderIsFollowedByAnother(t *testing.T) {
	t.Parallel()
	r := newRemindTest(t, open(t, pgtest.New(t)))
	r.rule(nil)
	rule := r.rule(func(rule *readstate.ReminderRule) { rule.Scope, rule.Repeat = readstate.ReminderUser, true })
	late := *r
	r.joined("g", "u")
	r.message("g")
	r.pass(after + time.Second)
	r.expect("u: 1 in all, exact true", "u in g: 1, exact true")
	r.read("g", r.seq, "u")
	r.message("g")
	r.pass(after + time.Second)
	r.expect("u: 1 in all, exact true", "u in g: 1, exact true")
	r.pass(rule.After + time.Second)
	r.expect("u: 1 in all, exact true")
	told := late.reminders()
	slices.Sort(told)
	require.Equal(t, []string{"u in g: 1, exact true", "u: 1 in all, exact true"}, told)
}

// After a restart of the server states are told again, and a reminder is not: it is a message to somebody.
func TestRemindersAfterRestart(t *testing.T) {
	t.Parallel()
	url, kill := pgtest.Own(t)
	r := newRemindTest(t, open(t, url))
	late := *r // has not been told when the server ends
	r.rule(nil)
	r.joined("g", "u", "v")
	r.message("g")
	r.pass(after + time.Second)
	r.expect("u in g: 1, exact true", "v in g: 1, exact true")
	exec(t, pgtest.Connect(t, url), "UPDATE changes SET recorded_at = recorded_at - interval '1 minute'") // clocks are not that far apart
	kill()
	eventually(t, "the server is there again", func() bool { // some backends outlive the kill
		page, err := r.Changes(t.Context(), nil, readstate.FeedFilter{}, 1)
		return err == nil && page.Next.Source.StartedAt != r.cursor.Source.StartedAt
	})
	require.Empty(t, r.reminders())
	require.Equal(t, []string{"u in g: 1, exact true", "v in g: 1, exact true"}, late.reminders())
	require.Empty(t, late.reminders())
	r.read("g", r.seq, "u")
	r.message("g")
	r.pass(after + time.Second)
	r.expect("u in g: 1, exact true")
	require.Equal(t, []string{"u in g: 1, exact true"}, late.reminders())
}

func TestReminderRules(t *testing.T) {
	t.Parallel()
	r := newRemindTest(t, open(t, pgtest.New(t)))
	first := r.rule(func(rule *readstate.ReminderRule) {
		rule.UserPrefix, rule.GroupPrefix, rule.Repeat, rule.MinUnread = "u", "g", true, 5
	})
	second := first
	second.ID = readstate.ID(uuid.New())
	require.ErrorIs(t, r.AddReminderRule(t.Context(), second), readstate.ErrReminderName)
	rules, err := r.ReminderRules(t.Context())
	require.NoError(t, err)
	first.CreatedAt = rules[0].CreatedAt
	require.Equal(t, []readstate.ReminderRule{first}, rules)
	require.NoError(t, r.DeleteReminderRule(t.Context(), first.ID))
	require.NoError(t, r.AddReminderRule(t.Context(), second), "its name is free")
	for range readstate.MaxReminderRules - 1 {
		r.rule(nil)
	}
	second.ID, second.Name = readstate.ID(uuid.New()), "one more"
	require.ErrorIs(t, r.AddReminderRule(t.Context(), second), readstate.ErrReminderRules)
}

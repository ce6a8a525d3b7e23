package store_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

// after is the After of most rules of these tests.
const after = 4 * time.Hour

// remindTest reminds, by a clock that the test moves, and follows the feed.
type remindTest struct {
	*store.Store
	t      *testing.T
	work   *store.ReminderWork
	ahead  *atomic.Int64
	cursor *readstate.FeedCursor
	seq    int64
}

func newRemindTest(t *testing.T, s *store.Store) *remindTest {
	t.Helper()
	r := &remindTest{Store: s, t: t, ahead: &atomic.Int64{}}
	r.work = s.ReminderWork(r.now)
	page, err := s.Changes(t.Context(), nil, readstate.FeedFilter{}, 1000)
	require.NoError(t, err)
	r.cursor = &page.Next
	return r
}

// other gives another process.
func (r *remindTest) other(s *store.Store) *remindTest {
	o := *r
	o.Store, o.work = s, s.ReminderWork(r.now)
	return &o
}

// now is some days ago, so that nothing is from the future.
func (r *remindTest) now() time.Time {
	return r.Clock().Now().Add(-10 * 24 * time.Hour).Add(time.Duration(r.ahead.Load()))
}

// pass has time pass.
func (r *remindTest) pass(d time.Duration) { r.ahead.Add(int64(d)) }

func (r *remindTest) rule(change func(*readstate.ReminderRule)) readstate.ReminderRule {
	r.t.Helper()
	rule := readstate.ReminderRule{
		ID: readstate.ID(uuid.Must(uuid.NewV7())), Name: uuid.NewString(), MinUnread: 1, After: after, Scope: readstate.ReminderGroup, CreatedAt: r.now(),
	}
	if change != nil {
		change(&rule)
	}
	require.NoError(r.t, r.AddReminderRule(r.t.Context(), rule))
	return rule
}

// event gives an event of now by the moved clock, whose seqs rise by 1.
func (r *remindTest) event(kind readstate.EventKind, user, group string) readstate.Event {
	at := r.now().UTC().Truncate(time.Microsecond)
	return readstate.Event{Kind: kind, ID: readstate.ID(uuid.Must(uuid.NewV7())), At: at, SentAt: at, UserID: user, GroupID: group, MessageID: uuid.NewString()}
}

func (r *remindTest) commit(events ...readstate.Event) {
	r.t.Helper()
	r.patiently(func() error { return r.Commit(r.t.Context(), readstate.Batch{Events: events}) })
	r.follow()
}

// patiently does something until the database takes it: a connection may be of a server that was killed.
func (r *remindTest) patiently(do func() error) {
	r.t.Helper()
	for err := do(); err != nil; err = do() {
		require.ErrorIs(r.t, err, readstate.ErrUnavailable)
	}
}

// follow has the work know what was written: it takes it for written now.
func (r *remindTest) follow() {
	r.t.Helper()
	r.patiently(func() error {
		leads, err := r.work.Lease(r.t.Context())
		require.True(r.t, leads || err != nil)
		return err
	})
	for more := true; more; {
		r.patiently(func() (err error) {
			more, err = r.work.Follow(r.t.Context())
			return err
		})
	}
}

// message is a stored message of somebody.
func (r *remindTest) message(group string) {
	r.t.Helper()
	r.seq++
	e := r.event(readstate.EventMessage, "sender", group)
	e.ReadSeq = r.seq
	r.commit(e)
}

// read has OpenIM say that users have read up to a seq.
func (r *remindTest) read(group string, seq int64, users ...string) {
	r.t.Helper()
	for _, user := range users {
		e := r.event(readstate.EventSnapshot, user, group)
		e.ReadSeq, e.MaxSeq = seq, r.seq
		r.commit(e)
	}
}

// joined has users be members who have read everything.
func (r *remindTest) joined(group string, users ...string) {
	r.t.Helper()
	r.message(group)
	r.read(group, r.seq, users...)
}

// run does all that is due.
func (r *remindTest) run() {
	r.t.Helper()
	r.follow()
	for more := true; more; {
		more = r.step()
	}
}

func (r *remindTest) step() (more bool) {
	r.t.Helper()
	for _, step := range []func() (bool, error){
		func() (bool, error) { return r.work.Follow(r.t.Context()) },
		func() (bool, error) { return r.work.Walk(r.t.Context()) },
		func() (bool, error) { done, err := r.work.Look(r.t.Context()); return done.Looked, err },
		func() (bool, error) { done, err := r.work.LookAlone(r.t.Context()); return done.Looked, err },
	} {
		again, err := step()
		require.NoError(r.t, err)
		more = more || again
	}
	return more
}

// reminders gives what the feed tells since it was asked last.
func (r *remindTest) reminders() (told []string) {
	r.t.Helper()
	for more := true; more; {
		page, err := r.Changes(r.t.Context(), r.cursor, readstate.FeedFilter{}, 1000)
		require.NoError(r.t, err)
		for i := range page.Changes {
			if c := &page.Changes[i]; c.Kind == readstate.FeedReminder {
				told = append(told, describeReminder(c))
			}
		}
		r.cursor, more = &page.Next, page.More
	}
	return told
}

func describeReminder(c *readstate.FeedChange) string {
	if c.GroupID == "" {
		return fmt.Sprintf("%s: %d in all, exact %t", c.UserID, c.Badge.UnreadCount, c.Badge.Exact)
	}
	state, _ := c.State(c.Pair(), &c.Position)
	return fmt.Sprintf("%s in %s: %d, exact %t", c.UserID, c.GroupID, state.UnreadCount, state.Exact)
}

// expect works and holds what the feed tells then.
func (r *remindTest) expect(want ...string) {
	r.t.Helper()
	r.run()
	require.Equal(r.t, want, r.reminders())
}

// A user is reminded once when messages have been unread for long enough, and again after a read only.
func TestReminder(t *testing.T) {
	t.Parallel()
	r := newRemindTest(t, open(t, pgtest.New(t)))
	rule := r.rule(nil)
	r.joined("g", "u", "v")
	r.message("g")
	r.read("g", r.seq, "v")
	r.expect()
	r.pass(after - time.Minute)
	r.expect()
	r.message("g") // v has one for no time
	r.pass(time.Minute)
	r.expect("u in g: 2, exact true")
	r.expect()
	r.pass(after)
	r.expect("v in g: 1, exact true")
	r.message("g")
	r.pass(2 * after)
	r.expect() // nobody has read
	r.read("g", r.seq-1, "u")
	r.pass(after - time.Second)
	r.expect()
	r.pass(2 * time.Second)
	r.expect("u in g: 1, exact true")
	r.pass(3 * after)
	r.expect()
	require.NoError(t, r.DeleteReminderRule(t.Context(), rule.ID))
	r.read("g", r.seq, "u", "v")
	r.message("g")
	r.pass(2 * after)
	r.expect()
	for more := true; more; {
		var err error
		more, err = r.work.Purge(t.Context())
		require.NoError(t, err)
	}
	rules, err := r.ReminderRules(t.Context())
	require.NoError(t, err)
	require.Empty(t, rules)
	require.ErrorIs(t, r.DeleteReminderRule(t.Context(), rule.ID), readstate.ErrUnknown)
}

// A rule counts from its minimum on.
func TestReminderMinUnread(t *testing.T) {
	t.Parallel()
	r := newRemindTest(t, open(t, pgtest.New(t)))
	r.rule(func(rule *readstate.ReminderRule) { rule.MinUnread = 3 })
	r.joined("g", "u")
	for range 2 {
		r.message("g")
		r.pass(after / 2)
	}
	r.pass(after)
	r.expect()
	r.message("g")
	r.pass(after - time.Minute)
	r.expect()
	r.pass(time.Minute + time.Second)
	r.expect("u in g: 3, exact true")
}

// Rules name users and groups by prefixes, and do not mix.
func TestReminderPrefixes(t *testing.T) {
	t.Parallel()
	r := newRemindTest(t, open(t, pgtest.New(t)))
	r.rule(func(rule *readstate.ReminderRule) { rule.UserPrefix, rule.GroupPrefix = "shop-", "team-" })
	r.rule(func(rule *readstate.ReminderRule) { rule.UserPrefix = "shop-1" })
	r.joined("team-a", "other", "shop-1", "shop-2", "shop", "shoq")
	r.joined("b", "shop-1", "shop-2")
	r.message("b")
	r.message("team-a")
	r.pass(after + time.Second)
	r.run()
	told := r.reminders()
	slices.Sort(told)
	require.Equal(t, []string{"shop-1 in b: 1, exact true", "shop-1 in team-a: 3, exact true", "shop-1 in team-a: 3, exact true", "shop-2 in team-a: 3, exact true"}, told)
}

// A rule that repeats reminds again whenever the time has passed, until the user reads.
func TestReminderRepeats(t *testing.T) {
	t.Parallel()
	r := newRemindTest(t, open(t, pgtest.New(t)))
	r.rule(func(rule *readstate.ReminderRule) { rule.Repeat = true })
	r.joined("g", "u")
	r.message("g")
	for range 3 {
		r.pass(after + time.Second)
		r.expect("u in g: 1, exact true")
		r.pass(after - time.Minute)
		r.expect()
	}
	r.read("g", r.seq, "u")
	r.pass(2 * after)
	r.expect()
	r.message("g")
	r.pass(after + time.Second)
	r.expect("u in g: 1, exact true")
}

// With the scope user all groups of a user count together, and a read in any of them counts.
func TestReminderOfUser(t *testing.T) {
	t.Parallel()
	r := newRemindTest(t, open(t, pgtest.New(t)))
	r.rule(func(rule *readstate.ReminderRule) { rule.Scope, rule.MinUnread = readstate.ReminderUser, 3 })
	r.joined("g", "u", "v")
	r.joined("h", "u")
	r.seq = 2
	r.message("g") // 3: two more than what was read
	r.pass(after + time.Second)
	r.expect()
	r.message("h") // 4: two more
	r.pass(after - time.Minute)
	r.expect()
	r.pass(time.Minute + time.Second)
	r.expect("u: 4 in all, exact true")
	r.pass(2 * after)
	r.expect()
	r.seq = 4
	r.read("h", 4, "u")
	r.pass(2 * after)
	r.expect() // two are left
	r.message("g")
	r.pass(after + time.Second)
	r.expect("u: 4 in all, exact true", "v: 4 in all, exact true")
	// Who reads the one group entirely, while enough is left in the other.
	r.joined("h", "u")
	r.pass(after + time.Second)
	r.expect("u: 4 in all, exact true")
}

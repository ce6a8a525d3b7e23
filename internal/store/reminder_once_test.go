package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
)

// crowd writes members of a group, who have all read up to a seq some time before the present of the test.
func (r *remindTest) crowd(url, group string, members int, seq int64) {
	r.t.Helper()
	conn, err := pgx.Connect(r.t.Context(), url)
	require.NoError(r.t, err)
	defer func() { _ = conn.Close(r.t.Context()) }()
	_, err = conn.Exec(r.t.Context(), `INSERT INTO states (user_id, group_id, read_seq, exact_at, snapshot_at, said_seq, reached_at, first_exact_at, updated_at)
		SELECT 'user-' || n, $1, $2, $3, $3, $2, $3, $3, $3 FROM generate_series(1, $4::integer) AS n`, group, seq, r.now().Add(-time.Hour), members)
	require.NoError(r.t, err)
}

// Everybody is reminded once, whoever does the work, when each process is cut off in the middle of any step, and takes the
// other's place when its lease has ended.
func TestRemindersComeOnce(t *testing.T) {
	t.Parallel()
	const members = 2500 // three steps
	url := pgtest.New(t)
	r := newRemindTest(t, open(t, url))
	o := r.other(open(t, url))
	r.rule(nil)
	r.rule(func(rule *readstate.ReminderRule) { rule.Scope = readstate.ReminderUser })
	r.message("g")
	r.crowd(url, "g", members, 1)
	r.message("g")
	r.pass(after + time.Second)
	random := rand.New(rand.NewPCG(1, 1))
	for range 60 {
		w := r
		if random.IntN(2) == 0 {
			w = o
		}
		r.pass(31 * time.Second) // leases have ended
		leads, err := w.work.Lease(t.Context())
		require.NoError(t, err)
		require.True(t, leads)
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(random.Int64N(int64(150*time.Millisecond))))
		for range 1 + random.IntN(3) {
			_, err = w.work.Look(ctx)
		}
		cancel()
		_ = err // it may have been cut off
	}
	r.pass(31 * time.Second)
	r.run()
	told := r.reminders()
	slices.Sort(told)
	require.Len(t, told, 2*members)
	require.Len(t, slices.Compact(told), 2*members)
	r.pass(after)
	r.expect()
}

// One process reminds: the other one has no lease, and one that has lost it can do nothing, however long it has thought to
// have it.
func TestOneProcessReminds(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	r := newRemindTest(t, open(t, url))
	o := r.other(open(t, url))
	r.rule(nil)
	r.joined("g", "u")
	r.message("g")
	leads, err := o.work.Lease(t.Context())
	require.NoError(t, err)
	require.False(t, leads)
	r.pass(after + time.Second)
	leads, err = o.work.Lease(t.Context())
	require.NoError(t, err)
	require.True(t, leads, "the lease has ended")
	_, err = r.work.Look(t.Context())
	require.ErrorIs(t, err, readstate.ErrLeaseTaken)
	leads, err = r.work.Lease(t.Context())
	require.NoError(t, err)
	require.False(t, leads)
	o.work.Release(t.Context())
	r.expect("u in g: 1, exact true")

	// At the same time: whoever comes first.
	r.message("g")
	r.read("g", r.seq-1, "u")
	r.pass(after + time.Second)
	var both sync.WaitGroup
	for _, w := range []*remindTest{r, o} {
		both.Go(func() {
			for range 20 {
				if leads, err := w.work.Lease(t.Context()); err != nil || !leads {
					continue
				}
				_, _ = w.work.Look(t.Context())
				w.work.Release(t.Context())
			}
		})
	}
	both.Wait()
	require.Equal(t, []string{"u in g: 1, exact true"}, r.reminders())
}

// Nobody is reminded who has read, left or was erased, or whose group is gone, before the look or between it and the feed's
// telling.
func TestNobodyIsRemindedWho(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]func(r *remindTest){
		"has read": func(r *remindTest) { r.read("g", r.seq, "u") },
		"reports to have read": func(r *remindTest) {
			r.commit(r.event(readstate.EventReceipt, "u", "g"))
		},
		"has left":   func(r *remindTest) { r.commit(r.event(readstate.EventLeft, "u", "g")) },
		"is no more": func(r *remindTest) { r.commit(r.event(readstate.EventDismissed, "", "g")) },
		"was erased": func(r *remindTest) {
			_, err := r.EraseUser(r.t.Context(), "u")
			require.NoError(r.t, err)
		},
		"has no group any more": func(r *remindTest) {
			_, err := r.EraseGroup(r.t.Context(), "g")
			require.NoError(r.t, err)
		},
	} {
		for _, scope := range []readstate.ReminderScope{readstate.ReminderGroup, readstate.ReminderUser} {
			for _, late := range []bool{false, true} {
				t.Run(fmt.Sprint(name, " ", scope, " ", late), func(t *testing.T) {
					t.Parallel()
					url := pgtest.New(t)
					r := newRemindTest(t, open(t, url))
					r.rule(func(rule *readstate.ReminderRule) { rule.Scope = scope })
					r.joined("g", "u")
					r.message("g")
					r.pass(after + time.Second)
					if late {
						r.run()
					}
					gone(r)
					r.expect()
					if name != "was erased" && name != "has no group any more" {
						return
					}
					conn, err := pgx.Connect(t.Context(), url)
					require.NoError(t, err)
					defer func() { _ = conn.Close(t.Context()) }()
					var left int
					require.NoError(t, conn.QueryRow(t.Context(), `SELECT
						(SELECT count(*) FROM reminders WHERE 'u' = user_id AND (group_id = 'g' OR $1)) +
						(SELECT count(*) FROM changes WHERE 'u' = ANY (reminder_user_ids) AND ('g' = ANY (reminder_group_ids) OR $1))`,
						name == "was erased").Scan(&left))
					require.Zero(t, left)
				})
			}
		}
	}
}

// answer ends the lookups that are due, and says of whom they were.
func (r *remindTest) answer() (asked []readstate.Pair) {
	for _, background := range []bool{false, true} {
		leased, err := r.LeaseLookups(r.t.Context(), background, 10, time.Minute)
		require.NoError(r.t, err)
		for _, l := range leased {
			asked = append(asked, l.Pair)
			require.NoError(r.t, r.FinishLookup(r.t.Context(), l, r.Clock().Now().Add(time.Hour)))
		}
	}
	return asked
}

// awaits has a lookup end once it is due.
func (r *remindTest) awaits(pair readstate.Pair) {
	r.t.Helper()
	require.Eventually(r.t, func() bool { return slices.Contains(r.answer(), pair) }, time.Minute, 10*time.Millisecond)
}

// A count that is not exact is asked about at OpenIM before the user is reminded, for a while.
func TestReminderAsksFirst(t *testing.T) {
	t.Parallel()
	prepare := func(t *testing.T, scope readstate.ReminderScope) *remindTest {
		t.Helper()
		r := newRemindTest(t, openLooking(t, pgtest.New(t)))
		r.rule(func(rule *readstate.ReminderRule) { rule.Scope = scope })
		r.joined("g", "u")
		r.message("g")
		e := r.event(readstate.EventReceipt, "u", "g") // an estimate
		e.UnreadCount = 1
		r.commit(e)
		require.Eventually(t, func() bool { return len(r.answer()) > 0 }, 10*time.Second, 10*time.Millisecond)
		r.pass(after + time.Second)
		r.expect()
		return r
	}
	for scope, pair := range map[readstate.ReminderScope]readstate.Pair{
		readstate.ReminderGroup: {UserID: "u", GroupID: "g"}, readstate.ReminderUser: {UserID: "u"},
	} {
		told := map[readstate.ReminderScope]string{readstate.ReminderGroup: "u in g: 1, exact ", readstate.ReminderUser: "u: 1 in all, exact "}[scope]
		t.Run(string(scope)+" confirmed", func(t *testing.T) {
			t.Parallel()
			r := prepare(t, scope)
			r.read("g", 1, "u") // as was known
			r.awaits(pair)
			r.pass(2 * time.Second)
			r.expect(told + "true")
			r.pass(2 * after)
			r.expect()
		})
		t.Run(string(scope)+" read", func(t *testing.T) {
			t.Parallel()
			r := prepare(t, scope)
			r.read("g", 2, "u")
			r.awaits(pair)
			r.pass(2 * after)
			r.expect()
			r.message("g")
			r.pass(after + time.Second)
			r.expect(told + "true")
		})
		t.Run(string(scope)+" unanswered", func(t *testing.T) {
			t.Parallel()
			r := prepare(t, scope)
			for range 10 {
				r.pass(30 * time.Second)
				r.expect()
			}
			r.pass(10 * time.Minute)
			r.expect(told + "false")
			r.read("g", 1, "u") // at last
			r.answer()
			r.pass(2 * after)
			r.expect()
		})
	}
	t.Run("group", func(t *testing.T) {
		t.Parallel()
		url := pgtest.New(t)
		r, conn := newRemindTest(t, openLooking(t, url)), pgtest.Connect(t, url)
		r.rule(nil)
		r.joined("g", "u")
		r.commit(r.event(readstate.EventMessage, "sender", "g")) // without a seq
		all := func() (asked []readstate.Pair) {
			require.Eventually(t, func() bool { // a lookup is due by the clock, some after a while
				asked = append(asked, r.answer()...)
				var left int
				require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM lookups").Scan(&left))
				return left == 0
			}, time.Minute, 10*time.Millisecond)
			return asked
		}
		all() // those that the message has queued
		r.pass(after + time.Second)
		r.expect()
		require.Len(t, all(), 1, "some member")
		r.seq++
		r.read("g", r.seq, "sender")
		r.pass(2 * time.Second)
		r.expect("u in g: 1, exact true")
	})
}

// Groups that are not named, since anything may have changed, are looked up, and those of the time for which changes are
// gone. Events that come late count at their place.
func TestReminderOfUnknownChanges(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	r := newRemindTest(t, open(t, url))
	r.rule(nil)
	for i := range 3 {
		r.seq = 0
		r.joined(fmt.Sprint("g", i), "u")
	}
	var events []readstate.Event
	for i := range 1200 { // so many that the change says everything
		e := r.event(readstate.EventMessage, "sender", fmt.Sprint("g", i))
		e.ReadSeq = 2
		events = append(events, e)
	}
	r.commit(events...)
	r.run()
	r.pass(after + time.Second)
	r.run()
	told := r.reminders()
	slices.Sort(told)
	require.Equal(t, []string{"u in g0: 1, exact true", "u in g1: 1, exact true", "u in g2: 1, exact true"}, told)

	late := r.event(readstate.EventMessage, "sender", "late")
	r.seq = 0
	r.joined("late", "u")
	r.pass(after - time.Minute)
	late.At, late.ReadSeq = r.now().Add(-after+2*time.Minute).UTC().Truncate(time.Microsecond), 2
	r.commit(late)
	r.seq = 2
	r.message("late")
	r.pass(2 * time.Minute)
	r.message("late") // it has the group be looked at no sooner
	r.pass(after)
	r.expect("u in late: 3, exact true")

	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	r.work.Release(t.Context())
	r.seq = 2
	r.read("g1", 2, "u")
	e := r.event(readstate.EventMessage, "sender", "g1")
	e.ReadSeq = 3
	require.NoError(t, r.Commit(t.Context(), readstate.Batch{Events: []readstate.Event{e}}))
	_, err = conn.Exec(t.Context(), "UPDATE retention SET changes_dropped_xid = (SELECT max(xid) FROM changes)")
	require.NoError(t, err)
	_, err = r.Changes(t.Context(), r.cursor, readstate.FeedFilter{}, 1)
	require.ErrorIs(t, err, readstate.ErrGone)
	page, err := r.Changes(t.Context(), nil, readstate.FeedFilter{}, 1)
	require.NoError(t, err)
	r.cursor = &page.Next
	r.run()
	r.pass(2 * after)
	r.expect("u in g1: 1, exact true")
}

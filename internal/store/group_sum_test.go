package store_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

// sumTest keeps sums, by a clock of leases that the test moves.
type sumTest struct {
	*store.Store
	t     testing.TB
	work  *store.GroupSumWork
	ahead *atomic.Int64
	last  time.Time // arrival of the last event
}

func newSumTest(t testing.TB, s *store.Store) *sumTest {
	t.Helper()
	w := &sumTest{Store: s, t: t, ahead: &atomic.Int64{}}
	w.work = w.process(s)
	return w
}

// process gives the work of a process.
func (w *sumTest) process(s *store.Store) *store.GroupSumWork {
	return s.GroupSumWork(func() time.Time { return s.Clock().Now().Add(time.Duration(w.ahead.Load())) }, s.Clock().Now)
}

func (w *sumTest) lease() {
	w.t.Helper()
	leads, err := w.work.Lease(w.t.Context())
	require.NoError(w.t, err)
	require.True(w.t, leads)
}

// step does a step of each kind.
func (w *sumTest) step() (more bool) {
	w.t.Helper()
	follows, err := w.work.Follow(w.t.Context())
	require.NoError(w.t, err)
	_, sums, err := w.work.Sum(w.t.Context())
	require.NoError(w.t, err)
	walks, err := w.work.Walk(w.t.Context())
	require.NoError(w.t, err)
	return follows || sums || walks
}

// catchUp does all that is to be done, and stores up to when sums are right.
func (w *sumTest) catchUp() (rightUntil time.Time) {
	w.t.Helper()
	w.lease()
	for w.step() {
	}
	w.ahead.Add(int64(11 * time.Second))
	w.lease()
	rightUntil, err := w.work.Save(w.t.Context())
	require.NoError(w.t, err)
	return rightUntil
}

// event gives an event of now.
func (w *sumTest) event(kind readstate.EventKind, user, group string) readstate.Event {
	w.last = w.last.Add(time.Microsecond)
	if now := w.Clock().Now().UTC().Truncate(time.Microsecond); now.After(w.last) {
		w.last = now
	}
	return readstate.Event{Kind: kind, ID: readstate.ID(uuid.Must(uuid.NewV7())), At: w.last, SentAt: w.last, UserID: user, GroupID: group}
}

func (w *sumTest) commit(events ...readstate.Event) {
	w.t.Helper()
	require.NoError(w.t, w.Commit(w.t.Context(), readstate.Batch{Events: events}))
}

func (w *sumTest) read(user, group string, unread int64) {
	w.t.Helper()
	e := w.event(readstate.EventReceipt, user, group)
	e.UnreadCount = unread
	w.commit(e)
}

func (w *sumTest) message(sender, group string) {
	w.t.Helper()
	e := w.event(readstate.EventMessage, sender, group)
	e.MessageID = uuid.NewString()
	w.commit(e)
}

// list reads all kept sums, page by page.
func (w *sumTest) list(order readstate.Order, limit int32, between func()) (all []readstate.KeptGroupSum) {
	w.t.Helper()
	return w.pages(readstate.GroupPage{Order: order, Limit: limit}, between)
}

func (w *sumTest) pages(page readstate.GroupPage, between func()) (all []readstate.KeptGroupSum) {
	w.t.Helper()
	for {
		list, _, err := w.GroupSums(w.t.Context(), page)
		require.NoError(w.t, err)
		all = append(all, list...)
		if len(list) < int(page.Limit) {
			return all
		}
		last := &list[len(list)-1]
		page.After = readstate.Cursor{Key: last.GroupID, UnreadCount: last.UnreadCount}
		if between != nil {
			between()
		}
	}
}

// compare holds that the kept sums of groups with a prefix are those of the groups now, and no others are.
func (w *sumTest) compare(t require.TestingT, prefix string, groups ...string) {
	kept := map[string]readstate.GroupSum{}
	for _, one := range w.pages(readstate.GroupPage{Prefix: prefix, Limit: 1000}, nil) {
		require.False(t, one.AsOf.IsZero())
		kept[one.GroupID] = one.GroupSum
	}
	for _, groupID := range groups {
		sum, err := w.GroupSum(w.t.Context(), groupID)
		have, found := kept[groupID]
		delete(kept, groupID)
		if err != nil {
			require.ErrorIs(t, err, readstate.ErrUnknown)
			require.False(t, found, groupID)
			continue
		}
		sum.UpdatedAt = time.Time{}
		require.Equal(t, sum, have)
	}
	require.Empty(t, kept)
}

// After any events and erasures, in whatever order processes follow, sum and take over from each other, the sums are
// those that are summed afresh once everything was followed.
func TestGroupSumsAreThoseOfGroups(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	s.EnableLookups()
	w := newSumTest(t, s)
	other := w.process(open(t, url))
	conn := pgtest.Connect(t, url)
	var groups []string
	run := 0
	rapid.Check(t, func(r *rapid.T) {
		run++
		w.lease()
		w.work.SetSummedStates(int32(rapid.IntRange(1, 4).Draw(r, "states")))
		user := func() string {
			return fmt.Sprintf("%d-%s", run, rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(r, "user"))
		}
		group := func() string {
			return fmt.Sprintf("%d-%s", run, rapid.SampledFrom([]string{"g", "h", "i"}).Draw(r, "group"))
		}
		for _, name := range []string{"g", "h", "i"} {
			groups = append(groups, fmt.Sprintf("%d-%s", run, name))
		}
		for _, name := range []string{"a", "b", "c"} { // who is known as OpenIM knows them, and summed
			for _, of := range []string{"g", "h"} {
				e := w.event(readstate.EventSnapshot, fmt.Sprintf("%d-%s", run, name), fmt.Sprintf("%d-%s", run, of))
				e.MaxSeq, e.ReadSeq = 9, rapid.Int64Range(0, 9).Draw(r, "has read")
				w.commit(e)
			}
		}
		w.catchUp()
		for range rapid.IntRange(1, 12).Draw(r, "actions") {
			switch action := rapid.SampledFrom([]string{
				"read", "read", "read", "message", "stored", "server", "snapshot", "joined", "left", "dismissed", "muted", "follow", "follow", "sum", "sum",
				"walk", "catch up", "erase user", "erase user", "erase group", "take over", "lose", "lookups",
			}).Draw(r, "action"); action {
			case "read":
				w.read(user(), group(), rapid.Int64Range(0, 5).Draw(r, "unread"))
			case "message":
				w.message(user(), group())
			case "stored":
				e := w.event(readstate.EventMessage, user(), group())
				e.MessageID, e.ReadSeq = uuid.NewString(), rapid.Int64Range(1, 50).Draw(r, "seq")
				w.commit(e)
			case "server":
				e := w.event(readstate.EventServerReceipt, user(), "")
				e.ReadSeq, e.ContentType = 9, readstate.ConversationSuperGroup
				w.commit(e)
			case "snapshot":
				e := w.event(readstate.EventSnapshot, user(), group())
				e.MaxSeq = rapid.Int64Range(1, 50).Draw(r, "max")
				e.ReadSeq = rapid.Int64Range(0, e.MaxSeq).Draw(r, "has read")
				w.commit(e)
			case "joined", "left", "muted":
				w.commit(w.event(readstate.EventKind(action), user(), group()))
			case "dismissed":
				w.commit(w.event(readstate.EventDismissed, "", group()))
			case "erase user":
				_, err := s.EraseUser(t.Context(), user())
				require.NoError(r, err)
			case "erase group":
				_, err := s.EraseGroup(t.Context(), group())
				require.NoError(r, err)
			case "catch up":
				w.catchUp()
			case "lookups": // they have ended, and the change is not told
				exec(t, conn, "DELETE FROM lookups")
				exec(t, conn, "INSERT INTO changes (recorded_at, everything) VALUES (now(), true)")
			case "lose": // changes are not kept any more
				exec(t, conn, "UPDATE group_sum_work SET feed_cursor = NULL")
				w.work.Release(t.Context())
				w.lease()
			case "take over":
				w.work.Release(t.Context())
				w.work, other = other, w.work
				w.lease()
			default:
				var err error
				switch action {
				case "follow":
					_, err = w.work.Follow(t.Context())
				case "sum":
					_, _, err = w.work.Sum(t.Context())
				default:
					_, err = w.work.Walk(t.Context())
				}
				require.NoError(r, err)
			}
		}
		require.False(r, w.catchUp().IsZero())
		w.compare(r, fmt.Sprint(run, "-"), groups[len(groups)-3:]...)
	})
	w.compare(t, "", groups...)
}

// What came before a moment is in the sums that say so, and in the list as a whole; before anything was summed there
// is no list.
func TestGroupSumsSayTheirMoment(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t))
	w := newSumTest(t, s)
	w.read("u", "g", 3)
	_, _, err := s.GroupSums(t.Context(), readstate.GroupPage{Limit: 10})
	var why *readstate.UnavailableError
	require.ErrorAs(t, err, &why)
	require.Contains(t, why.Text, "for the first time")
	before := s.Clock().Now()
	right := w.catchUp()
	require.False(t, right.Before(before))
	list, asOf, err := s.GroupSums(t.Context(), readstate.GroupPage{Limit: 10})
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.False(t, list[0].AsOf.Before(before))
	require.WithinDuration(t, right, asOf, time.Microsecond)

	w.read("u", "g", 4)
	w.lease()
	_, err = w.work.Follow(t.Context()) // known, and not summed
	require.NoError(t, err)
	w.ahead.Add(int64(11 * time.Second))
	w.lease()
	later, err := w.work.Save(t.Context())
	require.NoError(t, err)
	require.False(t, later.After(w.last), "the last read is not in it")
	require.True(t, w.catchUp().After(w.last))
}

// One process at a time keeps the sums. One that has lost its lease writes nothing, and the next one goes on.
func TestGroupSumsLease(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	w := newSumTest(t, open(t, url))
	other := w.process(open(t, url))
	w.read("u", "g", 3)
	w.catchUp()
	leads, err := other.Lease(t.Context())
	require.NoError(t, err)
	require.False(t, leads)
	w.read("u", "g", 5)
	_, err = w.work.Follow(t.Context())
	require.NoError(t, err)
	w.ahead.Add(int64(31 * time.Second))
	leads, err = other.Lease(t.Context())
	require.NoError(t, err)
	require.True(t, leads)
	_, _, err = w.work.Sum(t.Context())
	require.ErrorIs(t, err, readstate.ErrLeaseTaken)
	leads, err = w.work.Lease(t.Context())
	require.NoError(t, err)
	require.False(t, leads)
	w.work = other
	w.catchUp()
	w.compare(t, "", "g")
	w.work.Release(t.Context())
	leads, err = w.process(w.Store).Lease(t.Context())
	require.NoError(t, err)
	require.True(t, leads, "given back")
}

// Large groups that were never summed are summed one after the other, in steps of so many states, and end.
func TestLargeGroupSums(t *testing.T) {
	t.Parallel()
	w := newSumTest(t, open(t, pgtest.New(t)))
	for _, group := range []string{"a", "b", "c"} {
		for i := range 25 {
			w.read(fmt.Sprintf("u%02d", i), group, 1)
		}
	}
	w.work.SetSummedStates(10)
	w.lease()
	for more := true; more; {
		var err error
		follows, err := w.work.Follow(t.Context())
		require.NoError(t, err)
		walks, err := w.work.Walk(t.Context())
		require.NoError(t, err)
		more = follows || walks
	}
	steps := 0
	for more := true; more; steps++ {
		var err error
		_, more, err = w.work.Sum(t.Context())
		require.NoError(t, err)
	}
	require.LessOrEqual(t, steps, 75/10+3+1, "the end of each group is a step of its own, and one finds nothing left")
	w.catchUp()
	w.compare(t, "", "a", "b", "c")
}

// Where changes were missed all groups are summed anew: those that nobody has told of, and those that are gone.
func TestGroupSumsResync(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	w := newSumTest(t, open(t, url))
	conn := pgtest.Connect(t, url)
	for _, group := range []string{"a", "b", "c"} {
		w.read("u", group, 1)
	}
	before := w.catchUp()
	w.read("u", "a", 9)
	exec(t, conn, "DELETE FROM states WHERE group_id = 'b'")
	w.read("u", "d", 2)
	exec(t, conn, "DELETE FROM changes")
	w.catchUp()
	require.NotEqual(t, []string{"a", "c", "d"}, ids(w.list(readstate.OrderKey, 10, nil)), "nobody has told")
	var text string
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT feed_cursor FROM group_sum_work").Scan(&text))
	cursor, err := readstate.ParseFeedCursor(text)
	require.NoError(t, err)
	cursor.Source.SystemID++ // of another database, as after a restored backup
	exec(t, conn, "UPDATE group_sum_work SET feed_cursor = $1", cursor.String())
	w.work.Release(t.Context())
	require.True(t, w.catchUp().After(before))
	w.compare(t, "", "a", "b", "c", "d")
}

// Who was erased is in no sum, also where the group was being summed; a group that was erased is in no list at once.
func TestGroupSumsOfErased(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	w := newSumTest(t, open(t, url))
	conn := pgtest.Connect(t, url)
	for i := range 6 {
		w.read(fmt.Sprint("u", i), "g", 1)
		w.read(fmt.Sprint("u", i), "h", 1)
	}
	w.catchUp()
	w.work.SetSummedStates(2)
	w.read("u0", "g", 2)
	w.lease()
	_, err := w.work.Follow(t.Context())
	require.NoError(t, err)
	_, more, err := w.work.Sum(t.Context()) // u0 and u1
	require.NoError(t, err)
	require.True(t, more)
	_, err = w.EraseUser(t.Context(), "u1")
	require.NoError(t, err)
	w.catchUp()
	w.compare(t, "", "g", "h")
	require.EqualValues(t, 5, w.list(readstate.OrderKey, 10, nil)[1].Users)

	w.read("u0", "g", 3)
	_, err = w.work.Follow(t.Context())
	require.NoError(t, err)
	_, _, err = w.work.Sum(t.Context())
	require.NoError(t, err)
	_, err = w.EraseGroup(t.Context(), "g")
	require.NoError(t, err)
	require.Equal(t, []string{"h"}, ids(w.list(readstate.OrderKey, 10, nil)), "at once")
	var traces int
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM stale_group_sums WHERE group_id = 'g'").Scan(&traces))
	require.Zero(t, traces)
	w.catchUp()
	w.compare(t, "", "g", "h")
	w.read("u3", "g", 1)
	w.catchUp()
	w.compare(t, "", "g", "h")
}

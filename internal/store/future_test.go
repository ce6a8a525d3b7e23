package store_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"readmark/internal/dbclock"
	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

// dated gives an event an arrival.
func dated(e readstate.Event, moment time.Time) readstate.Event {
	e.At = moment.UTC().Truncate(time.Microsecond)
	return e
}

func unread(t testing.TB, s *store.Store, user, group string) int64 {
	t.Helper()
	state, err := s.State(t.Context(), readstate.Pair{UserID: user, GroupID: group})
	require.NoError(t, err)
	return state.UnreadCount
}

// unchanged requires that a replay finds nothing to change.
func unchanged(t testing.TB, s *store.Store) {
	t.Helper()
	result, err := s.Replay(t.Context(), store.Replay{DryRun: true, Restart: true}, func(store.ReplayProgress) {})
	require.NoError(t, err)
	require.Zero(t, result.States, "%+v", result)
	require.Zero(t, result.Positions, "%+v", result)
}

// A receipt from a clock that was ahead stands in the way of all that come until then. It is
// given an arrival of now: later receipts move the user again, and it comes to the journal once,
// also when its spool is drained once more.
func TestFutureReceipt(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	require.NoError(t, s.MeasureClock(t.Context()))
	ahead := dated(documented("u", "g", 5, 0), s.Clock().Now().AddDate(10, 0, 0))
	nameless := readstate.Event{Kind: readstate.EventServerReceipt, ID: documented("", "", 0, 0).ID, UserID: "u", ReadSeq: 3, ContentType: 3}
	nameless = dated(nameless, ahead.At.Add(time.Hour))
	commit(t, s, dated(documented("u", "g", 1, 0), s.Clock().Now().Add(-time.Hour)), ahead, nameless)
	commit(t, s, dated(documented("u", "g", 2, 0), s.Clock().Now()))
	require.EqualValues(t, 5, unread(t, s, "u", "g"))

	found, err := s.CountFutureEvents(t.Context())
	require.NoError(t, err)
	require.Equal(t, store.FutureEvents{Count: 2, Newest: nameless.At}, found)
	done, err := s.RestampFutureEvents(t.Context())
	require.NoError(t, err)
	require.Equal(t, found, done)
	require.EqualValues(t, 5, unread(t, s, "u", "g"), "it is the last one that has come")
	unchanged(t, s)
	commit(t, s, dated(documented("u", "g", 3, 0), s.Clock().Now()))
	require.EqualValues(t, 3, unread(t, s, "u", "g"))

	commit(t, s, ahead) // drained again
	require.EqualValues(t, 3, unread(t, s, "u", "g"))
	require.Equal(t, 5, journalRows(t, url))
	commit(t, s, dated(ahead, s.Clock().Now())) // drained again, with an arrival that was corrected
	commit(t, s, dated(ahead, s.Clock().Now()), dated(documented("u", "g", 4, 0), s.Clock().Now()))
	require.Equal(t, 6, journalRows(t, url))
	require.EqualValues(t, 4, unread(t, s, "u", "g"))
	done, err = s.RestampFutureEvents(t.Context())
	require.NoError(t, err)
	require.Zero(t, done.Count)
	unchanged(t, s)

	conn, left := pgtest.Connect(t, url), 0
	_, err = conn.Exec(t.Context(), "UPDATE restamps SET restamped_at = restamped_at - interval '4 days' WHERE id = $1", ahead.ID)
	require.NoError(t, err)
	_, err = s.Retire(t.Context(), store.Retention{Journal: 3 * aDay})
	require.NoError(t, err)
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM restamps").Scan(&left))
	require.Equal(t, 1, left, "it is forgotten with the journal")
}

// Several processes that set the same events right do it once.
func TestRestampTogether(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	require.NoError(t, s.MeasureClock(t.Context()))
	ahead := s.Clock().Now().AddDate(1, 0, 0)
	for i := range 20 {
		commit(t, s, dated(documented("u", fmt.Sprint("g", i%5), int64(i), 0), ahead.Add(time.Duration(i)*time.Second)))
	}
	var restamped atomic.Int64
	var group sync.WaitGroup
	var errs [4]error
	for i := range errs {
		other := open(t, url)
		group.Go(func() {
			var done store.FutureEvents
			done, errs[i] = other.RestampFutureEvents(t.Context())
			restamped.Add(done.Count)
		})
	}
	group.Wait()
	require.NoError(t, errors.Join(errs[:]...))
	require.EqualValues(t, 20, restamped.Load())
	for i := range 5 {
		require.EqualValues(t, 15+i, unread(t, s, "u", fmt.Sprint("g", i)))
	}
	unchanged(t, s)
}

// Whatever comes in whatever order, from clocks that are ten years ahead or days behind: after
// events from the future were set right, states and positions are what the journal makes, the
// same as when all is made from nothing, and the next events count.
func TestFutureEventsProperty(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	s.EnableLookups()
	s.SetLateRows(3)
	conn := pgtest.Connect(t, url)
	require.NoError(t, s.MeasureClock(t.Context()))
	n := 0
	rapid.Check(t, func(r *rapid.T) {
		n++
		group := fmt.Sprint("g", n)
		seq := int64(0)
		begin := s.Clock().Now().Add(-time.Hour)
		draw := func(offset time.Duration) readstate.Event {
			seq++
			e := documented(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(r, "user"), group, rapid.Int64Range(0, 5).Draw(r, "unread"), 0)
			e.Kind = rapid.SampledFrom([]readstate.EventKind{
				readstate.EventReceipt, readstate.EventReceipt, readstate.EventMessage, readstate.EventSnapshot, readstate.EventJoined,
				readstate.EventLeft, readstate.EventDismissed, readstate.EventListed, readstate.EventMuted, readstate.EventUnmuted,
			}).Draw(r, "kind")
			switch e.Kind {
			case readstate.EventMessage:
				message := rapid.IntRange(0, 4).Draw(r, "message")
				e.MessageID, e.UserID, e.UnreadCount = fmt.Sprint(group, "-", message), []string{"a", "b", "c"}[message%3], 0
				if rapid.Bool().Draw(r, "stored") {
					e.ReadSeq = seq
				}
			case readstate.EventSnapshot:
				e.MaxSeq, e.UnreadCount, e.ContentType = seq, 0, 0
				e.ReadSeq = rapid.Int64Range(0, seq).Draw(r, "read")
				e.Restarted = rapid.IntRange(0, 9).Draw(r, "restarted") == 0
			case readstate.EventReceipt:
			default:
				e.UnreadCount, e.ContentType = 0, 0
				if e.Kind == readstate.EventDismissed {
					e.UserID = ""
				}
			}
			return dated(e, begin.Add(time.Duration(seq)*time.Second+offset))
		}
		offsets := []time.Duration{0, 0, 10 * 365 * 24 * time.Hour, -3 * 24 * time.Hour, 90 * time.Minute}
		var events []readstate.Event
		for range rapid.IntRange(1, 25).Draw(r, "events") {
			events = append(events, draw(rapid.SampledFrom(offsets).Draw(r, "offset")))
		}
		rand.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		for len(events) > 0 {
			part := rapid.IntRange(1, len(events)).Draw(r, "part")
			commit(t, s, events[:part]...)
			events = events[part:]
		}
		_, err := s.RestampFutureEvents(t.Context())
		require.NoError(r, err)
		left, err := s.CountFutureEvents(t.Context())
		require.NoError(r, err)
		require.Zero(r, left.Count)
		dump := func() string {
			var text string
			require.NoError(r, conn.QueryRow(t.Context(), `SELECT concat(
				(SELECT jsonb_agg(to_jsonb(s) - 'updated_at' ORDER BY user_id) FROM states AS s WHERE group_id = $1),
				(SELECT to_jsonb(p) - 'updated_at' FROM positions AS p WHERE group_id = $1 AND moved_at IS NOT NULL))`, group).Scan(&text))
			return text
		}
		restamped := dump()
		require.NotContains(r, restamped, fmt.Sprintf(`"%d-`, time.Now().Year()+10))
		_, err = conn.Exec(t.Context(), "DELETE FROM states WHERE group_id = $1", group)
		require.NoError(r, err)
		_, err = conn.Exec(t.Context(), "DELETE FROM positions WHERE group_id = $1", group)
		require.NoError(r, err)
		_, err = s.Replay(t.Context(), store.Replay{GroupID: group}, func(store.ReplayProgress) {})
		require.NoError(r, err)
		require.Equal(r, dump(), restamped)

		commit(t, s, dated(readstate.Event{Kind: readstate.EventJoined, ID: documented("", "", 0, 0).ID, UserID: "a", GroupID: group}, s.Clock().Now()))
		commit(t, s, dated(documented("a", group, 7, 0), s.Clock().Now()))
		require.EqualValues(r, 7, unread(t, s, "a", group))
	})
}

// The machine's clock can be set to anything: what is stored has the database's time.
func TestStoreIsDatedByTheDatabase(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	var wrong atomic.Int64
	system := dbclock.System()
	s.UseClock(dbclock.New(dbclock.Machine{
		Wall: func() time.Time { return time.Now().Add(time.Duration(wrong.Load())) }, Elapsed: system.Elapsed,
	}))
	for _, offset := range []time.Duration{10 * 365 * 24 * time.Hour, -10 * 365 * 24 * time.Hour, 90 * time.Second} {
		wrong.Store(int64(offset))
		require.NoError(t, s.MeasureClock(t.Context()))
		require.InDelta(t, -offset.Seconds(), s.Clock().Offset().Seconds(), 5)
		require.WithinDuration(t, time.Now(), s.Clock().Now(), 5*time.Second)
		require.NoError(t, s.MakeDaysAhead(t.Context()))
		commit(t, s, dated(documented("u", "g", 1, 0), s.Clock().Now()))
		state, err := s.State(t.Context(), readstate.Pair{UserID: "u", GroupID: "g"})
		require.NoError(t, err)
		require.WithinDuration(t, time.Now(), state.UpdatedAt, 5*time.Second)
	}
}

func TestNewestArrival(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t))
	require.NoError(t, s.MeasureClock(t.Context()))
	arrivesAt := func(user string, at time.Time) {
		event := documented(user, "g", 1, 0)
		event.At = at.UTC().Truncate(time.Microsecond)
		commit(t, s, event)
	}
	now := s.Clock().Now()
	arrivesAt("a", now.Add(-time.Hour))
	newest, err := s.NewestArrival(t.Context())
	require.NoError(t, err)
	require.WithinDuration(t, now, newest, 10*time.Second)
	ahead := now.Add(50 * time.Second)
	arrivesAt("b", ahead)
	arrivesAt("c", now.AddDate(10, 0, 0))
	newest, err = s.NewestArrival(t.Context())
	require.NoError(t, err)
	require.Equal(t, ahead, newest, "one from a clock that was far ahead does not count")
}

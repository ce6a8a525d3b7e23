package store_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"readmark/db"
	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

// Users are listed once each, in the order of bytes, from behind one on and within a prefix.
func TestUserIDs(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t))
	for i, user := range []string{"b", "a", "a\u00fc", "a\u00fcx", "a\u00fd", "a~", "Z", "\U0010ffff1"} {
		commit(t, s, documented(user, "g", 1, 2*i), documented(user, "h", 1, 2*i+1))
	}
	for _, test := range []struct {
		page readstate.KeyPage
		want []string
	}{
		{readstate.KeyPage{Limit: 100}, []string{"Z", "a", "a~", "a\u00fc", "a\u00fcx", "a\u00fd", "b", "\U0010ffff1"}},
		{readstate.KeyPage{Limit: 3}, []string{"Z", "a", "a~"}},
		{readstate.KeyPage{Limit: 2, After: "a~"}, []string{"a\u00fc", "a\u00fcx"}},
		{readstate.KeyPage{Limit: 100, Prefix: "a\u00fc"}, []string{"a\u00fc", "a\u00fcx"}},
		{readstate.KeyPage{Limit: 100, Prefix: "a\u00fc", After: "Z"}, []string{"a\u00fc", "a\u00fcx"}},
		{readstate.KeyPage{Limit: 100, Prefix: "a\u00fc", After: "a\u00fc"}, []string{"a\u00fcx"}},
		{readstate.KeyPage{Limit: 100, Prefix: "a", After: "a\u00fd"}, []string{}},
		{readstate.KeyPage{Limit: 100, Prefix: "\U0010ffff"}, []string{"\U0010ffff1"}},
		{readstate.KeyPage{Limit: 100, Prefix: "c"}, []string{}},
	} {
		got, err := s.UserIDs(t.Context(), test.page)
		require.NoError(t, err)
		require.Equal(t, test.want, got, "%+v", test.page)
	}
}

// fill writes the states of users, each in as many groups.
func fill(t *testing.T, s *store.Store, users, groups int) {
	t.Helper()
	for user := range users {
		var events []readstate.Event
		for group := range groups {
			events = append(events, documented(fmt.Sprintf("u%04d", user), fmt.Sprintf("g%04d", group), int64(user), user*groups+group))
		}
		commit(t, s, events...)
	}
}

// The list of users goes from user to user: it reads one row of each, and none of the others.
func TestUserIDsDoNotScan(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	fill(t, s, 40, 100)
	_, err := pgtest.Connect(t, url).Exec(t.Context(), "VACUUM ANALYZE states")
	require.NoError(t, err)
	for _, params := range []db.ListUserIDsParams{
		{ToUserID: "~", MaxRows: 10},
		{AfterUserID: "u0020", ToUserID: "~", MaxRows: 10},
		{FromUserID: "u001", ToUserID: "u002", MaxRows: 1000},
		{FromUserID: "a", ToUserID: "b", MaxRows: 10},
	} {
		rows := s.RowsRead(t, func(ctx context.Context, queries *db.Queries, conn db.DBTX) error {
			_, err := queries.ListUserIDs(ctx, conn, params)
			return err
		})
		require.LessOrEqual(t, rows["states"], int64(10+store.PlannersRows), "%+v", params)
	}
}

// The newest events are found however old they are and however many come at once; what is no callback is none.
func TestNewestEvents(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t))
	now := epoch.Add(time.Hour)
	newest := func(limit int32) (users []string) {
		events, err := s.NewestEvents(t.Context(), now, limit)
		require.NoError(t, err)
		for i := range events {
			users = append(users, events[i].UserID)
		}
		return users
	}
	require.Empty(t, newest(5))
	commit(t, s, documented("a", "g", 1, 1), documented("b", "g", 1, 2))
	snapshot := documented("openim", "g", 0, 3)
	snapshot.Kind = readstate.EventSnapshot
	commit(t, s, snapshot)
	require.Equal(t, []string{"b", "a"}, newest(5))
	require.Equal(t, []string{"b"}, newest(1))
	message := readstate.Event{
		Kind: readstate.EventMessage, ID: readstate.ID(uuid.Must(uuid.NewV7())), At: now.Add(-time.Minute), UserID: "sender", GroupID: "g", MessageID: "m", ReadSeq: 9,
	}
	commit(t, s, message)
	events, err := s.NewestEvents(t.Context(), now, 1)
	require.NoError(t, err)
	require.Equal(t, message.At, events[0].At)
	require.Positive(t, events[0].ReadSeq)
	var burst []readstate.Event
	for i := range 3 * store.FoundEvents {
		e := documented("burst", "g", 1, i)
		e.At = now.Add(-20 * time.Minute).Add(time.Duration(i) * time.Microsecond)
		burst = append(burst, e)
	}
	for part := range slices.Chunk(burst, 1000) {
		commit(t, s, part...)
	}
	events, err = s.NewestEvents(t.Context(), now.Add(-2*time.Minute), 3) // the message is from the future then
	require.NoError(t, err)
	require.Equal(t, "sender", events[0].UserID)
	require.Equal(t, burst[len(burst)-1].At, events[1].At)
	require.Equal(t, burst[len(burst)-2].At, events[2].At)
}

// Callbacks are counted by minute, and rejected ones by command.
func TestCountCallbacks(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t))
	commit(t, s, documented("a", "g", 1, 0), documented("b", "g", 1, 1), documented("a", "g", 2, 61_000_000), documented("late", "g", 2, 120_000_000))
	require.NoError(t, s.Commit(t.Context(), readstate.Batch{Rejections: []readstate.Rejection{{
		ID: readstate.ID(uuid.Must(uuid.NewV7())), ReceivedAt: epoch.Add(time.Second), Command: "callbackX", Reason: "r",
	}}}))
	counts, complete, err := s.CountCallbacks(t.Context(), epoch, epoch.Add(2*time.Minute))
	require.NoError(t, err)
	require.True(t, complete)
	require.ElementsMatch(t, []readstate.MinuteCount{
		{Minute: epoch, Kind: readstate.EventReceipt, Count: 2},
		{Minute: epoch.Add(time.Minute), Kind: readstate.EventReceipt, Count: 1},
		{Minute: epoch, Command: "callbackX", Count: 1},
	}, counts)
}

// Rejections come page by page, also those of one moment.
func TestListRejections(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t))
	var all []readstate.Rejection
	for i := range 7 {
		all = append(all, readstate.Rejection{
			ID: readstate.ID(uuid.Must(uuid.NewV7())), ReceivedAt: epoch.Add(time.Duration(i/3) * time.Second), Command: "callbackX", Code: readstate.CodeInvalidField,
			Field: "f", Reason: fmt.Sprint("reason ", i), Size: int64(i), UserID: "u", GroupID: "g",
		})
	}
	require.NoError(t, s.Commit(t.Context(), readstate.Batch{Rejections: all}))
	var got []readstate.Rejection
	for before := (readstate.EventCursor{}); ; {
		page, err := s.Rejections(t.Context(), before, 2)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		got = append(got, page...)
		last := &page[len(page)-1]
		before = readstate.EventCursor{At: last.ReceivedAt, ID: last.ID}
	}
	slices.Reverse(got)
	require.Equal(t, all, got)
}

package feed_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
)

// Subscribers that wait are told of the reminders that are for them, each once.
func TestSubscribersAreToldReminders(t *testing.T) {
	t.Parallel()
	p := newProcess(t, pgtest.New(t))
	ahead := time.Duration(0)
	work := p.ReminderWork(func() time.Time { return p.Clock().Now().Add(ahead) })
	for _, scope := range []readstate.ReminderScope{readstate.ReminderGroup, readstate.ReminderUser} {
		require.NoError(t, p.AddReminderRule(t.Context(), readstate.ReminderRule{
			ID: readstate.ID(uuid.Must(uuid.NewV7())), Name: string(scope), MinUnread: 1, After: time.Hour, Scope: scope, CreatedAt: time.Now(),
		}))
	}
	at := p.Clock().Now().UTC().Truncate(time.Microsecond)
	var events []readstate.Event
	for _, user := range []string{"u1", "u2"} {
		for _, group := range []string{"g1", "h1"} {
			events = append(events, readstate.Event{
				Kind: readstate.EventSnapshot, ID: readstate.ID(uuid.Must(uuid.NewV7())), At: at, UserID: user, GroupID: group, MaxSeq: 3, ReadSeq: 1,
			})
		}
	}
	require.NoError(t, p.Commit(t.Context(), readstate.Batch{Events: events, Fresh: true}))
	leads, err := work.Lease(t.Context())
	require.NoError(t, err)
	require.True(t, leads)
	_, err = work.Follow(t.Context())
	require.NoError(t, err)

	subscribers := map[string]readstate.FeedFilter{
		"user u1,user u2,group u1 g1,group u2 g1,group u1 h1,group u2 h1": {}, "user u1,group u1 g1,group u1 h1": {UserID: "u1"},
		"group u1 h1": {UserID: "u1", GroupID: "h1"}, "group u1 g1,group u2 g1": {GroupPrefix: "g"}, "group u1 h1,group u2 h1": {GroupID: "h1"},
		"user u2,group u2 g1,group u2 h1": {UserPrefix: "u2", OnlyUsers: true}, "group u2 g1": {UserID: "u2", GroupPrefix: "g"},
	}
	type waiting struct {
		told []string
		err  error
	}
	ended := map[string]chan waiting{}
	for want, filter := range subscribers {
		subscription := p.feed.Subscribe(nil, filter)
		t.Cleanup(subscription.Close)
		_, err := subscription.Poll(t.Context(), 100)
		require.NoError(t, err)
		end := make(chan waiting, 1)
		ended[want] = end
		go func() {
			var w waiting
			for w.err == nil && len(w.told) <= strings.Count(want, ",") {
				page, err := subscription.Next(t.Context(), 100)
				w.err = err
				for i := range page.Changes {
					if c := &page.Changes[i]; c.Kind == readstate.FeedReminder {
						w.told = append(w.told, strings.TrimSpace(c.RuleName+" "+c.UserID+" "+c.GroupID))
					}
				}
			}
			end <- w
		}()
	}
	ahead = 2 * time.Hour
	for looked := true; looked; {
		done, err := work.Look(t.Context())
		require.NoError(t, err)
		alone, err := work.LookAlone(t.Context())
		require.NoError(t, err)
		looked = done.Looked || alone.Looked
	}
	for want, end := range ended {
		w := <-end
		require.NoError(t, w.err)
		told, wanted := w.told, strings.Split(want, ",")
		slices.Sort(told)
		slices.Sort(wanted)
		require.Equal(t, wanted, told)
	}
}

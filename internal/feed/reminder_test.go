package feed_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"readmark/internal/feed"
	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

// Subscribers that wait are told of the reminders that are for them, each once.
func TestSubscribersAreToldReminders(t *testing.T) {
	t.Parallel()
	p := newProcess(t, pgtest.New(t))
	ahead := time.Duration(0)
	work := p.ReminderWork(func() time.Time { return p.Clock().Now().Add(ahead) })
	for _, scope := range []readstate.ReminderScope{readstate.ReminderGroup, readstate.ReminderUser} {
		patiently(t, func() error {
			return p.AddReminderRule(t.Context(), readstate.ReminderRule{
				ID: readstate.ID(uuid.Must(uuid.NewV7())), Name: string(scope), MinUnread: 1, After: time.Hour, Scope: scope, CreatedAt: time.Now(),
			})
		})
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
	patiently(t, func() error { return p.Commit(t.Context(), readstate.Batch{Events: events}) })
	lead(t, work)

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
		patiently(t, func() error {
			_, err := subscription.Poll(t.Context(), 100)
			return err
		})
		end := make(chan waiting, 1)
		ended[want] = end
		go func() {
			var w waiting
			for w.err == nil && len(w.told) <= strings.Count(want, ",") {
				page, err := subscription.Next(t.Context(), 100)
				if errors.Is(err, readstate.ErrUnavailable) { // a busy machine is no fault
					continue
				}
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
		patiently(t, func() error {
			done, err := work.Look(t.Context())
			alone, failed := work.LookAlone(t.Context())
			looked = done.Looked || alone.Looked
			return errors.Join(err, failed)
		})
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

// lead has the work of reminders be done by this process, up to what was written before.
func lead(t testing.TB, work *store.ReminderWork) {
	t.Helper()
	patiently(t, func() error {
		leads, err := work.Lease(t.Context())
		require.True(t, leads || err != nil)
		return err
	})
	patiently(t, func() error {
		_, err := work.Follow(t.Context())
		return err
	})
}

// heldSource holds questions that are asked for all subscribers.
type heldSource struct {
	*store.Store

	held sync.RWMutex
}

func (s *heldSource) Changes(ctx context.Context, since *readstate.FeedCursor, filter readstate.FeedFilter, limit int) (readstate.FeedPage, error) {
	if filter.GroupPrefix == "" {
		s.held.RLock()
		defer s.held.RUnlock()
	}
	return s.Store.Changes(ctx, since, filter, limit) //nolint:wrapcheck // as the store says it
}

// A reminder that a subscriber has read by itself is not told again by a batch that began before.
func TestReminderOfABatchThatBeganBefore(t *testing.T) {
	t.Parallel()
	p := newProcess(t, pgtest.New(t))
	source := &heldSource{Store: p.Store}
	shared := follow(t, source, p.Store)
	var ahead atomic.Int64
	work := p.ReminderWork(func() time.Time { return p.Clock().Now().Add(time.Duration(ahead.Load())) })
	patiently(t, func() error {
		return p.AddReminderRule(t.Context(), readstate.ReminderRule{
			ID: readstate.ID(uuid.Must(uuid.NewV7())), Name: "digest", MinUnread: 1, After: time.Hour, Scope: readstate.ReminderGroup, CreatedAt: time.Now(),
		})
	})
	unread := func(group string) {
		event := readstate.Event{
			Kind: readstate.EventSnapshot, ID: readstate.ID(uuid.Must(uuid.NewV7())), At: p.Clock().Now().UTC().Truncate(time.Microsecond),
			UserID: "u", GroupID: group, MaxSeq: 3, ReadSeq: 1,
		}
		patiently(t, func() error { return p.Commit(t.Context(), readstate.Batch{Events: []readstate.Event{event}}) })
	}
	unread("g1")
	unread("g2")
	lead(t, work)
	wide, user := shared.Subscribe(nil, readstate.FeedFilter{GroupPrefix: "g"}), shared.Subscribe(nil, readstate.FeedFilter{UserID: "u"})
	reminders := map[*feed.Subscription]int{}
	note := func(s *feed.Subscription, page *feed.Page, group string) (found bool) {
		for i := range page.Changes {
			if page.Changes[i].Kind == readstate.FeedReminder {
				reminders[s]++
			}
			found = found || page.Changes[i].GroupID == group
		}
		return found
	}
	poll := func(s *feed.Subscription) {
		patiently(t, func() error {
			page, err := s.Poll(t.Context(), 100)
			note(s, &page, "")
			return err
		})
	}
	until := func(s *feed.Subscription, group string) {
		for found := false; !found; {
			patiently(t, func() error {
				page, err := s.Next(t.Context(), 100)
				found = note(s, &page, group)
				return err
			})
		}
	}
	for _, s := range []*feed.Subscription{wide, user} {
		t.Cleanup(s.Close)
		poll(s)
	}
	unread("g3")
	for _, s := range []*feed.Subscription{wide, user} {
		until(s, "g3") // batches come to them
	}
	source.held.Lock()
	release := sync.OnceFunc(source.held.Unlock)
	defer release()
	ahead.Store(int64(2 * time.Hour))
	look := func() (looked bool) {
		patiently(t, func() error {
			done, err := work.Look(t.Context())
			looked = done.Looked
			return err
		})
		return looked
	}
	require.True(t, look(), "one of the groups")
	for _, s := range []*feed.Subscription{wide, user} {
		poll(s)
		require.Equal(t, 1, reminders[s])
	}
	for look() { // the other one, which the batch has, too
	}
	unread("g4")
	release()
	for _, s := range []*feed.Subscription{wide, user} {
		until(s, "g4")
		require.Equal(t, 2, reminders[s])
	}
}

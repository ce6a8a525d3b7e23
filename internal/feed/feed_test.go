package feed_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"readmark/internal/feed"
	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
	"readmark/internal/storetest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// process is a Readmark: a store, and a feed of what it and others write.
type process struct {
	*store.Store
	feed *feed.Feed
}

func newProcess(t testing.TB, url string) *process {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := store.Open(store.Options{URL: url, Logger: logger})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	s.EnableLookups()
	return &process{s, follow(t, s, s)}
}

// follow runs a feed of what a store writes, from a source.
func follow(t testing.TB, source feed.Source, s *store.Store) *feed.Feed {
	t.Helper()
	f := feed.New(feed.Options{Source: source, AsOf: time.Now, Logger: slog.New(slog.DiscardHandler)})
	s.OnChange(f.Touch)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { f.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return f
}

func filters() map[string]readstate.FeedFilter {
	return map[string]readstate.FeedFilter{
		"all": {}, "one user": {UserID: "u1"}, "another user": {UserID: "u2"}, "one group": {GroupID: "g1"}, "one pair": {UserID: "u1", GroupID: "g1"},
		"users by prefix": {UserPrefix: "u1"}, "groups by prefix": {GroupPrefix: "g1"}, "only users": {UserPrefix: "u1", OnlyUsers: true},
	}
}

// subscriber follows the feed of one process after the other.
type subscriber struct {
	*storetest.Consumer

	name   string
	cursor *readstate.FeedCursor
	pages  int
	// stays is the subscription of one that stays with its process.
	stays *feed.Subscription
}

// follow reads until it has what was committed before it was called, and reports what was wrong.
func (s *subscriber) follow(ctx context.Context, p *process, until *readstate.FeedCursor, most int) error {
	subscription := s.stays
	if subscription == nil {
		subscription = p.feed.Subscribe(s.cursor, s.Filter)
		defer subscription.Close()
	}
	patience := 50 * time.Millisecond
	for i := range most {
		if i > 10 { // a slow machine answers nothing in so short a time
			patience = min(2*patience, 5*time.Second)
		}
		if s.cursor != nil && until != nil && s.cursor.Until == nil && !s.cursor.Seen.Before(&until.Seen) {
			return nil
		}
		page, err := next(ctx, subscription, patience)
		if err != nil {
			return err
		}
		s.pages++
		for i := range page.Changes {
			if err := s.Apply(ctx, &page.Changes[i]); err != nil {
				return err
			}
		}
		next := *subscription.Cursor()
		if s.cursor != nil && next.Until == nil && s.cursor.Until == nil && next.Seen.Before(&s.cursor.Seen) {
			return fmt.Errorf("%s: the cursor goes back from %v to %v", s.name, s.cursor, next)
		}
		s.cursor = &next
	}
	if until != nil {
		return fmt.Errorf("%s: never came to the end", s.name)
	}
	return nil
}

func next(ctx context.Context, subscription *feed.Subscription, patience time.Duration) (feed.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return subscription.Next(ctx, 5)
}

// TestSubscribersTellTheSame: subscribers of any kind who change from process to process, while others
// write, have put together what the read API says, whenever nobody writes.
func TestSubscribersTellTheSame(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	processes := []*process{newProcess(t, url), newProcess(t, url)}
	seed := rand.Uint64()
	t.Log("seed", seed)
	w := storetest.NewWriter(t, seed, processes[0].Store, processes[1].Store)
	var subscribers []*subscriber
	for name, filter := range filters() {
		for i := range 3 {
			p := processes[i%2]
			s := &subscriber{Consumer: storetest.NewConsumer(p.Store, filter), name: name}
			subscription := p.feed.Subscribe(nil, filter)
			page, err := subscription.Poll(t.Context(), 5)
			require.NoError(t, err)
			s.cursor = &page.Next
			if i == 2 {
				s.stays = subscription
				t.Cleanup(subscription.Close)
			} else {
				subscription.Close()
			}
			subscribers = append(subscribers, s)
		}
	}
	for round := range 5 {
		var following sync.WaitGroup
		errs := make([]error, len(subscribers))
		written := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		for i, s := range subscribers {
			p := processes[(i+round)%2]
			following.Go(func() {
				for {
					if errs[i] = s.follow(ctx, p, nil, 4); errs[i] != nil {
						return
					}
					select {
					case <-written:
						return
					default:
					}
				}
			})
		}
		for range 40 {
			w.Write()
		}
		close(written)
		following.Wait()
		cancel()
		require.Empty(t, slices.DeleteFunc(errs, func(err error) bool { return err == nil }))
		end, err := processes[0].Changes(t.Context(), nil, readstate.FeedFilter{}, 1)
		require.NoError(t, err)
		for i, s := range subscribers {
			require.NoError(t, s.follow(t.Context(), processes[(i+round)%2], &end.Next, 1000))
			require.Empty(t, s.Difference(t.Context(), w), "%s %+v", s.name, s.Kinds)
			require.Empty(t, s.Backwards, s.name)
		}
	}
	for _, s := range subscribers {
		t.Log(s.name, s.Kinds, s.pages)
	}
}

// refusing is a store whose questions for one group fail while it refuses.
type refusing struct {
	*store.Store
	refuses atomic.Bool
}

var errRefused = errors.New("refused")

func (r *refusing) Changes(
	ctx context.Context, since *readstate.FeedCursor, filter readstate.FeedFilter, limit int,
) (readstate.FeedPage, error) {
	if filter.GroupID != "" && r.refuses.Load() {
		return readstate.FeedPage{}, errRefused
	}
	return r.Store.Changes(ctx, since, filter, limit)
}

// TestFailedQuestionIsAskedAgain: what only the database can tell is told by a later question where one
// has failed.
func TestFailedQuestionIsAskedAgain(t *testing.T) {
	t.Parallel()
	p := newProcess(t, pgtest.New(t))
	source := &refusing{Store: p.Store}
	f := follow(t, source, p.Store)
	w := storetest.NewWriter(t, 1, p.Store)
	w.ConfirmAll(p.Store)
	s := f.Subscribe(nil, readstate.FeedFilter{GroupID: "g1"})
	defer s.Close()
	_, err := s.Poll(t.Context(), 10)
	require.NoError(t, err)
	require.NoError(t, p.ErasePair(t.Context(), readstate.Pair{UserID: "u2", GroupID: "g1"}))
	page, err := s.Next(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, []readstate.FeedKey{{UserID: "u2", GroupID: "g1", Kind: readstate.FeedRemoved}}, keys(page.Changes))
	source.refuses.Store(true)
	_, err = p.EraseUser(t.Context(), "u1")
	require.NoError(t, err)
	for range 20 { // all batches of the erasure come meanwhile
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, err = s.Next(ctx, 10)
		cancel()
		require.True(t, err == nil || errors.Is(err, errRefused), err)
	}
	source.refuses.Store(false)
	page, err = s.Next(t.Context(), 10)
	require.NoError(t, err)
	require.Contains(t, keys(page.Changes), readstate.FeedKey{UserID: "u1", GroupID: "g1", Kind: readstate.FeedRemoved})
}

// TestSlowSubscriber: for whoever does not take what comes, only a few batches are kept, and the database is asked
// once there is time.
func TestSlowSubscriber(t *testing.T) {
	t.Parallel()
	p := newProcess(t, pgtest.New(t))
	registry := prometheus.NewRegistry()
	p.feed.Register(registry)
	slow, fast := p.feed.Subscribe(nil, readstate.FeedFilter{}), p.feed.Subscribe(nil, readstate.FeedFilter{})
	defer slow.Close()
	defer fast.Close()
	write := func(group string) {
		e := readstate.Event{
			Kind: readstate.EventReceipt, ID: readstate.ID(uuid.Must(uuid.NewV7())), At: p.Clock().Now(), UserID: "u", GroupID: group, UnreadCount: 1,
			ContentType: 101,
		}
		require.NoError(t, p.Commit(t.Context(), readstate.Batch{Events: []readstate.Event{e}, Fresh: true}))
	}
	take := func(s *feed.Subscription, group string) (told []string) {
		for !slices.Contains(told, group) {
			page, err := s.Next(t.Context(), 1000)
			require.NoError(t, err)
			for i := range page.Changes {
				told = append(told, page.Changes[i].GroupID)
			}
		}
		return told
	}
	behind := func() (n float64) {
		families, err := registry.Gather()
		require.NoError(t, err)
		for _, family := range families {
			if family.GetName() == "readmark_feed_subscribers_behind_total" {
				n = family.GetMetric()[0].GetCounter().GetValue()
			}
		}
		return n
	}
	for _, s := range []*feed.Subscription{slow, fast} { // both wait for what comes
		_, err := s.Poll(t.Context(), 10)
		require.NoError(t, err)
	}
	write("begin")
	take(slow, "begin")
	take(fast, "begin")
	var groups []string
	for n := 0; behind() == 0; n++ {
		require.Less(t, n, 1000, "nothing is ever left out")
		groups = append(groups, fmt.Sprintf("g%03d", n))
		write(groups[n])
		take(fast, groups[n]) // it is a batch of its own
	}
	told := take(slow, groups[len(groups)-1])
	slices.Sort(told)
	require.Equal(t, groups, slices.DeleteFunc(slices.Compact(told), func(group string) bool { return group == "begin" }))
	write("end")
	require.Contains(t, take(slow, "end"), "end")
}

// TestClosedFeed: subscribers end at once when their process stops.
func TestClosedFeed(t *testing.T) {
	t.Parallel()
	p := newProcess(t, pgtest.New(t))
	s := p.feed.Subscribe(nil, readstate.FeedFilter{})
	defer s.Close()
	_, err := s.Poll(t.Context(), 10)
	require.NoError(t, err)
	p.feed.Close()
	_, err = s.Next(t.Context(), 10)
	require.ErrorIs(t, err, feed.ErrClosed)
}

// patiently does something until the database has time for it.
func patiently(t testing.TB, do func() error) {
	t.Helper()
	for {
		err := do()
		if !errors.Is(err, readstate.ErrUnavailable) {
			require.NoError(t, err)
			return
		}
	}
}

func keys(changes []readstate.FeedChange) (list []readstate.FeedKey) {
	for i := range changes {
		list = append(list, changes[i].FeedKey)
	}
	return list
}

// TestPagesOfAnOlderRound: what is written while a subscriber reads a round page by page is told behind
// its last page, also where it was handed out meanwhile.
func TestPagesOfAnOlderRound(t *testing.T) {
	t.Parallel()
	p := newProcess(t, pgtest.New(t))
	write := func(users ...string) {
		var events []readstate.Event
		for _, user := range users {
			events = append(events, readstate.Event{
				Kind: readstate.EventReceipt, ID: readstate.ID(uuid.Must(uuid.NewV7())), At: p.Clock().Now(), UserID: user, GroupID: "g", ContentType: 101,
			})
		}
		require.NoError(t, p.Commit(t.Context(), readstate.Batch{Events: events, Fresh: true}))
	}
	take := func(s *feed.Subscription, limit int, last string) (told []string) {
		for !slices.Contains(told, last) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			page, err := s.Next(ctx, limit)
			cancel()
			require.NoError(t, err)
			require.NotEmpty(t, page.Changes, "%s is missing, after %v", last, told)
			for _, key := range keys(page.Changes) {
				told = append(told, key.UserID)
			}
			if len(told) == limit {
				return told
			}
		}
		return told
	}
	begin, err := p.Changes(t.Context(), nil, readstate.FeedFilter{}, 1)
	require.NoError(t, err)
	write("a", "b", "c", "d", "e")
	paged, other := p.feed.Subscribe(&begin.Next, readstate.FeedFilter{}), p.feed.Subscribe(&begin.Next, readstate.FeedFilter{})
	defer paged.Close()
	defer other.Close()
	require.Equal(t, []string{"a", "b"}, take(paged, 2, "e"))
	take(other, 10, "e")
	write("f")
	take(other, 10, "f") // the batch was handed out
	require.Subset(t, take(paged, 1000, "f"), []string{"c", "d", "e"})
}

// TestErasedGroupIsToldToItsUsers: a subscriber of one user is told that a group was erased, also who joins
// while it is, and finds nothing of it any more.
func TestErasedGroupIsToldToItsUsers(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	p := newProcess(t, url)
	removed := readstate.FeedKey{UserID: "u1", GroupID: "g1", Kind: readstate.FeedRemoved}
	e := readstate.Event{
		Kind: readstate.EventReceipt, ID: readstate.ID(uuid.Must(uuid.NewV7())), At: p.Clock().Now(), UserID: "u1", GroupID: "g1", ContentType: 101,
	}
	require.NoError(t, p.Commit(t.Context(), readstate.Batch{Events: []readstate.Event{e}, Fresh: true}))
	_, err := pgtest.Connect(t, url).Exec(t.Context(), "DELETE FROM states") // as an erasure does before it tells who was erased
	require.NoError(t, err)
	joined := p.feed.Subscribe(nil, readstate.FeedFilter{UserID: "u1"})
	defer joined.Close()
	other := p.feed.Subscribe(nil, readstate.FeedFilter{UserID: "u1", GroupID: "g2"})
	defer other.Close()
	for _, s := range []*feed.Subscription{joined, other} {
		_, err := s.Poll(t.Context(), 10)
		require.NoError(t, err)
		_, err = next(t.Context(), s, 200*time.Millisecond) // what comes then is handed out from memory
		require.NoError(t, err)
	}
	_, err = p.EraseGroup(t.Context(), "g1")
	require.NoError(t, err)
	page, err := next(t.Context(), joined, 10*time.Second)
	require.NoError(t, err)
	require.Contains(t, keys(page.Changes), removed)
	e.ID, e.At, e.GroupID = readstate.ID(uuid.Must(uuid.NewV7())), p.Clock().Now(), "g2"
	require.NoError(t, p.Commit(t.Context(), readstate.Batch{Events: []readstate.Event{e}, Fresh: true}))
	page, err = next(t.Context(), other, 10*time.Second)
	require.NoError(t, err)
	require.Equal(t, []readstate.FeedKey{{UserID: "u1", GroupID: "g2", Kind: readstate.FeedChanged}}, keys(page.Changes), "nothing of g1 comes before")
}

package store_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
	"readmark/internal/storetest"
)

// consumer is a consumer of the feed of one store.
type consumer struct {
	*storetest.Consumer

	t      *testing.T
	store  *store.Store
	limit  int
	cursor *readstate.FeedCursor
	pages  int
}

func newConsumer(t *testing.T, s *store.Store, filter readstate.FeedFilter, limit int) *consumer {
	t.Helper()
	c := &consumer{Consumer: storetest.NewConsumer(s, filter), t: t, store: s, limit: limit}
	page, err := s.Changes(t.Context(), nil, filter, limit)
	require.NoError(t, err)
	require.Empty(t, page.Changes)
	c.cursor = &page.Next
	return c
}

// follow reads to the end, and takes every cursor as a text.
func (c *consumer) follow(random *rand.Rand) {
	for {
		page, err := c.store.Changes(c.t.Context(), c.cursor, c.Filter, c.limit)
		require.NoError(c.t, err)
		require.LessOrEqual(c.t, len(page.Changes), c.limit)
		c.pages++
		used := len(page.Changes)
		if used > 0 && random.IntN(4) == 0 { // it goes on in the middle of a page
			used = 1 + random.IntN(used)
		}
		for i := range page.Changes[:used] {
			if i > 0 {
				require.Negative(c.t, page.Changes[i-1].Compare(page.Changes[i].FeedKey), "in order")
			}
			c.apply(&page.Changes[i])
		}
		next := page.Next
		if used > 0 {
			next = page.CursorAfter(used - 1)
		}
		next, err = readstate.ParseFeedCursor(next.String())
		require.NoError(c.t, err)
		c.cursor = &next
		if !page.More && used == len(page.Changes) {
			return
		}
	}
}

func (c *consumer) apply(change *readstate.FeedChange) {
	require.True(c.t, change.UserID == "" || c.Filter.WantsUser(change.UserID), change)
	require.True(c.t, change.GroupID == "" || c.Filter.WantsGroup(change.GroupID), change)
	require.True(c.t, change.Kind != readstate.FeedAdvanced || c.Filter.WantsPositions())
	require.NoError(c.t, c.Apply(c.t.Context(), change))
}

// TestFeedTellsEverything: whoever puts together what the feed tells counts as the read API does at the
// end of each round, whatever is written, in pages of any size, and for any filter.
func TestFeedTellsEverything(t *testing.T) {
	t.Parallel()
	for name, filter := range map[string]readstate.FeedFilter{
		"all": {}, "one user": {UserID: "u1"}, "one group": {GroupID: "g1"}, "one pair": {UserID: "u1", GroupID: "g1"},
		"users by prefix": {UserPrefix: "u1"}, "groups by prefix": {GroupPrefix: "g1"}, "only users": {UserPrefix: "u1", OnlyUsers: true},
		"all, on Citus": {}, "users by prefix, on Citus": {UserPrefix: "u1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := databases()["PostgreSQL"]
			if strings.HasSuffix(name, "Citus") {
				database = databases()["Citus"]
			}
			url := database(t)
			a, b := openLooking(t, url), openLooking(t, url)
			seed := rand.Uint64()
			t.Log("seed", seed)
			w := storetest.NewWriter(t, seed, a, b)
			consumers := []*consumer{newConsumer(t, a, filter, 1000), newConsumer(t, b, filter, 3)}
			for range 150 {
				for range 1 + w.Random.IntN(4) {
					w.Write()
				}
				for _, c := range consumers {
					if w.Random.IntN(3) > 0 {
						c.follow(w.Random)
						require.Empty(t, c.Difference(t.Context(), w))
						require.Empty(t, c.Backwards)
					}
				}
			}
			t.Log(consumers[0].Kinds, consumers[0].pages, consumers[1].pages)
			if strings.HasPrefix(name, "all") { // of one pair there may be none
				require.Positive(t, consumers[0].Kinds[readstate.FeedChanged])
				require.Positive(t, consumers[0].Kinds[readstate.FeedRemoved])
			}
			if filter.GroupPrefix == "" && !filter.OnlyUsers { // else who was erased may not be named
				require.Less(t, consumers[0].Kinds[readstate.FeedResync], 5)
			}
		})
	}
}

// openLooking opens a store that asks OpenIM for what callbacks do not tell.
func openLooking(t *testing.T, url string) *store.Store {
	t.Helper()
	s := open(t, url)
	s.EnableLookups()
	return s
}

// TestFeedWatchesOwnMessages: an own message without a seq is read while there is such a message. When
// the group moves on, who was told so is told again.
func TestFeedWatchesOwnMessages(t *testing.T) {
	t.Parallel()
	for _, senders := range []int{1, 9, 80} { // watched one by one, as a group, as everything
		t.Run(strconv.Itoa(senders), func(t *testing.T) {
			t.Parallel()
			s := open(t, pgtest.New(t))
			groups := 1
			if senders > 9 {
				groups = senders // so many that everything is watched
			}
			at := s.Clock().Now().UTC().Truncate(time.Microsecond).Add(-time.Second)
			event := func(kind readstate.EventKind, user, group string, maxSeq, readSeq int64) readstate.Event {
				at = at.Add(time.Microsecond)
				return readstate.Event{
					Kind: kind, ID: readstate.ID(uuid.Must(uuid.NewV7())), At: at, SentAt: at, UserID: user, GroupID: group,
					MaxSeq: maxSeq, ReadSeq: readSeq, MessageID: uuid.NewString(),
				}
			}
			commit := func(build func(user, group string, i int) readstate.Event) {
				var events []readstate.Event
				for i := range senders {
					events = append(events, build(fmt.Sprint("u", i), fmt.Sprint("g", i%groups), i))
				}
				require.NoError(t, s.Commit(t.Context(), readstate.Batch{Events: events, Fresh: true}))
			}
			snapshot := func(user, group string, _ int) readstate.Event {
				return event(readstate.EventSnapshot, user, group, 100, 100)
			}
			commit(snapshot)
			commit(func(user, group string, _ int) readstate.Event {
				return event(readstate.EventMessage, user, group, 0, 0)
			})
			c := newConsumer(t, s, readstate.FeedFilter{}, 1000)
			commit(snapshot) // it does not know the messages yet
			random := rand.New(rand.NewPCG(1, 1))
			c.follow(random)
			require.NotEmpty(t, c.cursor.Own)
			require.LessOrEqual(t, len(c.cursor.String()), 4096)
			require.Equal(t, 100+int64(senders/groups), c.Position("g0"))
			for i := range groups { // now somebody else's does
				e := event(readstate.EventSnapshot, "other", fmt.Sprint("g", i), 100+int64(senders/groups)+1, 100)
				require.NoError(t, s.Commit(t.Context(), readstate.Batch{Events: []readstate.Event{e}, Fresh: true}))
			}
			c.follow(random)
			w := storetest.NewWriter(t, 1)
			require.Empty(t, c.Difference(t.Context(), w))
			require.Empty(t, c.cursor.Own)
		})
	}
}

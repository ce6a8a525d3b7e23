package store_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
	"readmark/internal/storetest"
)

// member is what a consumer of the feed knows of a pair.
type member struct {
	readPosition int64
	capped       bool
	positionCap  int64
}

// consumer puts together what the feed tells, and counts by itself.
type consumer struct {
	t         *testing.T
	store     *store.Store
	filter    readstate.FeedFilter
	limit     int
	cursor    *readstate.FeedCursor
	members   map[readstate.Pair]member
	positions map[string]int64
	kinds     map[readstate.FeedKind]int
	pages     int
}

func newConsumer(t *testing.T, s *store.Store, filter readstate.FeedFilter, limit int) *consumer {
	t.Helper()
	c := &consumer{
		t: t, store: s, filter: filter, limit: limit, members: map[readstate.Pair]member{}, positions: map[string]int64{},
		kinds: map[readstate.FeedKind]int{},
	}
	page, err := s.Changes(t.Context(), nil, filter, limit)
	require.NoError(t, err)
	require.Empty(t, page.Changes)
	c.cursor = &page.Next
	return c
}

// follow reads to the end, and takes every cursor as a text.
func (c *consumer) follow(random *rand.Rand) {
	for {
		page, err := c.store.Changes(c.t.Context(), c.cursor, c.filter, c.limit)
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

func (c *consumer) drop(userID, groupID string) {
	maps.DeleteFunc(c.members, func(pair readstate.Pair, _ member) bool {
		return (userID == "" || pair.UserID == userID) && (groupID == "" || pair.GroupID == groupID)
	})
}

func (c *consumer) apply(change *readstate.FeedChange) {
	c.kinds[change.Kind]++
	require.True(c.t, change.UserID == "" || c.filter.WantsUser(change.UserID), change)
	require.True(c.t, change.GroupID == "" || c.filter.WantsGroup(change.GroupID), change)
	switch change.Kind {
	case readstate.FeedRemoved:
		c.drop(change.UserID, change.GroupID)
	case readstate.FeedAdvanced:
		require.True(c.t, c.filter.WantsPositions())
		c.positions[change.GroupID] = change.Position.Number()
	case readstate.FeedChanged:
		c.positions[change.GroupID] = change.Position.Number()
		c.members[change.Pair()] = member{change.ReadPosition(&change.Position), change.Capped, change.MaxSeqCap}
	case readstate.FeedResync:
		c.resync(change.UserID, change.GroupID)
	}
}

// resync starts again from what is served.
func (c *consumer) resync(userID, groupID string) {
	c.drop(userID, groupID)
	poller := c.store.Poller()
	defer poller.Close()
	var users []string
	for i := range 12 {
		users = append(users, fmt.Sprint("u", i))
	}
	poll, err := poller.Poll(c.t.Context(), nil, readstate.Load{Users: users})
	require.NoError(c.t, err)
	for i := range poll.Users {
		s := &poll.Users[i]
		if userID != "" && userID != s.UserID || groupID != "" && groupID != s.GroupID || !c.filter.WantsUser(s.UserID) || !c.filter.WantsGroup(s.GroupID) {
			continue
		}
		if _, shown := s.State(s.Pair, &s.Position); shown {
			c.positions[s.GroupID] = s.Position.Number()
			c.members[s.Pair] = member{s.ReadPosition(&s.Position), s.Capped, s.MaxSeqCap}
		}
	}
}

// difference compares what was put together with what is served.
func (c *consumer) difference(w *storetest.Writer) string {
	for _, userID := range w.Users {
		for _, groupID := range w.Groups {
			pair := readstate.Pair{UserID: userID, GroupID: groupID}
			if !c.filter.WantsUser(userID) || !c.filter.WantsGroup(groupID) {
				continue
			}
			state, err := c.store.State(c.t.Context(), pair)
			m, known := c.members[pair]
			if errors.Is(err, readstate.ErrUnknown) {
				if known {
					return fmt.Sprint(pair, " is not served, and is known: ", m)
				}
				continue
			}
			require.NoError(c.t, err)
			if !known {
				return fmt.Sprint(pair, " is served, and is not known: ", state)
			}
			position := c.positions[groupID]
			if m.capped {
				position = min(position, m.positionCap)
			}
			if count := max(0, position-m.readPosition); count != state.UnreadCount {
				return fmt.Sprintf("%v has %d unread messages, and not %d: position %d, %+v; %+v", pair, state.UnreadCount, count, c.positions[groupID], m, state)
			}
		}
	}
	return ""
}

// TestFeedTellsEverything: whoever puts together what the feed tells counts as the read API does at the
// end of each round, whatever is written, in pages of any size, and for any filter.
func TestFeedTellsEverything(t *testing.T) {
	t.Parallel()
	for name, filter := range map[string]readstate.FeedFilter{
		"all": {}, "one user": {UserID: "u1"}, "one group": {GroupID: "g1"}, "one pair": {UserID: "u1", GroupID: "g1"},
		"users by prefix": {UserPrefix: "u1"}, "groups by prefix": {GroupPrefix: "g1"}, "only users": {UserPrefix: "u1", OnlyUsers: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.New(t)
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
						require.Empty(t, c.difference(w))
					}
				}
			}
			t.Log(consumers[0].kinds, consumers[0].pages, consumers[1].pages)
			require.Positive(t, consumers[0].kinds[readstate.FeedChanged])
			require.Positive(t, consumers[0].kinds[readstate.FeedRemoved])
			if filter.GroupPrefix == "" && !filter.OnlyUsers { // else who was erased may not be named
				require.Less(t, consumers[0].kinds[readstate.FeedResync], 5)
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
			require.Equal(t, 100+int64(senders/groups), c.positions["g0"])
			for i := range groups { // now somebody else's does
				e := event(readstate.EventSnapshot, "other", fmt.Sprint("g", i), 100+int64(senders/groups)+1, 100)
				require.NoError(t, s.Commit(t.Context(), readstate.Batch{Events: []readstate.Event{e}, Fresh: true}))
			}
			c.follow(random)
			w := storetest.NewWriter(t, 1)
			require.Empty(t, c.difference(w))
			require.Empty(t, c.cursor.Own)
		})
	}
}

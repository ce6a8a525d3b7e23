package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

// consumers gives one consumer for each filter, who has read all.
func consumers(t *testing.T, s *store.Store, filters ...readstate.FeedFilter) (list []*consumer) {
	t.Helper()
	for _, filter := range filters {
		list = append(list, newConsumer(t, s, filter, 10))
	}
	return list
}

// wanted is what is to be told with a filter.
type wanted struct {
	filter readstate.FeedFilter
	keys   []readstate.FeedKey
}

// before begins to read with filters, and gives what reads on and compares.
func before(t *testing.T, s *store.Store, told ...wanted) (after func()) {
	t.Helper()
	list := make([]*consumer, len(told))
	for i := range told {
		list[i] = newConsumer(t, s, told[i].filter, 10)
	}
	return func() {
		t.Helper()
		for i, c := range list {
			require.Equal(t, told[i].keys, keys(c.all()), "%+v", c.Filter)
		}
	}
}

func key(kind readstate.FeedKind, groupID, userID string) readstate.FeedKey {
	return readstate.FeedKey{GroupID: groupID, UserID: userID, Kind: kind}
}

// Who has read nothing while somebody was erased is told that, and by name: it stands nowhere in clear.
// Where only a part is wanted, nobody knows any more whether the erased one was in it: nobody is named, and
// all of that part is to be read anew.
func TestFeedOfErasures(t *testing.T) {
	t.Parallel()
	const user, group = "erased-user", "erased-group"
	everything := key(readstate.FeedResync, "", "")
	for name, c := range map[string]struct {
		erase func(ctx context.Context, s *store.Store) error
		id    string
		told  []wanted
	}{
		"user": {
			erase: func(ctx context.Context, s *store.Store) error { _, err := s.EraseUser(ctx, user); return err },
			id:    user,
			told: []wanted{
				{readstate.FeedFilter{}, []readstate.FeedKey{key(readstate.FeedRemoved, "", user)}},
				{readstate.FeedFilter{UserID: user}, []readstate.FeedKey{key(readstate.FeedRemoved, "", user)}},
				{readstate.FeedFilter{UserPrefix: "erased"}, []readstate.FeedKey{key(readstate.FeedRemoved, "", user)}},
				{readstate.FeedFilter{UserPrefix: "erased", OnlyUsers: true}, []readstate.FeedKey{key(readstate.FeedRemoved, "", user)}},
				{readstate.FeedFilter{GroupID: "g"}, []readstate.FeedKey{key(readstate.FeedRemoved, "g", user)}},
				{readstate.FeedFilter{GroupID: "g", GroupPrefix: "g"}, []readstate.FeedKey{key(readstate.FeedResync, "g", "")}},
				{readstate.FeedFilter{GroupPrefix: "g"}, []readstate.FeedKey{everything}},
				{readstate.FeedFilter{GroupPrefix: "nobody"}, []readstate.FeedKey{everything}},
				{readstate.FeedFilter{GroupPrefix: "g", UserID: user}, []readstate.FeedKey{key(readstate.FeedResync, "", user)}},
				{readstate.FeedFilter{UserID: "v"}, nil},
				{readstate.FeedFilter{UserPrefix: "v"}, nil},
				{readstate.FeedFilter{UserPrefix: "v", GroupPrefix: "g"}, nil},
				{readstate.FeedFilter{UserPrefix: "v", OnlyUsers: true}, nil},
				{readstate.FeedFilter{UserID: user, UserPrefix: "not-theirs"}, nil},
			},
		},
		"group": {
			erase: func(ctx context.Context, s *store.Store) error { _, err := s.EraseGroup(ctx, group); return err },
			id:    group,
			told: []wanted{
				{readstate.FeedFilter{}, []readstate.FeedKey{key(readstate.FeedRemoved, group, "")}},
				{readstate.FeedFilter{GroupID: group}, []readstate.FeedKey{key(readstate.FeedRemoved, group, "")}},
				{readstate.FeedFilter{GroupPrefix: "erased"}, []readstate.FeedKey{key(readstate.FeedRemoved, group, "")}},
				{readstate.FeedFilter{UserPrefix: "v"}, []readstate.FeedKey{key(readstate.FeedRemoved, group, "")}},
				{readstate.FeedFilter{UserID: "v"}, []readstate.FeedKey{key(readstate.FeedRemoved, group, "v")}},
				{readstate.FeedFilter{UserID: "v", UserPrefix: "v", OnlyUsers: true}, []readstate.FeedKey{key(readstate.FeedResync, "", "v")}},
				{readstate.FeedFilter{UserPrefix: "v", OnlyUsers: true}, []readstate.FeedKey{everything}},
				{readstate.FeedFilter{UserPrefix: "n", OnlyUsers: true}, []readstate.FeedKey{everything}},
				{readstate.FeedFilter{GroupPrefix: "g"}, nil},
				{readstate.FeedFilter{GroupID: "g"}, nil},
				{readstate.FeedFilter{UserPrefix: "v", OnlyUsers: true, GroupID: "g"}, nil},
				{readstate.FeedFilter{UserPrefix: "v", OnlyUsers: true, GroupID: group}, []readstate.FeedKey{key(readstate.FeedResync, group, "")}},
			},
		},
		"pair": {
			erase: func(ctx context.Context, s *store.Store) error {
				return s.ErasePair(ctx, readstate.Pair{UserID: user, GroupID: "g"})
			},
			told: []wanted{
				{readstate.FeedFilter{}, []readstate.FeedKey{key(readstate.FeedRemoved, "g", user)}},
				{readstate.FeedFilter{UserPrefix: "erased", OnlyUsers: true}, []readstate.FeedKey{key(readstate.FeedRemoved, "g", user)}},
				{readstate.FeedFilter{GroupPrefix: "g"}, []readstate.FeedKey{key(readstate.FeedRemoved, "g", user)}},
				{readstate.FeedFilter{GroupID: group}, nil},
				{readstate.FeedFilter{UserID: "v"}, nil},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.New(t)
			s := open(t, url)
			commit(t, s, documented(user, "g", 1, 1), documented(user, group, 1, 2), documented("v", group, 1, 3), documented("v", "g", 1, 4))
			told := before(t, s, c.told...)
			require.NoError(t, c.erase(t.Context(), s))
			told()
			if c.id == "" {
				return
			}
			nowhere(t, url, c.id)
			// Who comes back is told after the removal.
			again := consumers(t, s, readstate.FeedFilter{})[0]
			require.NoError(t, c.erase(t.Context(), s))
			require.NoError(t, s.Commit(t.Context(), receipt(user, group, 1, later())))
			back := keys(again.all())
			require.Len(t, back, 2)
			require.Equal(t, readstate.FeedRemoved, back[0].Kind)
			require.Equal(t, key(readstate.FeedChanged, group, user), back[1])
		})
	}
}

// An erasure that nobody can open any more may be of anybody: a backup of before has another key, or none.
func TestFeedOfErasureUnderAnotherKey(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"another key":  "UPDATE erasure_keys SET hash_key = sha256('another')",
		"no key":       "DELETE FROM erasure_keys",
		"an empty one": "UPDATE erasure_keys SET hash_key = ''",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.New(t)
			s, conn := open(t, url), pgtest.Connect(t, url)
			commit(t, s, documented("u", "g", 1, 1), documented("v", "g", 1, 2))
			list := consumers(t, s, readstate.FeedFilter{}, readstate.FeedFilter{GroupID: "g"}, readstate.FeedFilter{UserID: "v"}, readstate.FeedFilter{UserPrefix: "v", OnlyUsers: true})
			_, err := s.EraseUser(t.Context(), "u")
			require.NoError(t, err)
			exec(t, conn, change)
			for i, want := range []readstate.FeedKey{
				key(readstate.FeedResync, "", ""), key(readstate.FeedResync, "g", ""), key(readstate.FeedResync, "", "v"), key(readstate.FeedResync, "", ""),
			} {
				require.Equal(t, []readstate.FeedKey{want}, keys(list[i].all()))
			}
		})
	}
}

// What makes all be read anew is told also behind what was told before of the same round.
func TestFeedResyncWithinRound(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s, conn := open(t, url), pgtest.Connect(t, url)
	commit(t, s, documented("u", "g", 1, 1))
	c := newConsumer(t, s, readstate.FeedFilter{}, 1)
	commit(t, s, documented("v", "g", 1, 2), documented("w", "g", 1, 3))
	_, err := s.EraseUser(t.Context(), "u")
	require.NoError(t, err)
	var told []readstate.FeedKey
	page, err := s.Changes(t.Context(), c.cursor, c.Filter, 1)
	require.NoError(t, err)
	told = append(told, keys(page.Changes)...)
	require.True(t, page.More)
	exec(t, conn, "DELETE FROM erasure_keys")
	c.cursor = &page.Next
	told = append(told, keys(c.all())...)
	require.Equal(t, []readstate.FeedKey{key(readstate.FeedRemoved, "", "u"), key(readstate.FeedResync, "", "")}, told)
}

// Who was told to be pending while OpenIM was to be asked about all groups of a user is told again when it was
// asked, and nobody else.
func TestFeedOfLookups(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s, conn := open(t, url), pgtest.Connect(t, url)
	commit(t, s, documented("u", "g", 1, 1), documented("u", "h", 1, 2), documented("v", "g", 1, 3))
	exec(t, conn, "UPDATE states SET updated_at = $1", epoch.Add(-time.Hour))
	c := newConsumer(t, s, readstate.FeedFilter{}, 10)
	require.NoError(t, s.EnqueueLookups(t.Context(), []readstate.Pair{{UserID: "u"}}))
	commit(t, s, documented("u", "g", 2, 4))
	g := key(readstate.FeedChanged, "g", "u")
	pending := func() bool {
		t.Helper()
		told := c.all()
		require.Equal(t, []readstate.FeedKey{g}, keys(told))
		state, shown := told[0].State(told[0].Pair(), &told[0].Position)
		require.True(t, shown)
		require.EqualValues(t, 2, state.UnreadCount)
		return state.Pending
	}
	require.True(t, pending())
	leased, err := s.LeaseLookups(t.Context(), true, 10, time.Minute)
	require.NoError(t, err)
	require.Len(t, leased, 1)
	require.NoError(t, s.FinishLookup(t.Context(), leased[0], time.Now().Add(time.Hour)))
	require.False(t, pending())

	// That of one pair tells of the pair.
	require.NoError(t, s.EnqueueLookups(t.Context(), []readstate.Pair{{UserID: "u", GroupID: "g"}}))
	require.True(t, pending())
	leased, err = s.LeaseLookups(t.Context(), true, 10, time.Minute)
	require.NoError(t, err)
	require.NoError(t, s.FinishLookup(t.Context(), leased[0], time.Now().Add(time.Hour)))
	require.False(t, pending())
}

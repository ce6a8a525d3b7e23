package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

// feedOf opens a store with some states, of groups of users, or of members of groups.
func feedOf(t *testing.T, pairs ...string) (*store.Store, *pgx.Conn) {
	t.Helper()
	url := pgtest.New(t)
	s, conn := open(t, url), pgtest.Connect(t, url)
	commit(t, s, onDay(0, 1)) // the day is there
	for _, query := range pairs {
		insertStates(t, conn, query)
	}
	return s, conn
}

func groupsOf(user string, from, to int) string {
	return fmt.Sprintf("SELECT '%s', 'g' || lpad(n::text, 4, '0') FROM generate_series(%d, %d) AS n", user, from, to)
}

func membersOf(group string, from, to int) string {
	return fmt.Sprintf("SELECT 'u' || lpad(n::text, 4, '0'), '%s' FROM generate_series(%d, %d) AS n", group, from, to)
}

// touch writes what a transaction has touched.
func touch(t *testing.T, conn execer, column string, ids ...string) {
	t.Helper()
	exec(t, conn, "INSERT INTO changes (recorded_at, everything, "+column+") VALUES (now(), false, $1)", ids)
}

// What anything may have changed of is told one by one where that is not too much, else as a whole to be read anew,
// in pages of any size.
func TestFeedOfWholeUsers(t *testing.T) {
	t.Parallel()
	s, conn := feedOf(t, groupsOf("large", 1, 1500), groupsOf("few", 1, 900), groupsOf("other", 1, 3), "SELECT 'stranger', 'x'")
	for _, limit := range []int{1000, 130} {
		c := newConsumer(t, s, readstate.FeedFilter{}, limit)
		touch(t, conn, "user_ids", "large")
		require.Equal(t, []readstate.FeedKey{key(readstate.FeedResync, "", "large")}, keys(c.all()))
		touch(t, conn, "user_ids", "few")
		told := keys(c.all())
		require.Equal(t, key(readstate.FeedRemoved, "", "few"), told[0])
		require.Len(t, told, 901)
		for i, k := range told[1:] {
			require.Equal(t, key(readstate.FeedChanged, fmt.Sprintf("g%04d", i+1), "few"), k)
		}
		// The large one is not told one by one in the pages behind its own, and keeps nobody else from being so.
		touch(t, conn, "user_ids", "few", "large")
		told = keys(c.all())
		require.Equal(t, []readstate.FeedKey{key(readstate.FeedRemoved, "", "few"), key(readstate.FeedResync, "", "large")}, told[:2])
		require.Len(t, told, 902)
	}
	// Only what is wanted counts.
	c := newConsumer(t, s, readstate.FeedFilter{GroupPrefix: "g000"}, 1000)
	one := newConsumer(t, s, readstate.FeedFilter{GroupID: "g0007"}, 1000)
	none := newConsumer(t, s, readstate.FeedFilter{GroupPrefix: "x"}, 1000)
	touch(t, conn, "user_ids", "large", "other")
	require.Len(t, c.all(), 9+3)
	require.Equal(t, []readstate.FeedKey{key(readstate.FeedChanged, "g0007", "large")}, keys(one.all()))
	require.Empty(t, none.all(), "it has nothing to do with them")
	all := newConsumer(t, s, readstate.FeedFilter{GroupPrefix: "g"}, 1000)
	touch(t, conn, "user_ids", "large", "stranger")
	require.Equal(t, []readstate.FeedKey{key(readstate.FeedResync, "", "large")}, keys(all.all()))
}

// A group is told one by one or as a whole when read positions are relative to something else.
func TestFeedOfRebasedGroups(t *testing.T) {
	t.Parallel()
	s, conn := feedOf(t, membersOf("large", 1, 1500), membersOf("few", 1, 900))
	exec(t, conn, "INSERT INTO positions (group_id) VALUES ('large'), ('few')")
	for i, limit := range []int{1000, 130} {
		c := newConsumer(t, s, readstate.FeedFilter{}, limit)
		own := newConsumer(t, s, readstate.FeedFilter{UserPrefix: "u05", OnlyUsers: true}, limit)
		for _, group := range []string{"large", "few"} {
			e := readstate.Event{
				Kind: readstate.EventSnapshot, ID: identity(), At: time.Now().UTC().Truncate(time.Microsecond), UserID: "u0001", GroupID: group,
				MaxSeq: 100, ReadSeq: 100, Confirmed: true,
			}
			if i == 0 {
				require.NoError(t, s.Commit(t.Context(), readstate.Batch{Events: []readstate.Event{e}, Fresh: true}))
			} else {
				exec(t, conn, "INSERT INTO changes (recorded_at, everything, position_group_ids, rebased_group_ids) VALUES (now(), false, $1, $1)", []string{group})
			}
			told := keys(c.all())
			theirs := own.all()
			require.Len(t, theirs, 100, "of these users only")
			require.Equal(t, key(readstate.FeedChanged, group, "u0500"), theirs[0].FeedKey)
			if group == "large" {
				require.Equal(t, key(readstate.FeedAdvanced, group, ""), told[0])
				require.Contains(t, told, key(readstate.FeedResync, group, ""))
				require.LessOrEqual(t, len(told), 3, "the group alone, and the pair that was written")
				continue
			}
			require.Equal(t, key(readstate.FeedAdvanced, group, ""), told[0])
			require.Len(t, told, 901)
		}
	}
}

// What was begun one by one, and has become too much meanwhile, is read anew: its own place in the order has passed.
func TestFeedGrowsWithinRound(t *testing.T) {
	t.Parallel()
	for _, of := range []string{"user", "group"} {
		t.Run(of, func(t *testing.T) {
			t.Parallel()
			build, column := groupsOf, "user_ids"
			if of == "group" {
				build, column = membersOf, "group_ids"
			}
			s, conn := feedOf(t, build("x", 1, 990))
			c := newConsumer(t, s, readstate.FeedFilter{}, 100)
			touch(t, conn, column, "x")
			page, err := s.Changes(t.Context(), c.cursor, c.Filter, c.limit)
			require.NoError(t, err)
			require.Len(t, page.Changes, 100)
			require.Equal(t, readstate.FeedRemoved, page.Changes[0].Kind)
			insertStates(t, conn, build("x", 2000, 2020))
			middle := page.CursorAfter(50)
			for _, cursor := range []*readstate.FeedCursor{&page.Next, &middle} {
				c.cursor = cursor
				require.Equal(t, []readstate.FeedKey{key(readstate.FeedResync, "", "")}, keys(c.all()))
			}

			// One that was large stays so, also when the page is gone on with in its middle.
			c.cursor = now(t, s)
			exec(t, conn, "INSERT INTO changes (recorded_at, everything, "+column+", pair_user_ids, pair_group_ids) VALUES (now(), false, '{x}', '{x,x}', '{x,y}')")
			page, err = s.Changes(t.Context(), c.cursor, c.Filter, c.limit)
			require.NoError(t, err)
			resync := slices.IndexFunc(page.Changes, func(c readstate.FeedChange) bool { return c.Kind == readstate.FeedResync })
			require.GreaterOrEqual(t, resync, 0)
			require.Less(t, resync, len(page.Changes)-1)
			exec(t, conn, "DELETE FROM states WHERE user_id >= 'u05' OR group_id >= 'g05'")
			middle = page.CursorAfter(resync)
			c.cursor = &middle
			require.Equal(t, keys(page.Changes[resync+1:]), keys(c.all()))
		})
	}
}

// Who has left is told as removed also where groups are wanted by what they begin with. A user or group that has
// nothing to do with what is wanted is not named.
func TestFeedOfWholesNamesOnlyTheirs(t *testing.T) {
	t.Parallel()
	s, conn := feedOf(t, groupsOf("u", 1, 3), groupsOf("stranger", 5, 5), "SELECT 'u', 'other'")
	exec(t, conn, "UPDATE states SET left_at = now() WHERE group_id = 'g0002'")
	left := key(readstate.FeedRemoved, "g0002", "u")
	changed := func(group, user string) readstate.FeedKey { return key(readstate.FeedChanged, group, user) }
	told := before(t, s, []wanted{
		{readstate.FeedFilter{GroupPrefix: "g000"}, []readstate.FeedKey{changed("g0001", "u"), left, changed("g0003", "u"), changed("g0005", "stranger")}},
		{readstate.FeedFilter{GroupPrefix: "g0001"}, []readstate.FeedKey{changed("g0001", "u")}},
		{readstate.FeedFilter{GroupPrefix: "none"}, nil},
		{readstate.FeedFilter{GroupID: "g0001"}, []readstate.FeedKey{changed("g0001", "u")}},
		{readstate.FeedFilter{GroupID: "g0002"}, []readstate.FeedKey{left}},
		{readstate.FeedFilter{GroupID: "none"}, nil},
		{readstate.FeedFilter{UserID: "u", GroupID: "g0002"}, []readstate.FeedKey{left}},
		{readstate.FeedFilter{UserID: "u", GroupPrefix: "ot"}, []readstate.FeedKey{changed("other", "u")}},
	}...)
	touch(t, conn, "user_ids", "u", "stranger", "never-in-any")
	told()
	told = before(t, s, []wanted{
		{readstate.FeedFilter{UserID: "u"}, []readstate.FeedKey{left, changed("g0003", "u")}},
		{readstate.FeedFilter{UserID: "u", GroupPrefix: "g0003"}, []readstate.FeedKey{changed("g0003", "u")}},
		{readstate.FeedFilter{UserID: "stranger"}, []readstate.FeedKey{changed("g0005", "stranger")}},
		{readstate.FeedFilter{UserPrefix: "st", OnlyUsers: true}, []readstate.FeedKey{key(readstate.FeedRemoved, "g0005", ""), changed("g0005", "stranger")}},
		{readstate.FeedFilter{UserPrefix: "no", OnlyUsers: true}, nil},
		{readstate.FeedFilter{UserPrefix: "é", OnlyUsers: true}, nil},
		{readstate.FeedFilter{UserPrefix: "st\x7f", OnlyUsers: true}, nil},
	}...)
	insertStates(t, conn, "SELECT 'ü', 'g0003'") // behind é
	touch(t, conn, "group_ids", "g0002", "g0003", "g0005", "nobody-in-it")
	told()
}

// A cursor is nothing secret, and may be made up: it opens nothing.
func TestFeedOfMadeUpCursor(t *testing.T) {
	t.Parallel()
	s, conn := feedOf(t, "SELECT 'victim', 'g'", "SELECT 'mine', 'g'")
	exec(t, conn, "INSERT INTO positions (group_id, max_seq, base_seq) VALUES ('g', 9, 0)")
	for _, want := range []wanted{
		{readstate.FeedFilter{UserPrefix: "mi", OnlyUsers: true}, []readstate.FeedKey{key(readstate.FeedChanged, "g", "mine")}},
		{readstate.FeedFilter{UserID: "mine"}, []readstate.FeedKey{key(readstate.FeedChanged, "g", "mine")}},
		{readstate.FeedFilter{UserPrefix: "mi"}, []readstate.FeedKey{key(readstate.FeedAdvanced, "g", "")}},
		{readstate.FeedFilter{GroupPrefix: "h"}, nil},
	} {
		c := newConsumer(t, s, want.filter, 10)
		c.cursor.Own = []readstate.Pair{{UserID: "victim", GroupID: "g"}}
		touch(t, conn, "position_group_ids", "g")
		require.Equal(t, want.keys, keys(c.all()), "%+v", want.filter)
		require.NotContains(t, c.cursor.Own, readstate.Pair{UserID: "victim", GroupID: "g"})
	}
}

// All members of a group whose own messages are watched are told, also where they take several pages.
func TestFeedWatchesOwnMessagesInPages(t *testing.T) {
	t.Parallel()
	s, conn := feedOf(t, membersOf("g", 1, 20), membersOf("h", 1, 1))
	exec(t, conn, "INSERT INTO positions (group_id, max_seq, base_seq) VALUES ('g', 9, 0), ('h', 9, 0)")
	for _, limit := range []int{1, 3, 1000} {
		c := newConsumer(t, s, readstate.FeedFilter{}, limit)
		c.cursor.Own = []readstate.Pair{{GroupID: "g"}, {GroupID: "h", UserID: "u0001"}}
		touch(t, conn, "position_group_ids", "g", "h")
		told := keys(c.all())
		require.Len(t, told, 2+21+1, "with the one who is there anyway")
		require.True(t, slices.IsSortedFunc(told, readstate.FeedKey.Compare))
	}
}

// Prefixes end where no ID is that begins with them.
func TestPrefixEnd(t *testing.T) {
	t.Parallel()
	for prefix, end := range map[string]string{
		"": "", "a": "b", "az": "a{", "a~": "a\x7f", "a\x7f": "a\u0080", "é": "ê", "aé": "aê", "a\U0010ffff": "b", "\U0010ffff": "", "a\ud7ff": "a\ue000",
		"\U0010ffffa": "\U0010ffffb",
	} {
		require.Equal(t, end, store.PrefixEnd(prefix), prefix)
		require.True(t, end == "" || strings.Compare(prefix, end) < 0)
	}
}

package store_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
	"readmark/internal/storetest"
)

// answersOf is all that the read API may ask of some users and groups.
func answersOf(t *testing.T, s *store.Store, users, groups []string, moment time.Time) map[string]any {
	t.Helper()
	answers := map[string]any{}
	var all []readstate.Pair
	muted, unmuted := true, false
	pages := map[string]readstate.Page{
		"all": {Limit: 100}, "unread first": {Order: readstate.OrderUnread, Limit: 100}, "last read first": {Order: readstate.OrderLastRead, Limit: 100},
		"two": {Limit: 2}, "two behind": {Limit: 2, After: readstate.Cursor{Key: "g2"}}, "unread": {MinUnread: 3, Limit: 100},
		"two behind a count":  {Order: readstate.OrderUnread, Limit: 2, After: readstate.Cursor{Key: "g2", UnreadCount: 40}},
		"two behind a moment": {Order: readstate.OrderLastRead, Limit: 2, After: readstate.Cursor{Key: "g2", LastReadAt: moment}},
		"muted":               {Muted: &muted, Limit: 100}, "not muted": {Muted: &unmuted, Order: readstate.OrderUnread, Limit: 3},
	}
	keep := func(answer any, err error, name ...string) {
		if err != nil {
			require.ErrorIs(t, err, readstate.ErrUnknown)
		}
		answers[strings.Join(name, "/")] = answer
	}
	for _, userID := range users {
		badge, err := s.Badge(t.Context(), userID)
		keep(badge, err, "badge", userID)
		for name, page := range pages {
			list, err := s.UserStates(t.Context(), userID, page)
			keep(list, err, "groups", userID, name)
		}
		for _, groupID := range groups {
			pair := readstate.Pair{UserID: userID, GroupID: groupID}
			state, err := s.State(t.Context(), pair)
			keep(state, err, "state", userID, groupID)
			all = append(all, pair)
		}
	}
	for _, groupID := range groups {
		sum, err := s.GroupSum(t.Context(), groupID)
		keep(sum, err, "sum", groupID)
		without, err := s.MembersWithoutState(t.Context(), groupID, slices.Concat(users, []string{"nobody"}))
		keep(without, err, "without", groupID)
		for name, page := range pages {
			if page.After.Key != "" {
				page.After.Key = "u5"
			}
			list, err := s.GroupStates(t.Context(), groupID, page)
			keep(list, err, "users", groupID, name)
		}
	}
	known, badges, err := s.Snapshot(t.Context(), append(all, all[0]), users)
	keep(known, err, "pairs")
	keep(badges, err, "badges")
	poller := s.Poller()
	defer poller.Close()
	polled, err := poller.Poll(t.Context(), nil, readstate.Load{Pairs: all, Users: users, Positions: groups})
	keep(polled.Users, err, "polled users")
	keep(polled.Positions, err, "polled positions")
	slices.SortFunc(polled.Pairs, func(a, b readstate.ServedState) int { return a.Compare(b.Pair) })
	keep(polled.Pairs, err, "polled pairs")
	var loaded []readstate.ServedState
	_, err = s.LoadUser(t.Context(), users[0], func(state *readstate.ServedState) { loaded = append(loaded, *state) })
	keep(loaded, err, "loaded user")
	return answers
}

// What is read on Citus apart, states by user and positions by group, is what one statement reads of both on plain PostgreSQL.
func TestApartIsTheSame(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Log("seed", seed)
	url := pgtest.LikeCitus(t, 0)
	citus := open(t, url)
	w := storetest.NewWriter(t, seed, citus)
	for range 200 {
		w.Write()
	}
	moment := time.Now().Add(-time.Second)
	got := answersOf(t, citus, w.Users, w.Groups, moment)
	exec(t, pgtest.Connect(t, url), "DROP TABLE pg_catalog.pg_dist_local_group")
	plain := open(t, url)
	for question, want := range answersOf(t, plain, w.Users, w.Groups, moment) {
		require.Equal(t, want, got[question], question)
	}
}

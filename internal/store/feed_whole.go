package store

import (
	"context"

	"readmark/db"
	"readmark/internal/readstate"
)

// feedWhole is the groups and users of whom anything may have changed, and their states. Those up to
// large are told one by one, if they have to do with what is wanted.
type feedWhole struct {
	groups, users     []string
	ofGroups, ofUsers []readstate.ServedState
	// ofWanted are, where only some groups are wanted, the pairs of users in them that have, or had, a
	// state, and theirGroups, where users only are, the groups that have, or had, such a user.
	ofWanted    []readstate.Pair
	theirGroups map[string]bool
	large       readstate.FeedLarge
}

// load queues reading the states.
func (w *feedWhole) load(ctx context.Context, reading *serving, t *telling) error {
	if err := w.loadGroups(ctx, reading, t); err != nil {
		return err
	}
	return w.loadUsers(ctx, reading, t)
}

func (w *feedWhole) loadGroups(ctx context.Context, reading *serving, t *telling) error {
	if len(w.groups) == 0 {
		return nil
	}
	from, to := t.filter.UserPrefix, prefixEnd(t.filter.UserPrefix)
	err := reading.askStatesOfGroups(ctx, db.ListServedByGroupsParams{
		GroupIDs: w.groups, FromUserID: from, ToUserID: to, MaxRows: expandedStates + 1,
	}, &w.ofGroups)
	if err != nil {
		return err
	}
	if t.filter.OnlyUsers {
		reading.queue.ask(func(conn db.DBTX) error {
			groups, err := t.queries.ListGroupsOfUsers(ctx, conn, db.ListGroupsOfUsersParams{GroupIDs: w.groups, FromUserID: from, ToUserID: to})
			for _, groupID := range groups {
				w.theirGroups[groupID] = true
			}
			return err
		})
	}
	return nil
}

func (w *feedWhole) loadUsers(ctx context.Context, reading *serving, t *telling) error {
	if len(w.users) == 0 {
		return nil
	}
	from, to := t.filter.GroupPrefix, prefixEnd(t.filter.GroupPrefix)
	err := reading.askStatesInGroups(ctx, db.ListServedByUsersInGroupsParams{
		UserIDs: w.users, FromGroupID: from, ToGroupID: to, MaxRows: expandedStates + 1,
	}, &w.ofUsers)
	if err != nil {
		return err
	}
	if from != "" {
		reading.queue.ask(func(conn db.DBTX) error {
			rows, err := t.queries.ListPairsOfUsers(ctx, conn, db.ListPairsOfUsersParams{
				UserIDs: w.users, FromGroupID: from, ToGroupID: to, MaxRows: expandedStates + 1,
			})
			for _, row := range rows {
				w.ofWanted = append(w.ofWanted, readstate.Pair{UserID: row.UserID, GroupID: row.GroupID})
			}
			return err
		})
	}
	return nil
}

// find finds who is not told one by one. Who was begun one by one in an earlier page of the round, and has
// become too large since, makes all be read anew.
func (w *feedWhole) find(t *telling) {
	var now readstate.FeedLarge
	if len(w.ofGroups) > expandedStates {
		now.FromGroup = w.ofGroups[expandedStates].GroupID
	}
	switch {
	case len(w.ofUsers) > expandedStates:
		now.FromUser = w.ofUsers[expandedStates].UserID
	case len(w.ofWanted) > expandedStates:
		now.FromUser = w.ofWanted[expandedStates].UserID
	}
	if t.since.Until == nil {
		w.large = now
		return
	}
	w.large = t.since.Large
	for _, userID := range w.users {
		if isLarge(now.FromUser, userID) && !isLarge(w.large.FromUser, userID) {
			t.everything = t.everything || resyncKey("", userID).Compare(t.after) <= 0
			w.large.FromUser = userID
			break
		}
	}
	for _, groupID := range w.groups {
		if isLarge(now.FromGroup, groupID) && !isLarge(w.large.FromGroup, groupID) {
			t.everything = t.everything || resyncKey(groupID, "").Compare(t.after) <= 0
			w.large.FromGroup = groupID
			break
		}
	}
}

func isLarge(from, id string) bool { return from != "" && id >= from }

func resyncKey(groupID, userID string) readstate.FeedKey {
	return readstate.FeedKey{GroupID: groupID, UserID: userID, Kind: readstate.FeedResync}
}

// tellUsers tells all groups of users of whom anything may have changed.
func (t *telling) tellUsers() {
	w := &t.wholes
	theirs := map[string]bool{}
	for _, pair := range w.ofWanted {
		theirs[pair.UserID] = true
	}
	for _, userID := range w.users {
		switch {
		case t.filter.GroupPrefix == "" && !isLarge(w.large.FromUser, userID):
			t.removed("", userID)
		case isLarge(w.large.FromUser, userID) && (t.filter.GroupPrefix == "" || theirs[userID]):
			t.resync("", userID)
		}
	}
	for i := range w.ofUsers {
		if s := &w.ofUsers[i]; !isLarge(w.large.FromUser, s.UserID) && !t.state(s) {
			t.removed(s.GroupID, s.UserID)
		}
	}
	for _, pair := range w.ofWanted {
		_, told := t.told[readstate.FeedKey{GroupID: pair.GroupID, UserID: pair.UserID, Kind: readstate.FeedChanged}]
		if !told && !isLarge(w.large.FromUser, pair.UserID) {
			t.removed(pair.GroupID, pair.UserID)
		}
	}
}

// tellGroups tells all users of groups of which anything may have changed.
func (t *telling) tellGroups() {
	w := &t.wholes
	for _, groupID := range w.groups {
		if t.filter.OnlyUsers && !w.theirGroups[groupID] {
			continue
		}
		if isLarge(w.large.FromGroup, groupID) {
			t.resync(groupID, "")
			continue
		}
		position, known := t.positions[groupID]
		if t.groups[groupID] || !known || position.DismissedAt != 0 {
			t.add(&readstate.FeedChange{
				FeedKey: readstate.FeedKey{GroupID: groupID, Kind: readstate.FeedRemoved}, Erased: t.erased[groupID],
			})
		}
		if t.filter.WantsPositions() && known {
			t.tellPosition(groupID)
		}
	}
	for i := range w.ofGroups {
		if s := &w.ofGroups[i]; !isLarge(w.large.FromGroup, s.GroupID) && t.filter.WantsUser(s.UserID) {
			t.state(s)
		}
	}
}

package store

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"readmark/db"
	"readmark/internal/readstate"
)

// telling makes the changes of a page from what its rows name.
type telling struct {
	*feedRound

	after readstate.FeedKey // what the page begins behind
	// bound is the place up to which everything is loaded, nil where that is all.
	bound *readstate.FeedKey
	told  map[readstate.FeedKey]readstate.FeedChange
	// own are the pairs whose read position is that of an own message, see [readstate.FeedCursor].
	own map[readstate.Pair]bool

	singles   []readstate.Pair // loaded pairs, and groups without a user whose position is loaded
	known     map[readstate.Pair]readstate.ServedState
	positions map[string]readstate.ServedPosition
	wholes    feedWhole
	theirs    map[string]bool // groups that have or had a user whom the filter wants
}

// feedWhole is the states of whole groups and users.
type feedWhole struct {
	groups, users           []string
	ofGroups, ofUsers       []readstate.ServedState
	largeGroups, largeUsers map[string]bool // they are not told one by one
}

// tell makes the page. Where there is more than it takes, it ends in the middle of the round, whose end
// is until.
func (r *feedRound) tell(ctx context.Context, tx pgx.Tx, until readstate.Snapshot) error {
	t := telling{
		feedRound: r, after: r.since.After, told: map[readstate.FeedKey]readstate.FeedChange{}, own: map[readstate.Pair]bool{},
		known: map[readstate.Pair]readstate.ServedState{}, positions: map[string]readstate.ServedPosition{}, theirs: map[string]bool{},
		wholes: feedWhole{largeGroups: map[string]bool{}, largeUsers: map[string]bool{}},
	}
	t.watchOwn()
	if r.everything {
		t.resync(r.filter.GroupID, r.filter.UserID)
	} else {
		t.pick()
		if err := t.load(ctx, tx); err != nil {
			return err
		}
		t.tellPairs()
		t.tellPositions()
		t.tellUsers()
		t.tellGroups()
	}
	t.end(until)
	return nil
}

// watchOwn has what the cursor watches be told where its group has moved, and be watched on
// otherwise.
func (t *telling) watchOwn() {
	for _, pair := range t.since.Own {
		moved := t.feedRound.positions[pair.GroupID] || t.rebased[pair.GroupID] || t.groups[pair.GroupID]
		if pair.GroupID == "" {
			moved = len(t.feedRound.positions)+len(t.rebased)+len(t.groups) > 0
		}
		toldNow := t.since.Until != nil && pairKey(pair).Compare(t.after) <= 0 // by an earlier page of the round
		switch {
		case !moved, toldNow:
			t.own[pair] = true
		case pair.GroupID == "":
			t.everything = true
		case pair.UserID == "":
			t.rebased[pair.GroupID] = true
		default:
			t.see(pair, false)
		}
	}
}

// pick takes the next pairs and positions in the order of keys, as many as the page takes.
func (t *telling) pick() {
	for pair := range t.pairs {
		t.singles = append(t.singles, pair)
	}
	for groupID := range t.feedRound.positions {
		t.singles = append(t.singles, readstate.Pair{GroupID: groupID})
	}
	after := pairKey(t.after.Pair())
	t.singles = slices.DeleteFunc(t.singles, func(p readstate.Pair) bool { return pairKey(p).Compare(after) < 0 })
	slices.SortFunc(t.singles, func(a, b readstate.Pair) int { return pairKey(a).Compare(pairKey(b)) })
	if most := t.limit + 1; len(t.singles) > most {
		t.singles = t.singles[:most]
		last := pairKey(t.singles[most-1])
		last.Kind = readstate.FeedResync // the last one of a pair
		t.bound = &last
	}
	t.wholes.users = sortedKeys(t.users)
	t.wholes.groups = sortedKeys(t.groups)
	for groupID := range t.rebased {
		if !t.groups[groupID] {
			t.wholes.groups = append(t.wholes.groups, groupID)
		}
	}
	slices.Sort(t.wholes.groups)
}

// pairKey is before the keys of all that is told of a pair.
func pairKey(p readstate.Pair) readstate.FeedKey {
	return readstate.FeedKey{GroupID: p.GroupID, UserID: p.UserID}
}

func sortedKeys(set map[string]bool) []string {
	list := make([]string, 0, len(set))
	for id := range set {
		list = append(list, id)
	}
	slices.Sort(list)
	return list
}

// load reads what is told of.
func (t *telling) load(ctx context.Context, tx pgx.Tx) error {
	load := readstate.Load{Users: t.wholes.users, Positions: slices.Clone(t.wholes.groups), Lookups: sortedKeys(t.lookups)}
	for _, pair := range t.singles {
		if pair.UserID == "" {
			load.Positions = append(load.Positions, pair.GroupID)
		} else {
			load.Pairs = append(load.Pairs, pair)
		}
	}
	var queue pipeline
	var found readstate.Poll
	if err := t.Reader.load(ctx, &queue, &load, &found); err != nil {
		return err
	}
	if err := t.loadGroups(ctx, &queue); err != nil {
		return err
	}
	if err := queue.send(ctx, tx); err != nil {
		return err
	}
	for i := range found.Pairs {
		t.known[found.Pairs[i].Pair] = found.Pairs[i]
	}
	t.positions = found.Positions
	t.wholes.ofUsers = found.Users
	if len(load.Lookups) > 0 {
		t.page.Pending = map[string]bool{}
		for _, userID := range load.Lookups {
			t.page.Pending[userID] = found.PendingUsers[userID]
		}
	}
	t.wholes.dropLarge()
	return nil
}

// loadGroups queues reading the users of whole groups.
func (t *telling) loadGroups(ctx context.Context, queue *pipeline) error {
	if len(t.wholes.groups) == 0 {
		return nil
	}
	from, to := t.filter.UserPrefix, prefixEnd(t.filter.UserPrefix)
	err := t.queries.ListServedByGroups(ctx, queue, db.ListServedByGroupsParams{
		GroupIDs: t.wholes.groups, FromUserID: from, ToUserID: to, MaxRows: expandedStates + 1,
	})
	if err != nil {
		return err
	}
	queue.decode(func(d *decoder) { t.wholes.ofGroups = append(t.wholes.ofGroups, d.servedState()) })
	if t.filter.OnlyUsers {
		queue.ask(func(conn db.DBTX) error {
			groups, err := t.queries.ListGroupsOfUsers(ctx, conn, db.ListGroupsOfUsersParams{
				GroupIDs: t.wholes.groups, FromUserID: from, ToUserID: to,
			})
			for _, groupID := range groups {
				t.theirs[groupID] = true
			}
			return err
		})
	}
	return nil
}

// prefixEnd gives the first text behind all that begin with a prefix; "" where there is none.
func prefixEnd(prefix string) string {
	end := []byte(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0x7f { // so that it stays UTF-8
			end[i]++
			return string(end[:i+1])
		}
	}
	return ""
}

// dropLarge drops what is not told one by one.
func (w *feedWhole) dropLarge() {
	if len(w.ofGroups) > expandedStates {
		last := w.ofGroups[expandedStates].GroupID
		for _, groupID := range w.groups {
			w.largeGroups[groupID] = groupID >= last
		}
	}
	if len(w.ofUsers) > expandedStates {
		last := w.ofUsers[expandedStates].UserID
		for _, userID := range w.users {
			w.largeUsers[userID] = userID >= last
		}
	}
}

func (t *telling) add(c *readstate.FeedChange) { t.told[c.FeedKey] = *c }

func (t *telling) resync(groupID, userID string) {
	t.add(&readstate.FeedChange{FeedKey: readstate.FeedKey{GroupID: groupID, UserID: userID, Kind: readstate.FeedResync}})
}

func (t *telling) removed(groupID, userID string) {
	t.add(&readstate.FeedChange{FeedKey: readstate.FeedKey{GroupID: groupID, UserID: userID, Kind: readstate.FeedRemoved}})
}

// state tells what is served of a pair, and reports whether anything is.
func (t *telling) state(s *readstate.ServedState) bool {
	if _, shown := s.State(s.Pair, &s.Position); !shown {
		return false
	}
	t.add(&readstate.FeedChange{
		FeedKey: readstate.FeedKey{GroupID: s.GroupID, UserID: s.UserID, Kind: readstate.FeedChanged},
		Served:  s.Served, Position: s.Position,
	})
	if t.filter.UserID == "" && s.ReadsByOwn(&s.Position) {
		t.own[s.Pair] = true
	}
	return true
}

func (t *telling) tellPairs() {
	for _, pair := range t.singles {
		if pair.UserID == "" {
			continue
		}
		state, known := t.known[pair] // also of a group that was dismissed
		if known && t.state(&state) {
			continue
		}
		if known || t.pairs[pair] {
			t.removed(pair.GroupID, pair.UserID)
		}
	}
}

func (t *telling) tellPositions() {
	for _, pair := range t.singles {
		if pair.UserID == "" {
			t.tellPosition(pair.GroupID)
		}
	}
}

func (t *telling) tellPosition(groupID string) {
	position, known := t.positions[groupID]
	if !known { // it was erased since
		t.removed(groupID, "")
		return
	}
	t.add(&readstate.FeedChange{FeedKey: readstate.FeedKey{GroupID: groupID, Kind: readstate.FeedAdvanced}, Position: position})
}

// tellUsers tells all groups of users of whom anything may have changed.
func (t *telling) tellUsers() {
	for _, userID := range t.wholes.users {
		switch {
		case t.erasedUsers[userID] && t.filter.GroupPrefix != "":
			t.resync("", "") // whether the user was in such a group is not known any more
			continue
		case t.wholes.largeUsers[userID]:
			t.resync("", userID)
			continue
		case t.filter.GroupPrefix == "":
			t.removed("", userID)
		}
		for i := range t.wholes.ofUsers {
			s := &t.wholes.ofUsers[i]
			if s.UserID == userID && t.filter.WantsGroup(s.GroupID) && !t.state(s) {
				t.removed(s.GroupID, userID)
			}
		}
	}
}

// tellGroups tells all users of groups of which anything may have changed.
func (t *telling) tellGroups() {
	for _, groupID := range t.wholes.groups {
		switch {
		case t.filter.OnlyUsers && t.erasedGroups[groupID]:
			t.resync("", "") // whether such a user was in it is not known any more
			continue
		case t.filter.OnlyUsers && !t.theirs[groupID]:
			continue
		case t.wholes.largeGroups[groupID]:
			t.resync(groupID, "")
			continue
		}
		position, known := t.positions[groupID]
		if t.groups[groupID] || !known || position.DismissedAt != 0 {
			t.removed(groupID, "")
		}
		if t.filter.WantsPositions() && known {
			t.tellPosition(groupID)
		}
		for i := range t.wholes.ofGroups {
			if s := &t.wholes.ofGroups[i]; s.GroupID == groupID && t.filter.WantsUser(s.UserID) {
				t.state(s)
			}
		}
	}
}

// end makes the page of what was told.
func (t *telling) end(until readstate.Snapshot) {
	list := make([]readstate.FeedChange, 0, len(t.told))
	for key, change := range t.told {
		beyond := t.bound != nil && key.Compare(*t.bound) > 0
		if key.Compare(t.after) > 0 && !beyond {
			list = append(list, change)
		}
	}
	slices.SortFunc(list, func(a, b readstate.FeedChange) int { return a.Compare(b.FeedKey) })
	page := &t.page
	place := t.bound
	if len(list) > t.limit {
		list = list[:t.limit]
		place = &list[t.limit-1].FeedKey
	}
	own := make([]readstate.Pair, 0, len(t.own))
	for pair, watched := range t.own {
		if watched {
			own = append(own, pair)
		}
	}
	page.Changes, page.From = list, *t.since
	page.Next = readstate.FeedCursor{Seen: until, Own: own}
	if place != nil {
		page.Next.Seen, page.Next.Until, page.Next.After = t.since.Seen, &until, *place
		page.Next.Own = append(page.Next.Own, t.since.Own...) // some are still to be told
	}
	page.More = place != nil || until.Before(&t.now.Snapshot)
}

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
	had       map[readstate.Pair]bool // pairs named by their user or group that have, or had, a state
	reminding reminding
}

// tell makes the page. Where there is more than it takes, it ends in the middle of the round, whose end
// is until.
func (r *feedRound) tell(ctx context.Context, tx pgx.Tx, until readstate.Snapshot) error {
	t := telling{
		feedRound: r, after: r.since.After, told: map[readstate.FeedKey]readstate.FeedChange{}, own: map[readstate.Pair]bool{},
		known: map[readstate.Pair]readstate.ServedState{}, positions: map[string]readstate.ServedPosition{}, had: map[readstate.Pair]bool{},
		wholes: feedWhole{theirGroups: map[string]bool{}},
	}
	t.watchOwn()
	if !r.everything {
		t.pick()
		if err := t.load(ctx, tx); err != nil {
			return err
		}
		t.wholes.find(&t)
	}
	if r.everything {
		t.after, t.bound = readstate.FeedKey{}, nil // it is told also where a part has been told
		t.resync(r.filter.GroupID, r.filter.UserID)
	} else {
		t.tellPairs()
		t.tellReminders()
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
		last := readstate.FeedKey{GroupID: pair.GroupID, UserID: pair.UserID, Kind: readstate.FeedResync}
		toldNow := t.since.Until != nil && last.Compare(t.after) <= 0 // by an earlier page of the round
		if pair.UserID == "" {                                        // of a group to its end
			toldNow = t.since.Until != nil && pair.GroupID < t.after.GroupID
		}
		switch {
		case pair.GroupID != "" && pair.UserID != "" && !t.wants(pair): // a cursor may have been made up, or the filter was another one
		case !moved, toldNow:
			t.own[pair] = true
		case pair.GroupID == "":
			t.everything = true
		case pair.UserID == "":
			t.rebased[pair.GroupID] = true
		default:
			t.see(pair, inMoved)
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
	for key := range t.reminders {
		if _, found := t.pairs[key.Pair()]; !found {
			t.singles = append(t.singles, key.Pair())
		}
	}
	after := pairKey(t.after.Pair())
	t.singles = slices.DeleteFunc(t.singles, func(p readstate.Pair) bool { return pairKey(p).Compare(after) < 0 })
	slices.SortFunc(t.singles, func(a, b readstate.Pair) int { return pairKey(a).Compare(pairKey(b)) })
	t.singles = slices.Compact(t.singles) // of two rules
	if most := min(t.limit+1, t.mostSingles()); len(t.singles) > most {
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
	load := readstate.Load{Positions: slices.Clone(t.wholes.groups), Lookups: sortedKeys(t.lookups)}
	for _, pair := range t.singles {
		switch {
		case pair.UserID == "":
			load.Positions = append(load.Positions, pair.GroupID)
		case pair.GroupID != "":
			load.Pairs = append(load.Pairs, pair)
		}
	}
	var found readstate.Poll
	reading, err := t.serving(ctx, tx)
	if err != nil {
		return err
	}
	if err := reading.load(ctx, &load, &found); err != nil {
		return err
	}
	t.loadHad(ctx, &reading.queue)
	if err := t.wholes.load(ctx, reading, t); err != nil {
		return err
	}
	if err := t.loadReminders(ctx, reading); err != nil {
		return err
	}
	if err := reading.send(ctx, tx, ""); err != nil {
		return err
	}
	for i := range found.Pairs {
		t.known[found.Pairs[i].Pair] = found.Pairs[i]
	}
	t.positions = found.Positions
	if len(load.Lookups) > 0 {
		t.page.Pending = map[string]bool{}
		for _, userID := range load.Lookups {
			t.page.Pending[userID] = found.PendingUsers[userID]
		}
	}
	return nil
}

// loadHad queues reading which of the pairs that are named by their user or group have, or had, a state.
func (t *telling) loadHad(ctx context.Context, queue *pipeline) {
	params := db.ListPairsParams{}
	for _, pair := range t.singles {
		if pair.UserID != "" && t.pairs[pair] == inWhole {
			params.UserIDs, params.GroupIDs = append(params.UserIDs, pair.UserID), append(params.GroupIDs, pair.GroupID)
		}
	}
	if len(params.UserIDs) == 0 {
		return
	}
	queue.ask(func(conn db.DBTX) error {
		rows, err := t.queries.ListPairs(ctx, conn, params)
		for _, row := range rows {
			t.had[readstate.Pair{UserID: row.UserID, GroupID: row.GroupID}] = true
		}
		return err
	})
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
		if _, named := t.pairs[pair]; pair.UserID == "" || !named { // else only a reminder is told
			continue
		}
		state, known := t.known[pair] // also of a group that was dismissed
		if known && t.state(&state) {
			continue
		}
		if known || t.pairs[pair] == byName || t.had[pair] {
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
	if place != nil { // some are still to be told
		for _, pair := range t.since.Own {
			t.own[pair] = true
		}
	}
	own := make([]readstate.Pair, 0, len(t.own))
	for pair, watched := range t.own {
		if watched {
			own = append(own, pair)
		}
	}
	page.Changes, page.From, page.Large = list, *t.since, t.wholes.large
	page.Next = readstate.FeedCursor{Seen: until, Dropped: t.now.DroppedXID, Own: own}
	if place != nil {
		page.Next.Seen, page.Next.Until, page.Next.After, page.Next.Large = t.since.Seen, &until, *place, page.Large
	}
	if page.Next.Seen.XMin < t.since.Reminded.XID {
		page.Next.Reminded = t.since.Reminded
	}
	page.More = place != nil || until.Before(&t.now.Snapshot)
}

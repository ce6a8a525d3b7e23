package readcache

import (
	"context"
	"slices"
	"time"

	"readmark/internal/readstate"
)

// answer asks memory and, where that does not have it, the database. The moment is one that
// the answer contains everything of that was acknowledged before.
func answer[T any](ctx context.Context, c *Cache, r *request, memory func() (T, error), database func(context.Context) (T, error)) (
	T, time.Time, error,
) {
	done, err := c.ask(ctx, r)
	if err != nil {
		var none T
		return none, time.Time{}, err
	}
	if done {
		c.metrics.byMemory.Inc()
		value, err := memory()
		return value, r.asOf, err
	}
	c.metrics.byDatabase.Inc()
	asOf := c.options.AsOf()
	value, err := database(ctx)
	return value, asOf, err
}

// State gives the state of one pair, or [readstate.ErrUnknown], and as of when.
func (c *Cache) State(ctx context.Context, pair readstate.Pair) (readstate.State, time.Time, error) {
	var state readstate.State
	var shown bool
	r := request{}
	r.answer = func(l *loading) (ready bool) {
		state, shown, ready = c.pair(pair, l)
		return ready
	}
	return answer(ctx, c, &r, func() (readstate.State, error) {
		if !shown {
			return state, readstate.ErrUnknown
		}
		return state, nil
	}, func(ctx context.Context) (readstate.State, error) { return c.options.Database.State(ctx, pair) })
}

// Badge sums the states of one user, or gives [readstate.ErrUnknown], and as of when.
func (c *Cache) Badge(ctx context.Context, userID string) (readstate.Badge, time.Time, error) {
	var badge readstate.Badge
	r := request{}
	r.answer = func(l *loading) (ready bool) {
		badge, ready = c.badge(userID, l)
		return ready
	}
	return answer(ctx, c, &r, func() (readstate.Badge, error) {
		if badge.Groups == 0 {
			return readstate.Badge{}, readstate.ErrUnknown
		}
		return badge, nil
	}, func(ctx context.Context) (readstate.Badge, error) { return c.options.Database.Badge(ctx, userID) })
}

// answers are the known ones of many pairs and users.
type answers struct {
	states map[readstate.Pair]readstate.State
	badges map[string]readstate.Badge
}

// Snapshot gives the known ones of many pairs and users as they are at one moment, and as of
// when.
func (c *Cache) Snapshot(ctx context.Context, pairs []readstate.Pair, userIDs []string) (
	map[readstate.Pair]readstate.State, map[string]readstate.Badge, time.Time, error,
) {
	var all answers
	r := request{}
	r.answer = func(l *loading) bool {
		all = answers{make(map[readstate.Pair]readstate.State, len(pairs)), make(map[string]readstate.Badge, len(userIDs))}
		whole := true
		for _, pair := range pairs {
			state, shown, ready := c.pair(pair, l)
			if whole = whole && ready; ready && shown {
				all.states[pair] = state
			}
		}
		for _, userID := range userIDs {
			badge, ready := c.badge(userID, l)
			if whole = whole && ready; ready && badge.Groups > 0 {
				all.badges[userID] = badge
			}
		}
		return whole
	}
	all, asOf, err := answer(ctx, c, &r, func() (answers, error) { return all, nil },
		func(ctx context.Context) (found answers, err error) {
			found.states, found.badges, err = c.options.Database.Snapshot(ctx, pairs, userIDs)
			return found, err
		})
	return all.states, all.badges, asOf, err
}

// UserStates lists states of a user, and as of when; the keys of the page are group IDs.
func (c *Cache) UserStates(ctx context.Context, userID string, page readstate.Page) ([]readstate.State, time.Time, error) {
	var list []readstate.State
	r := request{}
	r.answer = func(l *loading) bool {
		u, _ := c.wholeUser(userID, l)
		if u == nil {
			return false
		}
		s := readstate.NewSelection(&page)
		u.table.each(func(key, record []byte) bool {
			slot := c.positions.slotOf(key)
			if page.Order == readstate.OrderKey && slot.id <= page.After.Key {
				return true
			}
			var v readstate.Served
			if decodeRecord(record, &v) {
				v.UserPending = u.pending
				s.Offer(slot.id, &v, &slot.position, readstate.Pair{UserID: userID, GroupID: slot.id})
			}
			return !s.Full()
		})
		list = s.States()
		return true
	}
	return answer(ctx, c, &r, func() ([]readstate.State, error) { return list, nil },
		func(ctx context.Context) ([]readstate.State, error) {
			return c.options.Database.UserStates(ctx, userID, page)
		})
}

// members is a group as it was at a moment.
type members struct {
	blocks   []*block
	position readstate.ServedPosition
	version  uint64
}

func (c *Cache) membersRequest(groupID string, m *members) *request {
	r := &request{}
	r.answer = func(l *loading) bool {
		g := c.wholeGroup(groupID, l)
		if g == nil {
			return false
		}
		slot := &c.positions.slots[g.number]
		*m = members{g.table.blocks, slot.position, slot.changed}
		return true
	}
	return r
}

// GroupStates lists states of a group, and as of when; the keys of the page are user IDs.
func (c *Cache) GroupStates(ctx context.Context, groupID string, page readstate.Page) ([]readstate.State, time.Time, error) {
	var m members
	return answer(ctx, c, c.membersRequest(groupID, &m), func() ([]readstate.State, error) {
		s := readstate.NewSelection(&page)
		blocks := m.blocks
		if page.Order == readstate.OrderKey && page.After.Key != "" {
			t := table{blocks: blocks}
			blocks = blocks[max(0, t.seek(byUser(page.After.Key))):]
		}
		eachOf(blocks, func(key, record []byte) bool {
			if page.Order == readstate.OrderKey && string(key) <= page.After.Key {
				return true
			}
			var v readstate.Served
			if decodeRecord(record, &v) {
				s.Offer(string(key), &v, &m.position, readstate.Pair{UserID: string(key), GroupID: groupID})
			}
			return !s.Full()
		})
		return s.States(), nil
	}, func(ctx context.Context) ([]readstate.State, error) {
		return c.options.Database.GroupStates(ctx, groupID, page)
	})
}

// GroupSum sums the states of one group, or gives [readstate.ErrUnknown], and as of when.
func (c *Cache) GroupSum(ctx context.Context, groupID string) (readstate.GroupSum, time.Time, error) {
	var m members
	return answer(ctx, c, c.membersRequest(groupID, &m), func() (readstate.GroupSum, error) {
		sum := readstate.GroupSum{GroupID: groupID}
		for _, b := range m.blocks {
			sum.Merge(b.sumAt(&m))
		}
		if sum.Users == 0 {
			return readstate.GroupSum{}, readstate.ErrUnknown
		}
		return sum, nil
	}, func(ctx context.Context) (readstate.GroupSum, error) {
		return c.options.Database.GroupSum(ctx, groupID)
	})
}

// sumAt sums a block, or gives what it summed to before at the same position.
func (b *block) sumAt(m *members) *readstate.GroupSum {
	if last := b.sum.Load(); last != nil && last.version == m.version {
		return &last.sum
	}
	next := &blockSum{version: m.version}
	b.each(func(_, record []byte) bool {
		var v readstate.Served
		if decodeRecord(record, &v) {
			next.sum.Add(&v, &m.position)
		}
		return true
	})
	b.sum.Store(next)
	return &next.sum
}

// pair gives the state of a pair; shown is false where none is, ready where it has to be loaded.
func (c *Cache) pair(pair readstate.Pair, l *loading) (state readstate.State, shown, ready bool) {
	u := c.users[pair.UserID]
	if u == nil {
		if l != nil {
			l.pair(pair)
		}
		return state, false, false
	}
	key, record, found := u.table.get(c.byGroup(pair.GroupID))
	if slices.Contains(u.stale, pair.GroupID) || !found && !u.whole {
		if l != nil {
			l.pair(pair)
		}
		return state, false, false
	}
	var v readstate.Served
	if !found {
		return state, false, true
	}
	slot := c.positions.slotOf(key)
	if slot.touched > u.loaded {
		c.remove(&u.entry)
		if l != nil {
			l.pair(pair)
		}
		return state, false, false
	}
	if !decodeRecord(record, &v) {
		return state, false, true
	}
	ready = c.current(slot, l)
	ready = c.asked(u, l) && ready
	if !ready {
		return state, false, false
	}
	c.use(&u.entry)
	v.UserPending = u.pending
	state, shown = v.State(pair, &slot.position)
	return state, shown, true
}

// current reports whether a position is, or has it loaded.
func (c *Cache) current(s *slot, l *loading) bool {
	if s.stale && l != nil {
		l.position(s.id)
	}
	return !s.stale
}

// asked reports whether it is known that OpenIM is to be asked about a user, or has that loaded.
func (c *Cache) asked(u *user, l *loading) bool {
	if u.lookupStale && l != nil {
		l.lookup(u.id)
	}
	return !u.lookupStale
}

// wholeUser gives a user of whom all is there, nil where something has to be loaded, and when
// something of the user changed last.
func (c *Cache) wholeUser(userID string, l *loading) (u *user, changed uint64) {
	u = c.users[userID]
	if u == nil || !u.whole {
		c.loadUser(userID, l)
		return nil, 0
	}
	if u.checkedAt > 0 && u.checkedAt >= c.moved { // nothing has happened since
		c.use(&u.entry)
		return u, u.checked
	}
	ready := len(u.stale) == 0
	if l != nil {
		for _, groupID := range u.stale {
			l.pair(readstate.Pair{UserID: userID, GroupID: groupID})
		}
	}
	if u.table.n > 0 {
		ready = c.asked(u, l) && ready
	}
	changed = u.changed
	touched := false
	u.table.each(func(key, _ []byte) bool {
		slot := c.positions.slotOf(key)
		ready = c.current(slot, l) && ready
		changed = max(changed, slot.changed)
		touched = touched || slot.touched > u.loaded
		return true
	})
	if touched {
		c.remove(&u.entry)
		c.loadUser(userID, l)
		return nil, 0
	}
	if !ready {
		return nil, 0
	}
	u.checkedAt, u.checked = c.tick, changed
	c.use(&u.entry)
	return u, changed
}

func (c *Cache) loadUser(userID string, l *loading) {
	switch {
	case l == nil:
	case c.largeUser[userID]:
		c.loadLarge(l.request, loadKey{id: userID})
	default:
		l.user(userID)
	}
}

// badge gives the sum of a user's states, with no groups where none is known.
func (c *Cache) badge(userID string, l *loading) (badge readstate.Badge, ready bool) {
	u, changed := c.wholeUser(userID, l)
	if u == nil {
		return badge, false
	}
	if u.badgeAt >= changed && u.badgeAt != 0 {
		return u.badge, true
	}
	badge.UserID = userID
	u.table.each(func(key, record []byte) bool {
		var v readstate.Served
		if decodeRecord(record, &v) {
			v.UserPending = u.pending
			badge.Add(&v, &c.positions.slotOf(key).position)
		}
		return true
	})
	u.badge, u.badgeAt = badge, c.tick
	return badge, true
}

// wholeGroup gives a group of which all is there, nil where something has to be loaded.
func (c *Cache) wholeGroup(groupID string, l *loading) *group {
	g := c.groups[groupID]
	if g != nil && !c.follow(g) {
		c.remove(&g.entry)
		g = nil
	}
	if g == nil {
		if l != nil {
			c.loadLarge(l.request, loadKey{groupID, true})
		}
		return nil
	}
	ready := len(g.stale) == 0
	if l != nil {
		for _, userID := range g.stale {
			l.member(readstate.Pair{UserID: userID, GroupID: groupID})
		}
	}
	if !c.current(&c.positions.slots[g.number], l) || !ready {
		return nil
	}
	c.use(&g.entry)
	return g
}

// follow has a group load the members of whom anything may have changed since it was used last;
// false where that is not known any more, or of too many.
func (c *Cache) follow(g *group) bool {
	if c.logEnd-g.logged > uint64(len(c.logged)) {
		return false
	}
	for _, userID := range c.logged[uint64(len(c.logged))-(c.logEnd-g.logged):] {
		if _, _, found := g.table.get(byUser(userID)); found && !g.spoil(userID) {
			return false
		}
	}
	g.logged = c.logEnd
	return true
}

package readcache

import "readmark/internal/readstate"

// install puts in what a poll has loaded.
func (c *Cache) install(poll *readstate.Poll, l *loading) {
	for _, groupID := range l.Positions {
		if s := c.positions.find(groupID); s != nil {
			s.set(poll.Positions[groupID], c.tick)
		}
	}
	for _, userID := range l.Lookups {
		if u := c.users[userID]; u != nil {
			c.setPending(u, poll.PendingUsers[userID])
		}
	}
	c.installPairs(poll.Pairs, l)
	c.installUsers(poll)
	for _, userID := range poll.LargeUsers {
		if len(c.largeUser) >= maxNames {
			clear(c.largeUser)
		}
		c.largeUser[userID] = true
	}
}

// setPending sets whether OpenIM is to be asked about all of a user's groups.
func (c *Cache) setPending(u *user, pending bool) {
	if u.pending != pending {
		u.pending, u.changed = pending, c.tick
	}
	u.lookupStale = false
}

func (c *Cache) installPairs(states []readstate.ServedState, l *loading) {
	found := make(map[readstate.Pair]*readstate.ServedState, len(states))
	for i := range states {
		found[states[i].Pair] = &states[i]
	}
	for _, pair := range l.Pairs {
		state := found[pair]
		c.putMember(c.groups[pair.GroupID], pair.UserID, state)
		u := c.users[pair.UserID]
		if u == nil {
			if !l.pairs[pair] { // only the group asks
				continue
			}
			u = c.newUser(pair.UserID)
			u.loaded = c.tick
			c.users[u.id] = u
			c.small.add(&u.entry)
		}
		c.putPair(u, pair.GroupID, state)
		if state != nil {
			c.setPending(u, state.UserPending)
		}
	}
}

// putMember sets what is served of a user in a group that is held.
func (c *Cache) putMember(g *group, userID string, state *readstate.ServedState) {
	if g == nil {
		return
	}
	var record []byte
	if state != nil {
		record = appendRecord(nil, &state.Served)
	}
	c.resize(&g.entry, func() { g.table.put(byUser(userID), []byte(userID), record) })
	g.fresh(userID)
}

func (c *Cache) installUsers(poll *readstate.Poll) {
	states := poll.Users
	for _, userID := range poll.WholeUsers {
		builder := c.buildUser(userID)
		for len(states) > 0 && states[0].UserID == userID {
			builder.add(&states[0], false)
			states = states[1:]
		}
		builder.install()
	}
}

// userBuilder makes a whole user from states in key order.
type userBuilder struct {
	cache  *Cache
	user   *user
	record []byte
}

func (c *Cache) buildUser(userID string) *userBuilder {
	u := c.newUser(userID)
	u.whole = true
	return &userBuilder{cache: c, user: u}
}

// add adds a state. stale says that the position may have changed since it was read.
func (b *userBuilder) add(state *readstate.ServedState, stale bool) {
	number, fresh := b.cache.positions.hold(state.GroupID)
	slot := &b.cache.positions.slots[number]
	if fresh || !stale {
		slot.set(state.Position, b.cache.tick)
		slot.stale = stale
	}
	b.record = appendRecord(b.record[:0], &state.Served)
	b.user.table.push(groupKey(number), b.record)
	b.user.pending, b.user.lookupStale = state.UserPending, false
}

// install puts the user in the place of what was held.
func (b *userBuilder) install() {
	c, u := b.cache, b.user
	u.table.clip()
	u.loaded, u.changed = c.tick, c.tick
	if old := c.users[u.id]; old != nil {
		c.remove(&old.entry)
	}
	c.users[u.id] = u
	c.resize(&u.entry, func() {})
}

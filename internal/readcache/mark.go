package readcache

import (
	"slices"
	"time"

	"readmark/internal/readstate"
)

// drop forgets everything.
func (c *Cache) drop(reason string) {
	if c.revision == nil {
		return
	}
	c.metrics.drops.WithLabelValues(reason).Inc()
	c.forget()
}

func (c *Cache) forget() {
	c.hits++
	c.users, c.groups, c.positions = map[string]*user{}, map[string]*group{}, newPositions()
	c.small, c.large = newList(), newList()
	c.tooLarge, c.largeUser = map[string]time.Time{}, map[string]bool{}
	for _, one := range c.loads {
		one.stale = true
	}
	if c.loads == nil {
		c.loads = map[loadKey]*largeLoad{}
	}
	c.revision = nil
}

// mark has all that a change names be loaded before it is used next.
func (c *Cache) mark(change *readstate.Change) {
	if change.Everything {
		c.drop(dropEverything)
		return
	}
	for _, pair := range change.Pairs {
		c.markPair(pair)
	}
	for _, groupID := range change.Positions {
		if s := c.positions.find(groupID); s != nil {
			s.stale = true
			c.hits++
		}
	}
	for _, userID := range change.Users {
		if u := c.users[userID]; u != nil {
			c.remove(&u.entry)
		}
		c.log(userID)
	}
	for _, groupID := range change.Groups {
		if s := c.positions.find(groupID); s != nil {
			s.stale, s.touched = true, c.tick
			c.hits++
		}
		if g := c.groups[groupID]; g != nil {
			c.remove(&g.entry)
		}
	}
	for _, one := range c.loads {
		one.mark(change)
	}
}

func (c *Cache) markPair(pair readstate.Pair) {
	u := c.users[pair.UserID]
	if u != nil {
		c.hits++
	}
	if pair.GroupID == "" {
		if u != nil {
			u.lookupStale = true
		}
		c.log(pair.UserID)
		return
	}
	if u != nil && !u.spoil(pair.GroupID) {
		c.remove(&u.entry)
	}
	if g := c.groups[pair.GroupID]; g != nil {
		c.hits++
		if !g.spoil(pair.UserID) {
			c.remove(&g.entry)
		}
	}
}

// log takes note that anything of a user may have changed: groups follow when they are used.
func (c *Cache) log(userID string) {
	if len(c.logged) == logLength {
		c.logged = slices.Clone(c.logged[logLength/2:])
	}
	c.logged = append(c.logged, userID)
	c.logEnd++
	if len(c.groups) > 0 {
		c.hits++
	}
}

package readcache

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace"

	"readmark/internal/readstate"
)

const (
	// tooLargeFor is how long it is believed that an entry does not fit.
	tooLargeFor = time.Minute
	// maxNames is how many names of large entries are remembered. What is forgotten is found anew.
	maxNames = 10_000
	// maxMarks is how many changes are remembered for a load, at most.
	maxMarks = 10_000
)

// loadKey names what is loaded beside rounds: a group, or a user with very many groups.
type loadKey struct {
	id      string
	isGroup bool
}

// largeLoad is a load beside rounds. It began after a poll and ends before another one: what
// changes between these may be in it or not, and is loaded again.
type largeLoad struct {
	key   loadKey
	done  chan struct{} // closed when ended is set
	ended bool
	// stale says that it cannot be used.
	stale bool
	// pairs are the other IDs of pairs that were touched meanwhile, positions the groups.
	pairs, positions map[string]bool
	lookup           bool   // that of the user
	logged           uint64 // up to where the log of users had come

	err      error
	fits     bool
	table    table // of a group
	states   []readstate.ServedState
	position readstate.ServedPosition
	server   readstate.Server
	span     trace.SpanContext // where it is traced
}

// loadLarge begins a load, and has the database answer the request meanwhile, unless one is under
// way: then the request waits for it. What is known not to fit is the database's in any case.
func (c *Cache) loadLarge(r *request, key loadKey) {
	if until, found := c.tooLarge[key.name()]; found {
		if r.direct = c.options.Now().Before(until); r.direct {
			return
		}
		delete(c.tooLarge, key.name())
	}
	if c.revision == nil { // what it reads could not be followed
		return
	}
	one := c.loads[key]
	if one == nil {
		one = &largeLoad{
			key: key, done: make(chan struct{}), fits: true, pairs: map[string]bool{}, positions: map[string]bool{}, logged: c.logEnd,
		}
		c.loads[key] = one
		caller := r.caller // r is its caller's own again when the round has ended
		c.loaders.Go(func() { c.runLoad(one, caller) })
		r.direct = true
		return
	}
	r.waits = append(r.waits, one)
}

func (k loadKey) name() string {
	if k.isGroup {
		return "g" + k.id
	}
	return "u" + k.id
}

// maxEntry is how large an entry may be.
func (c *Cache) maxEntry() int { return c.options.MaxBytes / 4 }

// runLoad loads until that is done or the cache is closed, a second time where the first failed for
// a reason of the moment.
func (c *Cache) runLoad(one *largeLoad, caller trace.Span) {
	ctx, end := c.traceLoad(one, caller)
	defer end()
	if c.readLarge(ctx, one); errors.Is(one.err, readstate.ErrRetry) {
		one.table, one.states, one.fits = table{}, nil, true
		c.readLarge(ctx, one)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	one.ended = true
	if !one.fits {
		if len(c.tooLarge) >= maxNames {
			clear(c.tooLarge)
		}
		c.tooLarge[one.key.name()] = c.options.Now().Add(tooLargeFor)
	}
	if one.err != nil {
		c.options.Logger.Debug("load for the read cache failed", "error", one.err)
	}
	close(one.done)
}

// readLarge reads what is loaded.
func (c *Cache) readLarge(ctx context.Context, one *largeLoad) {
	var record []byte
	size := 0
	if one.key.isGroup {
		one.position, one.server, one.err = c.options.Source.LoadGroup(ctx, one.key.id, func(userID []byte, v *readstate.Served) {
			if one.fits = one.fits && one.table.size <= c.maxEntry(); one.fits {
				record = appendRecord(record[:0], v)
				one.table.push(userID, record)
			}
		})
		one.table.clip()
		return
	}
	one.server, one.err = c.options.Source.LoadUser(ctx, one.key.id, func(state *readstate.ServedState) {
		size += slotOverhead + len(state.GroupID)
		if one.fits = one.fits && size <= c.maxEntry(); one.fits {
			one.states = append(one.states, *state)
		}
	})
}

// mark takes note of what is touched while the load is under way.
func (l *largeLoad) mark(change *readstate.Change) {
	for _, pair := range change.Pairs {
		switch {
		case l.key.isGroup && pair.GroupID == l.key.id:
			l.pairs[pair.UserID] = true
		case !l.key.isGroup && pair.UserID == l.key.id && pair.GroupID == "":
			l.lookup = true
		case !l.key.isGroup && pair.UserID == l.key.id:
			l.pairs[pair.GroupID] = true
		}
	}
	for _, groupID := range change.Positions {
		if !l.key.isGroup || groupID == l.key.id {
			l.positions[groupID] = true
		}
	}
	for _, groupID := range change.Groups {
		l.stale = l.stale || !l.key.isGroup || groupID == l.key.id // a user's load may have the group
	}
	l.stale = l.stale || change.Everything || !l.key.isGroup && slices.Contains(change.Users, l.key.id) ||
		len(l.pairs)+len(l.positions) > maxMarks
}

// installLarge puts in what a load has read, if it is of the polled server.
func (c *Cache) installLarge(one *largeLoad) {
	if one.err != nil || one.stale || !one.fits || !one.server.Same(c.revision.Server) {
		return
	}
	if one.key.isGroup {
		c.installGroup(one)
		return
	}
	builder := c.buildUser(one.key.id)
	for i := range one.states {
		builder.add(&one.states[i], true)
		if slot := c.positions.find(one.states[i].GroupID); slot.refs == 1 {
			slot.stale = one.positions[one.states[i].GroupID]
		}
	}
	builder.install()
	u := builder.user
	u.lookupStale = u.lookupStale || one.lookup
	for groupID := range one.pairs {
		if !u.spoil(groupID) {
			c.remove(&u.entry)
			return
		}
	}
}

func (c *Cache) installGroup(one *largeLoad) {
	if old := c.groups[one.key.id]; old != nil {
		c.remove(&old.entry)
	}
	g := &group{logged: one.logged}
	g.entry = entry{id: one.key.id, table: one.table, group: g}
	var fresh bool
	if g.number, fresh = c.positions.hold(g.id); fresh {
		slot := &c.positions.slots[g.number]
		slot.set(one.position, c.tick)
		slot.stale = one.positions[g.id]
	}
	c.groups[g.id] = g
	c.resize(&g.entry, func() {})
	for userID := range one.pairs {
		if !g.spoil(userID) {
			c.remove(&g.entry)
			return
		}
	}
}

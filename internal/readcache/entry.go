package readcache

import (
	"slices"
	"strings"

	"readmark/internal/readstate"
)

const (
	// entryOverhead is about what a user or group takes beside its table.
	entryOverhead = 320
	// largeEntry is from which size on an entry is held by the bound for large ones.
	largeEntry = 64 << 10
	// maxStalePairs is how many pairs of an entry are loaded one by one, at most.
	maxStalePairs = 256
)

// entry is what a user and a group have in common.
type entry struct {
	id    string
	table table
	// stale are the other IDs of pairs that have to be loaded before they are used.
	stale      []string
	prev, next *entry // in the list of its class, the newest first
	list       *list
	user       *user // of the two that it is a part of
	group      *group
}

func (e *entry) size() int { return entryOverhead + 2*len(e.id) + e.table.size }

// spoil has a pair loaded before it is used next; false where too many are.
func (e *entry) spoil(other string) bool {
	if slices.Contains(e.stale, other) {
		return true
	}
	if len(e.stale) >= maxStalePairs {
		return false
	}
	e.stale = append(e.stale, other)
	return true
}

// fresh takes note that a pair was loaded.
func (e *entry) fresh(other string) {
	if i := slices.Index(e.stale, other); i >= 0 {
		e.stale = slices.Delete(e.stale, i, i+1)
	}
}

// user is what is known of a user: all states, or some.
type user struct {
	entry
	whole   bool
	loaded  uint64 // when it was loaded
	changed uint64 // when the table or pending changed last
	// pending says that OpenIM is to be asked about all of the user's groups; of each state in the
	// table that bit is not kept up. lookupStale: it has to be loaded.
	pending, lookupStale bool
	// checkedAt is when all of the user was found to be there last, and checked when something of
	// it had changed then.
	checkedAt, checked uint64
	// badge is the sum of all states as it was at badgeAt; 0: there is none.
	badge   readstate.Badge
	badgeAt uint64
}

// group is all states of a group.
type group struct {
	entry
	number uint32 // of its position
	logged uint64 // up to where the log of users has been applied
}

// list has entries in the order of their use.
type list struct {
	head entry // its next is the newest, its prev the oldest
	size int
	n    int
}

func newList() *list {
	l := &list{}
	l.head.prev, l.head.next = &l.head, &l.head
	return l
}

func (l *list) add(e *entry) {
	e.list, e.prev, e.next = l, &l.head, l.head.next
	e.prev.next, e.next.prev = e, e
	l.size += e.size()
	l.n++
}

func (l *list) remove(e *entry) {
	e.prev.next, e.next.prev = e.next, e.prev
	e.list, e.prev, e.next = nil, nil, nil
	l.size -= e.size()
	l.n--
}

func (l *list) oldest() *entry {
	if l.head.prev == &l.head {
		return nil
	}
	return l.head.prev
}

// use makes an entry the newest of its list.
func (c *Cache) use(e *entry) {
	l := e.list
	if l == nil || l.head.next == e {
		return
	}
	l.remove(e)
	l.add(e)
}

// resize brings the sizes up to date after a change of an entry's table.
func (c *Cache) resize(e *entry, change func()) {
	if e.list != nil {
		e.list.remove(e)
	}
	change()
	if e.size() >= largeEntry {
		c.large.add(e)
	} else {
		c.small.add(e)
	}
}

// Size is what the cache holds, in bytes, about.
func (c *Cache) Size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.size()
}

func (c *Cache) size() int { return c.small.size + c.large.size + c.positions.size }

// evict drops the entries that were not used for longest until all fits. Large ones have half
// of the room, at most.
func (c *Cache) evict() {
	for c.large.size > c.options.MaxBytes/2 && c.large.n > 0 {
		c.remove(c.large.oldest())
	}
	for c.size() > c.options.MaxBytes {
		oldest := c.small.oldest()
		if oldest == nil {
			oldest = c.large.oldest()
		}
		if oldest == nil {
			return
		}
		c.remove(oldest)
	}
}

func (c *Cache) remove(e *entry) {
	c.hits++
	e.list.remove(e)
	if e.user != nil {
		delete(c.users, e.id)
		e.table.each(func(key, _ []byte) bool {
			c.positions.release(numberOf(key))
			return true
		})
		return
	}
	delete(c.groups, e.id)
	c.positions.release(e.group.number)
}

func (c *Cache) newUser(id string) *user {
	u := &user{lookupStale: true}
	u.entry = entry{id: strings.Clone(id), user: u}
	return u
}

// comparing a user's table with a group ID, and a group's with a user ID.
func (c *Cache) byGroup(groupID string) comparing {
	return func(key []byte) int { return strings.Compare(c.positions.slotOf(key).id, groupID) }
}

func byUser(userID string) comparing {
	return func(key []byte) int {
		switch {
		case string(key) < userID:
			return -1
		case string(key) > userID:
			return 1
		default:
			return 0
		}
	}
}

// putPair sets a pair of a user: what is served, or that nothing is where state is nil.
func (c *Cache) putPair(u *user, groupID string, state *readstate.ServedState) {
	number, _ := c.positions.hold(groupID)
	var record []byte
	switch {
	case state != nil:
		c.positions.slots[number].set(state.Position, c.tick)
		record = appendRecord(nil, &state.Served)
	case !u.whole:
		record = appendAbsent(nil)
	}
	existed := false
	c.resize(&u.entry, func() { existed = u.table.put(c.byGroup(groupID), groupKey(number), record) })
	if existed {
		c.positions.release(number) // it was held already
	}
	if record == nil {
		c.positions.release(number)
	}
	u.changed = c.tick
	u.fresh(groupID)
}

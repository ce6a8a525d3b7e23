package readcache

import (
	"cmp"
	"container/heap"
	"slices"

	"readmark/internal/readstate"
)

// selection picks the states of a page from states that are offered, in key order.
type selection struct {
	page   readstate.Page
	picked []picked // in key order, or the heap of the best ones with the last on top
}

// picked is a state of the page.
type picked struct {
	key      string
	unread   int64
	lastRead readstate.Moment
	state    readstate.State
}

// full reports whether no state that comes later is on the page.
func (s *selection) full() bool {
	return s.page.Order == readstate.OrderKey && len(s.picked) >= int(s.page.Limit)
}

// offer takes a state if it is on the page, as far as is known. In key order the caller begins
// behind the cursor.
func (s *selection) offer(key string, v *readstate.Served, p *readstate.ServedPosition, pair readstate.Pair) {
	unread, _, shown := v.Count(p)
	page := &s.page
	if !shown || unread < page.MinUnread || page.Muted != nil && *page.Muted != v.Muted {
		return
	}
	if max(v.UpdatedAt, p.UpdatedAt).Time().Before(page.UpdatedSince) {
		return
	}
	one := picked{key: key, unread: unread, lastRead: v.LastReadAt}
	if page.Order != readstate.OrderKey {
		after := picked{key: page.After.Key, unread: page.After.UnreadCount, lastRead: readstate.MomentOf(page.After.LastReadAt)}
		if page.After.Key != "" && s.compare(&one, &after) <= 0 {
			return
		}
		if len(s.picked) >= int(page.Limit) && s.compare(&one, &s.picked[0]) > 0 {
			return
		}
	}
	one.state, _ = v.State(pair, p)
	if page.Order == readstate.OrderKey {
		s.picked = append(s.picked, one)
		return
	}
	heap.Push(s, one)
	if len(s.picked) > int(page.Limit) {
		heap.Pop(s)
	}
}

// compare gives the order of two states on the page.
func (s *selection) compare(a, b *picked) int {
	if s.page.Order == readstate.OrderUnread {
		return cmp.Or(cmp.Compare(b.unread, a.unread), cmp.Compare(a.key, b.key))
	}
	return cmp.Or(cmp.Compare(b.lastRead, a.lastRead), cmp.Compare(a.key, b.key)) // who never read comes last
}

// states gives the states of the page.
func (s *selection) states() []readstate.State {
	if s.page.Order != readstate.OrderKey {
		slices.SortFunc(s.picked, func(a, b picked) int { return s.compare(&a, &b) })
	}
	list := make([]readstate.State, len(s.picked))
	for i := range s.picked {
		list[i] = s.picked[i].state
	}
	return list
}

// Len, Less, Swap, Push and Pop are those of [heap.Interface].
func (s *selection) Len() int { return len(s.picked) }

// Less has the last one on top.
func (s *selection) Less(i, j int) bool { return s.compare(&s.picked[i], &s.picked[j]) > 0 }

// Swap swaps two.
func (s *selection) Swap(i, j int) { s.picked[i], s.picked[j] = s.picked[j], s.picked[i] }

// Push adds one.
func (s *selection) Push(x any) {
	one, _ := x.(picked)
	s.picked = append(s.picked, one)
}

// Pop takes the last one off.
func (s *selection) Pop() any {
	last := s.picked[len(s.picked)-1]
	s.picked = s.picked[:len(s.picked)-1]
	return last
}

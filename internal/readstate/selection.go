package readstate

import (
	"cmp"
	"container/heap"
	"slices"
)

// Selection picks the states of a page from states that are offered, in key order.
type Selection struct{ ranking ranking }

// NewSelection returns a selection of which nothing has been picked. The page must not be changed as long as it is used.
func NewSelection(page *Page) *Selection { return &Selection{ranking{page: page}} }

// ranking is a heap of the best states, with the last one on top, or a list of them in key order.
type ranking struct {
	page   *Page
	picked []picked
}

// picked is a state of the page.
type picked struct {
	key      string
	unread   int64
	lastRead Moment
	state    State
}

// Full reports whether no state that comes later is on the page.
func (s *Selection) Full() bool {
	return s.ranking.page.Order == OrderKey && len(s.ranking.picked) >= int(s.ranking.page.Limit)
}

// Offer takes a state if it is on the page, as far as is known. In key order the caller begins
// behind the cursor.
func (s *Selection) Offer(key string, v *Served, p *ServedPosition, pair Pair) {
	unread, _, shown := v.Count(p)
	page := s.ranking.page
	if !shown || unread < page.MinUnread || page.Muted != nil && *page.Muted != v.Muted {
		return
	}
	if max(v.UpdatedAt, p.UpdatedAt).Time().Before(page.UpdatedSince) {
		return
	}
	one := picked{key: key, unread: unread, lastRead: v.LastReadAt}
	if page.Order != OrderKey {
		after := picked{key: page.After.Key, unread: page.After.UnreadCount, lastRead: MomentOf(page.After.LastReadAt)}
		if page.After.Key != "" && s.ranking.compare(&one, &after) <= 0 {
			return
		}
		if len(s.ranking.picked) >= int(page.Limit) && s.ranking.compare(&one, &s.ranking.picked[0]) > 0 {
			return
		}
	}
	one.state, _ = v.State(pair, p)
	if page.Order == OrderKey {
		s.ranking.picked = append(s.ranking.picked, one)
		return
	}
	heap.Push(&s.ranking, one)
	if len(s.ranking.picked) > int(page.Limit) {
		heap.Pop(&s.ranking)
	}
}

// compare gives the order of two states on the page.
func (r *ranking) compare(a, b *picked) int {
	if r.page.Order == OrderUnread {
		return cmp.Or(cmp.Compare(b.unread, a.unread), cmp.Compare(a.key, b.key))
	}
	return cmp.Or(cmp.Compare(b.lastRead, a.lastRead), cmp.Compare(a.key, b.key)) // who never read comes last
}

// States gives the states of the page.
func (s *Selection) States() []State {
	r := &s.ranking
	if r.page.Order != OrderKey {
		slices.SortFunc(r.picked, func(a, b picked) int { return r.compare(&a, &b) })
	}
	list := make([]State, len(r.picked))
	for i := range r.picked {
		list[i] = r.picked[i].state
	}
	return list
}

// Len, Less, Swap, Push and Pop are those of [heap.Interface].
func (r *ranking) Len() int { return len(r.picked) }

// Less has the last one on top.
func (r *ranking) Less(i, j int) bool { return r.compare(&r.picked[i], &r.picked[j]) > 0 }

// Swap swaps two.
func (r *ranking) Swap(i, j int) { r.picked[i], r.picked[j] = r.picked[j], r.picked[i] }

// Push adds one.
func (r *ranking) Push(x any) {
	one, _ := x.(picked)
	r.picked = append(r.picked, one)
}

// Pop takes the last one off.
func (r *ranking) Pop() any {
	last := r.picked[len(r.picked)-1]
	r.picked = r.picked[:len(r.picked)-1]
	return last
}

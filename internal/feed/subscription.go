package feed

import (
	"context"
	"slices"

	"readmark/internal/readstate"
)

// Subscription is a subscriber's place in the feed. It is used by one goroutine at a time, and must
// be closed.
type Subscription struct {
	feed   *Feed
	filter readstate.FeedFilter
	news   chan struct{} // something was queued, or the batches that follow are known
	cursor *readstate.FeedCursor
	// states are what is served of the filter's user, from which a change is made when a group moves. nil:
	// they are not known.
	states map[string]readstate.Served
	large  bool // the user has too many states to be held
	asks   bool // the database has to be asked: what was queued was dropped for its answer

	// The rest is guarded by the feed.
	number  int64
	from    *readstate.FeedCursor // from where on batches that concern the subscriber are queued; nil: it is not known yet
	queue   []*batch
	dropped bool // batches were: the subscriber has to ask for itself
	follows map[string]struct{}
}

// Subscribe returns a subscription for changes behind a cursor; nil: from now on.
func (f *Feed) Subscribe(cursor *readstate.FeedCursor, filter readstate.FeedFilter) *Subscription {
	s := &Subscription{feed: f, filter: filter, news: make(chan struct{}, 1), cursor: cursor, follows: map[string]struct{}{}}
	f.metrics.subscribers.Inc()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.subs[s] = struct{}{}
	switch {
	case filter.UserID != "":
		add(f.users, filter.UserID, s)
	default:
		f.wide[s] = struct{}{}
	}
	s.rejoin(f)
	return s
}

// Close ends the subscription.
func (s *Subscription) Close() {
	f := s.feed
	f.metrics.subscribers.Dec()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.subs, s)
	delete(f.wide, s)
	if s.filter.UserID != "" {
		remove(f.users, s.filter.UserID, s)
	}
	for groupID := range s.follows {
		remove(f.groups, groupID, s)
	}
}

func add(index map[string]map[*Subscription]struct{}, id string, s *Subscription) {
	set := index[id]
	if set == nil {
		set = map[*Subscription]struct{}{}
		index[id] = set
	}
	set[s] = struct{}{}
}

func remove(index map[string]map[*Subscription]struct{}, id string, s *Subscription) {
	delete(index[id], s)
	if len(index[id]) == 0 {
		delete(index, id)
	}
}

// rejoin has batches be queued anew, from the next one on that is read for the subscriber.
func (s *Subscription) rejoin(f *Feed) {
	f.number++
	s.number, s.from, s.queue, s.dropped = f.number, nil, nil, false
	f.Touch(nil)
}

// tell wakes the subscriber.
func (s *Subscription) tell() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// queued queues a batch, once.
func (s *Subscription) queued(b *batch) {
	if s.from == nil || len(s.queue) > 0 && s.queue[len(s.queue)-1] == b {
		return
	}
	if len(s.queue) == maxQueued {
		s.queue, s.dropped = nil, true
		s.feed.metrics.behind.Inc()
	}
	if !s.dropped {
		s.queue = append(s.queue, b)
	}
	s.tell()
}

// follow has what moves a group be queued for the user's sake.
func (s *Subscription) follow(f *Feed, groupID string) {
	if _, found := s.follows[groupID]; !found {
		s.follows[groupID] = struct{}{}
		add(f.groups, groupID, s)
	}
}

// Cursor is the subscriber's place: everything before it was given; nil before the first page.
func (s *Subscription) Cursor() *readstate.FeedCursor { return s.cursor }

// Poll asks the database what has changed, without waiting for more. Its error is [readstate.ErrGone] where
// changes behind the cursor are not kept.
func (s *Subscription) Poll(ctx context.Context, limit int) (Page, error) {
	asOf := s.feed.options.AsOf()
	if asOf.IsZero() {
		return Page{}, readstate.ErrUnavailable
	}
	page, err := s.read(ctx, limit)
	if err != nil {
		return Page{}, err
	}
	s.cursor, s.asks = &page.Next, page.More // until then it has less than what was dropped for it
	return Page{page, asOf}, nil
}

func (s *Subscription) read(ctx context.Context, limit int) (readstate.FeedPage, error) {
	s.feed.metrics.polls.Inc()
	if s.filter.UserID == "" {
		return s.feed.options.Source.Changes(ctx, s.cursor, s.filter, limit)
	}
	page, states, large, err := s.feed.options.Source.ChangesOfUser(ctx, s.cursor, s.filter, limit)
	if err != nil {
		return page, err
	}
	s.states, s.large = nil, large
	if !page.More && !large {
		s.states = make(map[string]readstate.Served, len(states))
		for i := range states {
			if s.filter.WantsGroup(states[i].GroupID) {
				s.states[states[i].GroupID] = states[i].Served
			}
		}
		s.followAll()
	}
	return page, nil
}

// followAll follows all groups of the user. What moved one of the new ones just before was queued for
// others only, so that the subscriber joins anew.
func (s *Subscription) followAll() {
	f := s.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	before := len(s.follows)
	for groupID := range s.states {
		s.follow(f, groupID)
	}
	if len(s.follows) != before {
		s.rejoin(f)
	}
}

// Next gives the next changes, and blocks until there are any, the context ends, or the feed is
// closed. A page without changes comes with the first: its cursor may be newer. Else its error is as that of Poll.
func (s *Subscription) Next(ctx context.Context, limit int) (Page, error) {
	for ctx.Err() == nil {
		page, ask := s.take()
		if ask {
			var err error
			if page, err = s.Poll(ctx, limit); err != nil && ctx.Err() == nil {
				return Page{}, err
			}
		}
		switch {
		case len(page.Changes) > 0:
			return page, nil
		case page.More:
			continue
		}
		select {
		case <-s.news:
		case <-s.feed.closed:
			return Page{}, ErrClosed
		case <-ctx.Done():
		}
	}
	return s.idle(), nil
}

// idle is a page without changes.
func (s *Subscription) idle() Page {
	page, ask := s.take()
	if ask {
		page = Page{}
		if s.cursor != nil {
			page.From, page.Next = *s.cursor, *s.cursor
		}
	}
	return page
}

// take gives what was queued, as one batch after the other. ask says that the database has to
// be asked.
func (s *Subscription) take() (page Page, ask bool) {
	f := s.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	direct := s.asks || s.cursor == nil || s.cursor.Until != nil || s.cursor.Reminded.XID != 0 || len(s.cursor.Own) > 0 || s.filter.OnlyUsers ||
		s.filter.UserID != "" && s.states == nil
	if direct || s.dropped || s.from != nil && (s.cursor.Seen.Before(&s.from.Seen) || s.cursor.Source != s.from.Source) {
		s.queue, s.dropped, s.asks = nil, false, true // it is in the answer
		return page, true
	}
	page.From, page.Next = *s.cursor, *s.cursor
	for len(s.queue) > 0 {
		b := s.queue[0]
		s.queue = s.queue[1:]
		if !s.cursor.Seen.Before(&b.to.Seen) {
			continue
		}
		changes, known := s.changes(b)
		if !known {
			s.asks = true
			return page, true
		}
		page = Page{readstate.FeedPage{Changes: changes, From: *s.cursor, Next: s.behind(b)}, b.asOf}
		s.cursor = &page.Next
		if len(changes) > 0 {
			return page, false
		}
	}
	if s.from != nil && f.cursor != nil && s.cursor.Seen.Before(&f.cursor.Seen) { // nothing between concerned the subscriber
		page.Next.Source, page.Next.Seen, page.Next.Dropped = f.cursor.Source, f.cursor.Seen, f.cursor.Dropped
		s.cursor = &page.Next
	}
	return page, false
}

// behind is the subscriber's cursor behind a batch.
func (s *Subscription) behind(b *batch) readstate.FeedCursor {
	next := b.to
	next.Own, next.Reminded = nil, readstate.FeedReminded{}
	if s.filter.UserID == "" {
		for _, pair := range b.to.Own {
			if s.filter.WantsGroup(pair.GroupID) && s.filter.WantsUser(pair.UserID) {
				next.Own = append(next.Own, pair)
			}
		}
	}
	return next
}

// toldAlready reports whether a change is a reminder that the subscriber was told before. A batch that began earlier has
// what the subscriber has read by itself since. A state that is told again does no harm, but a reminder is a message to
// somebody.
func (s *Subscription) toldAlready(c *readstate.FeedChange) bool {
	return c.Kind == readstate.FeedReminder && s.cursor.Seen.Shows(c.XID)
}

// changes gives what of a batch the subscriber wants; known is false where only the database can
// tell.
func (s *Subscription) changes(b *batch) (list []readstate.FeedChange, known bool) {
	if s.filter.UserID != "" {
		return s.changesOfUser(b)
	}
	for i := range b.changes {
		c := &b.changes[i]
		if s.toldAlready(c) {
			continue
		}
		if c.Kind == readstate.FeedReminder && c.GroupID == "" && (s.filter.GroupID != "" || s.filter.GroupPrefix != "") {
			continue // it counts all groups
		}
		if (c.GroupID == "" || s.filter.WantsGroup(c.GroupID)) && (c.UserID == "" || s.filter.WantsUser(c.UserID)) {
			if c.GroupID == "" && (s.filter.GroupID != "" || s.filter.GroupPrefix != "") {
				return nil, false // of all groups of a user, or of all
			}
			list = append(list, *c)
		}
	}
	return list, true
}

// changesOfUser turns what moves groups into changes of the user's states.
func (s *Subscription) changesOfUser(b *batch) (list []readstate.FeedChange, known bool) {
	userID := s.filter.UserID
	if pending, found := b.pending[userID]; found {
		for groupID, v := range s.states {
			v.UserPending = pending
			s.states[groupID] = v
		}
	}
	moved := map[string]*readstate.FeedChange{}
	for i := range b.changes {
		c := &b.changes[i]
		if s.toldAlready(c) || c.UserID != "" && c.UserID != userID || c.GroupID != "" && !s.filter.WantsGroup(c.GroupID) {
			continue
		}
		v, member := s.states[c.GroupID]
		switch {
		case c.Kind == readstate.FeedReminder:
			if c.GroupID != "" || s.filter.GroupID == "" && s.filter.GroupPrefix == "" { // else it counts all groups
				list = append(list, *c)
			}
		case c.Kind == readstate.FeedAdvanced && member:
			state := readstate.FeedChange{FeedKey: readstate.FeedKey{GroupID: c.GroupID, UserID: userID, Kind: readstate.FeedChanged}, Served: v, Position: c.Position}
			moved[c.GroupID] = &state
		case c.UserID == userID && c.GroupID != "" && c.Kind == readstate.FeedChanged:
			s.states[c.GroupID], moved[c.GroupID] = c.Served, c
		case c.UserID == userID && c.GroupID != "" && c.Kind == readstate.FeedRemoved:
			delete(s.states, c.GroupID)
			moved[c.GroupID] = c
		case c.Erased && !member:
			moved[c.GroupID] = &readstate.FeedChange{FeedKey: readstate.FeedKey{GroupID: c.GroupID, UserID: userID, Kind: readstate.FeedRemoved}}
		case c.GroupID == "" || c.UserID != "" || member && c.Kind != readstate.FeedAdvanced: // wholes
			s.states = nil
			return nil, false
		}
	}
	for _, c := range moved {
		if c.Kind == readstate.FeedChanged {
			if _, _, shown := c.Count(&c.Position); !shown {
				s.states = nil
				return nil, false
			}
		}
		list = append(list, *c)
	}
	slices.SortFunc(list, func(a, b readstate.FeedChange) int { return a.Compare(b.FeedKey) })
	return list, true
}

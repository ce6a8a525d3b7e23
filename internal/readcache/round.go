package readcache

import (
	"context"
	"slices"

	"readmark/internal/readstate"
)

// run is a round: one poll, by which all requests are answered that need nothing else.
func (c *Cache) run(ctx context.Context, requests []*request) {
	asOf, began := c.options.AsOf(), c.options.Now()
	l, since, ready, hits := c.begin(requests)
	poll, err := c.options.Source.Poll(ctx, since, l.Load)
	c.metrics.polled(c.options.Now().Sub(began))
	c.mu.Lock()
	defer c.mu.Unlock()
	touched := c.touched
	c.polling, c.touched = false, nil
	if err != nil {
		c.drop(dropConnection)
		for _, r := range requests {
			r.err = err
		}
		return
	}
	c.began, c.asOf = began, asOf
	c.apply(&poll, l, ready)
	c.tick++
	if len(touched) > 0 {
		c.moved = c.tick
	}
	for i := range touched {
		c.mark(&touched[i])
	}
	for _, r := range requests {
		r.asOf = asOf
		r.done = r.early && c.hits == hits || r.answer(nil)
	}
	c.evict()
	c.measure()
}

// begin collects what the requests need.
func (c *Cache) begin(requests []*request) (l *loading, since *readstate.Revision, ready []*largeLoad, hits uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l = &loading{pairs: map[readstate.Pair]bool{}, others: map[string]bool{}}
	for _, r := range requests {
		l.request = r
		r.early = r.answer(l)
	}
	for key, one := range c.loads {
		if one.ended {
			ready = append(ready, one)
			delete(c.loads, key)
		}
	}
	slices.Sort(l.Users)
	c.polling = true
	return l, c.revision, ready, c.hits
}

// apply takes over what a poll has told and loaded.
func (c *Cache) apply(poll *readstate.Poll, l *loading, ready []*largeLoad) {
	c.tick++
	switch {
	case c.revision == nil:
		c.forget()
	case poll.Reset:
		c.drop(dropMissed)
	case poll.Change.Everything:
		c.drop(dropEverything)
	default:
		c.mark(&poll.Change)
		for _, one := range ready {
			one.mark(&poll.Change)
		}
	}
	if c.revision == nil { // what is loaded beside was not followed
		for _, one := range ready {
			one.stale = true
		}
	}
	c.revision = &poll.Revision
	c.tick++ // what is loaded is newer than what was touched
	c.install(poll, l)
	for _, one := range ready {
		c.installLarge(one)
	}
	if poll.Reset || !poll.Change.Empty() || !l.Empty() || len(ready) > 0 {
		c.moved = c.tick
	}
}

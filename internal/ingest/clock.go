package ingest

import (
	"sync"
	"time"
)

// clock gives times of arrival: UTC, whole microseconds (PostgreSQL's
// resolution), strictly increasing whatever the machine's clock does.
type clock struct {
	mu   sync.Mutex
	now  func() time.Time
	last time.Time
}

// next gives max(now, last + 1 µs).
func (c *clock) next() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	arrival := c.now().UTC().Truncate(time.Microsecond)
	if !arrival.After(c.last) {
		arrival = c.last.Add(time.Microsecond)
	}
	c.last = arrival
	return arrival
}

// advance makes every later arrival come after the moment.
func (c *clock) advance(moment time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if moment.After(c.last) {
		c.last = moment.UTC().Truncate(time.Microsecond)
	}
}

// newest gives the last arrival that was given.
func (c *clock) newest() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

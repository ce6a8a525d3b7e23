package ingest

import (
	"sync"
	"time"

	"readmark/internal/dbclock"
	"readmark/internal/readstate"
)

// Clock tells the database's time as far as it is known, see [dbclock.Clock].
type Clock interface {
	Read() dbclock.Reading
}

// clock gives times of arrival: UTC, whole microseconds (PostgreSQL's resolution),
// strictly increasing. They are by the database's clock. Before that was measured they are
// by the machine's, and moved later, all by the same: see [correct].
//
// Only when the last arrival turns out to lie far ahead of the database's clock, arrivals
// begin anew: that clock was wrong, and has been set right. What was given by it is from the
// future then, and the store sets it right.
type clock struct {
	source Clock

	mu       sync.Mutex
	last     time.Time
	floors   []time.Time // newest arrivals that are known from elsewhere, not looked at yet
	measured bool        // last is by the database's clock
}

// next gives the first of n arrivals, which are one microsecond apart, and whether they are
// by the machine's clock.
func (c *clock) next(n int) (first time.Time, machineTime bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.source.Read()
	if now.Measured && !c.measured {
		if !c.last.IsZero() {
			c.last = c.last.Add(now.Correction)
		}
		c.measured = true
	}
	first = now.At
	if now.Measured {
		for _, floor := range c.floors {
			first = after(first, floor)
		}
		c.floors = nil
	}
	first = after(first, c.last)
	c.last = first.Add(time.Duration(max(n, 1)-1) * time.Microsecond)
	return first, !now.Measured
}

// after gives now, or the next microsecond behind a moment that is not before it and not too
// far ahead to be true.
func after(now, moment time.Time) time.Time {
	if now.After(moment) || moment.Sub(now) > readstate.MaxAhead {
		return now
	}
	return moment.Add(time.Microsecond)
}

// advance makes every later arrival by the database's clock come after the moment, unless that
// lies too far ahead to be true.
func (c *clock) advance(moment time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.floors = append(c.floors, moment.UTC().Truncate(time.Microsecond))
}

// newest gives the last arrival that was given; of arrivals by the machine's clock, the last
// one of these.
func (c *clock) newest() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// correct moves arrivals by the machine's clock to the database's, if that had been measured
// at a reading. All move by the same, so that their order stays.
func correct(batch *readstate.Batch, now dbclock.Reading) {
	if !batch.MachineTime || !now.Measured {
		return
	}
	batch.MoveBy(now.Correction)
	batch.MachineTime = false
}

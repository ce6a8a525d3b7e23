// Package dbclock tells the time of the database, which all processes on it share: the
// machine's clock, corrected by what was measured. Between measurements time goes on by the
// machine's monotonic clock, so that setting the machine's clock changes nothing.
package dbclock

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// trips is how many round trips one measurement makes: the shortest one counts.
	trips = 4
	// drift is how much the machine's clock may gain or lose between measurements: a
	// thousandth is far more than what quartz does.
	drift = 1000
)

// Machine is the clock of the machine.
type Machine struct {
	Wall    func() time.Time     // may be wrong, and set at any time
	Elapsed func() time.Duration // since some moment; never set
}

// System gives the machine's clock.
func System() Machine {
	start := time.Now()
	return Machine{Wall: time.Now, Elapsed: func() time.Duration { return time.Since(start) }}
}

// Clock tells the time of a database. It is safe for concurrent use.
type Clock struct {
	machine Machine
	mu      sync.Mutex // held while a measurement is taken over
	line    atomic.Pointer[line]
}

// line gives a moment for each reading of the monotonic clock.
type line struct {
	at       time.Time
	elapsed  time.Duration // when it was at
	measured bool
	accuracy time.Duration // at is right within it
	offset   time.Duration // from the machine's clock to the database's
	// correction is from what was told before the first measurement to the database's clock.
	correction time.Duration
}

// New returns a Clock that tells the machine's time until it is measured.
func New(machine Machine) *Clock {
	c := &Clock{machine: machine}
	c.line.Store(&line{at: machine.Wall().UTC(), elapsed: machine.Elapsed()})
	return c
}

// Reading is the time as far as it is known.
type Reading struct {
	At time.Time // UTC, in whole microseconds, as PostgreSQL has it
	// Measured: At is the database's time. Else it is the machine's, and lies on one line
	// with all others of before the first measurement: adding Correction gives the
	// database's.
	Measured   bool
	Correction time.Duration // known once the clock is measured
}

// Read reads the clock.
func (c *Clock) Read() Reading {
	l := c.line.Load()
	at := l.at.Add(c.machine.Elapsed() - l.elapsed).Truncate(time.Microsecond)
	return Reading{At: at, Measured: l.measured, Correction: l.correction}
}

// Now is the database's time, or the machine's before the first measurement. UTC, in whole
// microseconds. It may go back when the database's clock was set back.
func (c *Clock) Now() time.Time { return c.Read().At }

// Offset is how far the database's clock was ahead of the machine's when it was measured last;
// zero before.
func (c *Clock) Offset() time.Duration { return c.line.Load().offset }

// Earlier is the earlier of the database's time and the machine's: what must not be done
// too early, such as dropping what is old, waits for both.
func (c *Clock) Earlier() time.Time {
	now := c.Now()
	if wall := c.machine.Wall().UTC(); wall.Before(now) {
		return wall
	}
	return now
}

// Measure asks the database for its time, by ask, some times, and takes the answer that came
// fastest: its clock read that half of the round trip ago. It blocks as long as ask does.
func (c *Clock) Measure(ctx context.Context, ask func(ctx context.Context) (time.Time, error)) error {
	var best line
	for i := range trips {
		before := c.machine.Elapsed()
		at, err := ask(ctx)
		if err != nil {
			return fmt.Errorf("ask for the database's time: %w", err)
		}
		after, wall := c.machine.Elapsed(), c.machine.Wall()
		half := (after - before) / 2
		if i == 0 || half < best.accuracy {
			best = line{at: at.UTC().Add(half), elapsed: after, accuracy: half}
			best.offset = best.at.Sub(wall)
		}
	}
	c.take(best)
	return nil
}

// take follows a measurement, unless what is known already is newer, or better and agrees with it.
func (c *Clock) take(l line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.line.Load()
	if old.measured && l.elapsed < old.elapsed {
		return
	}
	l.measured, l.correction = true, old.correction
	expected := old.at.Add(l.elapsed - old.elapsed)
	if !old.measured {
		l.correction = l.at.Sub(expected).Truncate(time.Microsecond)
	} else {
		known := old.accuracy + (l.elapsed-old.elapsed)/drift
		if l.at.Sub(expected).Abs() <= known+l.accuracy && known <= l.accuracy {
			kept := *old
			kept.offset = l.offset // the machine's clock may have been set
			c.line.Store(&kept)
			return
		}
	}
	c.line.Store(&l)
}

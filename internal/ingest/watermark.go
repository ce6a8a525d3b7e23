package ingest

import (
	"slices"
	"sync"
	"time"

	"readmark/internal/readstate"
)

const (
	// maxDrains is how many batches are remembered one by one.
	maxDrains = 1024
	// maxSkew is above what the database's clock and what is known of it differ by.
	maxSkew = time.Second
)

// Watermark gives until when the database has everything now: every event that this
// process has acknowledged, and that arrived until then, is there. It never blocks.
func (in *Ingest) Watermark() time.Time {
	return before(in.options.Clock.Read().At, in.options.Spool.OldestQueued())
}

// ReplicaWatermark is the Watermark of a replica that has what was committed until a
// moment, and with it all that it had in earlier calls: what it had is forgotten here.
func (in *Ingest) ReplicaWatermark(replayed time.Time) time.Time {
	// In the order in which events move, so that none is missed between.
	watermark := before(replayed, in.options.Spool.OldestQueued())
	return before(watermark, in.recentDrains.since(replayed))
}

// before sets a moment back before a bound, where there is one.
func before(moment, bound time.Time) time.Time {
	if !bound.IsZero() && !moment.Before(bound) {
		return bound.Add(-time.Microsecond)
	}
	return moment
}

// firstArrival gives the arrival of the first event of a batch, zero where it has none.
func firstArrival(batch *readstate.Batch) (first time.Time) {
	for i := range batch.Events {
		if at := batch.Events[i].At; first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}

// moments is a small set of moments. It is safe for concurrent use.
type moments struct {
	mu   sync.Mutex
	list []time.Time
}

// add puts a moment in.
func (m *moments) add(moment time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = append(m.list, moment)
}

// remove takes out a moment that was put in.
func (m *moments) remove(moment time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := slices.Index(m.list, moment); i >= 0 {
		m.list = slices.Delete(m.list, i, i+1)
	}
}

// oldest gives the earliest of the moments and the given one; zero is none.
func (m *moments) oldest(moment time.Time) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, other := range m.list {
		if !other.IsZero() && (moment.IsZero() || other.Before(moment)) {
			moment = other
		}
	}
	return moment
}

// recentDrains remembers when events came from the spool into the database, for as long
// as a replica may not have them. It is safe for concurrent use.
type recentDrains struct {
	mu   sync.Mutex
	list []recentDrain
}

// recentDrain is one batch of the spool.
type recentDrain struct {
	first time.Time // nothing in it arrived before
	at    time.Time // by then it was in the database, by the database's clock
}

// add notes that a batch has just been drained.
func (d *recentDrains) add(batch *readstate.Batch, now time.Time) {
	m := recentDrain{first: firstArrival(batch), at: now.Add(maxSkew)}
	if m.first.IsZero() { // rejected callbacks only
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.list); n == maxDrains { // the last ones count as one
		last := &d.list[n-1]
		if last.first.Before(m.first) {
			m.first = last.first
		}
		if last.at.After(m.at) {
			m.at = last.at
		}
		*last = m
		return
	}
	d.list = append(d.list, m)
}

// since gives the earliest arrival of what was drained at a moment or later, zero where
// nothing was, and forgets what was drained before.
func (d *recentDrains) since(moment time.Time) (first time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = slices.DeleteFunc(d.list, func(m recentDrain) bool { return m.at.Before(moment) })
	for _, m := range d.list {
		if first.IsZero() || m.first.Before(first) {
			first = m.first
		}
	}
	return first
}

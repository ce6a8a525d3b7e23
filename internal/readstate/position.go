package readstate

import (
	"math"
	"slices"
	"time"
)

// Settling is how long OpenIM may take until its REST API knows what a callback
// has told: a message is announced before it is stored, and so are the
// notifications of a membership change, which take seqs too.
const Settling = time.Second

// Disorder is how far apart two callbacks can arrive that OpenIM sent the other way
// round: its queue of webhooks has two workers, and there are several queues.
const Disorder = 10 * time.Second

// Position is a group's running message number, see docs/counting.md. What
// changes it is a set of events whose order of arrival decides; the zero value
// is a group that nothing is known of.
type Position struct {
	GroupID string
	// Known is the highest seq learnt; it means something when Placed.
	Known int64
	// Counted is the number of distinct messages that came without a seq and that
	// no learnt seq covers.
	Counted int64
	// Origin is the seq at which this group's number was zero: read positions that
	// were reckoned before the first seq was learnt are relative to it.
	Origin int64
	Placed bool // a seq has been learnt, and Origin fixed
	// StoredAt is the arrival of the first callback with the highest stored seq.
	StoredAt time.Time
	// AskedAt is when OpenIM was asked for the newest fact.
	AskedAt time.Time
	// DoubtAt is the arrival of the last callback which says that a seq was, or
	// will be, taken that it does not name.
	DoubtAt time.Time
	// DismissedAt is the arrival of the last dismissal.
	DismissedAt time.Time
}

// Number is the position: known + counted.
func (p *Position) Number() int64 { return add(p.Known, p.Counted) }

// Cover is the moment before which every message without a seq is covered by a
// learnt one.
func (p *Position) Cover() time.Time {
	if p.StoredAt.After(p.AskedAt) {
		return p.StoredAt
	}
	return p.AskedAt
}

// Exact reports whether the position is what OpenIM said, or would say as far as
// callbacks tell.
func (p *Position) Exact() bool {
	return p.Placed && p.Counted == 0 &&
		(p.DoubtAt.IsZero() || p.DoubtAt.Before(p.StoredAt) || !p.DoubtAt.Add(Settling).After(p.AskedAt))
}

// Ledger moves one group's position from callback to callback, in the order of
// arrival. Waiting holds the arrivals of the messages that are counted, as far as
// they may come to be told apart: those from [Settling] before the first seq on that
// is learnt.
type Ledger struct {
	Position
	Waiting []time.Time // ascending
}

// Count adds a message that came without a seq, for the first time.
func (l *Ledger) Count(at time.Time) {
	if at.Before(l.Cover()) {
		l.unsettled(at)
		return
	}
	l.Counted = add(l.Counted, 1)
	i, _ := slices.BinarySearchFunc(l.Waiting, at, time.Time.Compare)
	l.Waiting = slices.Insert(l.Waiting, i, at)
}

// Uncount takes a message out that has been counted at its arrival, if it still
// is: it turned out to have a seq.
func (l *Ledger) Uncount(at time.Time) {
	if at.Before(l.Cover()) {
		return
	}
	if i, found := slices.BinarySearchFunc(l.Waiting, at, time.Time.Compare); found {
		l.Waiting = slices.Delete(l.Waiting, i, i+1)
	}
	l.Counted = max(0, l.Counted-1)
}

// Store learns the seq of a stored message. A higher one covers all messages
// that arrived before.
func (l *Ledger) Store(seq int64, at time.Time) {
	switch {
	case !l.Placed || seq > l.Known:
		l.StoredAt = at
	case seq == l.Known && at.Before(l.StoredAt):
		l.StoredAt = at
	default:
		return
	}
	l.learn(seq)
}

// Ask learns a group's highest seq from OpenIM itself. It covers all messages
// that arrived before OpenIM was asked.
func (l *Ledger) Ask(maxSeq int64, at time.Time) {
	if at.After(l.AskedAt) {
		l.AskedAt = at
	}
	for _, arrival := range l.Waiting {
		if arrival.Before(l.Cover()) {
			l.unsettled(arrival)
		}
	}
	l.learn(maxSeq)
}

// unsettled notes a message that is covered by a fact for which OpenIM was asked so
// shortly after the message's arrival that it may not have stored it.
func (l *Ledger) unsettled(arrival time.Time) {
	if !arrival.Before(l.StoredAt) && arrival.Add(Settling).After(l.AskedAt) {
		l.Doubt(arrival)
	}
}

func (l *Ledger) learn(seq int64) {
	before := l.Counted
	i, _ := slices.BinarySearchFunc(l.Waiting, l.Cover(), time.Time.Compare)
	l.Waiting = l.Waiting[i:]
	l.Counted = min(l.Counted, int64(len(l.Waiting)))
	if !l.Placed {
		l.Placed = true
		l.Known = seq
		l.Origin = sub(seq, before-l.Counted)
		return
	}
	l.Known = max(l.Known, seq)
}

// Lower replaces the highest seq by what OpenIM says now.
func (l *Ledger) Lower(maxSeq int64, at time.Time) {
	l.StoredAt = time.Time{}
	l.Ask(maxSeq, at)
	l.Known = maxSeq
}

// Doubt notes that a seq was taken that nobody named.
func (l *Ledger) Doubt(at time.Time) {
	if at.After(l.DoubtAt) {
		l.DoubtAt = at
	}
}

// Dismiss notes that the group is gone.
func (l *Ledger) Dismiss(at time.Time) {
	if at.After(l.DismissedAt) {
		l.DismissedAt = at
	}
}

// add and sub stop at the ends of int64.
func add(a, b int64) int64 {
	sum := a + b
	switch {
	case a > 0 && b > 0 && sum < 0:
		return math.MaxInt64
	case a < 0 && b < 0 && sum >= 0:
		return math.MinInt64
	}
	return sum
}

func sub(a, b int64) int64 {
	if b == math.MinInt64 {
		if a >= 0 {
			return math.MaxInt64
		}
		return a - b
	}
	return add(a, -b)
}

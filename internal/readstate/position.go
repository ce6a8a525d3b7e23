package readstate

import (
	"math"
	"time"
)

// GroupPosition is a group's running message number, see docs/counting.md. It is what
// the group's events make of the zero value, one after the other, in their order.
type GroupPosition struct {
	GroupID string
	// HasSeq says that a seq of the group is known; MaxSeq and BaseSeq mean something
	// only then.
	HasSeq bool
	// MaxSeq is the highest seq known.
	MaxSeq int64
	// Unsequenced is the number of distinct messages that came without a seq and that no
	// known seq covers.
	Unsequenced int64
	// BaseSeq is the seq at which the number was zero. The first seq that is known fixes
	// it: read positions of before are relative to it.
	BaseSeq int64
	// CoveredUntil is the arrival before which every message is covered by MaxSeq.
	CoveredUntil time.Time
	// UnsequencedAt is the arrival of the newest message that came without a seq.
	UnsequencedAt time.Time
	// SeqGapAt is the arrival of an event after which a seq is taken that nobody has named
	// yet; zero when there is none.
	SeqGapAt time.Time
	// DismissedAt is the arrival of the last dismissal.
	DismissedAt time.Time
	// MovedAt is the arrival of the last event that may have changed any of this, and
	// UpdatedAt when one was written that did.
	MovedAt, UpdatedAt time.Time
}

// Number is the position: MaxSeq and the messages that it does not cover.
func (p *GroupPosition) Number() int64 { return add(p.MaxSeq, p.Unsequenced) }

// Exact reports whether the position is OpenIM's own, as far as events tell.
func (p *GroupPosition) Exact() bool { return p.HasSeq && p.Unsequenced == 0 && p.SeqGapAt.IsZero() }

// apply moves the position by an event that comes after all that were applied before,
// and reports whether it changed.
func (p *GroupPosition) apply(e *Event, m seen) (changed bool) {
	if !e.Kind.movesPosition() {
		return false
	}
	before := *p
	switch e.Kind {
	case EventMessage:
		p.message(e, m)
	case EventSnapshot:
		p.snapshot(e)
	case EventJoined, EventLeft, EventMembersChanged: // the notification takes a seq
		p.openGap(e.At)
	case EventDismissed:
		p.openGap(e.At)
		p.DismissedAt = later(p.DismissedAt, e.At)
	default:
	}
	changed = *p != before
	p.MovedAt = later(p.MovedAt, e.At)
	return changed
}

func (p *GroupPosition) message(e *Event, m seen) {
	switch {
	case e.ReadSeq == 0 && m.announcedAt.IsZero(): // it counts once, and its seq says more
		p.Unsequenced, p.UnsequencedAt = add(p.Unsequenced, 1), e.At
	case e.ReadSeq == 0:
	case !p.HasSeq || e.ReadSeq > p.MaxSeq:
		if m.announcedAt.IsZero() {
			p.Unsequenced = add(p.Unsequenced, 1) // covered at once, and behind all that was read before
		}
		p.learn(e.ReadSeq, e.At)
		p.SeqGapAt = time.Time{}
	case !m.announcedAt.IsZero() && !m.sequenced && !m.announcedAt.Before(p.CoveredUntil):
		p.Unsequenced = max(0, p.Unsequenced-1)
	}
}

// snapshot takes OpenIM's highest seq. OpenIM may not have stored yet what was
// announced shortly before it was asked.
func (p *GroupPosition) snapshot(e *Event) {
	if p.Unsequenced > 0 && p.UnsequencedAt.Add(Settling).After(e.At) {
		p.openGap(p.UnsequencedAt)
	} else if !p.SeqGapAt.Add(Settling).After(e.At) {
		p.SeqGapAt = time.Time{}
	}
	if e.AllowDecrease {
		p.learn(e.MaxSeq, e.At)
	} else {
		p.learn(max(e.MaxSeq, p.MaxSeq), e.At)
	}
}

// learn takes a seq that covers every message until now.
func (p *GroupPosition) learn(seq int64, at time.Time) {
	if !p.HasSeq {
		p.HasSeq, p.BaseSeq = true, sub(seq, p.Unsequenced)
	}
	p.MaxSeq, p.Unsequenced, p.CoveredUntil = seq, 0, at
}

func (p *GroupPosition) openGap(at time.Time) { p.SeqGapAt = later(p.SeqGapAt, at) }

// checkpoint gives what a journal row keeps of the position.
func (p *GroupPosition) checkpoint() GroupPosition {
	kept := *p
	kept.MovedAt, kept.UpdatedAt = time.Time{}, time.Time{}
	return kept
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
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

package readstate

import (
	"math"
	"time"
)

const (
	// plausibleSeq is above every seq that a real group has. OpenIM may answer the largest
	// int64 for who has just joined.
	plausibleSeq = 1 << 53
	// unannouncedRise is by how much OpenIM's highest seq may rise without a word:
	// notifications take seqs, message callbacks may be switched off, and a restarted server
	// skips a hundred.
	unannouncedRise = 500
	// clockSkew is what OpenIM's clock may be off, at most, for its times to be compared.
	clockSkew = 5 * time.Minute
	// coveredGap is how long nothing is exact after a message was announced that is taken for
	// one that a known seq covers.
	coveredGap = 2 * time.Second
	// quietGroup is how long no message may have been announced when others are given up.
	quietGroup = time.Minute
	// NeverStored is how long a message may be announced and not stored until it is taken
	// for lost.
	NeverStored = 10 * time.Minute
)

// GroupPosition is a group's running message number, see docs/counting.md. It is what
// the group's events make of the zero value, one after the other, in their order.
type GroupPosition struct {
	GroupID string
	// HasSeq says that a seq of the group is known; MaxSeq and BaseSeq mean something
	// only then.
	HasSeq bool
	// MaxSeq is the highest seq known, and MaxSeqTime OpenIM's own time of it: when it was
	// given out, or its message was sent. Zero where OpenIM did not say.
	MaxSeq     int64
	MaxSeqTime time.Time
	// Unsequenced is the number of distinct messages that came without a seq and that no
	// known seq covers: MaxSeq has not risen by so many since.
	Unsequenced int64
	// BaseSeq is the seq at which the number was zero. The first seq that is known fixes
	// it: read positions of before are relative to it.
	BaseSeq int64
	// UnsequencedSince is since when there has been an unsequenced message, zero when there
	// is none. UnsequencedAt is the arrival of the newest message that came without a seq.
	UnsequencedSince, UnsequencedAt time.Time
	// SeqGapAt is the arrival of an event after which a seq is taken that nobody has named
	// yet; zero when there is none.
	SeqGapAt time.Time
	// DoubtedAt is the moment of a snapshot that contradicts MaxSeq, until another member's
	// supports it, or others were asked; zero when there is none.
	DoubtedAt time.Time
	// RestartedAt is when OpenIM's seqs began anew last, and RestartedFrom the highest MaxSeq
	// before. What was read before is in seqs of another count.
	RestartedAt   time.Time
	RestartedFrom int64
	// DismissedAt is the arrival of the last dismissal.
	DismissedAt time.Time
	// MovedAt is the arrival of the last event that may have changed any of this, and
	// UpdatedAt when one was last written.
	MovedAt, UpdatedAt time.Time
}

// Number is the position: MaxSeq and the messages that it does not cover.
func (p *GroupPosition) Number() int64 { return add(p.MaxSeq, p.Unsequenced) }

// ReceiptRead gives the read position that a receipt tells which says how many messages stay unread, and whether it is relative to
// BaseSeq. SQL has it as receipt_read_position.
func (p *GroupPosition) ReceiptRead(unread int64) (read int64, beforeBaseSeq bool) {
	return sub(p.Number(), unread), !p.HasSeq
}

// Exact reports whether the position is OpenIM's own, as far as events tell.
func (p *GroupPosition) Exact() bool {
	return p.HasSeq && p.Unsequenced == 0 && p.SeqGapAt.IsZero() && p.DoubtedAt.IsZero()
}

// Dismissed reports whether the group was dismissed since a user joined it.
func (p *GroupPosition) Dismissed(s *ReadState) bool { return p.dismissed(&s.Membership) }

func (p *GroupPosition) dismissed(m *Membership) bool {
	return !p.DismissedAt.IsZero() && !p.DismissedAt.Before(m.JoinedAt)
}

// rebased reports whether, since before, read positions are relative to something else, seqs have
// begun anew, or the group was dismissed.
func (p *GroupPosition) rebased(before *GroupPosition) bool {
	return p.BaseSeq != before.BaseSeq || !p.RestartedAt.Equal(before.RestartedAt) || !p.DismissedAt.Equal(before.DismissedAt)
}

// apply moves the position by an event that comes after all that were applied before,
// and reports whether it may have changed: whether it has may depend on events that come
// late.
func (p *GroupPosition) apply(e *Entry, m seen) (moved bool) {
	if !e.Kind.movesPosition() {
		return false
	}
	switch e.Kind {
	case EventMessage:
		p.message(&e.Event, m)
	case EventSnapshot:
		p.snapshot(e)
	case EventJoined, EventLeft, EventMembersChanged: // the notification takes a seq
		p.openGap(e.At)
	case EventDismissed:
		p.openGap(e.At)
		p.DismissedAt = later(p.DismissedAt, e.At)
	default:
	}
	p.MovedAt = later(p.MovedAt, e.At)
	return true
}

func (p *GroupPosition) message(e *Event, m seen) {
	if p.mayHaveRestarted(e, m) {
		p.openGap(e.At)
	}
	switch {
	case e.ReadSeq == 0 && m.announcedAt.IsZero(): // it counts once, and its seq says more
		p.announce(e)
	case e.ReadSeq == 0:
	case !p.HasSeq || e.ReadSeq > p.MaxSeq:
		// It is covered at once, and unread for all who have read before it.
		p.Unsequenced = add(p.Unsequenced, when(m.announcedAt.IsZero() || m.uncounted, 1))
		p.closeGap(e.At)
		if p.Unsequenced > 1 && (!p.HasSeq || e.ReadSeq > add(p.MaxSeq, 1) && p.UnsequencedAt.Add(Settling).After(e.At)) {
			p.openGap(p.UnsequencedAt) // seqs of before may be those of others, which are announced late
		}
		p.learn(e.ReadSeq, e.At, e.SentAt)
	case !m.sequenced && e.ReadSeq <= m.countedFrom && !m.announcedAt.Before(p.RestartedAt): // nothing else covers it
		p.setUnsequenced(p.Unsequenced-1, e.At)
	}
}

// mayHaveRestarted reports whether a message has a seq that is known, though it was sent after
// the message of the highest one: OpenIM's seqs have begun anew, or two messages were sent at once.
func (p *GroupPosition) mayHaveRestarted(e *Event, m seen) bool {
	return e.ReadSeq > 0 && !m.sequenced && p.HasSeq && e.ReadSeq <= p.MaxSeq && !p.MaxSeqTime.IsZero() && e.SentAt.After(p.MaxSeqTime)
}

// announce counts a message that has no seq yet. One that comes late may have got a seq
// that is known already: OpenIM's own times tell. They may be wrong where a queue lags, so
// that nothing is exact for a while.
func (p *GroupPosition) announce(e *Event) {
	p.UnsequencedAt = e.At
	if p.hasSent(e) {
		p.openGap(e.At.Add(coveredGap - Settling))
		return
	}
	p.setUnsequenced(add(p.Unsequenced, 1), e.At)
}

// hasSent reports whether a message that is announced was sent before the highest known seq was
// given out.
func (p *GroupPosition) hasSent(e *Event) bool {
	return p.HasSeq && near(e.SentAt, e.At, clockSkew) && !e.SentAt.After(p.MaxSeqTime)
}

// snapshot takes OpenIM's highest seq, unless the user's own contradicts what is known of
// the group. OpenIM may not have stored yet what was announced before it was asked.
func (p *GroupPosition) snapshot(e *Entry) {
	if e.Own = p.isOwn(&e.Event); e.Own {
		if !e.OwnMaxSeq && e.MaxSeq <= plausibleSeq { // else it is no group's
			p.DoubtedAt = later(p.DoubtedAt, e.At)
		}
		return
	}
	if !p.DoubtedAt.After(e.At) {
		p.DoubtedAt = time.Time{}
	}
	if p.Unsequenced > 0 && p.UnsequencedAt.Add(Settling).After(e.At) {
		p.openGap(p.UnsequencedAt)
	} else {
		p.closeGap(e.At)
	}
	if e.Restarted {
		p.restart(&e.Event)
		return
	}
	p.learn(max(e.MaxSeq, p.MaxSeq), e.At, e.SentAt)
	// While messages come, those that wait may be new.
	if p.Unsequenced > 0 && e.At.Sub(p.UnsequencedSince) >= NeverStored && e.At.Sub(p.UnsequencedAt) >= quietGroup {
		e.NeverStored = p.Unsequenced
		p.setUnsequenced(0, e.At)
	}
}

// restart has the seqs begin anew with what a snapshot says.
func (p *GroupPosition) restart(e *Event) {
	p.RestartedAt, p.RestartedFrom = e.At, max(p.MaxSeq, p.RestartedFrom)
	p.learn(max(e.MaxSeq, p.MaxSeq), e.At, e.SentAt)
	p.MaxSeq, p.MaxSeqTime = e.MaxSeq, e.SentAt
	p.setUnsequenced(0, e.At)
}

// isOwn reports whether a snapshot's MaxSeq is the user's own and not the group's.
func (p *GroupPosition) isOwn(e *Event) bool {
	return e.MaxSeq > plausibleSeq || !e.Confirmed && !e.Restarted && p.Side(e.MaxSeq) != 0
}

// Side is 0 where a user's maxSeq agrees with what is known of the group. It is -1 where it is
// lower, so that OpenIM's seqs began anew or it is the user's own, and 1 where it is higher by
// more than messages explain.
func (p *GroupPosition) Side(maxSeq int64) int {
	if maxSeq > plausibleSeq {
		return 1
	}
	if !p.HasSeq {
		return 0
	}
	rise, expected := sub(maxSeq, p.MaxSeq), p.Unsequenced
	if maxSeq > p.RestartedFrom {
		expected = add(expected, unannouncedRise)
	}
	switch {
	case rise < 0:
		return -1
	case rise > expected:
		return 1
	default:
		return 0
	}
}

// learn takes a seq that is not below the highest known one. The first seq covers all
// unsequenced messages; any other one as many as it is higher.
func (p *GroupPosition) learn(seq int64, at, seqTime time.Time) {
	left := int64(0)
	if p.HasSeq {
		left = max(0, sub(p.Unsequenced, sub(seq, p.MaxSeq)))
	} else {
		p.HasSeq, p.BaseSeq = true, sub(seq, p.Unsequenced)
	}
	if seq != p.MaxSeq || p.MaxSeqTime.IsZero() {
		p.MaxSeq, p.MaxSeqTime = seq, seqTime
	}
	p.setUnsequenced(left, at)
}

func (p *GroupPosition) setUnsequenced(n int64, at time.Time) {
	p.Unsequenced = max(0, n)
	switch {
	case p.Unsequenced == 0:
		p.UnsequencedSince = time.Time{}
	case p.UnsequencedSince.IsZero():
		p.UnsequencedSince = at
	}
}

func (p *GroupPosition) openGap(at time.Time) { p.SeqGapAt = later(p.SeqGapAt, at) }

// closeGap has a seq that was taken some time before a moment be covered by one that is told
// then.
func (p *GroupPosition) closeGap(at time.Time) {
	if !p.SeqGapAt.Add(Settling).After(at) {
		p.SeqGapAt = time.Time{}
	}
}

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

func when(condition bool, n int64) int64 {
	if condition {
		return n
	}
	return 0
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

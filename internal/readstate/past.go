package readstate

import (
	"slices"
	"time"
)

// Past puts together what was known of a user at a moment that has passed: from the
// journal until then, and from what is stored and has not changed since. Add states
// first, then entries, then positions, then moves.
type Past struct {
	at, droppedUntil time.Time
	stored, then     map[Pair]ReadState
	positions        map[string]GroupPosition
}

// NewPast begins with a moment, included; days of the journal were dropped until another.
func NewPast(at, droppedUntil time.Time) *Past {
	return &Past{
		at: at, droppedUntil: droppedUntil,
		stored: map[Pair]ReadState{}, then: map[Pair]ReadState{}, positions: map[string]GroupPosition{},
	}
}

// AddState takes a state as it is stored now. What of it is not later than the moment
// was so then: the journal may be rid of it.
func (p *Past) AddState(s ReadState) {
	p.stored[s.Pair] = s
	then := ReadState{Pair: s.Pair}
	if !s.Estimate.At.After(p.at) {
		then.Estimate = s.Estimate
	}
	if !s.Exact.At.After(p.at) {
		then.Exact = s.Exact
	}
	then.JoinedAt, then.LeftAt, then.ListedAt = p.until(s.JoinedAt), p.until(s.LeftAt), p.until(s.ListedAt)
	then.MutedAt, then.UnmutedAt = p.until(s.MutedAt), p.until(s.UnmutedAt)
	if !s.Estimate.At.After(p.at) && !s.Exact.At.After(p.at) && then.Membership == s.Membership && then.Mute == s.Mute {
		then.UpdatedAt = s.UpdatedAt
	}
	p.then[s.Pair] = then
}

func (p *Past) until(at time.Time) time.Time {
	if at.After(p.at) {
		return time.Time{}
	}
	return at
}

// AddEntry takes a row of the journal until the moment; rows come in order.
func (p *Past) AddEntry(e Entry) {
	s := p.then[e.Pair()]
	s.Pair = e.Pair()
	s.observe(&e, true)
	p.then[s.Pair] = s
}

// AddPosition takes the position of a group as it is now.
func (p *Past) AddPosition(g GroupPosition) { p.positions[g.GroupID] = g }

// AddMove takes the first row of a group since the moment that may have moved its
// position: it has that of before.
func (p *Past) AddMove(e Entry) {
	then := e.Checkpoint
	then.UpdatedAt = time.Time{} // not told
	p.positions[e.GroupID] = then
}

// Pairs gives all pairs that something is known of, in key order.
func (p *Past) Pairs() []Pair {
	list := make([]Pair, 0, len(p.then))
	for pair := range p.then {
		list = append(list, pair)
	}
	slices.SortFunc(list, Pair.Compare)
	return list
}

// Groups gives the groups of all pairs.
func (p *Past) Groups() []string {
	var list []string
	for _, pair := range p.Pairs() {
		list = append(list, pair.GroupID)
	}
	return list
}

// MovedGroups gives the groups whose position may have moved since the moment.
func (p *Past) MovedGroups() []string {
	return slices.DeleteFunc(p.Groups(), func(id string) bool {
		position := p.positions[id]
		return !position.MovedAt.After(p.at)
	})
}

// Show gives the state of a pair at the moment, [ErrUnknown] where there was none, or
// [ErrGone] where what was read then has been dropped from the journal. It is not exact:
// that tells how far the newest count may be trusted.
func (p *Past) Show(pair Pair) (State, error) {
	s, position := p.then[pair], p.positions[pair.GroupID]
	if s.Gone(&position) {
		return State{}, ErrUnknown
	}
	if p.dropped(pair) {
		return State{}, ErrGone
	}
	shown, known := s.Show(&position)
	if !known {
		return State{}, ErrUnknown
	}
	shown.Exact = false
	if shown.UpdatedAt.IsZero() {
		shown.UpdatedAt = later(s.Estimate.At, s.Exact.At)
	}
	return shown, nil
}

// dropped reports whether a reading of then may have been dropped: the state has a later
// one of its kind, it had one then, and what is left is older than what was dropped.
func (p *Past) dropped(pair Pair) bool {
	now, then := p.stored[pair], p.then[pair]
	lost := func(nowAt, thenAt, firstAt time.Time) bool {
		return nowAt.After(p.at) && thenAt.IsZero() && !firstAt.After(p.at) && firstAt.Before(p.droppedUntil)
	}
	return (lost(now.Estimate.At, then.Estimate.At, now.Estimate.FirstAt) || lost(now.Exact.At, then.Exact.At, now.Exact.FirstAt)) &&
		later(then.Estimate.At, then.Exact.At).Before(p.droppedUntil)
}

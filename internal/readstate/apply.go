package readstate

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// disorder is how far apart two callbacks can arrive that OpenIM sent the other way
// round: its queue of webhooks has two workers, and there are several queues.
const disorder = 10 * time.Second

// Entry is a row of the journal: an event, and what it made at its place in the order
// of everything.
type Entry struct {
	Event
	Result
	// RecordedAt is when the row was last written.
	RecordedAt time.Time
}

// Result is what an event made at its place.
type Result struct {
	// Checkpoint is the position of the group before the event, without MovedAt and
	// UpdatedAt. Only events that may move it have one.
	Checkpoint GroupPosition
	// Read is the read position that was worked out, if HasRead; relative to the group's
	// BaseSeq where BeforeBaseSeq.
	HasRead       bool
	Read          int64
	BeforeBaseSeq bool
	// Own says of a snapshot that its MaxSeq is the user's own and not the group's.
	Own bool
	// NeverStored is the number of announced messages that were given up with a snapshot:
	// OpenIM has not stored them in [NeverStored].
	NeverStored int64
}

// MessageKey names a message.
type MessageKey struct{ GroupID, MessageID string }

// Loaded is what is stored of everything that some events are about.
type Loaded struct {
	// Positions are those of the groups, as they are now; a group that is missing is new.
	Positions map[string]GroupPosition
	// States are those of the pairs, as they are now.
	States map[Pair]ReadState
	// Journal is what the journal has of the groups from the first of the events on, in
	// order: nothing, unless events come late. Messages is what it has of before of the
	// messages that the events and Journal are about.
	Journal  []Entry
	Messages []Entry
	// Estimates is, of pairs that an earlier call has named in NeedEstimates, the newest
	// row before those of Journal that gave a read position.
	Estimates map[Pair]Entry
	// Start has positions at which the walk begins where it goes on from an earlier call
	// of Apply, or where Journal is not all that there is; else it begins at what Journal or
	// Positions tell.
	Start map[string]GroupPosition
}

// Options is what the rules depend on beside events.
type Options struct {
	Now       time.Time // when events are recorded, and what moments of lookups count from
	CanLookUp bool      // OpenIM's REST API can be asked
	// Rebuild reports whether the journal that was loaded has everything that a state was
	// made from: it is made from nothing then. Nil: nothing has.
	Rebuild func(stored *ReadState) bool
}

// Effects is what events do. All lists are in the order of keys, or of events.
type Effects struct {
	// Inserted is the events that the journal does not have, and Corrected the rows of it
	// whose results events before them have changed.
	Inserted, Corrected []Entry
	// States and Positions are those that have changed, as they are now.
	States    []ReadState
	Positions []GroupPosition
	// Rebased are groups of Positions in which the same read position leaves another count than
	// before, or none: what it is relative to has changed, or the group was dismissed.
	Rebased []string
	// End has the position of every group behind the last event.
	End map[string]GroupPosition

	Lookups []Lookup
	// NeedEstimates names pairs whose estimate was taken back, and another one lies before
	// what was loaded: Apply has to be called again, with it in Estimates.
	NeedEstimates []Pair

	// MemberLookups asks for some member of each group, but for the ones named: a
	// notification has taken a seq, which any of them tells.
	MemberLookups map[string][]string
	// StoreChecks asks again, of each group, whether announced messages are stored: of the
	// member who is named, or better of one by the check's turn. Everybody who is asked
	// about meanwhile would be asked about again else, as long as messages come.
	StoreChecks map[string]StoreCheck
}

// Apply is the one place of the rules: it gives what some events do to what is stored.
// Events may be in any order. One that the journal has already does nothing. After one
// that comes late, all later ones of its group are applied anew. Nothing that is given
// is changed.
func Apply(loaded *Loaded, events []Event, options Options) Effects {
	a := applying{
		loaded: loaded, options: options,
		positions: maps.Clone(loaded.Start), states: map[Pair]ReadState{}, messages: map[MessageKey]seen{},
		from: map[string]*Event{}, lookups: lookups{},
	}
	if a.positions == nil {
		a.positions = map[string]GroupPosition{}
	}
	steps := a.sequence(events)
	for i := range loaded.Messages {
		if e, from := &loaded.Messages[i], a.from[loaded.Messages[i].GroupID]; from != nil && e.Compare(from) < 0 {
			a.see(e)
		}
	}
	a.walk(steps)
	return a.effects()
}

type applying struct {
	loaded    *Loaded
	options   Options
	positions map[string]GroupPosition // at the place that has been reached
	states    map[Pair]ReadState
	messages  map[MessageKey]seen
	from      map[string]*Event // where the walk of each group begins
	lookups   lookups
	out       Effects
}

// seen is what was told of a message before a place.
type seen struct {
	announcedAt time.Time // zero: nothing
	sequenced   bool      // its seq, too
	// countedFrom is the group's highest seq when the message was counted as one that has none;
	// 0: it was not, or no seq was known. A higher seq covers it.
	countedFrom int64
	// uncounted says that it was not, since it was taken for one that a known seq covers.
	uncounted bool
}

// step is an event at its place; stored, where the journal has it.
type step struct {
	*Event
	stored *Entry
}

// sequence gives the journal and the new events in order.
func (a *applying) sequence(events []Event) []step {
	steps := make([]step, 0, len(events)+len(a.loaded.Journal))
	stored := make(map[ID]bool, len(a.loaded.Journal)+len(events))
	for i := range events {
		a.begin(&events[i])
	}
	for i := range a.loaded.Journal {
		e := &a.loaded.Journal[i]
		steps = append(steps, step{&e.Event, e})
		stored[e.ID] = true
		a.begin(&e.Event)
		a.reopen(e)
		if _, found := a.positions[e.GroupID]; !found && e.Kind.movesPosition() {
			a.positions[e.GroupID] = e.Checkpoint
		}
	}
	for i := range events {
		if e := &events[i]; !stored[e.ID] && a.admit(e) {
			steps = append(steps, step{e, nil})
			stored[e.ID] = true
		}
	}
	slices.SortStableFunc(steps, func(x, y step) int { return x.Compare(y.Event) })
	return steps
}

// begin has the walk of an event's group begin at the event, or before.
func (a *applying) begin(e *Event) {
	if from := a.from[e.GroupID]; e.GroupID != "" && (from == nil || e.Compare(from) < 0) {
		a.from[e.GroupID] = e
	}
}

// reopen takes an estimate back that an event of the journal gave, since it is worked
// out anew: another event may give it now.
func (a *applying) reopen(e *Entry) {
	state := a.state(e.Pair())
	if e.HasRead && state.Estimate.FirstAt.Equal(e.At) { // it may turn out to give none
		state.Estimate.FirstAt = time.Time{}
		a.states[state.Pair] = state
	}
	if state.Estimate.At.IsZero() || state.Estimate.ID != e.ID || !state.Estimate.At.Equal(e.At) {
		return
	}
	first := state.Estimate.FirstAt
	state.Estimate = Estimate{}
	if earlierOne, found := a.loaded.Estimates[state.Pair]; found {
		state.Estimate.observe(&earlierOne)
	}
	if !first.After(a.from[e.GroupID].At) {
		state.Estimate.FirstAt = first
	}
	a.states[state.Pair] = state
}

// admit reports whether a new event is kept at all. OpenIM's answers are kept only
// where they say something new, and not of a user who has left: OpenIM goes on listing
// what such a user saw last.
func (a *applying) admit(e *Event) bool {
	if !e.Kind.FromOpenIM() {
		return true
	}
	position, state := a.loaded.Positions[e.GroupID], a.loaded.States[e.Pair()]
	switch e.Kind {
	case EventListed:
		return state.Left() && !e.At.Before(state.LeftAt)
	case EventMuted:
		return !state.Muted() && e.At.After(state.UnmutedAt)
	case EventUnmuted:
		return state.Muted() && !e.At.Before(state.MutedAt)
	case EventSnapshot:
		if state.Gone(&position) {
			return false
		}
		return !state.Said(e, &position)
	default:
		return true
	}
}

func (a *applying) walk(steps []step) {
	for _, s := range steps {
		entry := Entry{Event: *s.Event, RecordedAt: a.options.Now}
		var message seen
		if entry.Kind == EventMessage {
			message = a.messages[MessageKey{s.GroupID, s.MessageID}]
		}
		var moved *GroupPosition // by the event
		if s.GroupID != "" {
			moved = a.reach(&entry, message)
		}
		if entry.Kind == EventMessage {
			a.see(&entry)
		}
		fresh := s.stored == nil || entry.Result != s.stored.Result
		switch {
		case s.stored == nil:
			a.lookUp(&entry, message)
			a.out.Inserted = append(a.out.Inserted, entry)
		case fresh:
			a.out.Corrected = append(a.out.Corrected, entry)
		default:
			entry.RecordedAt = s.stored.RecordedAt
		}
		if moved != nil {
			moved.UpdatedAt = later(moved.UpdatedAt, entry.RecordedAt)
			a.positions[s.GroupID] = *moved
		}
		if s.UserID != "" && s.GroupID != "" {
			state := a.state(entry.Pair())
			state.observe(&entry, fresh)
			a.states[state.Pair] = state
		}
	}
}

// reach moves the group's position over an event, works the event's result out, and
// gives the position where it may have changed.
func (a *applying) reach(e *Entry, message seen) (moved *GroupPosition) {
	position := a.position(e.GroupID)
	if e.Kind.movesPosition() {
		e.Checkpoint = position.checkpoint()
	}
	changes := position.apply(e, message)
	a.positions[e.GroupID] = position
	switch {
	case e.Kind == EventReceipt:
		e.HasRead = true
		e.Read, e.BeforeBaseSeq = position.ReceiptRead(e.UnreadCount)
	case e.Kind == EventMessage && e.ReadSeq == 0 && message.announcedAt.IsZero() && e.UserID != "":
		e.HasRead, e.Read, e.BeforeBaseSeq = true, position.Number(), !position.HasSeq
	}
	if changes {
		return &position
	}
	return nil
}

// see remembers a message for what follows.
func (a *applying) see(e *Entry) {
	key := MessageKey{e.GroupID, e.MessageID}
	m := a.messages[key]
	m.sequenced = m.sequenced || e.ReadSeq > 0
	if m.announcedAt.IsZero() || !e.At.After(m.announcedAt) { // the first is counted
		m.announcedAt, m.countedFrom, m.uncounted = e.At, 0, e.ReadSeq == 0 && e.Checkpoint.hasSent(&e.Event)
		if e.ReadSeq == 0 && e.Checkpoint.HasSeq && !m.uncounted {
			m.countedFrom = e.Checkpoint.MaxSeq
		}
	}
	a.messages[key] = m
}

func (a *applying) position(groupID string) GroupPosition {
	if p, found := a.positions[groupID]; found {
		return p
	}
	p := a.loaded.Positions[groupID]
	p.GroupID = groupID
	return p
}

func (a *applying) state(pair Pair) ReadState {
	if s, found := a.states[pair]; found {
		return s
	}
	s := a.loaded.States[pair]
	s.Pair = pair
	if a.rebuilds(&s) {
		return ReadState{Pair: pair}
	}
	return s
}

func (a *applying) rebuilds(stored *ReadState) bool {
	return a.options.Rebuild != nil && a.options.Rebuild(stored)
}

// effects gives what has changed.
func (a *applying) effects() Effects {
	out := a.out
	for pair, state := range a.states {
		if state.Estimate.At.IsZero() && !state.Estimate.FirstAt.IsZero() {
			if a.loaded.Estimates == nil {
				out.NeedEstimates = append(out.NeedEstimates, pair)
			}
			state.Estimate.FirstAt = time.Time{} // unless the next call finds one
		}
		before := a.loaded.States[pair]
		before.Pair = pair
		if a.rebuilds(&before) {
			state.keepLater(&before)
		}
		if state != before {
			out.States = append(out.States, state)
		}
	}
	slices.SortFunc(out.States, func(x, y ReadState) int { return x.Compare(y.Pair) })
	for groupID, position := range a.positions {
		before := a.loaded.Positions[groupID]
		before.GroupID = groupID
		position.MovedAt = later(position.MovedAt, before.MovedAt)
		position.UpdatedAt = later(position.UpdatedAt, before.UpdatedAt)
		if position != before {
			out.Positions = append(out.Positions, position)
		}
		if position.rebased(&before) {
			out.Rebased = append(out.Rebased, groupID)
		}
	}
	slices.SortFunc(out.Positions, func(x, y GroupPosition) int { return cmp.Compare(x.GroupID, y.GroupID) })
	out.End = a.positions
	out.Lookups = a.lookups.sorted()
	return out
}

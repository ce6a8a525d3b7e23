package readstate

import (
	"maps"
	"slices"
	"time"
)

// Settling is how long OpenIM may take until its REST API knows what a callback
// has told: a message is announced before it is stored, and so are the
// notifications of a membership change, which take seqs too.
const Settling = time.Second

// ReadConfirmation is how far apart OpenIM has to say twice that a user has read less
// than is known, at least.
const ReadConfirmation = time.Second

// OpenIM is asked again for announced messages which it has not stored, after as long as
// they have been announced, within these bounds.
const (
	minStoreCheck = time.Second
	maxStoreCheck = time.Minute
	// senderStoreCheck is up to when the sender is asked. Who does not see a message after
	// that may be frozen.
	senderStoreCheck = 4 * time.Second
)

// StoreCheck asks a member of a group whether announced messages are stored. Turn differs from
// check to check, so that another member is asked each time: one may be frozen. All who ask at
// one time ask the same.
type StoreCheck struct {
	Lookup
	Turn int
}

// Debounce is how long a lookup waits for more of its kind before OpenIM is asked.
const Debounce = 100 * time.Millisecond

// Lookup is something that OpenIM has to be asked: all conversations of a user (no
// GroupID), one of them, or the members of a group (no UserID).
type Lookup struct {
	Pair
	// DueAt is when OpenIM is asked, at the earliest.
	DueAt time.Time
	// SettlesAt is the moment before which an answer is not the last one: OpenIM may not
	// know yet what a callback has told. Zero when any answer is.
	SettlesAt time.Time
	// Background has it wait for all that somebody reads or writes.
	Background bool
	// Doubt is an answer that contradicts what is known, and has to be confirmed.
	Doubt Doubt
}

// Doubt is a snapshot that contradicts what is known. The zero value is none.
type Doubt struct {
	At              time.Time
	MaxSeq, ReadSeq int64
}

// LeasedLookup is a lookup that one process has taken, for as long as its lease lasts.
type LeasedLookup struct {
	Pair
	// Since is when it was first asked for.
	Since time.Time
	// Version tells whether it was asked for again since it was taken.
	Version   int64
	SettlesAt time.Time // as in [Lookup]
	Doubt     Doubt     // as in [Lookup]
}

// ReceiptLookups gives what OpenIM has to be asked because of receipts alone.
func ReceiptLookups(events []Event, options Options) []Lookup {
	l := lookups{}
	for i := range events {
		l.receipt(&events[i], options)
	}
	return l.sorted()
}

// MergeLookups gives one lookup for each pair, in key order.
func MergeLookups(list []Lookup) []Lookup {
	l := lookups{}
	for i := range list {
		l.add(list[i])
	}
	return l.sorted()
}

// lookups collects one lookup for each pair.
type lookups map[Pair]Lookup

// add asks for a pair: at the earliest of the moments that were given, and settled at
// the latest.
func (l lookups) add(one Lookup) {
	if other, found := l[one.Pair]; found {
		one.DueAt, one.SettlesAt = earlier(one.DueAt, other.DueAt), later(one.SettlesAt, other.SettlesAt)
		one.Background = one.Background && other.Background
		if one.Doubt == (Doubt{}) {
			one.Doubt = other.Doubt
		}
	}
	l[one.Pair] = one
}

// receipt asks for a reader. Receipts that tell their count are asked for only where
// OpenIM can be.
func (l lookups) receipt(e *Event, options Options) {
	if e.NeedsLookup() || options.CanLookUp && e.Kind == EventReceipt {
		l.add(Lookup{Pair: e.Pair(), DueAt: options.Now.Add(Debounce)})
	}
}

func (l lookups) sorted() []Lookup {
	return slices.SortedFunc(maps.Values(l), func(a, b Lookup) int { return a.Compare(b.Pair) })
}

// lookUp asks OpenIM for what a new event does not tell.
func (a *applying) lookUp(e *Entry, message seen) {
	a.lookups.receipt(&e.Event, a.options)
	if !a.options.CanLookUp {
		return
	}
	soon, settled := a.options.Now.Add(Debounce), a.options.Now.Add(Settling)
	// OpenIM may have sent a join and a leave the other way round: only its member list tells
	// which was last.
	members := Lookup{Pair: Pair{GroupID: e.GroupID}, DueAt: soon, SettlesAt: settled, Background: true}
	state := a.state(e.Pair())
	switch e.Kind {
	case EventMessage:
		position := a.position(e.GroupID)
		if e.Checkpoint.mayHaveRestarted(&e.Event, message) && e.UserID != "" {
			a.lookups.add(Lookup{Pair: e.Pair(), DueAt: settled, SettlesAt: settled})
		}
		switch {
		case e.UserID == "" || !message.announcedAt.IsZero():
		case !state.KnownMember(&position): // a member who came back, or an admin of whom OpenIM's word is not taken
			a.lookups.add(Lookup{Pair: e.Pair(), DueAt: soon})
			if e.ReadSeq == 0 {
				a.lookUpMember(e)
			}
		case e.ReadSeq == 0: // OpenIM has stored it, and told its seq, some time later
			a.lookups.add(Lookup{Pair: e.Pair(), DueAt: settled, SettlesAt: later(settled, position.SeqGapAt.Add(Settling))})
		}
	case EventSnapshot:
		a.confirm(e, &state)
	case EventJoined:
		if e.UserID != "" {
			a.lookups.add(Lookup{Pair: e.Pair(), DueAt: soon, SettlesAt: settled, Background: true})
		}
		if near(state.LeftAt, e.At, disorder) {
			a.lookups.add(members)
		}
	case EventLeft:
		a.lookUpMember(e)
		if near(state.JoinedAt, e.At, disorder) {
			a.lookups.add(members)
		}
	case EventMembersChanged:
		a.lookups.add(members)
	case EventListed: // OpenIM moves the read position of who quits
		a.lookups.add(Lookup{Pair: e.Pair(), DueAt: soon})
	default:
	}
}

// confirm asks OpenIM again where a snapshot contradicts what is known, or does not cover
// what was announced.
func (a *applying) confirm(e *Entry, state *ReadState) {
	before := e.Checkpoint
	switch maxSeq, readSeq := state.Doubts(&e.Event, &before); {
	case maxSeq: // others are asked at once
		a.lookups.add(Lookup{Pair: e.Pair(), DueAt: a.options.Now, Doubt: Doubt{e.At, e.MaxSeq, e.ReadSeq}})
	case readSeq:
		a.lookups.add(Lookup{Pair: e.Pair(), DueAt: e.At.Add(ReadConfirmation), Doubt: Doubt{e.At, e.MaxSeq, e.ReadSeq}})
	}
	position := a.position(e.GroupID)
	switch {
	case e.Own && (position.Unsequenced > 0 || e.MaxSeq > position.MaxSeq): // others tell more of the group
		a.lookUpMember(e)
	case position.SeqGapAt.After(e.At): // it is too early for any answer
		settled := position.SeqGapAt.Add(Settling)
		a.lookups.add(Lookup{Pair: e.Pair(), DueAt: settled, SettlesAt: settled, Background: true})
	case position.Unsequenced == 0:
	default:
		age, turn := nextStoreCheck(e.At.Sub(position.UnsequencedAt))
		again := Lookup{Pair: e.Pair(), DueAt: later(position.UnsequencedAt.Add(age), a.options.Now), Background: true}
		if age < senderStoreCheck && state.Estimate.ByMessage && state.Estimate.At.Equal(position.UnsequencedAt) { // whose message is the newest
			a.lookups.add(again)
		} else {
			a.checkStored(StoreCheck{again, turn})
		}
	}
}

// nextStoreCheck gives how long after the announcement the next check is, and its number: after
// 1, 2, 4 … s, and then each minute. All who ask between two checks mean the same one.
func nextStoreCheck(age time.Duration) (next time.Duration, turn int) {
	for next = minStoreCheck; next <= age; turn++ {
		next += min(next, maxStoreCheck)
	}
	return next, turn
}

// checkStored asks some member of the group, at the earliest of the moments that are given.
func (a *applying) checkStored(l StoreCheck) {
	if a.out.StoreChecks == nil {
		a.out.StoreChecks = map[string]StoreCheck{}
	}
	if other, found := a.out.StoreChecks[l.GroupID]; !found || l.DueAt.Before(other.DueAt) {
		a.out.StoreChecks[l.GroupID] = l
	}
}

// lookUpMember asks for some member of the group, but for the event's user.
func (a *applying) lookUpMember(e *Entry) {
	if a.out.MemberLookups == nil {
		a.out.MemberLookups = map[string][]string{}
	}
	a.out.MemberLookups[e.GroupID] = append(a.out.MemberLookups[e.GroupID], e.UserID)
}

// near reports whether two moments are less than a time apart.
func near(a, b time.Time, within time.Duration) bool { return b.Sub(a).Abs() < within }

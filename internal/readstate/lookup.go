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
}

// LeasedLookup is a lookup that one process has taken, for as long as its lease lasts.
type LeasedLookup struct {
	Pair
	// Since is when it was first asked for.
	Since time.Time
	// Version tells whether it was asked for again since it was taken.
	Version   int64
	SettlesAt time.Time // as in [Lookup]
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
	for _, one := range list {
		l.add(one.Pair, one.DueAt, one.SettlesAt)
	}
	return l.sorted()
}

// lookups collects one lookup for each pair.
type lookups map[Pair]Lookup

// add asks for a pair: at the earliest of the moments that were given, and settled at
// the latest.
func (l lookups) add(pair Pair, due, settles time.Time) {
	if other, found := l[pair]; found {
		due, settles = earlier(due, other.DueAt), later(settles, other.SettlesAt)
	}
	l[pair] = Lookup{Pair: pair, DueAt: due, SettlesAt: settles}
}

// receipt asks for a reader. Receipts that tell their count are asked for only where
// OpenIM can be.
func (l lookups) receipt(e *Event, options Options) {
	if e.NeedsLookup() || options.CanLookUp && e.Kind == EventReceipt {
		l.add(e.Pair(), options.Now.Add(Debounce), time.Time{})
	}
}

func (l lookups) sorted() []Lookup {
	return slices.SortedFunc(maps.Values(l), func(a, b Lookup) int { return a.Compare(b.Pair) })
}

// lookUp asks OpenIM for what a new event does not tell.
func (a *applying) lookUp(e *Event, message seen) {
	a.lookups.receipt(e, a.options)
	if !a.options.CanLookUp {
		return
	}
	soon, settled := a.options.Now.Add(Debounce), a.options.Now.Add(Settling)
	group := Pair{GroupID: e.GroupID}
	membership := a.state(e.Pair()).Membership
	switch e.Kind {
	case EventMessage: // OpenIM has stored it, and told its seq, some time later
		if e.ReadSeq == 0 && message.announcedAt.IsZero() && e.UserID != "" {
			a.lookups.add(e.Pair(), settled, settled)
		}
	case EventJoined:
		if e.UserID != "" {
			a.lookups.add(e.Pair(), soon, settled)
		}
		if near(membership.LeftAt, e.At) {
			a.lookups.add(group, soon, settled)
		}
	case EventLeft:
		if a.out.MemberLookups == nil {
			a.out.MemberLookups = map[string][]string{}
		}
		a.out.MemberLookups[e.GroupID] = append(a.out.MemberLookups[e.GroupID], e.UserID)
		if near(membership.JoinedAt, e.At) {
			a.lookups.add(group, soon, settled)
		}
	case EventMembersChanged:
		a.lookups.add(group, soon, settled)
	case EventListed: // OpenIM moves the read position of who quits
		a.lookups.add(e.Pair(), soon, time.Time{})
	default:
	}
}

// near reports whether OpenIM may have sent two callbacks the other way round: only
// its member list then tells which was last.
func near(a, b time.Time) bool { return b.Sub(a).Abs() < disorder }

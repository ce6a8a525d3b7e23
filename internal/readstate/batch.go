package readstate

import (
	"slices"
	"time"
)

// Batch is what one transaction makes durable.
type Batch struct {
	Events     []Event
	Rejections []Rejection
	// Fresh says that nobody has tried to write the batch before: none of it is in the
	// journal.
	Fresh bool
	// MachineTime says that arrivals are by the machine's clock, since the database's is not
	// known yet. They are moved before the batch is written to the database.
	MachineTime bool
}

// MoveBy moves all arrivals.
func (b *Batch) MoveBy(d time.Duration) {
	for i := range b.Events {
		b.Events[i].At = b.Events[i].At.Add(d)
	}
	for i := range b.Rejections {
		b.Rejections[i].ReceivedAt = b.Rejections[i].ReceivedAt.Add(d)
	}
}

// Len is the number of events and rejections.
func (b *Batch) Len() int { return len(b.Events) + len(b.Rejections) }

// OnlyReceipts reports whether nothing in the batch moves a position or a membership.
func (b *Batch) OnlyReceipts() bool {
	return !slices.ContainsFunc(b.Events, func(e Event) bool { return !e.Kind.IsReceipt() })
}

// Append adds another batch behind this one.
func (b *Batch) Append(other Batch) {
	b.Events = append(b.Events, other.Events...)
	b.Rejections = append(b.Rejections, other.Rejections...)
}

// Halves splits a batch of two events or more in its order; both halves share its
// memory.
func (b *Batch) Halves() (first, second Batch) {
	middle := b.Len() / 2
	e := min(len(b.Events), middle)
	r := middle - e
	first = Batch{Events: b.Events[:e], Rejections: b.Rejections[:r], Fresh: b.Fresh, MachineTime: b.MachineTime}
	second = Batch{Events: b.Events[e:], Rejections: b.Rejections[r:], Fresh: b.Fresh, MachineTime: b.MachineTime}
	return first, second
}

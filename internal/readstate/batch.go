package readstate

import "slices"

// Batch is what one transaction makes durable.
type Batch struct {
	Events     []Event
	Rejections []Rejection
	// Fresh says that nobody has tried to write the batch before: none of it is in the
	// journal.
	Fresh bool
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
	first = Batch{Events: b.Events[:e], Rejections: b.Rejections[:r], Fresh: b.Fresh}
	second = Batch{Events: b.Events[e:], Rejections: b.Rejections[r:], Fresh: b.Fresh}
	return first, second
}

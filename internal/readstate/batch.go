package readstate

import (
	"cmp"
	"iter"
	"slices"
	"time"
)

// Batch is what one transaction makes durable. Callbacks have identity and time
// of arrival; Facts and Listings are what OpenIM's REST API said, and never go
// through the spool.
type Batch struct {
	Receipts   []Receipt
	Messages   []Message
	Changes    []Change
	Rejections []Rejection

	Facts    []Fact
	Listings []Listing
}

// Len is the number of callbacks in the batch.
func (b *Batch) Len() int {
	return len(b.Receipts) + len(b.Messages) + len(b.Changes) + len(b.Rejections)
}

// OnlyReceipts reports whether nothing in the batch moves a position or a
// membership.
func (b *Batch) OnlyReceipts() bool {
	return len(b.Messages)+len(b.Changes)+len(b.Facts)+len(b.Listings) == 0
}

// Append adds another batch's callbacks behind this one's.
func (b *Batch) Append(other Batch) {
	b.Receipts = append(b.Receipts, other.Receipts...)
	b.Messages = append(b.Messages, other.Messages...)
	b.Changes = append(b.Changes, other.Changes...)
	b.Rejections = append(b.Rejections, other.Rejections...)
}

// Halves splits a batch of two callbacks or more; both halves share its memory.
func (b *Batch) Halves() (first, second Batch) {
	middle := b.Len() / 2
	cut := func(n int) int {
		taken := min(n, middle)
		middle -= taken
		return taken
	}
	r, m := cut(len(b.Receipts)), cut(len(b.Messages))
	c, j := cut(len(b.Changes)), cut(len(b.Rejections))
	first = Batch{Receipts: b.Receipts[:r], Messages: b.Messages[:m], Changes: b.Changes[:c], Rejections: b.Rejections[:j]}
	second = Batch{Receipts: b.Receipts[r:], Messages: b.Messages[m:], Changes: b.Changes[c:], Rejections: b.Rejections[j:]}
	return first, second
}

// Subject is what every callback has, whatever it tells.
type Subject struct {
	ID         ID
	ReceivedAt time.Time
	UserID     string // empty where it is about a group, or several users
	GroupID    string // empty where it is not known
}

// All gives the subjects of a batch's callbacks, those that are rejected last.
func (b *Batch) All() iter.Seq[Subject] {
	return func(yield func(Subject) bool) {
		for i := range b.Receipts {
			r := &b.Receipts[i]
			if !yield(Subject{r.ID, r.ReceivedAt, r.UserID, r.GroupID}) {
				return
			}
		}
		for i := range b.Messages {
			m := &b.Messages[i]
			if !yield(Subject{m.ID, m.ReceivedAt, m.UserID, m.GroupID}) {
				return
			}
		}
		for i := range b.Changes {
			c := &b.Changes[i]
			if !yield(Subject{c.ID, c.ReceivedAt, "", c.GroupID}) {
				return
			}
		}
		for i := range b.Rejections {
			r := &b.Rejections[i]
			if !yield(Subject{r.ID, r.ReceivedAt, r.UserID, r.GroupID}) {
				return
			}
		}
	}
}

// Fold keeps the last documented receipt of each pair, by arrival and identity,
// and returns them in key order: what a batch does to the states. Other receipts
// change none by themselves. The given slice is left as it is.
func Fold(receipts []Receipt) []*Receipt {
	last := make([]*Receipt, 0, len(receipts))
	for i := range receipts {
		if receipts[i].Attributed() {
			last = append(last, &receipts[i])
		}
	}
	slices.SortFunc(last, func(a, b *Receipt) int {
		if c := cmp.Or(cmp.Compare(a.UserID, b.UserID), cmp.Compare(a.GroupID, b.GroupID)); c != 0 {
			return c
		}
		if a.After(b) { // the last one first, so that Compact keeps it
			return -1
		}
		return 1
	})
	return slices.CompactFunc(last, func(a, b *Receipt) bool {
		return a.UserID == b.UserID && a.GroupID == b.GroupID
	})
}

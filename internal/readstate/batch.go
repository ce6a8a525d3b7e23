package readstate

import (
	"cmp"
	"slices"
)

// Batch is what one transaction makes durable: receipts and rejected
// callbacks, each with identity and time of arrival.
type Batch struct {
	Receipts   []Receipt
	Rejections []Rejection
}

// Len is the number of callbacks in the batch.
func (b *Batch) Len() int { return len(b.Receipts) + len(b.Rejections) }

// Fold keeps the last receipt of each pair, by arrival and identity, and
// returns them in key order: what a batch does to the states. Unattributed
// receipts change none. The given slice is left as it is.
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

package readstate

import "time"

// MaxOff is of how many pairs that stay off it is told which they are.
const MaxOff = 100

// Difference is what a comparison with OpenIM has found.
type Difference struct {
	Pairs    int64 // compared
	Off      int64 // whose counts differed
	Repaired int64 // of these
	Largest  int64 // the largest difference of a count, absolute
	// Left has the pairs that were off at the end, the first [MaxOff] of them.
	Left []Off
}

// Add sums two comparisons up.
func (d *Difference) Add(o Difference) {
	d.Pairs += o.Pairs
	d.Off += o.Off
	d.Repaired += o.Repaired
	d.Largest = max(d.Largest, o.Largest)
	d.Left = append(d.Left, o.Left[:min(len(o.Left), MaxOff-len(d.Left))]...)
}

// Stays is how many counts are off that were not repaired.
func (d *Difference) Stays() int64 { return d.Off - d.Repaired }

// OffReason says why the count of a pair differs from OpenIM's, or was not repaired.
type OffReason string

const (
	// OffUnknown says that OpenIM has a count of a member of whom nothing is known.
	OffUnknown OffReason = "unknown"
	// OffBehind says that callbacks have not told what OpenIM says.
	OffBehind OffReason = "behind"
	// OffMaxSeq says that OpenIM's highest seq contradicts what is known of the group, and other
	// members have not confirmed it.
	OffMaxSeq OffReason = "max_seq"
	// OffReadSeq says that OpenIM has less read than was known, and has not said so twice.
	OffReadSeq OffReason = "read_seq"
	// OffUnsequenced says that OpenIM has announced messages and not stored them yet.
	OffUnsequenced OffReason = "not_stored"
)

// Off is a pair whose count differs from OpenIM's.
type Off struct {
	Pair
	Known       bool  // a count is shown
	UnreadCount int64 // that is shown; 0 when none is
	Want        int64 // OpenIM's own
	Reason      OffReason
	At          time.Time // of the comparison
}

// Drift is what the newest comparison of each user has found.
type Drift struct {
	Difference
	Users        int64 // that are to be compared
	UsersChecked int64 // that have been
	// The oldest and the newest of these comparisons; zero when there is none.
	OldestCheckAt, NewestCheckAt time.Time
}

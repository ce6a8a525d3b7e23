package readstate

import "time"

// MaxOff is of how many pairs that stay off it is told, and kept for a user, which they are.
const MaxOff = 100

// Difference is what a comparison with OpenIM has found.
type Difference struct {
	Pairs    int64 // compared
	Off      int64 // whose counts differed
	Repaired int64 // of these
	Largest  int64 // the largest difference of a count, absolute
	// Left has the pairs that were off at the end, in the order of their keys where it is one
	// comparison; a sum has the first [MaxOff] of them.
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

// Off is a pair whose count differs from OpenIM's.
type Off struct {
	Pair
	Known       bool  // a count is shown
	UnreadCount int64 // that is shown; 0 when none is
	Want        int64 // OpenIM's own
	Reason      OffReason
	At          time.Time // when OpenIM was asked
}

// OffReason says why the count of a pair differs from OpenIM's, or was not repaired.
type OffReason string

// The reasons.
const (
	// OffUnknown is that OpenIM has a count of a member of whom nothing is known.
	OffUnknown OffReason = "unknown"
	// OffBehind is that callbacks have not told what OpenIM says.
	OffBehind OffReason = "behind"
	// OffMaxSeq is that OpenIM's highest seq contradicts what is known of the group, and other
	// members have not settled it.
	OffMaxSeq OffReason = "max_seq"
	// OffReadSeq is that OpenIM says that less is read than was known, and has not said so
	// twice.
	OffReadSeq OffReason = "read_seq"
	// OffUnsequenced is that OpenIM has announced messages and not stored them yet.
	OffUnsequenced OffReason = "not_stored"
)

// OffReasons has every reason. Those that need somebody's hand come first, those that end by
// themselves last.
func OffReasons() []OffReason {
	return []OffReason{OffMaxSeq, OffReadSeq, OffUnknown, OffBehind, OffUnsequenced}
}

// Why says in a sentence what the reason means.
func (r OffReason) Why() string {
	switch r {
	case OffUnknown:
		return "OpenIM has a count of this member, and none is known here."
	case OffMaxSeq:
		return "OpenIM shows this user a highest seq (maxSeq) that contradicts what is known of the group, " +
			"and what other members are shown has not settled it."
	case OffReadSeq:
		return "OpenIM says that less is read than was known, and has not said the same twice, a second apart: only then is it believed."
	case OffUnsequenced:
		return "Messages were announced that OpenIM has not stored yet: they count here already, and not yet at OpenIM."
	case OffBehind:
		return "OpenIM says something else than the callbacks that have come."
	default:
		return ""
	}
}

// Advice says in a sentence or two what to do where the count stayed off although it was to be
// repaired.
func (r OffReason) Advice() string {
	switch r {
	case OffUnknown:
		return "OpenIM's answer changed while it was asked: run readmark reconcile for this user again."
	case OffMaxSeq:
		return "The sweep settles it if it can when it compares the other members. Where it stays, reconcile cannot help: OpenIM's conversation " +
			"of the user has a max_seq of its own that is wrong. Have the user leave the group and join it again some seconds later, " +
			"which resets it, or set it to 0 in OpenIM's database."
	case OffReadSeq:
		return "OpenIM's answers differ from each other: the sweep asks again. Where it stays, see whether all of OpenIM's processes, " +
			"and all that READMARK_OPENIM_API_URL leads to, use the same Redis and MongoDB."
	case OffUnsequenced:
		return "There is nothing to repair: it ends when OpenIM stores them, and ten minutes later without them. " +
			"If it lasts, see whether openim-msgtransfer keeps up."
	case OffBehind:
		return "Most often callbacks were on their way while OpenIM was asked: a second run of readmark reconcile for this user tells. " +
			"If it stays, see whether this machine's clock agrees with the database's, which readmark doctor compares."
	default:
		return ""
	}
}

// Explain says what the reason means, and what to do where the count stayed off.
func (r OffReason) Explain() string { return r.Why() + " " + r.Advice() }

// Passes reports whether it ends by itself in most cases, as while callbacks are on their way.
func (r OffReason) Passes() bool { return r == OffBehind || r == OffUnsequenced }

// Drift is what the newest comparison of each user has found.
type Drift struct {
	Difference
	Users        int64 // that are to be compared
	UsersChecked int64 // that have been
	// The oldest and the newest of these comparisons; zero when there is none.
	OldestCheckAt, NewestCheckAt time.Time
}

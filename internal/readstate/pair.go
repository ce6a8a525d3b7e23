package readstate

import (
	"bytes"
	"cmp"
	"time"
)

// Pair names the subject of a state: one user in one group.
type Pair struct {
	UserID  string
	GroupID string
}

// Compare gives the order of keys: by user, then by group, byte by byte.
func (p Pair) Compare(o Pair) int {
	return cmp.Or(cmp.Compare(p.UserID, o.UserID), cmp.Compare(p.GroupID, o.GroupID))
}

// ReadState is what is stored of a pair. Its parts do not depend on each other: the
// estimate and the exact read position are taken from different events, and whichever
// is later counts.
type ReadState struct {
	Pair
	Estimate Estimate
	Exact    ExactRead
	Membership
	Mute
	// UpdatedAt is when an event of the pair was last written.
	UpdatedAt time.Time
}

// Estimate is a read position that was worked out from a count or from an own message
// without a seq. The zero value is none.
type Estimate struct {
	// At and ID are those of the event. At is zero where there is no estimate.
	At time.Time
	ID ID
	// Read is the read position, relative to the group's BaseSeq where BeforeBaseSeq.
	Read          int64
	BeforeBaseSeq bool
	ByMessage     bool // by an own message, else by a receipt
	ContentType   int64
	// FirstAt is the arrival of the first event that gave an estimate.
	FirstAt time.Time
}

// ExactRead is a read position in OpenIM's own terms. The zero value is none.
type ExactRead struct {
	At        time.Time // of the newest event that gave one; zero where there is none
	Seq       int64     // the highest seq that is read
	ReachedAt time.Time // of the first event that gave Seq; zero for who has read nothing
	ByMessage bool      // the newest was an own message, else OpenIM's word
	// ResetAt and ResetID are those of the newest event that allowed a decrease: what was
	// told before it does not count. ResetAt is zero where there is none. Where another
	// user's snapshot had the seqs of the group begin anew, ResetID is behind all others.
	ResetAt time.Time
	ResetID ID
	// Capped says that the user's highest seq is MaxSeqCap, as OpenIM said last, and not
	// that of the group: messages beyond it are not counted.
	Capped    bool
	MaxSeqCap int64
	// SnapshotAt and SnapshotID are those of the newest snapshot, which says whether the user
	// is capped. SaidSeq is the read seq that it has.
	SnapshotAt time.Time
	SnapshotID ID
	SaidSeq    int64
	// FirstAt is the arrival of the first event that gave a seq.
	FirstAt time.Time
}

// Membership is what is known of a user's being in a group: the newest of each, zero
// where nothing is.
type Membership struct {
	JoinedAt, LeftAt, ListedAt time.Time
}

// Mute is what OpenIM said of whether the user has muted the group: the newest of each, zero
// where it never said so.
type Mute struct {
	MutedAt, UnmutedAt time.Time
}

// Muted reports whether the user has muted the group, as far as is known.
func (m *Mute) Muted() bool { return m.MutedAt.After(m.UnmutedAt) }

// Left reports whether the user is known to have left.
func (m *Membership) Left() bool {
	return !m.LeftAt.IsZero() && !m.LeftAt.Before(m.JoinedAt) && !m.LeftAt.Before(m.ListedAt)
}

// Gone reports whether the user is in no such group any more: left, or the group was
// dismissed.
func (m *Membership) Gone(p *GroupPosition) bool {
	return m.Left() || p.dismissed(m)
}

// estimated reports whether the estimate counts.
func (s *ReadState) estimated() bool {
	return !s.Estimate.At.IsZero() && s.Estimate.At.After(s.Exact.At)
}

// observe takes what an event and its result say of the pair. Observing an event again
// changes nothing. The order of events makes no difference, as long as those that follow a
// snapshot which allows a decrease are observed, again, after it. fresh says that the event or its
// result is new to the state, so that those are.
func (s *ReadState) observe(e *Entry, fresh bool) {
	switch {
	case e.Kind == EventJoined:
		s.JoinedAt = later(s.JoinedAt, e.At)
	case e.Kind == EventLeft, e.Kind == EventUnlisted:
		s.LeftAt = later(s.LeftAt, e.At)
	case e.Kind == EventListed:
		s.ListedAt = later(s.ListedAt, e.At)
	case e.Kind == EventMuted:
		s.MutedAt = later(s.MutedAt, e.At)
	case e.Kind == EventUnmuted:
		s.UnmutedAt = later(s.UnmutedAt, e.At)
	case e.Kind == EventSnapshot, e.Kind == EventMessage && e.ReadSeq > 0:
		s.Exact.observe(e, fresh)
	case e.HasRead:
		s.Estimate.observe(e)
	default:
		return
	}
	s.UpdatedAt = later(s.UpdatedAt, e.RecordedAt)
}

// keepLater keeps what a stored state has of later events than those that were observed.
func (s *ReadState) keepLater(stored *ReadState) {
	if stored.Estimate.At.After(s.Estimate.At) {
		s.Estimate = stored.Estimate
	}
	if stored.Exact.At.After(s.Exact.At) {
		s.Exact = stored.Exact
	}
	s.JoinedAt, s.LeftAt = later(s.JoinedAt, stored.JoinedAt), later(s.LeftAt, stored.LeftAt)
	s.ListedAt, s.UpdatedAt = later(s.ListedAt, stored.ListedAt), later(s.UpdatedAt, stored.UpdatedAt)
	s.MutedAt, s.UnmutedAt = later(s.MutedAt, stored.MutedAt), later(s.UnmutedAt, stored.UnmutedAt)
}

// KnownBefore reports whether something of the state is older than a moment.
func (s *ReadState) KnownBefore(moment time.Time) bool {
	for _, at := range []time.Time{s.Estimate.FirstAt, s.Exact.FirstAt, s.JoinedAt, s.LeftAt, s.ListedAt, s.MutedAt, s.UnmutedAt} {
		if !at.IsZero() && at.Before(moment) {
			return true
		}
	}
	return false
}

func (r *Estimate) observe(e *Entry) {
	r.FirstAt = earlier(r.FirstAt, e.At)
	if e.Compare(&Event{At: r.At, ID: r.ID}) < 0 {
		return
	}
	r.At, r.ID, r.Read, r.BeforeBaseSeq = e.At, e.ID, e.Read, e.BeforeBaseSeq
	r.ByMessage, r.ContentType = e.Kind == EventMessage, e.ContentType
}

func (r *ExactRead) observe(e *Entry, fresh bool) {
	r.FirstAt = earlier(r.FirstAt, e.At)
	if e.At.After(r.At) {
		r.At, r.ByMessage = e.At, e.Kind == EventMessage
	} else if e.At.Equal(r.At) {
		r.ByMessage = r.ByMessage || e.Kind == EventMessage
	}
	if e.Kind == EventSnapshot && e.Compare(&Event{At: r.SnapshotAt, ID: r.SnapshotID}) >= 0 {
		r.SnapshotAt, r.SnapshotID, r.SaidSeq = e.At, e.ID, e.ReadSeq
		r.Capped, r.MaxSeqCap = e.Own, when(e.Own, e.MaxSeq)
	}
	if fresh && e.At.Equal(r.ResetAt) && e.Compare(&Event{At: r.ResetAt, ID: r.ResetID}) < 0 {
		// It is late, so that the event that has reset is observed again after it.
		r.reset(e.At.Add(-time.Microsecond), lastID())
	}
	switch at := e.Checkpoint.RestartedAt; {
	case at.Equal(e.At) && at.After(r.ResetAt):
		r.reset(at, e.ID.before()) // the event is the later of two of one moment
	case at.After(r.ResetAt):
		r.reset(at, lastID())
	}
	order := e.Compare(&Event{At: r.ResetAt, ID: r.ResetID})
	if order < 0 {
		return
	}
	if order > 0 && (e.AllowReadDecrease || e.Restarted) {
		r.reset(e.At, e.ID)
	}
	switch {
	case e.ReadSeq > r.Seq:
		r.Seq, r.ReachedAt = e.ReadSeq, e.At
	case e.ReadSeq == r.Seq && e.ReadSeq > 0:
		r.ReachedAt = earlier(r.ReachedAt, e.At)
	}
}

// Doubted reports whether the newest snapshot has less read than was known before it: OpenIM
// has to say so twice.
func (r *ExactRead) Doubted() bool {
	return !r.SnapshotAt.IsZero() && r.SaidSeq < r.Seq && !r.ReachedAt.After(r.SnapshotAt)
}

// lastID is behind all others.
func lastID() ID { return ID(bytes.Repeat([]byte{0xff}, len(ID{}))) }

// before gives the ID before an ID; that of zero is zero.
func (id ID) before() ID {
	for i := len(id) - 1; i >= 0 && id != (ID{}); i-- {
		if id[i]--; id[i] != 0xff {
			break
		}
	}
	return id
}

// reset drops what was told before an event.
func (r *ExactRead) reset(at time.Time, id ID) {
	r.ResetAt, r.ResetID = at, id
	if !r.ReachedAt.After(at) {
		r.Seq, r.ReachedAt = 0, time.Time{}
	}
}

// KnowsCap reports whether OpenIM has said already that the user's highest seq is this one,
// which is not the group's.
func (s *ReadState) KnowsCap(maxSeq int64) bool { return s.Exact.Capped && s.Exact.MaxSeqCap == maxSeq }

// KnownMember reports whether the user is known to be a member by more than own messages: an
// admin may send one to a group without being a member.
func (s *ReadState) KnownMember(p *GroupPosition) bool {
	told := !s.Exact.SnapshotAt.IsZero() || !s.JoinedAt.IsZero() || !s.ListedAt.IsZero() ||
		!s.Estimate.At.IsZero() && !s.Estimate.ByMessage
	return told && !s.Gone(p)
}

// Said reports whether a snapshot tells nothing new, and ends no doubt.
func (s *ReadState) Said(e *Event, p *GroupPosition) bool {
	if s.Exact.At.IsZero() || s.estimated() || s.Exact.Seq != e.ReadSeq || s.Exact.Doubted() || s.Exact.At.Before(p.RestartedAt) {
		return false
	}
	own := p.isOwn(e)
	return p.Exact() && !e.Confirmed && !e.Restarted && own == s.Exact.Capped && (own && s.Exact.MaxSeqCap == e.MaxSeq || !own && p.MaxSeq == e.MaxSeq)
}

// Doubts says what of a snapshot contradicts what is known, so that OpenIM has to be asked
// again: MaxSeq, of which other members are asked, and ReadSeq, which OpenIM has to say twice.
// Both are false for a snapshot that says that this was done.
func (s *ReadState) Doubts(e *Event, p *GroupPosition) (maxSeq, readSeq bool) {
	maxSeq = p.isOwn(e) && !e.OwnMaxSeq && e.MaxSeq <= plausibleSeq && !s.KnowsCap(e.MaxSeq)
	readSeq = !e.AllowReadDecrease && !e.Restarted && e.ReadSeq < s.Exact.Seq && e.At.After(s.Exact.At) && !s.Exact.At.Before(p.RestartedAt)
	return maxSeq, readSeq
}

// earlier gives the earlier of two moments; zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Show gives the state as it is served, at a position of its group: false where none
// is known, or the user is not in the group any more. Whether OpenIM is to be asked is not
// known here.
func (s *ReadState) Show(p *GroupPosition) (State, bool) {
	v, known := s.Serve(false, false)
	if !known {
		return State{}, false
	}
	position := p.Serve()
	return v.State(s.Pair, &position)
}

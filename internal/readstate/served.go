package readstate

import "time"

// Moment is a moment in whole microseconds since 1970, as read caches keep it; 0 is none.
type Moment int64

// MomentOf gives a moment of a time; that of the zero time is none.
func MomentOf(t time.Time) Moment {
	if t.IsZero() {
		return 0
	}
	return Moment(t.UnixMicro())
}

// Time gives the time in UTC; that of no moment is zero.
func (m Moment) Time() time.Time {
	if m == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(m)).UTC()
}

// Served is what of a read state its answers are made from, whatever the position of the group
// is. It is a row of the view served_states.
type Served struct {
	// Estimated says that the estimate counts, and not the exact read position.
	Estimated bool
	// Read is the read position that counts. It is relative to the group's BaseSeq where
	// BeforeBaseSeq.
	Read          int64
	BeforeBaseSeq bool
	// OwnRead is what an own message, which came at OwnAt, says to be read: OpenIM's own read
	// position does not cover it before it has a seq. OwnAt is 0 where there is none, or where
	// the estimate counts anyway.
	OwnRead          int64
	OwnBeforeBaseSeq bool
	OwnAt            Moment
	// Capped and MaxSeqCap are as in [ExactRead], where the exact read position counts.
	Capped    bool
	MaxSeqCap int64
	// ExactAt is when the exact read position was told last.
	ExactAt Moment
	// Doubted says that OpenIM has to say the read position twice, see [ExactRead.Doubted].
	Doubted bool
	// Pending says that OpenIM is still to be asked about the pair, UserPending that it is about
	// all of the user's groups.
	Pending, UserPending bool

	ByMessage, Muted                bool
	ContentType                     int64
	LastReadAt, JoinedAt, UpdatedAt Moment
	// OwnReadAt is when a receipt or an own message came last, and LastReadAt where OpenIM's answers to
	// our questions are left out. Caches do not keep it.
	OwnReadAt Moment
}

// ServedPosition is what of a group's position answers are made from.
type ServedPosition struct {
	HasSeq                              bool
	MaxSeq, Unsequenced, BaseSeq        int64
	UnsequencedSince                    Moment
	Doubted                             bool // a seq is taken that nobody has named, or a snapshot contradicts MaxSeq
	RestartedAt, DismissedAt, UpdatedAt Moment
}

// Serve gives what answers are made from: false where none is, since the user has left or
// nothing is known. lookup says that OpenIM is to be asked about the pair, userLookup that it is
// to be asked about all of the user's groups.
func (s *ReadState) Serve(lookup, userLookup bool) (Served, bool) {
	if s.Estimate.At.IsZero() && s.Exact.At.IsZero() || s.Left() || lookup && s.onlyOneMessage() {
		return Served{}, false
	}
	v := Served{
		Estimated: s.estimated(), Pending: lookup, UserPending: userLookup, Muted: s.Muted(), ContentType: s.Estimate.ContentType,
		LastReadAt: MomentOf(later(s.Estimate.At, s.Exact.ReachedAt)), OwnReadAt: MomentOf(s.Estimate.At), JoinedAt: MomentOf(s.JoinedAt), UpdatedAt: MomentOf(s.UpdatedAt),
	}
	if s.Exact.ByMessage {
		v.OwnReadAt = max(v.OwnReadAt, MomentOf(s.Exact.ReachedAt))
	}
	if v.Estimated {
		v.Read, v.BeforeBaseSeq, v.ByMessage = s.Estimate.Read, s.Estimate.BeforeBaseSeq, s.Estimate.ByMessage
		return v, true
	}
	v.Read, v.ByMessage, v.ExactAt, v.Doubted = s.Exact.Seq, s.Exact.ByMessage, MomentOf(s.Exact.At), s.Exact.Doubted()
	v.Capped, v.MaxSeqCap = s.Exact.Capped, s.Exact.MaxSeqCap
	if s.Estimate.ByMessage {
		v.OwnRead, v.OwnBeforeBaseSeq, v.OwnAt = s.Estimate.Read, s.Estimate.BeforeBaseSeq, MomentOf(s.Estimate.At)
	}
	return v, true
}

// onlyOneMessage reports whether the user is known by one own message alone: an admin may send
// without being a member.
func (s *ReadState) onlyOneMessage() bool {
	return s.Exact.SnapshotAt.IsZero() && s.JoinedAt.IsZero() && s.ListedAt.IsZero() &&
		(s.Estimate.At.IsZero() || s.Estimate.ByMessage && (s.Estimate.FirstAt.IsZero() || !s.Estimate.FirstAt.Before(s.Estimate.At)))
}

// Serve gives what answers are made from.
func (p *GroupPosition) Serve() ServedPosition {
	return ServedPosition{
		HasSeq: p.HasSeq, MaxSeq: p.MaxSeq, Unsequenced: p.Unsequenced, BaseSeq: p.BaseSeq,
		UnsequencedSince: MomentOf(p.UnsequencedSince), Doubted: !p.SeqGapAt.IsZero() || !p.DoubtedAt.IsZero(),
		RestartedAt: MomentOf(p.RestartedAt), DismissedAt: MomentOf(p.DismissedAt), UpdatedAt: MomentOf(p.UpdatedAt),
	}
}

// Count gives the unread count at a position, and whether it is exact; shown is false where the
// group was dismissed. It is the formula of the view current_states.
func (v *Served) Count(p *ServedPosition) (unread int64, exact, shown bool) {
	if p.DismissedAt != 0 && p.DismissedAt >= v.JoinedAt {
		return 0, false, false
	}
	number, read := p.Number(), v.ReadPosition(p)
	if v.Estimated {
		return max(0, sub(number, read)), false, true
	}
	if v.Capped {
		number = min(number, v.MaxSeqCap)
	}
	return max(0, sub(number, read)), p.Exact() && v.ReadExact(p), true
}

// ReadExact reports whether the read position is OpenIM's own, and the count with it, where the group's
// position is.
func (v *Served) ReadExact(p *ServedPosition) bool {
	return !v.Estimated && !v.Doubted && !v.Pending && !v.UserPending && v.ExactAt >= p.RestartedAt
}

// Exact reports whether the position is OpenIM's own, as far as events tell.
func (p *ServedPosition) Exact() bool { return p.HasSeq && p.Unsequenced == 0 && !p.Doubted }

// ReadPosition gives the read position that counts at a position.
func (v *Served) ReadPosition(p *ServedPosition) int64 {
	switch {
	case v.Estimated && v.BeforeBaseSeq:
		return add(v.Read, p.BaseSeq)
	case v.Estimated:
		return v.Read
	case !v.ownCounts(p):
		return v.Read
	case v.OwnBeforeBaseSeq:
		return max(v.Read, add(v.OwnRead, p.BaseSeq))
	default:
		return max(v.Read, v.OwnRead)
	}
}

// ownCounts reports whether what an own message says to be read counts at a position: while it may
// have no seq.
func (v *Served) ownCounts(p *ServedPosition) bool {
	return v.OwnAt != 0 && p.Unsequenced > 0 && p.UnsequencedSince != 0 && v.OwnAt >= p.UnsequencedSince
}

// ReadsByOwn reports whether the read position is that of an own message which has no seq yet: it may
// be another one when the group moves.
func (v *Served) ReadsByOwn(p *ServedPosition) bool {
	return v.ownCounts(p) && v.ReadPosition(p) != v.Read
}

// Number is the position: the highest seq and the messages that it does not cover.
func (p *ServedPosition) Number() int64 { return add(p.MaxSeq, p.Unsequenced) }

// State gives the state of a pair at a position; false as in [Served.Count].
func (v *Served) State(pair Pair, p *ServedPosition) (State, bool) {
	unread, exact, shown := v.Count(p)
	if !shown {
		return State{}, false
	}
	return State{
		Pair: pair, UnreadCount: unread, ContentType: v.ContentType, LastReadAt: v.LastReadAt.Time(), Source: v.source(),
		Exact: exact, Pending: v.Pending || v.UserPending, Muted: v.Muted, UpdatedAt: max(v.UpdatedAt, p.UpdatedAt).Time(),
		Numbers: Numbers{
			Position: p.Number(), ReadPosition: v.ReadPosition(p), PositionExact: p.Exact(), ReadExact: v.ReadExact(p),
			PositionCap: v.MaxSeqCap, Capped: v.Capped,
		},
	}, true
}

func (v *Served) source() Source {
	switch {
	case v.ByMessage:
		return SourceMessage
	case v.Estimated:
		return SourceReceipt
	default:
		return SourceFact
	}
}

// Add adds a state to a badge, of which it is not the first where first is false.
func (b *Badge) Add(v *Served, p *ServedPosition) {
	unread, exact, shown := v.Count(p)
	if !shown {
		return
	}
	b.Exact = exact && (b.Exact || b.Groups == 0)
	b.Groups++
	b.UnreadCount = add(b.UnreadCount, unread)
	if !v.Muted {
		b.UnreadCountUnmuted = add(b.UnreadCountUnmuted, unread)
	}
	if unread > 0 {
		b.UnreadGroups++
	}
	b.Pending = b.Pending || v.Pending || v.UserPending
	b.UpdatedAt = later(b.UpdatedAt, max(v.UpdatedAt, p.UpdatedAt).Time())
}

// Add adds a state to a group's sum.
func (g *GroupSum) Add(v *Served, p *ServedPosition) {
	unread, exact, shown := v.Count(p)
	if !shown {
		return
	}
	g.Exact = exact && (g.Exact || g.Users == 0)
	g.Users++
	g.UnreadCount = add(g.UnreadCount, unread)
	g.MaxUnread = max(g.MaxUnread, unread)
	if unread > 0 {
		g.UsersWithUnread++
	}
	g.LastReadAt = later(g.LastReadAt, v.LastReadAt.Time())
	g.UpdatedAt = later(g.UpdatedAt, max(v.UpdatedAt, p.UpdatedAt).Time())
}

// Revision is a state of the database: what was committed until a moment. Only the store that
// made it looks inside.
type Revision struct {
	Server        Server
	SchemaVersion int64
	// TableID is that of the table changes, and of its database. It is another one when the schema was
	// made anew, as by a backup that was restored, and in a database that was copied.
	TableID int64
	// DroppedXID is up to which transaction changes have been dropped.
	DroppedXID uint64
	Snapshot
}

// Server tells database servers apart, and what they are.
type Server struct {
	StartedAt  time.Time
	InRecovery bool // a streaming replica
}

// Same reports whether it is the same server, neither started anew nor promoted meanwhile.
func (s Server) Same(o Server) bool {
	return s.StartedAt.Equal(o.StartedAt) && s.InRecovery == o.InRecovery
}

// Load names what is to be loaded.
type Load struct {
	Pairs     []Pair
	Users     []string // all states of each
	Positions []string // of groups
	// Lookups are users of whom it is to be told whether OpenIM is to be asked about all of their
	// groups.
	Lookups []string
}

// Empty reports whether nothing is to be loaded.
func (l *Load) Empty() bool {
	return len(l.Pairs) == 0 && len(l.Users) == 0 && len(l.Positions) == 0 && len(l.Lookups) == 0
}

// ServedState is what is served of a pair, and the position of its group.
type ServedState struct {
	Pair
	Served
	Position ServedPosition
}

// Poll is what the database says of changes, and what was loaded, at one revision.
type Poll struct {
	Revision Revision
	// Reset says that anything may have changed since the revision before: it was of another
	// server or schema, or too much has changed since. Else Change has what has changed.
	Reset  bool
	Change Change
	// Pairs has the known ones of the pairs that were to be loaded.
	Pairs []ServedState
	// Users has the states of users, in key order, each of them wholly: of those in WholeUsers. A
	// user who has more states than a poll may load is in LargeUsers. The others are to be loaded
	// by another poll.
	Users                  []ServedState
	WholeUsers, LargeUsers []string
	Positions              map[string]ServedPosition
	PendingUsers           map[string]bool // of Load.Lookups
}

// Merge adds the sum of other users of the group.
func (g *GroupSum) Merge(o *GroupSum) {
	if o.Users == 0 {
		return
	}
	g.Exact = o.Exact && (g.Exact || g.Users == 0)
	g.Users += o.Users
	g.UnreadCount = add(g.UnreadCount, o.UnreadCount)
	g.MaxUnread = max(g.MaxUnread, o.MaxUnread)
	g.UsersWithUnread += o.UsersWithUnread
	g.LastReadAt, g.UpdatedAt = later(g.LastReadAt, o.LastReadAt), later(g.UpdatedAt, o.UpdatedAt)
}

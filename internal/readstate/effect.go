package readstate

import (
	"bytes"
	"cmp"
	"slices"
	"time"
)

// EntryKind says what a row of the journal holds. The numbers are stored.
type EntryKind int16

// The kinds of rows. The first three are receipts, by their dialect.
const (
	EntryDocumented   EntryKind = 1
	EntryServer       EntryKind = 2
	EntryConversation EntryKind = 3
	EntryMessage      EntryKind = 4
	EntryFact         EntryKind = 5
	EntryJoined       EntryKind = 6
	EntryLeft         EntryKind = 7
	EntryDismissed    EntryKind = 8
	EntryListed       EntryKind = 9
	EntryLowered      EntryKind = 10
	EntryAbsent       EntryKind = 11
)

// None stands for a number that an [Entry] does not have.
const None int64 = -1

// Entry is one row of the journal.
type Entry struct {
	Kind        EntryKind
	ID          ID
	At          time.Time // of arrival; when OpenIM was asked
	UserID      string
	GroupID     string
	UnreadCount int64 // or None
	ReadSeq     int64 // or None; of a message its seq
	MaxSeq      int64 // or None
	Position    int64 // the group's number after a message or a fact, or None
	ContentType int64
	MessageID   string
	SentAt      time.Time
	// Read is the read position that the row produced, if Produced; Relative when it
	// was reckoned before the group's first seq.
	Read     int64
	Produced bool
	Relative bool
}

// Estimate is a read position that was reckoned.
type Estimate struct {
	Pair
	Read        int64
	Relative    bool
	ContentType int64
	At          time.Time
	ID          ID
	ByMessage   bool // by an own message, else by a documented receipt
}

// Exact is a read position in OpenIM's own terms.
type Exact struct {
	Pair
	ReadSeq   int64
	At        time.Time
	ByMessage bool // by an own message, else by a fact
	Lowers    bool // replaces a higher one too
}

// Membership is what is known of a user's being in a group: the newest of each;
// zero where nothing is.
type Membership struct {
	Pair
	JoinedAt, LeftAt, ListedAt time.Time
}

// Left reports whether the user is known to have left.
func (m *Membership) Left() bool {
	return !m.LeftAt.IsZero() && !m.LeftAt.Before(m.JoinedAt) && !m.LeftAt.Before(m.ListedAt)
}

// Cursor is what is stored of a pair, as far as effects depend on it.
type Cursor struct {
	Membership
	EstimateAt time.Time // zero: none
	ReadSeq    int64     // or None
	ExactAt    time.Time // zero: none
}

// KnownMessage is a message as it is stored: when it came first, and its seq.
type KnownMessage struct {
	GroupID    string
	MessageID  string
	ReceivedAt time.Time
	Seq        int64 // 0: none yet
}

// MessageKey names a message.
type MessageKey struct{ GroupID, MessageID string }

// Before is what is stored of everything that a batch is about.
type Before struct {
	Ledgers  map[string]*Ledger // of every group in the batch
	Cursors  map[Pair]Cursor
	Messages map[MessageKey]KnownMessage
}

// Effects is what a batch does. Estimates, exacts and memberships are folded to one
// for each pair, and all are in key order.
type Effects struct {
	Entries     []Entry
	Estimates   []Estimate
	Exacts      []Exact
	Memberships []Membership
	Messages    []KnownMessage
	// Fresh is the messages that are counted anew: seqless, and never seen before.
	Fresh []Message
	// Unsure is groups that somebody left and joined, or the reverse, so shortly one
	// after the other that OpenIM has to say which was last.
	Unsure []string
}

// Apply moves the ledgers through a batch in the order of arrival, and gives what
// has to be stored beside them. Before is changed; nothing else is.
func Apply(batch *Batch, before *Before) Effects {
	a := applying{before: before}
	a.run(batch)
	return a.effects()
}

type applying struct {
	before  *Before
	out     Effects
	members map[Pair]Membership
	changed map[MessageKey]KnownMessage
}

// event is one callback or fact at its place in the order of everything.
type event struct {
	at    time.Time
	id    ID
	apply func()
}

func (a *applying) run(batch *Batch) {
	events := make([]event, 0, batch.Len()+len(batch.Facts)+len(batch.Listings))
	for i := range batch.Receipts {
		r := &batch.Receipts[i]
		events = append(events, event{r.ReceivedAt, r.ID, func() { a.receipt(r) }})
	}
	for i := range batch.Messages {
		m := &batch.Messages[i]
		events = append(events, event{m.ReceivedAt, m.ID, func() { a.message(m) }})
	}
	for i := range batch.Changes {
		c := &batch.Changes[i]
		events = append(events, event{c.ReceivedAt, c.ID, func() { a.change(c) }})
	}
	for i := range batch.Facts {
		f := &batch.Facts[i]
		events = append(events, event{f.AskedAt, f.ID, func() { a.fact(f) }})
	}
	slices.SortFunc(events, func(x, y event) int {
		return cmp.Or(x.at.Compare(y.at), bytes.Compare(x.id[:], y.id[:]))
	})
	for _, e := range events {
		e.apply()
	}
	for i := range batch.Listings {
		a.listing(&batch.Listings[i])
	}
}

func (a *applying) receipt(r *Receipt) {
	entry := Entry{
		Kind: EntryKind(r.Dialect), ID: r.ID, At: r.ReceivedAt, UserID: r.UserID, GroupID: r.GroupID,
		UnreadCount: None, ReadSeq: None, MaxSeq: None, Position: None, ContentType: r.ContentType, Relative: true,
	}
	switch r.Dialect {
	case DialectDocumented:
		l := a.before.Ledgers[r.GroupID]
		entry.UnreadCount = r.UnreadCount
		entry.Read, entry.Produced, entry.Relative = sub(l.Number(), r.UnreadCount), true, !l.Placed
		a.estimate(Estimate{
			Pair: Pair{r.UserID, r.GroupID}, Read: entry.Read, Relative: entry.Relative,
			ContentType: r.ContentType, At: r.ReceivedAt, ID: r.ID,
		})
	case DialectServer, DialectConversation:
		entry.ReadSeq = r.ReadSeq
	}
	a.out.Entries = append(a.out.Entries, entry)
}

func (a *applying) message(m *Message) {
	l := a.before.Ledgers[m.GroupID]
	key := MessageKey{m.GroupID, m.MessageID}
	known, seen := a.before.Messages[key]
	entry := Entry{
		Kind: EntryMessage, ID: m.ID, At: m.ReceivedAt, UserID: m.UserID, GroupID: m.GroupID,
		UnreadCount: None, ReadSeq: None, MaxSeq: None, Position: None, ContentType: m.ContentType,
		MessageID: m.MessageID, SentAt: m.SentAt, Produced: true,
	}
	pair := Pair{m.UserID, m.GroupID}
	switch {
	case m.Seq > 0:
		l.Store(m.Seq, m.ReceivedAt)
		if seen && known.Seq == 0 {
			l.Uncount(known.ReceivedAt)
		}
		a.note(KnownMessage{m.GroupID, m.MessageID, m.ReceivedAt, m.Seq}, seen)
		a.exact(Exact{Pair: pair, ReadSeq: m.Seq, At: m.ReceivedAt, ByMessage: true})
		entry.ReadSeq, entry.Read = m.Seq, m.Seq
	case seen: // it counts once, and its seq says more
		entry.Produced, entry.Relative = false, !l.Placed
	default:
		l.Count(m.ReceivedAt)
		a.note(KnownMessage{m.GroupID, m.MessageID, m.ReceivedAt, 0}, false)
		entry.Read, entry.Relative = l.Number(), !l.Placed
		a.estimate(Estimate{
			Pair: pair, Read: entry.Read, Relative: entry.Relative, ContentType: m.ContentType,
			At: m.ReceivedAt, ID: m.ID, ByMessage: true,
		})
		if m.UserID != "" {
			a.out.Fresh = append(a.out.Fresh, *m)
		}
	}
	entry.Position = l.Number()
	a.out.Entries = append(a.out.Entries, entry)
}

// note remembers a message for what follows in the batch, and for storing.
func (a *applying) note(m KnownMessage, seen bool) {
	key := MessageKey{m.GroupID, m.MessageID}
	if seen {
		m.ReceivedAt = a.before.Messages[key].ReceivedAt
	}
	if a.before.Messages == nil {
		a.before.Messages = map[MessageKey]KnownMessage{}
	}
	if a.changed == nil {
		a.changed = map[MessageKey]KnownMessage{}
	}
	a.before.Messages[key], a.changed[key] = m, m
}

func (a *applying) change(c *Change) {
	l := a.before.Ledgers[c.GroupID]
	if c.Kind != ChangeAbsent {
		l.Doubt(c.ReceivedAt) // the notification takes a seq
	}
	entry := Entry{
		ID: c.ID, At: c.ReceivedAt, GroupID: c.GroupID, UnreadCount: None, ReadSeq: None, MaxSeq: None, Position: None, Relative: true,
	}
	switch c.Kind {
	case ChangeJoined, ChangeLeft, ChangeAbsent:
		for _, userID := range c.UserIDs {
			entry.UserID = userID
			m := a.membership(Pair{userID, c.GroupID})
			if c.Kind == ChangeJoined && near(m.LeftAt, c.ReceivedAt) || c.Kind == ChangeLeft && near(m.JoinedAt, c.ReceivedAt) {
				a.out.Unsure = append(a.out.Unsure, c.GroupID)
			}
			switch c.Kind {
			case ChangeJoined:
				entry.Kind, m.JoinedAt = EntryJoined, later(m.JoinedAt, c.ReceivedAt)
			case ChangeLeft:
				entry.Kind, m.LeftAt = EntryLeft, later(m.LeftAt, c.ReceivedAt)
			default:
				entry.Kind, m.LeftAt = EntryAbsent, later(m.LeftAt, c.ReceivedAt)
			}
			a.members[m.Pair] = m
			a.out.Entries = append(a.out.Entries, entry)
		}
	case ChangeDismissed:
		l.Dismiss(c.ReceivedAt)
		entry.Kind = EntryDismissed
		a.out.Entries = append(a.out.Entries, entry)
	case ChangeMembers:
	}
}

// fact applies what OpenIM said, unless it says nothing new, or is about a user
// who has left: OpenIM goes on listing what such a user saw last.
func (a *applying) fact(f *Fact) {
	l := a.before.Ledgers[f.GroupID]
	c, known := a.before.Cursors[f.Pair]
	m := a.membership(f.Pair)
	if m.Left() || !l.DismissedAt.IsZero() && !l.DismissedAt.Before(m.JoinedAt) {
		return
	}
	if f.Lowers {
		l.Lower(f.MaxSeq, f.AskedAt)
	} else if known && c.ReadSeq == f.ReadSeq && !c.EstimateAt.After(c.ExactAt) && l.Exact() && l.Known >= f.MaxSeq {
		return
	}
	l.Ask(f.MaxSeq, f.AskedAt)
	a.exact(Exact{Pair: f.Pair, ReadSeq: f.ReadSeq, At: f.AskedAt, Lowers: f.Lowers})
	kind := EntryFact
	if f.Lowers {
		kind = EntryLowered
	}
	a.out.Entries = append(a.out.Entries, Entry{
		Kind: kind, ID: f.ID, At: f.AskedAt, UserID: f.UserID, GroupID: f.GroupID,
		UnreadCount: None, ReadSeq: f.ReadSeq, MaxSeq: f.MaxSeq, Position: l.Number(),
		Read: f.ReadSeq, Produced: true,
	})
}

// listing lifts the tombstones of users who are listed as members again.
func (a *applying) listing(list *Listing) {
	for _, userID := range list.UserIDs {
		m := a.membership(Pair{userID, list.GroupID})
		if !m.Left() {
			continue
		}
		m.ListedAt = later(m.ListedAt, list.AskedAt)
		a.members[m.Pair] = m
		a.out.Entries = append(a.out.Entries, Entry{
			Kind: EntryListed, ID: list.ID, At: list.AskedAt, UserID: userID, GroupID: list.GroupID,
			UnreadCount: None, ReadSeq: None, MaxSeq: None, Position: None, Relative: true,
		})
	}
}

// membership gives what is known of a pair by now.
func (a *applying) membership(pair Pair) Membership {
	if a.members == nil {
		a.members = map[Pair]Membership{}
	}
	m, changed := a.members[pair]
	if !changed {
		m = a.before.Cursors[pair].Membership
		m.Pair = pair
	}
	return m
}

// A message of a user who was erased counts for the others only: it names nobody.

func (a *applying) estimate(e Estimate) {
	if e.UserID != "" {
		a.out.Estimates = append(a.out.Estimates, e)
	}
}

func (a *applying) exact(e Exact) {
	if e.UserID != "" {
		a.out.Exacts = append(a.out.Exacts, e)
	}
}

// effects folds what was found to one row for each key.
func (a *applying) effects() Effects {
	out := a.out
	slices.SortFunc(out.Estimates, func(x, y Estimate) int { // the last one first
		return cmp.Or(x.compare(y.Pair), y.At.Compare(x.At), bytes.Compare(y.ID[:], x.ID[:]))
	})
	out.Estimates = slices.CompactFunc(out.Estimates, func(x, y Estimate) bool { return x.Pair == y.Pair })
	slices.SortStableFunc(out.Exacts, func(x, y Exact) int { return x.compare(y.Pair) })
	out.Exacts = mergeExacts(out.Exacts)
	for _, m := range a.members {
		out.Memberships = append(out.Memberships, m)
	}
	slices.SortFunc(out.Memberships, func(x, y Membership) int { return x.compare(y.Pair) })
	for _, m := range a.changed {
		out.Messages = append(out.Messages, m)
	}
	slices.SortFunc(out.Messages, func(x, y KnownMessage) int {
		return cmp.Or(cmp.Compare(x.GroupID, y.GroupID), cmp.Compare(x.MessageID, y.MessageID))
	})
	return out
}

// mergeExacts keeps the highest seq and the latest moment of each pair.
func mergeExacts(list []Exact) []Exact {
	merged := list[:0]
	for _, e := range list {
		if n := len(merged); n > 0 && merged[n-1].Pair == e.Pair {
			last := &merged[n-1]
			if last.ReadSeq = max(last.ReadSeq, e.ReadSeq); e.Lowers {
				last.ReadSeq, last.Lowers = e.ReadSeq, true
			}
			if e.At.After(last.At) {
				last.At, last.ByMessage = e.At, e.ByMessage
			}
			continue
		}
		merged = append(merged, e)
	}
	return merged
}

func (p Pair) compare(o Pair) int {
	return cmp.Or(cmp.Compare(p.UserID, o.UserID), cmp.Compare(p.GroupID, o.GroupID))
}

func near(a, b time.Time) bool { return b.Sub(a).Abs() < Disorder }

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

package readstate

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"time"
	"unicode/utf8"
)

// Snapshot is a PostgreSQL pg_snapshot: transactions before XMin are over, those from XMax on had
// not begun, and of those between Running had not ended.
type Snapshot struct {
	XMin, XMax uint64
	Running    []uint64 // in increasing order
}

// NewSnapshot gives the snapshot of what came before a transaction and is not among those that run, which are in
// increasing order and before it.
func NewSnapshot(xmax uint64, running []uint64) Snapshot {
	s := Snapshot{XMin: xmax, XMax: xmax, Running: running}
	if len(running) > 0 {
		s.XMin = running[0]
	}
	return s
}

// Shows reports whether what a transaction has committed is visible.
func (s *Snapshot) Shows(xid uint64) bool {
	if xid >= s.XMax {
		return false
	}
	_, running := slices.BinarySearch(s.Running, xid)
	return !running
}

// Before reports whether a snapshot was taken before another one of the same server: the other
// one may show more.
func (s *Snapshot) Before(o *Snapshot) bool {
	if s.XMax != o.XMax {
		return s.XMax < o.XMax
	}
	return len(s.Running) > len(o.Running)
}

// FeedSource is where the changes of a cursor are from: the numbers of transactions mean something
// only there.
type FeedSource struct {
	// SystemID and Timeline are PostgreSQL's, of the cluster. Both are 0 where the role may not ask.
	SystemID, Timeline int64
	// StartedAt is when the server was started.
	StartedAt Moment
	// TableID is as in [Revision].
	TableID int64
}

// Same reports whether numbers of transactions mean the same in two sources, but for the last ones before
// a restart. Where nobody may ask for the system, a restart may have been a failover.
func (s *FeedSource) Same(o *FeedSource) bool {
	return s.SystemID == o.SystemID && s.Timeline == o.Timeline && s.TableID == o.TableID && (s.SystemID != 0 || s.StartedAt == o.StartedAt)
}

// lostTransactions is above the number of transactions whose numbers are given out again after a
// crash of the server: those that it has not written down.
const lostTransactions = 1000

// clockError is above what two clocks of one database may differ by: the server's, and ours that follows it.
const clockError = Moment(time.Second / time.Microsecond)

// FeedReminded says which reminders were told before the server was started anew. A state that is told
// again does no harm, but a reminder is a message to somebody.
type FeedReminded struct {
	XID uint64 // of transactions before this one
	At  Moment // and recorded before then: later ones may have got their numbers
}

// Told reports whether a reminder was told.
func (r *FeedReminded) Told(xid uint64, recordedAt time.Time) bool {
	return xid < r.XID && MomentOf(recordedAt) < r.At
}

// Restarted gives the cursor to go on from after the server was started anew, when numbers of the last
// transactions before may stand for others. It lies before those, and is of the source of now.
func (c *FeedCursor) Restarted(now *FeedSource) FeedCursor {
	const first = 3 // of PostgreSQL's normal transactions
	seen := max(first, c.Seen.XMin-min(c.Seen.XMin, lostTransactions))
	reminded := c.Reminded
	if reminded.At == 0 {
		reminded.At = now.StartedAt - clockError
	}
	reminded.XID = max(reminded.XID, c.Seen.XMin)
	return FeedCursor{Source: *now, Seen: Snapshot{XMin: seen, XMax: seen}, Dropped: c.Dropped, Reminded: reminded, Own: c.Own}
}

// FeedCursor is a place in the feed: a snapshot, all of whose changes have been seen.
type FeedCursor struct {
	Source FeedSource
	Seen   Snapshot
	// Dropped is up to which transaction changes had been dropped then: only what was dropped since may
	// be missing.
	Dropped uint64
	// Reminded is zero where the cursor does not lie before what was told already.
	Reminded FeedReminded
	// Until is, in the middle of a round, the snapshot that the cursor is on its way to, After the
	// key up to which its changes have been seen, and Large as told so far. Else it is nil.
	Until *Snapshot
	After FeedKey
	Large FeedLarge
	// Own are pairs whose last told read position is that of an own message without a seq. It
	// counts only while there are such messages, so the pair may change when its group moves. A
	// pair without a user stands for all of a group, one without a group for everything.
	Own []Pair
}

// FeedLarge says from which user and from which group on whole ones are told by one [FeedResync] each, since
// they are too many to be told one by one; "" where all are told one by one. In one round both stay: who
// was begun one by one is ended so.
type FeedLarge struct {
	FromUser, FromGroup string
}

// ErrFeedCursor says that a text is no cursor.
var ErrFeedCursor = errors.New("is not a cursor of this feed")

const (
	feedCursorVersion = 'a'
	// maxRunning bounds what is taken from a cursor that somebody has made up.
	maxRunning = 8192
	// MaxFeedCursor is how many bytes the text of a cursor has, at most.
	MaxFeedCursor = 64 << 10
)

// String gives the cursor as a text of unreserved URL characters. Where many pairs are watched it
// names them by their groups, see [FoldOwn].
func (c *FeedCursor) String() string {
	own := FoldOwn(slices.Clone(c.Own))
	b := []byte{feedCursorVersion}
	b = binary.AppendUvarint(b, uint64(c.Source.SystemID)) //nolint:gosec // only its bits matter
	b = binary.AppendVarint(b, c.Source.Timeline)
	b = binary.AppendVarint(b, int64(c.Source.StartedAt))
	b = binary.AppendVarint(b, c.Source.TableID)
	b = binary.AppendUvarint(c.Seen.append(b), c.Dropped)
	if b = binary.AppendUvarint(b, c.Reminded.XID); c.Reminded.XID != 0 {
		b = binary.AppendVarint(b, int64(c.Reminded.At))
	}
	if c.Until == nil {
		b = append(b, 0)
	} else {
		b = c.Until.append(append(b, 1))
		b = appendString(appendString(append(b, byte(c.After.Kind)), c.After.GroupID), c.After.UserID)
		b = appendString(b, c.After.RuleID)
		b = appendString(appendString(b, c.Large.FromUser), c.Large.FromGroup)
	}
	b = binary.AppendUvarint(b, uint64(len(own)))
	for _, pair := range own {
		b = appendString(appendString(b, pair.GroupID), pair.UserID)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// Forget has the cursor name nobody of a kind, and reports whether it did. Everything that was behind it
// still is: it may go back to the beginning of its round, and watch everything.
func (c *FeedCursor) Forget(named func(Pair) bool) (forgotten bool) {
	if c.Until != nil && named(c.After.Pair()) {
		c.Until, c.After, forgotten = nil, FeedKey{}, true
	}
	if slices.ContainsFunc(c.Own, named) {
		c.Own, forgotten = []Pair{{}}, true
	}
	return forgotten
}

func (s *Snapshot) append(b []byte) []byte {
	b = binary.AppendUvarint(b, s.XMax)
	b = binary.AppendUvarint(b, s.XMax-s.XMin)
	b = binary.AppendUvarint(b, uint64(len(s.Running)))
	last := s.XMin
	for _, xid := range s.Running {
		b = binary.AppendUvarint(b, xid-last)
		last = xid
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// ParseFeedCursor reads a cursor, or gives [ErrFeedCursor].
func ParseFeedCursor(text string) (c FeedCursor, err error) {
	if len(text) > MaxFeedCursor {
		return c, ErrFeedCursor
	}
	plain, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(plain) == 0 || plain[0] != feedCursorVersion {
		return c, ErrFeedCursor
	}
	r := cursorReader{rest: plain[1:]}
	c.Source.SystemID = int64(r.unsigned()) //nolint:gosec // as it was put in
	c.Source.Timeline, c.Source.StartedAt, c.Source.TableID = r.signed(), Moment(r.signed()), r.signed()
	c.Seen, c.Dropped = r.snapshot(), r.unsigned()
	if c.Reminded.XID = r.unsigned(); c.Reminded.XID != 0 {
		c.Reminded.At = Moment(r.signed())
	}
	if r.byte() == 1 {
		until := r.snapshot()
		c.Until = &until
		c.After.Kind = FeedKind(r.byte())
		c.After.GroupID, c.After.UserID, c.After.RuleID = r.string(), r.string(), r.string()
		c.Large.FromUser, c.Large.FromGroup = r.string(), r.string()
	}
	own := r.unsigned()
	for range min(own, maxOwn) {
		c.Own = append(c.Own, Pair{GroupID: r.string(), UserID: r.string()})
	}
	// A text that is not as String makes it would be a second name of the same place.
	if r.failed || len(r.rest) > 0 || c.String() != text {
		return FeedCursor{}, ErrFeedCursor
	}
	return c, nil
}

// cursorReader reads what String has appended. After a failure it gives zero values.
type cursorReader struct {
	rest   []byte
	failed bool
}

func (r *cursorReader) take(n int) []byte {
	if r.failed || n <= 0 || n > len(r.rest) {
		r.failed, r.rest = true, nil
		return nil
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *cursorReader) byte() byte {
	if taken := r.take(1); taken != nil {
		return taken[0]
	}
	return 0
}

func (r *cursorReader) unsigned() uint64 {
	v, n := binary.Uvarint(r.rest)
	if r.take(n) == nil {
		return 0
	}
	return v
}

func (r *cursorReader) signed() int64 {
	v, n := binary.Varint(r.rest)
	if r.take(n) == nil {
		return 0
	}
	return v
}

func (r *cursorReader) string() string {
	n := r.unsigned()
	switch {
	case n == 0:
		return ""
	case n > MaxIDBytes:
		r.failed = true
		return ""
	}
	id := r.take(int(n))
	if !utf8.Valid(id) || bytes.IndexByte(id, 0) >= 0 {
		r.failed = true // it is in no database, and none could be asked for it
	}
	return string(id)
}

func (r *cursorReader) snapshot() (s Snapshot) {
	s.XMax = r.unsigned()
	width, n := r.unsigned(), r.unsigned()
	if width > s.XMax || n > maxRunning {
		r.failed = true
		return s
	}
	s.XMin = s.XMax - width
	last := s.XMin
	for i := range n {
		step := r.unsigned()
		if r.failed || step == 0 && i > 0 || step >= s.XMax-last {
			r.failed = true
			return s
		}
		last += step
		s.Running = append(s.Running, last)
	}
	return s
}

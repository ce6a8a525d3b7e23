package store

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"readmark/db"
	"readmark/internal/readstate"
)

// debounce is how long a mark waits for more of its kind before OpenIM is asked.
const debounce = 100 * time.Millisecond

// Pending is something that OpenIM is to be asked: all conversations of a user
// (no GroupID), one of them, or the members of a group (no UserID).
type Pending struct {
	readstate.Pair
	Since     time.Time // of the first mark
	requested int64
	settlesAt time.Time
}

// marks collects what a batch has OpenIM asked for.
type marks map[readstate.Pair]mark

type mark struct{ due, settles time.Time }

func (m *marks) add(pair readstate.Pair, due, settles time.Time) {
	if *m == nil {
		*m = marks{}
	}
	if other, found := (*m)[pair]; found {
		if other.due.Before(due) {
			due = other.due
		}
		if other.settles.After(settles) {
			settles = other.settles
		}
	}
	(*m)[pair] = mark{due, settles}
}

// receipts marks who has to be asked for. Receipts that tell their count are asked
// for only where OpenIM can be.
func (m *marks) receipts(receipts []readstate.Receipt, asks bool, now time.Time) {
	for i := range receipts {
		r := &receipts[i]
		if r.Unresolved() || asks && r.Attributed() {
			m.add(readstate.Pair{UserID: r.UserID, GroupID: r.GroupID}, now.Add(debounce), time.Time{})
		}
	}
}

// effects marks the senders of messages without a seq: OpenIM has stored them, and
// told their seqs, some time after the last one. It marks who is listed again, too:
// OpenIM moves the read position of who quits.
func (m *marks) effects(e *readstate.Effects, now time.Time) {
	settled := now.Add(readstate.Settling)
	for i := range e.Fresh {
		m.add(readstate.Pair{UserID: e.Fresh[i].UserID, GroupID: e.Fresh[i].GroupID}, settled, settled)
	}
	for _, groupID := range e.Unsure {
		m.add(readstate.Pair{GroupID: groupID}, now.Add(debounce), settled)
	}
	for i := range e.Entries {
		if entry := &e.Entries[i]; entry.Kind == readstate.EntryListed {
			m.add(readstate.Pair{UserID: entry.UserID, GroupID: entry.GroupID}, now.Add(debounce), time.Time{})
		}
	}
}

// markChanges marks who has joined, groups whose members are not told, and some
// member of a group that somebody left: a notification takes a seq then.
func (s *Store) markChanges(ctx context.Context, conn db.DBTX, m *marks, changes []readstate.Change, now time.Time) error {
	due, settled := now.Add(debounce), now.Add(readstate.Settling)
	for i := range changes {
		c := &changes[i]
		switch c.Kind {
		case readstate.ChangeJoined:
			for _, userID := range c.UserIDs {
				m.add(readstate.Pair{UserID: userID, GroupID: c.GroupID}, due, settled)
			}
		case readstate.ChangeMembers:
			m.add(readstate.Pair{GroupID: c.GroupID}, due, settled)
		case readstate.ChangeLeft:
			member, err := s.queries.SomeMember(ctx, conn, db.SomeMemberParams{GroupID: c.GroupID, NotUserIds: c.UserIDs})
			if err != nil {
				return fmt.Errorf("find a member: %w", err)
			}
			for _, userID := range member {
				m.add(readstate.Pair{UserID: userID, GroupID: c.GroupID}, due, settled)
			}
		case readstate.ChangeDismissed, readstate.ChangeAbsent:
		}
	}
	return nil
}

// raise queues the marks, in key order.
func (s *Store) raise(ctx context.Context, conn db.DBTX, m *marks, now time.Time) error {
	if len(*m) == 0 {
		return nil
	}
	p := db.RaisePendingParams{Since: now}
	for _, pair := range slices.SortedFunc(maps.Keys(*m), func(a, b readstate.Pair) int {
		return cmp.Or(cmp.Compare(a.UserID, b.UserID), cmp.Compare(a.GroupID, b.GroupID))
	}) {
		p.UserIDs, p.GroupIDs = append(p.UserIDs, pair.UserID), append(p.GroupIDs, pair.GroupID)
		p.DueAts, p.SettlesAts = append(p.DueAts, (*m)[pair].due), append(p.SettlesAts, (*m)[pair].settles)
	}
	return s.queries.RaisePending(ctx, conn, p)
}

// Ask marks pairs as pending, as a callback about them would, but for those of which
// OpenIM would not be believed, see [Store.Believed].
func (s *Store) Ask(ctx context.Context, pairs []readstate.Pair) error {
	err := s.besideErasures(ctx, func(tx pgx.Tx) error {
		believed, err := s.believed(ctx, tx, pairs)
		if err != nil {
			return err
		}
		now := s.now().UTC()
		var m marks
		for _, pair := range believed {
			m.add(pair, now, time.Time{})
		}
		return s.raise(ctx, tx, &m, now)
	})
	if err != nil {
		return fmt.Errorf("mark as pending: %w", translate(err))
	}
	return nil
}

// Lease takes up to limit marks that are due, for this caller alone until the
// lease ends.
func (s *Store) Lease(ctx context.Context, limit int32, lease time.Duration) ([]Pending, error) {
	now := s.now().UTC()
	rows, err := s.queries.LeasePending(ctx, s.pool, db.LeasePendingParams{
		LeasedUntil: now.Add(lease), Moment: now, MaxRows: limit,
	})
	if err != nil {
		return nil, fmt.Errorf("lease pending: %w", translate(err))
	}
	list := make([]Pending, len(rows))
	for i, row := range rows {
		list[i] = Pending{
			Pair:  readstate.Pair{UserID: row.UserID, GroupID: row.GroupID},
			Since: row.Since.UTC(), requested: row.Requested, settlesAt: row.SettlesAt,
		}
	}
	return list, nil
}

// Resolve ends a mark for which OpenIM was asked at the given moment, and whose
// answer has been committed. What was asked for since it was leased keeps it: it is
// due again after a debounce, or when OpenIM has settled.
func (s *Store) Resolve(ctx context.Context, p Pending, askedAt time.Time) error {
	ended, err := s.queries.FinishPending(ctx, s.pool, db.FinishPendingParams{
		UserID: p.UserID, GroupID: p.GroupID, Requested: p.requested, AskedAt: askedAt,
	})
	if err != nil {
		return fmt.Errorf("finish pending: %w", translate(err))
	}
	if ended > 0 {
		return nil
	}
	due := s.now().UTC().Add(debounce)
	if p.settlesAt.After(due) {
		due = p.settlesAt
	}
	return s.postpone(ctx, p, due)
}

// Postpone gives a mark back: it is due again after a while.
func (s *Store) Postpone(ctx context.Context, p Pending, after time.Duration) error {
	return s.postpone(ctx, p, s.now().UTC().Add(after))
}

func (s *Store) postpone(ctx context.Context, p Pending, due time.Time) error {
	err := s.queries.PostponePending(ctx, s.pool, db.PostponePendingParams{UserID: p.UserID, GroupID: p.GroupID, DueAt: due})
	if err != nil {
		return fmt.Errorf("postpone pending: %w", translate(err))
	}
	return nil
}

// CountPending gives how many marks there are, and since when the oldest.
func (s *Store) CountPending(ctx context.Context) (marks int64, since time.Time, err error) {
	row, err := s.queries.CountPending(ctx, s.reads)
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("count pending: %w", translate(err))
	}
	if row.Marks == 0 {
		return 0, time.Time{}, nil
	}
	return row.Marks, row.Since.UTC(), nil
}

// Strangers gives those of a group's members of whom no count is known: nothing
// was heard of them yet, or that they left. Nobody of whom OpenIM would not be believed
// is among them, see [Store.Believed].
func (s *Store) Strangers(ctx context.Context, groupID string, userIDs []string) ([]string, error) {
	strangers, err := s.queries.ListStrangers(ctx, s.reads, db.ListStrangersParams{UserIDs: userIDs, GroupID: groupID})
	if err != nil {
		return nil, fmt.Errorf("list strangers: %w", translate(err))
	}
	pairs := make([]readstate.Pair, len(strangers))
	for i, userID := range strangers {
		pairs[i] = readstate.Pair{UserID: userID, GroupID: groupID}
	}
	if pairs, err = s.Believed(ctx, pairs); err != nil {
		return nil, err
	}
	strangers = strangers[:0]
	for _, pair := range pairs {
		strangers = append(strangers, pair.UserID)
	}
	return strangers, nil
}

const (
	// rememberMessages is how long a message is told from its repeats.
	rememberMessages = 7 * 24 * time.Hour
	// forgetRows is how many messages are forgotten in one transaction.
	forgetRows = 10_000
)

// ForgetMessages drops old rows that only tell repeats of a message apart.
func (s *Store) ForgetMessages(ctx context.Context) error {
	moment := s.now().UTC().Add(-rememberMessages)
	for {
		n, err := s.queries.DeleteMessages(ctx, s.pool, db.DeleteMessagesParams{Moment: moment, MaxRows: forgetRows})
		if err != nil {
			return fmt.Errorf("forget messages: %w", translate(err))
		}
		if n < forgetRows {
			return nil
		}
	}
}

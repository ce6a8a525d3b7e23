package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"readmark/db"
	"readmark/internal/readstate"
)

// askStates queues loading the states of pairs.
func (s *Store) askStates(ctx context.Context, queue *pipeline, pairs []readstate.Pair, into map[readstate.Pair]readstate.ReadState) {
	if len(pairs) == 0 {
		return
	}
	var p db.ListReadStatesParams
	for _, pair := range pairs {
		p.UserIDs, p.GroupIDs = append(p.UserIDs, pair.UserID), append(p.GroupIDs, pair.GroupID)
	}
	queue.ask(func(conn db.DBTX) error {
		rows, err := s.queries.ListReadStates(ctx, conn, p)
		for i := range rows {
			state := readState(&rows[i])
			into[state.Pair] = state
		}
		return err
	})
}

// askMessages queues loading what the journal has of messages. All callbacks of a message come
// after it was sent.
func (s *Store) askMessages(ctx context.Context, queue *pipeline, messages []readstate.Event, into *[]readstate.Entry) {
	if len(messages) == 0 {
		return
	}
	var p db.ListMessageEventsParams
	for i := range messages {
		m := &messages[i]
		from := m.At.Add(-messageRepeats)
		if !m.SentAt.IsZero() {
			from = m.SentAt
			if from.After(m.At) {
				from = m.At
			}
			from = from.Add(-sentSkew)
			if limit := m.At.Add(-sentMessageRepeats); from.Before(limit) {
				from = limit
			}
		}
		p.UserIDs, p.GroupIDs, p.MessageIds = append(p.UserIDs, m.UserID), append(p.GroupIDs, m.GroupID), append(p.MessageIds, m.MessageID)
		p.FromAts = append(p.FromAts, from)
		if p.Oldest.IsZero() || from.Before(p.Oldest) {
			p.Oldest = from
		}
	}
	queue.ask(func(conn db.DBTX) error {
		rows, err := s.queries.ListMessageEvents(ctx, s.journalSince(conn, p.Oldest), p)
		for _, row := range rows {
			*into = append(*into, entry(&db.Journal{
				Kind: db.EventKind(readstate.EventMessage), GroupID: &row.GroupID, MessageID: &row.MessageID,
				ReceivedAt: row.ReceivedAt, ID: row.ID, ReadSeq: row.ReadSeq, SentAt: row.SentAt,
				GroupUnsequenced: row.GroupUnsequenced, GroupBaseSeq: row.GroupBaseSeq,
				GroupMaxSeq: row.GroupMaxSeq, GroupMaxSeqTime: row.GroupMaxSeqTime,
			}))
		}
		return err
	})
}

// askJournal loads the rows of the groups from where events begin: there are none where
// nothing comes late.
func (t *transaction) askJournal(ctx context.Context, queue *pipeline) {
	p := db.ListGroupJournalParams{MaxRows: int32(t.lateRows) + 1} //nolint:gosec // small
	for groupID, from := range t.from {
		p.GroupIDs, p.FromAts, p.FromIds = append(p.GroupIDs, groupID), append(p.FromAts, from.at), append(p.FromIds, identity(from.id))
		if p.Oldest.IsZero() || from.at.Before(p.Oldest) {
			p.Oldest = from.at
		}
	}
	queue.ask(func(conn db.DBTX) error {
		journal := conn
		if !t.anyDay {
			journal = t.journalSince(conn, p.Oldest)
		}
		rows, err := t.queries.ListGroupJournal(ctx, journal, p)
		t.more = len(rows) > t.lateRows
		t.loaded.Journal = entries(rows[:min(len(rows), t.lateRows)])
		return err
	})
}

// journalSince gives where rows are read from that are not older than a moment: today's
// partition alone, if that has them all. Shortly before midnight, another process may
// have begun the next day.
func (s *Store) journalSince(conn db.DBTX, oldest time.Time) db.DBTX {
	if t := s.current(oldest); t != nil && day(s.now().Add(readstate.MaxAhead)).Equal(t.day) {
		return partitioned{conn, t}
	}
	return conn
}

// pairs gives the pairs of events, without repeats.
func pairs(events []readstate.Event) []readstate.Pair {
	list := make([]readstate.Pair, 0, len(events))
	for i := range events {
		if e := &events[i]; e.UserID != "" && e.GroupID != "" {
			list = append(list, e.Pair())
		}
	}
	slices.SortFunc(list, readstate.Pair.Compare)
	return slices.Compact(list)
}

func messages(events []readstate.Event) []readstate.Event {
	return slices.DeleteFunc(slices.Clone(events), func(e readstate.Event) bool { return e.Kind != readstate.EventMessage })
}

// load takes the locks and loads what the events are about, in one round trip.
func (t *transaction) load(ctx context.Context, queue *pipeline) error {
	t.left = slices.Clone(t.batch.Events)
	slices.SortStableFunc(t.left, func(a, b readstate.Event) int { return a.Compare(&b) })
	t.loaded = readstate.Loaded{
		Positions: map[string]readstate.GroupPosition{}, States: map[readstate.Pair]readstate.ReadState{},
		Start: map[string]readstate.GroupPosition{},
	}
	t.from = map[string]place{}
	for i := range t.left {
		e := &t.left[i]
		if e.GroupID == "" {
			continue
		}
		if _, found := t.from[e.GroupID]; !found {
			t.from[e.GroupID] = place{at: e.At}
			t.groups = append(t.groups, e.GroupID)
		}
	}
	slices.Sort(t.groups)
	if len(t.groups) > 0 {
		if t.newGroups {
			if err := t.addPositions(ctx, queue, t.groups); err != nil {
				return err
			}
		}
		err := t.lockPositions(ctx, queue, t.groups, func(p readstate.GroupPosition) { t.loaded.Positions[p.GroupID] = p })
		if err != nil {
			return err
		}
		t.askStates(ctx, queue, pairs(t.left), t.loaded.States)
		t.askMessages(ctx, queue, messages(t.left), &t.loaded.Messages)
		t.askJournal(ctx, queue)
	}
	if err := queue.send(ctx, t.conn); err != nil {
		return err
	}
	if len(t.loaded.Positions) < len(t.groups) {
		return errNoPosition
	}
	// With the positions locked, a group's rows are recorded in the order in which they
	// moved its position.
	t.recordedAt = t.Store.recordedAt()
	if err := t.dropRestamped(ctx); err != nil {
		return err
	}
	return t.loadFuture(ctx)
}

// loadFuture reads the journal again, all of it, where a group has events of a day to
// come: today's partition does not have them.
func (t *transaction) loadFuture(ctx context.Context) error {
	tomorrow := day(t.now()).AddDate(0, 0, 1)
	for _, p := range t.loaded.Positions {
		if !p.MovedAt.Before(tomorrow) {
			t.anyDay = true
			var queue pipeline
			t.askJournal(ctx, &queue)
			return queue.send(ctx, t.conn)
		}
	}
	return nil
}

// loadLate loads what rows of the journal are about that are applied anew, and where the
// walk of each group begins.
func (t *transaction) loadLate(ctx context.Context, now []readstate.Event) error {
	events := eventsOf(t.loaded.Journal)
	var queue pipeline
	t.askStates(ctx, &queue, slices.DeleteFunc(pairs(events), func(p readstate.Pair) bool {
		_, found := t.loaded.States[p]
		return found
	}), t.loaded.States)
	t.askMessages(ctx, &queue, messages(events), &t.loaded.Messages)
	if t.more {
		groups := map[string]bool{}
		for _, e := range slices.Concat(events, now) {
			groups[e.GroupID] = e.GroupID != ""
		}
		t.askStart(ctx, &queue, &t.loaded, groups)
	}
	return queue.send(ctx, t.conn)
}

// askStart queues finding where the walk of groups begins that go on behind the journal
// that was loaded. The first row that may have moved the position tells what it was
// before, be it loaded or behind.
func (s *Store) askStart(ctx context.Context, queue *pipeline, loaded *readstate.Loaded, groups map[string]bool) {
	last := loaded.Journal[len(loaded.Journal)-1]
	told := map[string]bool{}
	for i := range loaded.Journal {
		if e := &loaded.Journal[i]; e.Checkpoint.GroupID != "" {
			told[e.GroupID] = true
		}
	}
	for groupID, wanted := range groups {
		if _, found := loaded.Start[groupID]; found || told[groupID] || !wanted {
			continue
		}
		queue.ask(func(conn db.DBTX) error {
			row, err := s.queries.FirstMoveAfter(ctx, conn, db.FirstMoveAfterParams{
				GroupID: groupID, AfterAt: last.At, AfterID: identity(last.ID),
			})
			if errors.Is(err, pgx.ErrNoRows) {
				return nil // nothing moves it: it is that of now
			}
			if err == nil {
				loaded.Start[groupID] = entry(&row).Checkpoint
			}
			return err
		})
	}
}

func (t *transaction) loadEstimates(ctx context.Context) error {
	var queue pipeline
	t.loaded.Estimates = t.askEstimates(ctx, &queue, t.effects.NeedEstimates, t.from)
	return queue.send(ctx, t.conn)
}

// askEstimates queues loading the newest rows of pairs before a place in their group that
// gave an estimate.
func (s *Store) askEstimates(
	ctx context.Context, queue *pipeline, pairs []readstate.Pair, from map[string]place,
) map[readstate.Pair]readstate.Entry {
	found := map[readstate.Pair]readstate.Entry{}
	for _, pair := range pairs {
		queue.ask(func(conn db.DBTX) error {
			before := from[pair.GroupID]
			row, err := s.queries.GetEstimateBefore(ctx, conn, db.GetEstimateBeforeParams{
				UserID: pair.UserID, GroupID: pair.GroupID, BeforeAt: before.at, BeforeID: identity(before.id),
			})
			if err == nil {
				found[pair] = entry(&row)
			} else if errors.Is(err, pgx.ErrNoRows) {
				return nil
			}
			return err
		})
	}
	return found
}

// loadNext goes on to the rows of the journal behind those that were applied.
func (t *transaction) loadNext(ctx context.Context, queue *pipeline) error {
	last := t.loaded.Journal[len(t.loaded.Journal)-1]
	for groupID := range t.from {
		t.from[groupID] = place{last.At, next(last.ID)}
	}
	t.loaded.Start = t.effects.End
	t.loaded.Journal, t.loaded.Estimates = nil, nil
	for _, state := range t.effects.States {
		t.loaded.States[state.Pair] = state
	}
	t.askJournal(ctx, queue)
	return queue.send(ctx, t.conn)
}

// next is the ID behind an ID.
func next(id readstate.ID) readstate.ID {
	for i := len(id) - 1; i >= 0; i-- {
		if id[i]++; id[i] != 0 {
			break
		}
	}
	return id
}

package store

import (
	"context"
	"slices"
	"time"

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
func (s *Store) askMessages(ctx context.Context, queue *pipeline, messages []readstate.Event, into *[]readstate.Event) {
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
			*into = append(*into, readstate.Event{
				Kind: readstate.EventMessage, GroupID: row.GroupID, MessageID: row.MessageID,
				At: row.ReceivedAt.UTC(), ID: readstate.ID(row.ID.Bytes), ReadSeq: value(row.ReadSeq),
			})
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

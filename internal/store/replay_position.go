package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"readmark/db"
	"readmark/internal/readstate"
)

// replayGroups is how many groups' names are read at once.
const replayGroups = 1000

// replayPositions rebuilds the positions that are gone, and moves those forward that
// the journal knows to be further. Older ones stay: the journal may reach less far.
func (s *Store) replayPositions(ctx context.Context, replay *Replay) (changed int64, err error) {
	if replay.UserID != "" || !replay.From.IsZero() || !replay.To.IsZero() {
		return 0, nil // a part of the journal tells no position
	}
	for after := ""; ; {
		groups, err := s.queries.ListJournalGroups(ctx, s.pool, db.ListJournalGroupsParams{
			AfterGroupID: after, OnlyGroupID: replay.GroupID, MaxRows: replayGroups,
		})
		if err != nil {
			return changed, fmt.Errorf("list groups: %w", translate(err))
		}
		if len(groups) == 0 {
			return changed, nil
		}
		if !replay.DryRun {
			if err := s.eraseGroupsLeft(ctx, groups); err != nil {
				return changed, fmt.Errorf("erase what is left of groups: %w", translate(err))
			}
		}
		for _, groupID := range groups {
			moved, err := s.replayPosition(ctx, groupID, replay.DryRun)
			if err != nil {
				return changed, fmt.Errorf("replay position of group %q: %w", groupID, translate(err))
			}
			if moved {
				changed++
			}
		}
		after = groups[len(groups)-1]
	}
}

var errNothingTold = errors.New("the journal does not tell the position")

func (s *Store) replayPosition(ctx context.Context, groupID string, dry bool) (moved bool, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		erasedAt, err := s.groupErasedAt(ctx, tx, groupID)
		if err != nil {
			return err
		}
		if !dry {
			p := db.AddPositionsParams{GroupIDs: []string{groupID}, UpdatedAt: s.now().UTC()}
			if err := s.queries.AddPositions(ctx, tx, p); err != nil {
				return err
			}
		}
		stored, err := s.queries.LockPositions(ctx, tx, []string{groupID})
		if err != nil {
			return err
		}
		events, err := s.queries.ListPositionEvents(ctx, tx, groupID)
		if err != nil {
			return err
		}
		// What was erased may still be in the journal, until the erasure has ended.
		events = slices.DeleteFunc(events, func(e db.ListPositionEventsRow) bool { return !e.ReceivedAt.After(erasedAt) })
		if len(events) == 0 {
			return errNothingTold // and the row is not kept
		}
		told, messages, recordedAt := fold(groupID, events)
		lowered := slices.ContainsFunc(events, func(e db.ListPositionEventsRow) bool {
			return readstate.EntryKind(e.Kind) == readstate.EntryLowered
		})
		var now readstate.Position
		if len(stored) > 0 {
			now = ledger(&stored[0]).Position
		}
		now.GroupID = groupID
		moved = told.Position != now && (told.Known >= now.Known || lowered) && (told.Placed || !now.Placed && told.Counted >= now.Counted)
		if dry || !moved {
			return nil
		}
		if err := s.queries.SaveMessages(ctx, tx, messageParams(messages)); err != nil {
			return err
		}
		return s.savePositions(ctx, tx, map[string]*readstate.Ledger{groupID: &told}, recordedAt)
	})
	if errors.Is(err, errNothingTold) {
		return false, nil
	}
	return moved, err
}

// fold moves a position through what the journal has of its group.
func fold(groupID string, events []db.ListPositionEventsRow) (
	l readstate.Ledger, messages []readstate.KnownMessage, recordedAt time.Time,
) {
	l.GroupID = groupID
	index := map[string]int{}
	for i := range events {
		e := &events[i]
		at := e.ReceivedAt.UTC()
		if e.RecordedAt.After(recordedAt) {
			recordedAt = e.RecordedAt.UTC()
		}
		switch readstate.EntryKind(e.Kind) {
		case readstate.EntryMessage:
			if e.MessageID == nil {
				continue
			}
			n, seen := index[*e.MessageID]
			if !seen {
				n = len(messages)
				index[*e.MessageID] = n
				messages = append(messages, readstate.KnownMessage{GroupID: groupID, MessageID: *e.MessageID, ReceivedAt: at})
			}
			switch m := &messages[n]; {
			case e.ReadSeq != nil:
				l.Store(*e.ReadSeq, at)
				if seen && m.Seq == 0 {
					l.Uncount(m.ReceivedAt)
				}
				m.Seq = *e.ReadSeq
			case !seen:
				l.Count(at)
			}
		case readstate.EntryFact:
			l.Ask(value(e.MaxSeq), at)
		case readstate.EntryLowered:
			l.Lower(value(e.MaxSeq), at)
		case readstate.EntryDismissed:
			l.Doubt(at)
			l.Dismiss(at)
		case readstate.EntryJoined, readstate.EntryLeft:
			l.Doubt(at)
		case readstate.EntryDocumented, readstate.EntryServer, readstate.EntryConversation,
			readstate.EntryListed, readstate.EntryAbsent:
		}
	}
	return l, messages, recordedAt
}

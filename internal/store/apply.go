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

// apply writes a batch that moves positions or memberships: it locks the positions
// and states in question, moves them through the batch in the order of arrival,
// and writes what comes of it. All writers lock positions before states, each in
// key order.
func (s *Store) apply(ctx context.Context, tx pgx.Tx, batch *readstate.Batch, recordedAt time.Time) error {
	before, err := s.before(ctx, tx, batch, recordedAt)
	if err != nil {
		return err
	}
	// With the positions locked, a group's rows are recorded in the order in which they
	// moved its position.
	recordedAt = s.now().UTC().Truncate(time.Microsecond)
	effects := readstate.Apply(batch, before)
	var m marks
	m.receipts(batch.Receipts, s.asks, recordedAt)
	if s.asks {
		m.effects(&effects, recordedAt)
		if err := s.markChanges(ctx, tx, &m, batch.Changes, recordedAt); err != nil {
			return err
		}
	}
	var queue pipeline
	err = errors.Join(
		s.writeEffects(ctx, &queue, &effects, recordedAt),
		s.savePositions(ctx, &queue, before.Ledgers, recordedAt),
		s.raise(ctx, &queue, &m, recordedAt),
		s.insertRejections(ctx, &queue, batch.Rejections),
	)
	if err != nil {
		return err
	}
	return tx.SendBatch(ctx, &queue.Batch).Close()
}

// before locks and reads what the batch is about.
func (s *Store) before(
	ctx context.Context, tx pgx.Tx, batch *readstate.Batch, recordedAt time.Time,
) (*readstate.Before, error) {
	q := subjects(batch)
	before := &readstate.Before{
		Ledgers:  make(map[string]*readstate.Ledger, len(q.groups)),
		Cursors:  map[readstate.Pair]readstate.Cursor{},
		Messages: map[readstate.MessageKey]readstate.KnownMessage{},
	}
	if err := s.queries.AddPositions(ctx, tx, db.AddPositionsParams{GroupIDs: q.groups, UpdatedAt: recordedAt}); err != nil {
		return nil, err
	}
	positions, err := s.queries.LockPositions(ctx, tx, q.groups)
	if err != nil {
		return nil, err
	}
	for i := range positions {
		before.Ledgers[positions[i].GroupID] = ledger(&positions[i])
	}
	states, err := s.queries.LockStates(ctx, tx, db.LockStatesParams{UserIDs: q.userIDs, GroupIDs: q.groupIDs})
	if err != nil {
		return nil, err
	}
	for i := range states {
		c := cursor(&states[i])
		before.Cursors[c.Pair] = c
	}
	if len(q.messageIDs) > 0 {
		messages, err := s.queries.ListMessages(ctx, tx, db.ListMessagesParams{
			GroupIDs: q.messageGroups, MessageIds: q.messageIDs,
		})
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			before.Messages[readstate.MessageKey{GroupID: m.GroupID, MessageID: m.MessageID}] = readstate.KnownMessage{
				GroupID: m.GroupID, MessageID: m.MessageID, ReceivedAt: m.ReceivedAt.UTC(), Seq: value(m.Seq),
			}
		}
	}
	return before, s.loadWaiting(ctx, tx, before.Ledgers, q.learnt)
}

// loadWaiting gives each ledger that a seq is learnt for the messages that it
// may have to tell apart.
func (s *Store) loadWaiting(
	ctx context.Context, tx pgx.Tx, ledgers map[string]*readstate.Ledger, learnt map[string]time.Time,
) error {
	var p db.ListWaitingMessagesParams
	for groupID, moment := range learnt {
		l := ledgers[groupID]
		if l.Counted == 0 {
			continue
		}
		moment = moment.Add(-readstate.Settling)
		if cover := l.Cover(); cover.After(moment) {
			moment = cover
		}
		p.GroupIDs = append(p.GroupIDs, groupID)
		p.Moments = append(p.Moments, moment)
	}
	if len(p.GroupIDs) == 0 {
		return nil
	}
	rows, err := s.queries.ListWaitingMessages(ctx, tx, p)
	for _, row := range rows {
		l := ledgers[row.GroupID]
		l.Waiting = append(l.Waiting, row.ReceivedAt.UTC())
	}
	return err
}

// question is what has to be known before a batch can be applied.
type question struct {
	groups                    []string // in key order, without repeats
	userIDs, groupIDs         []string // pairs
	messageGroups, messageIDs []string
	learnt                    map[string]time.Time // group → the earliest moment at which a seq is learnt
}

func subjects(batch *readstate.Batch) question {
	q := question{learnt: map[string]time.Time{}}
	learn := func(groupID string, at time.Time) {
		if first, known := q.learnt[groupID]; !known || at.Before(first) {
			q.learnt[groupID] = at
		}
	}
	pair := func(userID, groupID string) {
		q.groups = append(q.groups, groupID)
		q.userIDs, q.groupIDs = append(q.userIDs, userID), append(q.groupIDs, groupID)
	}
	for i := range batch.Receipts {
		if r := &batch.Receipts[i]; r.Attributed() {
			pair(r.UserID, r.GroupID)
		}
	}
	for i := range batch.Messages {
		m := &batch.Messages[i]
		pair(m.UserID, m.GroupID)
		q.messageGroups, q.messageIDs = append(q.messageGroups, m.GroupID), append(q.messageIDs, m.MessageID)
		if m.Seq > 0 {
			learn(m.GroupID, m.ReceivedAt)
		}
	}
	for i := range batch.Changes {
		c := &batch.Changes[i]
		q.groups = append(q.groups, c.GroupID)
		for _, userID := range c.UserIDs {
			pair(userID, c.GroupID)
		}
	}
	for i := range batch.Facts {
		f := &batch.Facts[i]
		pair(f.UserID, f.GroupID)
		learn(f.GroupID, f.AskedAt)
	}
	for i := range batch.Listings {
		for _, userID := range batch.Listings[i].UserIDs {
			pair(userID, batch.Listings[i].GroupID)
		}
	}
	slices.Sort(q.groups)
	q.groups = slices.Compact(q.groups)
	return q
}

// writeEffects queues what a batch does to journal, states and messages.
func (s *Store) writeEffects(ctx context.Context, queue db.DBTX, e *readstate.Effects, recordedAt time.Time) (err error) {
	if len(e.Entries) > 0 {
		err = errors.Join(err, s.queries.InsertJournal(ctx, queue, entryParams(e.Entries, recordedAt)))
	}
	if len(e.Messages) > 0 {
		err = errors.Join(err, s.queries.SaveMessages(ctx, queue, messageParams(e.Messages)))
	}
	if len(e.Estimates) > 0 {
		err = errors.Join(err, s.queries.MergeEstimates(ctx, queue, estimateParams(e.Estimates, recordedAt)))
	}
	if len(e.Exacts) > 0 {
		err = errors.Join(err, s.queries.MergeExacts(ctx, queue, exactParams(e.Exacts, recordedAt)))
		if lower := lowerParams(e.Exacts, recordedAt); len(lower.UserIDs) > 0 {
			err = errors.Join(err, s.queries.LowerExacts(ctx, queue, lower))
		}
	}
	if len(e.Memberships) > 0 {
		err = errors.Join(err, s.queries.MergeMembership(ctx, queue, membershipParams(e.Memberships, recordedAt)))
	}
	return err
}

func (s *Store) savePositions(
	ctx context.Context, queue db.DBTX, ledgers map[string]*readstate.Ledger, recordedAt time.Time,
) error {
	p := db.SavePositionsParams{UpdatedAt: recordedAt}
	for groupID, l := range ledgers {
		p.GroupIDs = append(p.GroupIDs, groupID)
		p.Known, p.Counted = append(p.Known, l.Known), append(p.Counted, l.Counted)
		p.Origins, p.Placed = append(p.Origins, l.Origin), append(p.Placed, l.Placed)
		p.StoredAts, p.AskedAts = append(p.StoredAts, l.StoredAt), append(p.AskedAts, l.AskedAt)
		p.DoubtAts, p.DismissedAts = append(p.DoubtAts, l.DoubtAt), append(p.DismissedAts, l.DismissedAt)
	}
	return s.queries.SavePositions(ctx, queue, p)
}

func ledger(row *db.LockPositionsRow) *readstate.Ledger {
	return &readstate.Ledger{Position: readstate.Position{
		GroupID: row.GroupID, Known: row.Known, Counted: row.Counted,
		Origin: value(row.Origin), Placed: row.Origin != nil,
		StoredAt: moment(row.StoredAt), AskedAt: moment(row.AskedAt),
		DoubtAt: moment(row.DoubtAt), DismissedAt: moment(row.DismissedAt),
	}}
}

func cursor(row *db.LockStatesRow) readstate.Cursor {
	c := readstate.Cursor{
		Membership: readstate.Membership{
			Pair:     readstate.Pair{UserID: row.UserID, GroupID: row.GroupID},
			JoinedAt: moment(row.JoinedAt), LeftAt: moment(row.LeftAt), ListedAt: moment(row.ListedAt),
		},
		EstimateAt: moment(row.EstimateAt), ReadSeq: readstate.None, ExactAt: moment(row.ExactAt),
	}
	if row.ReadSeq != nil {
		c.ReadSeq = *row.ReadSeq
	}
	return c
}

func entryParams(entries []readstate.Entry, recordedAt time.Time) db.InsertJournalParams {
	p := db.InsertJournalParams{RecordedAt: recordedAt}
	for i := range entries {
		e := &entries[i]
		p.UserIDs, p.GroupIDs = append(p.UserIDs, e.UserID), append(p.GroupIDs, e.GroupID)
		p.ReceivedAts, p.Ids = append(p.ReceivedAts, e.At), append(p.Ids, identity(e.ID))
		p.Kinds, p.ContentTypes = append(p.Kinds, int16(e.Kind)), append(p.ContentTypes, e.ContentType)
		p.UnreadCounts, p.ReadSeqs = append(p.UnreadCounts, e.UnreadCount), append(p.ReadSeqs, e.ReadSeq)
		p.MaxSeqs, p.MessageIds = append(p.MaxSeqs, e.MaxSeq), append(p.MessageIds, e.MessageID)
		p.Produced, p.ReadPositions = append(p.Produced, e.Produced), append(p.ReadPositions, e.Read)
		p.Relatives, p.SentAts = append(p.Relatives, e.Relative), append(p.SentAts, e.SentAt)
		p.Positions = append(p.Positions, e.Position)
	}
	return p
}

func messageParams(messages []readstate.KnownMessage) (p db.SaveMessagesParams) {
	for i := range messages {
		m := &messages[i]
		p.GroupIDs, p.MessageIds = append(p.GroupIDs, m.GroupID), append(p.MessageIds, m.MessageID)
		p.ReceivedAts, p.Seqs = append(p.ReceivedAts, m.ReceivedAt), append(p.Seqs, m.Seq)
	}
	return p
}

func estimateParams(estimates []readstate.Estimate, updatedAt time.Time) db.MergeEstimatesParams {
	p := db.MergeEstimatesParams{UpdatedAt: updatedAt}
	for i := range estimates {
		e := &estimates[i]
		p.UserIDs, p.GroupIDs = append(p.UserIDs, e.UserID), append(p.GroupIDs, e.GroupID)
		p.Lags, p.Relatives = append(p.Lags, -e.Read), append(p.Relatives, e.Relative)
		p.ContentTypes, p.ByMessage = append(p.ContentTypes, e.ContentType), append(p.ByMessage, e.ByMessage)
		p.EstimateAts, p.EstimateIds = append(p.EstimateAts, e.At), append(p.EstimateIds, identity(e.ID))
	}
	return p
}

func exactParams(exacts []readstate.Exact, updatedAt time.Time) db.MergeExactsParams {
	p := db.MergeExactsParams{UpdatedAt: updatedAt}
	for i := range exacts {
		e := &exacts[i]
		p.UserIDs, p.GroupIDs = append(p.UserIDs, e.UserID), append(p.GroupIDs, e.GroupID)
		p.ReadSeqs, p.ExactAts = append(p.ReadSeqs, e.ReadSeq), append(p.ExactAts, e.At)
		p.ByMessage = append(p.ByMessage, e.ByMessage)
	}
	return p
}

func lowerParams(exacts []readstate.Exact, updatedAt time.Time) db.LowerExactsParams {
	p := db.LowerExactsParams{UpdatedAt: updatedAt}
	for i := range exacts {
		if e := &exacts[i]; e.Lowers {
			p.UserIDs, p.GroupIDs = append(p.UserIDs, e.UserID), append(p.GroupIDs, e.GroupID)
			p.ReadSeqs, p.ExactAts = append(p.ReadSeqs, e.ReadSeq), append(p.ExactAts, e.At)
		}
	}
	return p
}

func membershipParams(memberships []readstate.Membership, updatedAt time.Time) db.MergeMembershipParams {
	p := db.MergeMembershipParams{UpdatedAt: updatedAt}
	for i := range memberships {
		m := &memberships[i]
		p.UserIDs, p.GroupIDs = append(p.UserIDs, m.UserID), append(p.GroupIDs, m.GroupID)
		p.JoinedAts, p.LeftAts = append(p.JoinedAts, m.JoinedAt), append(p.LeftAts, m.LeftAt)
		p.ListedAts = append(p.ListedAts, m.ListedAt)
	}
	return p
}

// value and moment give a zero value for what a row does not have.
func value(number *int64) int64 {
	if number == nil {
		return 0
	}
	return *number
}

func moment(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

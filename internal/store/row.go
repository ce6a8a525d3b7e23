package store

import (
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"readmark/db"
	"readmark/internal/readstate"
)

// Between rows and values of the domain: what a row does not have is null there, and
// zero here.

func entry(row *db.Journal) readstate.Entry {
	e := readstate.Entry{
		Event: readstate.Event{
			Kind: readstate.EventKind(row.Kind), ID: readstate.ID(row.ID.Bytes), At: row.ReceivedAt.UTC(),
			UserID: row.UserID, GroupID: value(row.GroupID),
			UnreadCount: value(row.UnreadCount), ReadSeq: value(row.ReadSeq), MaxSeq: value(row.MaxSeq),
			Confirmed: value(row.Confirmed), Restarted: value(row.Restarted), OwnMaxSeq: value(row.OwnMaxSeq), AllowReadDecrease: value(row.AllowReadDecrease),
			ContentType: value(row.ContentType), MessageID: value(row.MessageID), SentAt: moment(row.SentAt),
		},
		Result: readstate.Result{
			HasRead: row.ReadPosition != nil, Read: value(row.ReadPosition), BeforeBaseSeq: value(row.BeforeBaseSeq),
			Own: value(row.Own), NeverStored: value(row.NeverStored),
		},
		RecordedAt: row.RecordedAt.UTC(),
	}
	if row.GroupUnsequenced != nil {
		e.Checkpoint = readstate.GroupPosition{
			GroupID: e.GroupID, HasSeq: row.GroupBaseSeq != nil,
			MaxSeq: value(row.GroupMaxSeq), MaxSeqTime: moment(row.GroupMaxSeqTime), BaseSeq: value(row.GroupBaseSeq),
			Unsequenced: *row.GroupUnsequenced, UnsequencedSince: moment(row.GroupUnsequencedSince),
			UnsequencedAt: moment(row.GroupUnsequencedAt),
			SeqGapAt:      moment(row.GroupSeqGapAt), DoubtedAt: moment(row.GroupDoubtedAt),
			RestartedAt: moment(row.GroupRestartedAt), RestartedFrom: value(row.GroupRestartedFrom),
			DismissedAt: moment(row.GroupDismissedAt),
		}
	}
	return e
}

func entries(rows []db.Journal) []readstate.Entry {
	list := make([]readstate.Entry, len(rows))
	for i := range rows {
		list[i] = entry(&rows[i])
	}
	return list
}

func position(row *db.Position) readstate.GroupPosition {
	return readstate.GroupPosition{
		GroupID: row.GroupID, HasSeq: row.BaseSeq != nil,
		MaxSeq: value(row.MaxSeq), MaxSeqTime: moment(row.MaxSeqTime), BaseSeq: value(row.BaseSeq),
		Unsequenced: row.Unsequenced, UnsequencedSince: moment(row.UnsequencedSince), UnsequencedAt: moment(row.UnsequencedAt),
		SeqGapAt: moment(row.SeqGapAt), DoubtedAt: moment(row.DoubtedAt),
		RestartedAt: moment(row.RestartedAt), RestartedFrom: value(row.RestartedFrom), DismissedAt: moment(row.DismissedAt),
		MovedAt: moment(row.MovedAt), UpdatedAt: moment(row.UpdatedAt),
	}
}

func readState(row *db.State) readstate.ReadState {
	return readstate.ReadState{
		Pair: readstate.Pair{UserID: row.UserID, GroupID: row.GroupID},
		Estimate: readstate.Estimate{
			At: moment(row.EstimateAt), ID: readstate.ID(row.EstimateID.Bytes), Read: value(row.EstimateRead),
			BeforeBaseSeq: value(row.EstimateBeforeBaseSeq), ByMessage: value(row.EstimateByMessage),
			ContentType: value(row.ContentType), FirstAt: moment(row.FirstEstimateAt),
		},
		Exact: readstate.ExactRead{
			At: moment(row.ExactAt), Seq: value(row.ReadSeq), ReachedAt: moment(row.ReachedAt),
			ByMessage: value(row.ExactByMessage), FirstAt: moment(row.FirstExactAt),
			ResetAt: moment(row.ResetAt), ResetID: readstate.ID(row.ResetID.Bytes),
			Capped: row.MaxSeqCap != nil, MaxSeqCap: value(row.MaxSeqCap),
			SnapshotAt: moment(row.SnapshotAt), SnapshotID: readstate.ID(row.SnapshotID.Bytes), SaidSeq: value(row.SaidSeq),
		},
		Membership: readstate.Membership{
			JoinedAt: moment(row.JoinedAt), LeftAt: moment(row.LeftAt), ListedAt: moment(row.ListedAt),
		},
		Mute:      readstate.Mute{MutedAt: moment(row.MutedAt), UnmutedAt: moment(row.UnmutedAt)},
		UpdatedAt: row.UpdatedAt.UTC(),
	}
}

func insertParams(list []readstate.Entry, recordedAt time.Time) db.InsertEntriesParams {
	p := db.InsertEntriesParams{RecordedAt: recordedAt}
	for i := range list {
		e := &list[i]
		moves := e.Checkpoint.GroupID != ""
		p.UserIDs, p.ReceivedAts, p.Ids = append(p.UserIDs, e.UserID), append(p.ReceivedAts, e.At), append(p.Ids, identity(e.ID))
		p.Kinds, p.GroupIDs = append(p.Kinds, string(e.Kind)), append(p.GroupIDs, optional(e.GroupID))
		p.UnreadCounts = append(p.UnreadCounts, when(e.Kind == readstate.EventReceipt, e.UnreadCount))
		p.ReadSeqs = append(p.ReadSeqs, when(hasReadSeq(&e.Event), e.ReadSeq))
		p.MaxSeqs = append(p.MaxSeqs, when(e.Kind == readstate.EventSnapshot, e.MaxSeq))
		snapshot := e.Kind == readstate.EventSnapshot
		p.Confirmed, p.OwnMaxSeqs = append(p.Confirmed, when(snapshot, e.Confirmed)), append(p.OwnMaxSeqs, when(snapshot, e.OwnMaxSeq))
		p.Restarted = append(p.Restarted, when(snapshot, e.Restarted))
		p.AllowReadDecreases = append(p.AllowReadDecreases, when(snapshot, e.AllowReadDecrease))
		p.Owns, p.NeverStored = append(p.Owns, when(snapshot, e.Own)), append(p.NeverStored, when(e.NeverStored > 0, e.NeverStored))
		p.ContentTypes = append(p.ContentTypes, when(e.Kind == readstate.EventMessage || e.Kind.IsReceipt(), e.ContentType))
		p.MessageIds, p.SentAts = append(p.MessageIds, optional(e.MessageID)), append(p.SentAts, bound(e.SentAt))
		p.ReadPositions = append(p.ReadPositions, when(e.HasRead, e.Read))
		p.BeforeBaseSeqs = append(p.BeforeBaseSeqs, when(e.HasRead, e.BeforeBaseSeq))
		c := &e.Checkpoint
		p.GroupMaxSeqs, p.GroupBaseSeqs = append(p.GroupMaxSeqs, when(c.HasSeq, c.MaxSeq)), append(p.GroupBaseSeqs, when(c.HasSeq, c.BaseSeq))
		p.GroupUnsequenced = append(p.GroupUnsequenced, when(moves, c.Unsequenced))
		p.GroupMaxSeqTimes = append(p.GroupMaxSeqTimes, bound(c.MaxSeqTime))
		p.GroupUnsequencedSinces = append(p.GroupUnsequencedSinces, bound(c.UnsequencedSince))
		p.GroupUnsequencedAts = append(p.GroupUnsequencedAts, bound(c.UnsequencedAt))
		p.GroupDoubtedAts = append(p.GroupDoubtedAts, bound(c.DoubtedAt))
		restarted := !c.RestartedAt.IsZero()
		p.GroupRestartedAts = append(p.GroupRestartedAts, bound(c.RestartedAt))
		p.GroupRestartedFroms = append(p.GroupRestartedFroms, when(restarted, c.RestartedFrom))
		p.GroupSeqGapAts = append(p.GroupSeqGapAts, bound(c.SeqGapAt))
		p.GroupDismissedAts = append(p.GroupDismissedAts, bound(c.DismissedAt))
	}
	return p
}

// hasReadSeq reports whether an event tells a seq: a message without one does not.
func hasReadSeq(e *readstate.Event) bool {
	switch e.Kind {
	case readstate.EventMessage:
		return e.ReadSeq > 0
	case readstate.EventServerReceipt, readstate.EventGroupRead, readstate.EventSnapshot:
		return true
	default:
		return false
	}
}

func correctParams(list []readstate.Entry, recordedAt time.Time) db.CorrectEntriesParams {
	all := insertParams(list, recordedAt)
	p := db.CorrectEntriesParams{
		RecordedAt: recordedAt, Oldest: list[0].At, UserIDs: all.UserIDs, ReceivedAts: all.ReceivedAts, Ids: all.Ids,
		ReadPositions: all.ReadPositions, BeforeBaseSeqs: all.BeforeBaseSeqs,
		Owns: all.Owns, NeverStored: all.NeverStored,
		GroupMaxSeqs: all.GroupMaxSeqs, GroupMaxSeqTimes: all.GroupMaxSeqTimes, GroupBaseSeqs: all.GroupBaseSeqs,
		GroupUnsequenced: all.GroupUnsequenced, GroupUnsequencedSinces: all.GroupUnsequencedSinces,
		GroupUnsequencedAts: all.GroupUnsequencedAts,
		GroupSeqGapAts:      all.GroupSeqGapAts, GroupDoubtedAts: all.GroupDoubtedAts,
		GroupRestartedAts: all.GroupRestartedAts, GroupRestartedFroms: all.GroupRestartedFroms, GroupDismissedAts: all.GroupDismissedAts,
	}
	for i := range list {
		if list[i].At.Before(p.Oldest) {
			p.Oldest = list[i].At
		}
	}
	return p
}

func stateParams(list []readstate.ReadState) db.SaveStatesParams {
	var p db.SaveStatesParams
	for i := range list {
		s := &list[i]
		estimated, exact := !s.Estimate.At.IsZero(), !s.Exact.At.IsZero()
		p.UserIDs, p.GroupIDs = append(p.UserIDs, s.UserID), append(p.GroupIDs, s.GroupID)
		p.EstimateReads = append(p.EstimateReads, when(estimated, s.Estimate.Read))
		p.EstimateBeforeBaseSeqs = append(p.EstimateBeforeBaseSeqs, when(estimated, s.Estimate.BeforeBaseSeq))
		p.EstimateAts = append(p.EstimateAts, bound(s.Estimate.At))
		p.EstimateIds = append(p.EstimateIds, pgtype.UUID{Bytes: s.Estimate.ID, Valid: estimated})
		p.EstimateByMessages = append(p.EstimateByMessages, when(estimated, s.Estimate.ByMessage))
		p.ContentTypes = append(p.ContentTypes, when(estimated, s.Estimate.ContentType))
		p.FirstEstimateAts = append(p.FirstEstimateAts, bound(s.Estimate.FirstAt))
		p.ReadSeqs, p.ExactAts = append(p.ReadSeqs, when(exact, s.Exact.Seq)), append(p.ExactAts, bound(s.Exact.At))
		p.ExactByMessages = append(p.ExactByMessages, when(exact, s.Exact.ByMessage))
		p.ReachedAts = append(p.ReachedAts, bound(s.Exact.ReachedAt))
		p.FirstExactAts = append(p.FirstExactAts, bound(s.Exact.FirstAt))
		p.ResetAts = append(p.ResetAts, bound(s.Exact.ResetAt))
		p.ResetIds = append(p.ResetIds, pgtype.UUID{Bytes: s.Exact.ResetID, Valid: !s.Exact.ResetAt.IsZero()})
		p.MaxSeqCaps = append(p.MaxSeqCaps, when(s.Exact.Capped, s.Exact.MaxSeqCap))
		told := !s.Exact.SnapshotAt.IsZero()
		p.SnapshotAts, p.SaidSeqs = append(p.SnapshotAts, bound(s.Exact.SnapshotAt)), append(p.SaidSeqs, when(told, s.Exact.SaidSeq))
		p.SnapshotIds = append(p.SnapshotIds, pgtype.UUID{Bytes: s.Exact.SnapshotID, Valid: told})
		p.JoinedAts, p.LeftAts = append(p.JoinedAts, bound(s.JoinedAt)), append(p.LeftAts, bound(s.LeftAt))
		p.MutedAts, p.UnmutedAts = append(p.MutedAts, bound(s.MutedAt)), append(p.UnmutedAts, bound(s.UnmutedAt))
		p.ListedAts, p.UpdatedAts = append(p.ListedAts, bound(s.ListedAt)), append(p.UpdatedAts, s.UpdatedAt)
	}
	return p
}

func positionParams(list []readstate.GroupPosition) db.SavePositionsParams {
	var p db.SavePositionsParams
	for i := range list {
		g := &list[i]
		p.GroupIDs, p.Unsequenced = append(p.GroupIDs, g.GroupID), append(p.Unsequenced, g.Unsequenced)
		p.MaxSeqs, p.BaseSeqs = append(p.MaxSeqs, when(g.HasSeq, g.MaxSeq)), append(p.BaseSeqs, when(g.HasSeq, g.BaseSeq))
		p.MaxSeqTimes = append(p.MaxSeqTimes, bound(g.MaxSeqTime))
		p.UnsequencedSinces = append(p.UnsequencedSinces, bound(g.UnsequencedSince))
		p.UnsequencedAts = append(p.UnsequencedAts, bound(g.UnsequencedAt))
		restarted := !g.RestartedAt.IsZero()
		p.DoubtedAts, p.RestartedAts = append(p.DoubtedAts, bound(g.DoubtedAt)), append(p.RestartedAts, bound(g.RestartedAt))
		p.RestartedFroms = append(p.RestartedFroms, when(restarted, g.RestartedFrom))
		p.SeqGapAts, p.DismissedAts = append(p.SeqGapAts, bound(g.SeqGapAt)), append(p.DismissedAts, bound(g.DismissedAt))
		p.MovedAts, p.UpdatedAts = append(p.MovedAts, bound(g.MovedAt)), append(p.UpdatedAts, bound(g.UpdatedAt))
	}
	return p
}

// identity is pgtype's UUID: google's one would be encoded through database/sql's
// slow interface.
func identity(id readstate.ID) pgtype.UUID { return pgtype.UUID{Bytes: id, Valid: true} }

// value and moment give a zero value for what a row does not have.
func value[T any](v *T) (none T) {
	if v == nil {
		return none
	}
	return *v
}

func moment(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// optional, bound and when give null for what is not there.
func optional(s string) *string { return when(s != "", s) }

func bound(t time.Time) *time.Time { return when(!t.IsZero(), t) }

func when[T any](there bool, v T) *T {
	if !there {
		return nil
	}
	return &v
}

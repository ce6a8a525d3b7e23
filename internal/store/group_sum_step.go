package store

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"readmark/db"
	"readmark/internal/readstate"
)

const (
	// summedStates is how many states one step sums, at most.
	summedStates = 10_000
	// summedGroups is how many groups one step sums, at most.
	summedGroups = 50
)

// groupPart is a large group of which some users are summed.
type groupPart struct {
	sum   readstate.GroupSum
	after string // the last user
	mark  pgtype.UUID
	asOf  time.Time // of the first users
	// again: something of the group has changed meanwhile. The sum is right up to rightUntil then.
	again      bool
	rightUntil time.Time
}

// changed notes that something of the group has changed after a moment.
func (p *groupPart) changed(after time.Time) {
	if !p.again || after.Before(p.rightUntil) {
		p.again, p.rightUntil = true, after
	}
}

// Sum sums some of the groups that have been stale for longest, or the next users of a large one. It gives how many
// groups it has summed to the end, and whether there is more to do.
func (w *GroupSumWork) Sum(ctx context.Context) (summed int, more bool, err error) {
	asOf := w.asOf()
	if asOf.IsZero() || w.cursor == nil {
		return 0, false, nil
	}
	if w.part != nil {
		return w.sumPart(ctx)
	}
	stale, err := w.queries.ListStaleGroupSums(ctx, w.pool, summedGroups)
	if err != nil {
		w.forget()
		return 0, false, fmt.Errorf("list groups to sum: %w", translate(err))
	}
	if len(stale) == 0 {
		return 0, false, nil
	}
	seen, summed, err := w.sumGroups(ctx, stale, asOf)
	return summed, err == nil && (w.part != nil || seen < len(stale) || len(stale) == summedGroups), err
}

// sumGroups sums groups one after the other, until it has read as many states as a step may. The group in which that
// ends becomes the part.
func (w *GroupSumWork) sumGroups(ctx context.Context, stale []db.StaleGroupSum, asOf time.Time) (seen, summed int, err error) {
	var part *groupPart
	err = w.step(ctx, "sum groups", func(tx pgx.Tx, _ *db.HoldGroupSumsRow) error {
		seen, part = 0, nil
		take := db.TakeStaleGroupSumsParams{}
		sums := map[string]readstate.GroupSum{}
		for left := w.states; seen < len(stale) && left > 0; seen++ {
			one := &stale[seen]
			sum, read, last, err := w.sumNext(ctx, tx, one.GroupID, "", left)
			if err != nil {
				return err
			}
			if left -= read; left == 0 {
				part = &groupPart{sum: sum, after: last, mark: one.Mark, asOf: asOf}
				continue
			}
			take.GroupIDs, take.Marks = append(take.GroupIDs, sum.GroupID), append(take.Marks, one.Mark)
			sums[sum.GroupID] = sum
		}
		taken, err := w.queries.TakeStaleGroupSums(ctx, tx, take)
		if err != nil {
			return err
		}
		done := make([]readstate.GroupSum, len(taken)) // the others were erased meanwhile, or users of them
		for i, groupID := range taken {
			done[i] = sums[groupID]
		}
		summed = len(done)
		return w.saveSums(ctx, tx, done, asOf)
	})
	if err == nil {
		w.part, w.changed = part, true
	}
	return seen, summed, err
}

// sumPart sums the next users of the part.
func (w *GroupSumWork) sumPart(ctx context.Context) (summed int, more bool, err error) {
	part := *w.part
	err = w.step(ctx, "sum a large group", func(tx pgx.Tx, _ *db.HoldGroupSumsRow) error {
		next, read, last, err := w.sumNext(ctx, tx, part.sum.GroupID, part.after, w.states)
		if err != nil {
			return err
		}
		part.sum.Merge(&next)
		if part.after = last; read == w.states {
			more = true
			return nil
		}
		there, err := w.endPart(ctx, tx, &part)
		if err != nil || !there { // it was erased meanwhile, or users of it
			return err
		}
		summed = 1
		return w.saveSums(ctx, tx, []readstate.GroupSum{part.sum}, part.asOf)
	})
	switch {
	case err != nil:
		return 0, false, err
	case more:
		w.part = &part
	default:
		w.part, w.changed = nil, true
	}
	return summed, true, nil
}

// endPart takes a group out of those that are stale, unless it has changed meanwhile, and reports whether its sum
// counts.
func (w *GroupSumWork) endPart(ctx context.Context, tx pgx.Tx, part *groupPart) (there bool, err error) {
	if part.again {
		kept, err := w.queries.KeepStaleGroupSum(ctx, tx, db.KeepStaleGroupSumParams{
			GroupID: part.sum.GroupID, Mark: part.mark, RightUntil: part.rightUntil,
		})
		return kept > 0, err
	}
	taken, err := w.queries.TakeStaleGroupSums(ctx, tx, db.TakeStaleGroupSumsParams{
		GroupIDs: []string{part.sum.GroupID}, Marks: []pgtype.UUID{part.mark},
	})
	return len(taken) > 0, err
}

// sumNext sums the next states of a group behind a user, so many at most, and says how many they were, and up to whom.
func (w *GroupSumWork) sumNext(ctx context.Context, tx pgx.Tx, groupID, after string, limit int32) (
	sum readstate.GroupSum, read int32, last string, err error,
) {
	if apart, err := onCitus(ctx, tx); err != nil {
		return sum, 0, "", err
	} else if apart {
		return w.sumGroupApart(ctx, tx, db.ListServedByGroupParams{GroupID: groupID, AfterUserID: after, MaxRows: limit})
	}
	row, err := w.queries.SumGroupPart(ctx, tx, db.SumGroupPartParams{GroupID: groupID, AfterUserID: after, MaxRows: limit})
	return readstate.GroupSum{
		GroupID: groupID, Users: row.Users, UsersWithUnread: row.UsersWithUnread, UnreadCount: row.UnreadCount, MaxUnread: row.MaxUnread,
		Exact: row.Exact, LastReadAt: moment(row.LastReadAt),
	}, int32(row.Users), row.LastUserID, err //nolint:gosec // no larger than the limit
}

// saveSums writes sums, and takes groups out that have nobody any more.
func (w *GroupSumWork) saveSums(ctx context.Context, tx pgx.Tx, sums []readstate.GroupSum, asOf time.Time) error {
	save := db.SaveGroupSumsParams{SummedAt: asOf}
	var gone []string
	for i := range sums {
		sum := &sums[i]
		if sum.Users == 0 {
			gone = append(gone, sum.GroupID)
			continue
		}
		save.GroupIDs, save.Users = append(save.GroupIDs, sum.GroupID), append(save.Users, sum.Users)
		save.UsersWithUnread, save.UnreadCounts = append(save.UsersWithUnread, sum.UsersWithUnread), append(save.UnreadCounts, sum.UnreadCount)
		save.MaxUnreads, save.Exacts = append(save.MaxUnreads, sum.MaxUnread), append(save.Exacts, sum.Exact)
		save.LastReadAts = append(save.LastReadAts, bound(sum.LastReadAt))
	}
	var queue pipeline
	if len(save.GroupIDs) > 0 {
		if err := w.queries.SaveGroupSums(ctx, &queue, save); err != nil {
			return err
		}
	}
	if len(gone) > 0 {
		if err := w.queries.DeleteGroupSums(ctx, &queue, gone); err != nil {
			return err
		}
	}
	return queue.send(ctx, tx)
}

// markErasedSums has groups be summed anew of which states were erased: the feed does not tell whose they were.
func (s *Store) markErasedSums(ctx context.Context, conn db.DBTX, groupIDs []string) error {
	if len(groupIDs) == 0 {
		return nil
	}
	return s.queries.MarkErasedGroupSums(ctx, conn, db.MarkErasedGroupSumsParams{
		GroupIDs: groupIDs, Mark: identity(readstate.ID(uuid.New())), RightUntil: s.recordedAt(),
	})
}

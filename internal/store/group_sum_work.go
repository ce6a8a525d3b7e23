package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"readmark/db"
	"readmark/internal/readstate"
)

const (
	// savedInterval is how often it is stored up to when the sums are right, while there is something to do;
	// else it is cursorInterval.
	savedInterval = time.Second
)

// GroupSumWork is the work of the process that keeps the sums of groups, in steps. Each step is a transaction, which
// goes on where the one before has ended, whoever did it; of a large group that is summed in several steps, the
// process has the part. It is used by one goroutine.
type GroupSumWork struct {
	leasedWork[db.HoldGroupSumsRow]

	asOf func() time.Time
	// states is how many states one step sums.
	states int32
	// cursor is the place in changes, nil where it is to be read. What was acknowledged before followed was seen.
	cursor   *readstate.FeedCursor
	followed time.Time
	walking  bool       // any group may have changed, and some are still to be marked
	part     *groupPart // nil: no group is summed in part
	changed  bool       // since progress was stored at savedAt
	savedAt  time.Time
	// rightUntil is what was stored last; zero: the sums are not there yet.
	rightUntil time.Time
}

// GroupSumWork returns the work. Leases go by the clock now; asOf gives a moment that no read of the primary which
// begins after the call is older than, and the zero time while nothing can be read.
func (s *Store) GroupSumWork(now, asOf func() time.Time) *GroupSumWork {
	w := &GroupSumWork{asOf: asOf, states: summedStates, leasedWork: newLeasedWork(s, "sums of groups", now, leaseQueries[db.HoldGroupSumsRow]{
		take: func(ctx context.Context, conn db.DBTX, p db.LeaseRemindersParams) (int64, error) {
			return s.queries.LeaseGroupSums(ctx, conn, db.LeaseGroupSumsParams(p))
		},
		hold: func(ctx context.Context, conn db.DBTX, p db.HoldRemindersParams) (db.HoldGroupSumsRow, error) {
			return s.queries.HoldGroupSums(ctx, conn, db.HoldGroupSumsParams(p))
		},
		release: s.queries.ReleaseGroupSums,
	})}
	w.forgotten = func() { w.cursor, w.part, w.savedAt, w.rightUntil = nil, nil, time.Time{}, time.Time{} }
	return w
}

// Follow reads what has changed, has the groups be summed that it names, and reports whether there is more at once.
func (w *GroupSumWork) Follow(ctx context.Context) (more bool, err error) {
	if w.cursor == nil {
		if err := w.begin(ctx); err != nil {
			return false, err
		}
	}
	asOf := w.asOf()
	if asOf.IsZero() || w.cursor == nil {
		return !asOf.IsZero(), w.beginAnew(ctx, asOf)
	}
	round, err := w.feedPage(ctx, feedRound{Store: w.Store, since: w.cursor, limit: 1, onlyNames: true})
	if errors.Is(err, readstate.ErrGone) {
		return true, w.beginAnew(ctx, asOf)
	}
	if err != nil {
		return false, err
	}
	followed := w.followed
	if !round.page.More && asOf.After(followed) {
		followed = asOf
	}
	if groups, users := round.movedGroups(), round.changedUsers(); len(groups) > 0 || len(users) > 0 || round.everything {
		err = w.markChanged(ctx, groups, users, &round, followed)
	} else {
		w.cursor, w.followed = &round.page.Next, followed
	}
	return err == nil && round.page.More, err
}

// changedUsers are the users of whom rows of changes name no group.
func (r *feedRound) changedUsers() []string {
	all := map[string]bool{}
	for _, set := range []map[string]bool{r.users, r.lookups} {
		for userID := range set {
			all[userID] = true
		}
	}
	return sortedKeys(all)
}

// begin reads the place that is stored, if there is one.
func (w *GroupSumWork) begin(ctx context.Context) error {
	return w.step(ctx, "begin to sum groups", func(_ pgx.Tx, held *db.HoldGroupSumsRow) error {
		w.cursor, w.followed, w.walking = nil, moment(held.FollowedUntil), held.WalkRightUntil != nil
		if held.FeedCursor == nil {
			return nil
		}
		cursor, err := readstate.ParseFeedCursor(*held.FeedCursor)
		w.cursor = &cursor
		return err
	})
}

// beginAnew goes on from now where it is not known what has changed: any group may have.
func (w *GroupSumWork) beginAnew(ctx context.Context, asOf time.Time) error {
	if asOf.IsZero() {
		return nil
	}
	page, err := w.Changes(ctx, nil, readstate.FeedFilter{}, 1)
	if err != nil {
		return err
	}
	return w.step(ctx, "begin to sum groups anew", func(tx pgx.Tx, held *db.HoldGroupSumsRow) error {
		if err := w.saveWalk(ctx, tx, held, w.followed); err != nil {
			return err
		}
		w.cursor, w.followed = &page.Next, asOf
		return w.saveCursor(ctx, tx)
	})
}

func (w *GroupSumWork) saveCursor(ctx context.Context, tx pgx.Tx) error {
	w.changed = true
	return w.queries.SaveGroupSumCursor(ctx, tx, db.SaveGroupSumCursorParams{FeedCursor: w.cursor.String(), FollowedUntil: w.followed})
}

// firstRightUntil is up to when no sum is right: it is not known what was summed.
func firstRightUntil() time.Time { return time.Unix(0, 0).UTC() }

// saveWalk has all groups be marked, which are right up to a moment; zero: up to none.
func (w *GroupSumWork) saveWalk(ctx context.Context, tx pgx.Tx, held *db.HoldGroupSumsRow, rightUntil time.Time) error {
	if rightUntil.IsZero() {
		rightUntil = firstRightUntil()
	}
	if held.WalkRightUntil != nil {
		rightUntil = earliest(rightUntil, *held.WalkRightUntil)
	}
	w.walking = true
	return w.queries.SaveGroupSumWalk(ctx, tx, db.SaveGroupSumWalkParams{WalkRightUntil: &rightUntil, WalkAfterGroupID: new("")})
}

// markChanged has groups be summed that a page of changes names.
func (w *GroupSumWork) markChanged(ctx context.Context, groups, users []string, round *feedRound, followed time.Time) error {
	return w.step(ctx, "follow changes for sums of groups", func(tx pgx.Tx, held *db.HoldGroupSumsRow) error {
		if len(users) > 0 {
			theirs, err := w.queries.ListGroupIDsOfUsers(ctx, tx, users)
			if err != nil {
				return err
			}
			groups = append(groups, theirs...)
		}
		if err := w.mark(ctx, tx, groups, w.followed); err != nil {
			return err
		}
		if round.everything {
			if err := w.saveWalk(ctx, tx, held, w.followed); err != nil {
				return err
			}
		}
		w.cursor, w.followed = &round.page.Next, followed
		return w.saveCursor(ctx, tx)
	})
}

// mark has groups be summed, whose sums are right up to a moment.
func (w *GroupSumWork) mark(ctx context.Context, tx pgx.Tx, groups []string, rightUntil time.Time) error {
	groups = slices.DeleteFunc(groups, func(groupID string) bool { return groupID == "" }) // a lookup of all groups
	if len(groups) == 0 {
		return nil
	}
	if w.part != nil && slices.Contains(groups, w.part.sum.GroupID) {
		w.part.changed(rightUntil)
	}
	return w.queries.MarkGroupSums(ctx, tx, db.MarkGroupSumsParams{GroupIDs: groups, RightUntil: rightUntil, Mark: identity(readstate.ID(uuid.New()))})
}

// Walk has the next groups be summed where any may have changed, and reports whether there is more to do.
func (w *GroupSumWork) Walk(ctx context.Context) (more bool, err error) {
	if !w.walking || w.cursor == nil {
		return false, nil
	}
	err = w.step(ctx, "look up groups to sum", func(tx pgx.Tx, held *db.HoldGroupSumsRow) error {
		w.walking = held.WalkRightUntil != nil
		if !w.walking {
			return nil
		}
		after := value(held.WalkAfterGroupID)
		there, err := w.listGroupIDs(ctx, tx, after, walkedGroups)
		if err != nil {
			return err
		}
		summed, err := w.queries.ListSummedGroupIDs(ctx, tx, db.ListSummedGroupIDsParams{AfterGroupID: after, MaxRows: walkedGroups})
		if err != nil {
			return err
		}
		groups := slices.Concat(there, summed) // also those that are gone
		slices.Sort(groups)
		groups = slices.Compact(groups)
		next := db.SaveGroupSumWalkParams{}
		if len(groups) >= walkedGroups {
			groups = groups[:walkedGroups]
			next = db.SaveGroupSumWalkParams{WalkRightUntil: held.WalkRightUntil, WalkAfterGroupID: &groups[walkedGroups-1]}
		}
		w.walking, w.changed, more = next.WalkRightUntil != nil, true, len(groups) > 0
		return errors.Join(w.mark(ctx, tx, slices.Clone(groups), held.WalkRightUntil.UTC()), w.queries.SaveGroupSumWalk(ctx, tx, next))
	})
	return more && err == nil, err
}

// Save stores up to when all sums are right, every now and then, and gives that: the zero time where groups are summed
// for the first time.
func (w *GroupSumWork) Save(ctx context.Context) (rightUntil time.Time, err error) {
	since := w.at().Sub(w.savedAt)
	if w.cursor == nil || since < savedInterval || !w.changed && since < cursorInterval {
		return w.rightUntil, nil
	}
	err = w.step(ctx, "save the moment of sums of groups", func(tx pgx.Tx, held *db.HoldGroupSumsRow) error {
		oldest, err := w.queries.OldestStaleGroupSum(ctx, tx)
		if err != nil {
			return err
		}
		rightUntil = w.followed
		for _, bound := range []*time.Time{oldest, held.WalkRightUntil} {
			if bound != nil {
				rightUntil = earliest(rightUntil, *bound)
			}
		}
		if !rightUntil.After(firstRightUntil()) {
			rightUntil = time.Time{}
		}
		return errors.Join(w.saveCursor(ctx, tx), w.queries.SaveGroupSumsRightUntil(ctx, tx, bound(rightUntil)))
	})
	if err != nil {
		return time.Time{}, err
	}
	w.rightUntil, w.savedAt, w.changed = rightUntil, w.at(), false
	return rightUntil, nil
}

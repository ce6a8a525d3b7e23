package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"readmark/db"
	"readmark/internal/readstate"
)

// Events from the future were dated by a clock that was wrong. As they are, they would come
// after everything that arrives until then: counts would stand still for years. When they
// arrived cannot be known, only that it was before now. So they get arrivals of now, in their
// order, in the journal itself, and states and positions are made from it as for any event
// that comes late.

const (
	// futureGroups is of how many groups events are set right before it is asked for more.
	futureGroups = 100
	// restampAttempts is how often a group is tried when PostgreSQL takes it back.
	restampAttempts = 5
	// looksPerRest is how many looks without an event from the future go without one for what
	// else may be.
	looksPerRest = 60
	// checksAhead is above the interval of the sweep.
	checksAhead = 30 * 24 * time.Hour
)

// FutureEvents are events whose arrival lies further ahead of the database's clock than
// [readstate.MaxAhead].
type FutureEvents struct {
	Count  int64
	Newest time.Time // the latest arrival
}

// CountFutureEvents says what the journal has from the future, by a new measurement of the
// database's clock.
func (s *Store) CountFutureEvents(ctx context.Context) (FutureEvents, error) {
	if err := s.MeasureClock(ctx); err != nil {
		return FutureEvents{}, err
	}
	row, err := s.queries.CountFutureEvents(ctx, s.pool, s.latest())
	if err != nil {
		return FutureEvents{}, fmt.Errorf("count events from the future: %w", translate(err))
	}
	return FutureEvents{Count: row.Events, Newest: moment(row.Newest)}, nil
}

// latest is the latest moment that some process may have noted.
func (s *Store) latest() time.Time { return s.now().Add(readstate.MaxAhead) }

// RestampFutureEvents gives events from the future arrivals of now, in their order, and makes
// states and positions anew from there. It says what it has set right; where another process
// did that meanwhile, that is less than was found. What else lies in the future is dated now,
// too. It blocks for a time that grows with the number of events.
func (s *Store) RestampFutureEvents(ctx context.Context) (FutureEvents, error) {
	found, err := s.CountFutureEvents(ctx)
	if err != nil {
		return FutureEvents{}, err
	}
	done := FutureEvents{Newest: found.Newest}
	if found.Count > 0 {
		if done.Count, err = s.restampEvents(ctx); err != nil {
			return done, fmt.Errorf("restamp events from the future: %w", translate(err))
		}
	}
	if found.Count == 0 && s.looks.Add(1)%looksPerRest != 1 {
		return done, nil
	}
	if err := s.restampRest(ctx); err != nil {
		return done, fmt.Errorf("restamp what is from the future: %w", translate(err))
	}
	return done, nil
}

func (s *Store) restampEvents(ctx context.Context) (restamped int64, err error) {
	for {
		groups, err := s.queries.ListFutureGroups(ctx, s.pool, db.ListFutureGroupsParams{Latest: s.latest(), MaxRows: futureGroups})
		if err != nil {
			return restamped, err
		}
		for _, groupID := range groups {
			n, err := s.restampAttempt(ctx, groupID)
			restamped += n
			if err != nil {
				return restamped, err
			}
		}
		if len(groups) < futureGroups {
			break
		}
	}
	// Receipts that name no group make no state.
	err = s.withDays(ctx, []time.Time{day(s.now())}, func() error {
		return s.besideErasures(ctx, func(tx pgx.Tx) error {
			users, err := s.restamp(ctx, tx, nil, s.latest(), s.recordedAt(), new(time.Time))
			restamped += int64(len(users))
			return err
		})
	})
	return restamped, err
}

func (s *Store) restampAttempt(ctx context.Context, groupID string) (restamped int64, err error) {
	for attempt := 1; ; attempt++ {
		err = s.withDays(ctx, []time.Time{day(s.now())}, func() (err error) {
			restamped, err = s.restampGroup(ctx, groupID)
			return err
		})
		again := hasState(err, stateDeadlock) || hasState(err, stateSerializationFailure)
		if !again || attempt == restampAttempts {
			return restamped, err
		}
	}
}

// restamp moves events of a group, or those that name none, to just before a moment, gives
// their users and where they begin.
func (s *Store) restamp(
	ctx context.Context, conn db.DBTX, groupID *string, latest, now time.Time, first *time.Time,
) (users []string, err error) {
	n, err := s.queries.CountFutureEventsOfGroup(ctx, conn, db.CountFutureEventsOfGroupParams{Latest: latest, GroupID: groupID})
	if err != nil || n == 0 {
		return nil, err
	}
	*first = now.Add(-time.Duration(n) * time.Microsecond)
	return s.queries.RestampFutureEvents(ctx, conn, db.RestampFutureEventsParams{
		Latest: latest, GroupID: groupID, FirstAt: *first, RecordedAt: now,
	})
}

// restampGroup is one transaction.
func (s *Store) restampGroup(ctx context.Context, groupID string) (restamped int64, err error) {
	conn, err := s.pool.acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	defer func() {
		if err != nil {
			rollBack(ctx, conn)
		}
	}()
	t := transaction{Store: s, conn: conn, groups: []string{groupID}, anyDay: true}
	var queue pipeline
	beginOn(ctx, conn, &queue, pgx.TxOptions{})
	err = errors.Join(s.queries.ShareErasures(ctx, &queue, eraseLock), s.addPositions(ctx, &queue, t.groups))
	var locked readstate.GroupPosition
	err = errors.Join(err, s.lockPositions(ctx, &queue, t.groups, func(p readstate.GroupPosition) { locked = p }))
	if err := errors.Join(err, queue.send(ctx, conn)); err != nil {
		return 0, err
	}
	t.recordedAt = s.recordedAt()
	var first time.Time
	users, err := s.restamp(ctx, conn, &groupID, s.latest(), t.recordedAt, &first)
	if err == nil && len(users) > 0 {
		err = t.rewind(ctx, &locked, users, first)
	}
	if err == nil {
		err = t.applyAll(ctx)
	}
	return int64(len(users)), err
}

// rewind has states and the position be what they were before the events that were moved, and
// loads what has to be applied anew.
func (t *transaction) rewind(ctx context.Context, locked *readstate.GroupPosition, users []string, first time.Time) error {
	latest := t.latest()
	if locked.MovedAt.After(latest) { // by an event that was moved
		locked.MovedAt = time.Time{}
	}
	if locked.UpdatedAt.After(latest) {
		locked.UpdatedAt = time.Time{}
	}
	groupID := locked.GroupID
	t.from = map[string]place{groupID: {at: first}}
	t.loaded = readstate.Loaded{
		Positions: map[string]readstate.GroupPosition{groupID: *locked}, States: map[readstate.Pair]readstate.ReadState{},
		Start: map[string]readstate.GroupPosition{},
	}
	t.change.Positions = append(t.change.Positions, groupID)
	dropped, err := t.queries.GetDroppedUntil(ctx, t.conn)
	if err != nil {
		return err
	}
	users = distinct(users)
	rows, err := t.queries.TakeStates(ctx, t.conn, db.TakeStatesParams{UserIDs: users, GroupID: groupID})
	if err != nil {
		return err
	}
	var rewound []readstate.ReadState
	for i := range rows {
		state := readState(&rows[i])
		journal, err := t.queries.ListPairJournal(ctx, t.conn, db.ListPairJournalParams{
			UserID: state.UserID, OnlyGroupID: &groupID, Moment: first.Add(-time.Microsecond),
		})
		if err != nil {
			return err
		}
		state = state.Rewind(latest, first, entries(journal), !state.KnownBefore(moment(dropped)))
		if state == (readstate.ReadState{Pair: state.Pair}) {
			continue // nothing was known before
		}
		rewound = append(rewound, state)
		t.loaded.States[state.Pair] = state
	}
	if len(rewound) > 0 {
		slices.SortFunc(rewound, func(x, y readstate.ReadState) int { return x.Compare(y.Pair) })
		if err := t.queries.SaveStates(ctx, t.conn, stateParams(rewound)); err != nil {
			return err
		}
	}
	for _, userID := range users {
		pair := readstate.Pair{UserID: userID, GroupID: groupID}
		t.change.Pairs = append(t.change.Pairs, pair)
		if t.canLookUp { // OpenIM's word of before may come after newer one now
			t.lookups = append(t.lookups, readstate.Lookup{Pair: pair, DueAt: t.recordedAt, Background: true})
		}
	}
	var queue pipeline
	t.askJournal(ctx, &queue)
	return queue.send(ctx, t.conn)
}

// listRestamped gives those of some events that have come before, with an arrival that was replaced
// since.
func (s *Store) listRestamped(ctx context.Context, conn db.DBTX, events []readstate.Event) ([]pgtype.UUID, error) {
	ids := make([]pgtype.UUID, len(events))
	for i := range events {
		ids[i] = identity(events[i].ID)
	}
	return s.queries.ListRestamped(ctx, conn, ids)
}

// dropRestamped leaves out what listRestamped gives. The groups are locked.
func (t *transaction) dropRestamped(ctx context.Context) error {
	if t.batch.Fresh || len(t.left) == 0 {
		return nil
	}
	known, err := t.listRestamped(ctx, t.conn, t.left)
	t.left = slices.DeleteFunc(t.left, func(e readstate.Event) bool { return slices.Contains(known, identity(e.ID)) })
	return err
}

// hasFuture reports whether an event of a batch is from the future.
func (s *Store) hasFuture(batch *readstate.Batch) bool {
	latest := s.latest()
	return slices.ContainsFunc(batch.Events, func(e readstate.Event) bool { return e.At.After(latest) })
}

// restampRest dates now what else is from the future.
func (s *Store) restampRest(ctx context.Context) error {
	now, latest := s.recordedAt(), s.latest()
	return s.withToday(ctx, func() error {
		return s.besideErasures(ctx, func(tx pgx.Tx) error {
			var queue pipeline
			err := errors.Join(
				s.queries.RestampLookups(ctx, &queue, db.RestampLookupsParams{Now: now, Latest: latest}),
				s.queries.RestampChecks(ctx, &queue, db.RestampChecksParams{Now: now, Latest: latest, DueLatest: now.Add(checksAhead)}),
				s.queries.RestampDrifts(ctx, &queue, db.RestampDriftsParams{Now: now, Latest: latest}),
				s.queries.RestampErasures(ctx, &queue, db.RestampErasuresParams{Now: now, Latest: latest}),
				s.queries.RestampRejections(ctx, &queue, db.RestampRejectionsParams{Now: now, Latest: latest}),
				s.queries.RestampCallbackStats(ctx, &queue, db.RestampCallbackStatsParams{Now: now, Latest: latest}),
				s.queries.RestampChanges(ctx, &queue, db.RestampChangesParams{Now: now, Latest: latest}))
			return errors.Join(err, queue.send(ctx, tx))
		})
	})
}

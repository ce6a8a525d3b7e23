package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"readmark/db"
	"readmark/internal/readstate"
)

const (
	// lateRows is what a store's lateRows begins with.
	lateRows = 5000
	// rollbackTimeout bounds giving a transaction up, also when the caller has ended.
	rollbackTimeout = 5 * time.Second
	// messageRepeats is how long before its arrival a message may have been told: where
	// OpenIM does not say when it was sent, and at most. sentSkew is what OpenIM's clock may
	// be off.
	messageRepeats     = 7 * 24 * time.Hour
	sentMessageRepeats = 90 * 24 * time.Hour
	sentSkew           = 5 * time.Minute
	// witnesses is among how many members the one is chosen who is asked about a group.
	witnesses = 8
)

// commitEvents writes a batch of any events: it locks the positions of their groups,
// loads what they are about, applies them, and writes what has changed. It takes two
// round trips, and more for events that come late. All writers of positions lock them
// in key order, before they write states.
func (s *Store) commitEvents(ctx context.Context, batch *readstate.Batch, filterErased bool) error {
	err := s.commitEventsOf(ctx, batch, filterErased, false)
	if errors.Is(err, errNoPosition) {
		err = s.commitEventsOf(ctx, batch, filterErased, true)
	}
	return err
}

// errNoPosition says that a group has no position yet: there must be a row to lock. Then all
// begins anew, so that the rows are locked in one order.
var errNoPosition = errors.New("a group of the batch has no position")

func (s *Store) commitEventsOf(ctx context.Context, batch *readstate.Batch, filterErased, newGroups bool) (err error) {
	conn, err := s.pool.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	defer func() {
		if err != nil {
			rollBack(ctx, conn)
		}
	}()
	t := transaction{Store: s, conn: conn, batch: *batch, newGroups: newGroups}
	var queue pipeline
	beginOn(ctx, conn, &queue, pgx.TxOptions{})
	if filterErased {
		// 0. leave out what is erased
		if err := t.filterErased(ctx, &queue); err != nil {
			return err
		}
		queue = pipeline{}
	} else if err := s.holdErasures(ctx, &queue, batch); err != nil {
		return err
	}
	// 1. lock and load
	if err := t.load(ctx, &queue); err != nil {
		return err
	}
	return t.applyAll(ctx)
}

// applyAll applies what was loaded, and what of the journal comes behind it, and commits.
func (t *transaction) applyAll(ctx context.Context) error {
	for {
		// 2. apply
		more, err := t.apply(ctx)
		if err != nil {
			return err
		}
		// 3. write
		var queue pipeline
		if err := t.write(ctx, &queue, !more); err != nil {
			return err
		}
		if !more {
			_, _ = queue.Exec(ctx, "commit")
			if err := queue.send(ctx, t.conn); err != nil {
				return err
			}
			t.touched(&t.change)
			return nil
		}
		if err := t.loadNext(ctx, &queue); err != nil {
			return err
		}
	}
}

// rollBack ends a transaction that failed. A connection on which that fails is closed
// when it is released.
func rollBack(ctx context.Context, conn *pgxpool.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	if !conn.Conn().IsClosed() {
		_, _ = conn.Exec(ctx, "rollback")
	}
}

// transaction is a commit of events under way.
type transaction struct {
	*Store
	conn  *pgxpool.Conn
	batch readstate.Batch
	// newGroups: some group may have no position yet.
	newGroups bool

	left       []readstate.Event // not applied yet, in order
	groups     []string          // of the events, in key order
	loaded     readstate.Loaded
	from       map[string]place // where the journal of each group is read from
	more       bool             // there is more of the journal than was loaded
	anyDay     bool             // the journal of days to come is read, too
	recordedAt time.Time
	effects    readstate.Effects
	lookups    []readstate.Lookup // of all parts
	change     readstate.Change   // of all parts
}

// place is a place in the order of everything.
type place struct {
	at time.Time
	id readstate.ID
}

// apply applies the events as far as the journal was loaded, and reports whether some
// of it is left.
func (t *transaction) apply(ctx context.Context) (more bool, err error) {
	now := t.left
	if more = t.more; more {
		horizon := &t.loaded.Journal[len(t.loaded.Journal)-1].Event
		n, _ := slices.BinarySearchFunc(t.left, horizon, func(e readstate.Event, h *readstate.Event) int { return e.Compare(h) })
		for n < len(t.left) && t.left[n].Compare(horizon) <= 0 {
			n++
		}
		now = t.left[:n]
	}
	t.left = t.left[len(now):]
	if len(t.loaded.Journal) > 0 {
		if err := t.loadLate(ctx, now); err != nil {
			return more, err
		}
	}
	t.effects = readstate.Apply(&t.loaded, now, t.options(t.recordedAt))
	if len(t.effects.NeedEstimates) > 0 {
		if err := t.loadEstimates(ctx); err != nil {
			return more, err
		}
		t.effects = readstate.Apply(&t.loaded, now, t.options(t.recordedAt))
	}
	if err := t.lookUpMembers(ctx); err != nil {
		return more, err
	}
	for _, entries := range [][]readstate.Entry{t.effects.Inserted, t.effects.Corrected} {
		for i := range entries {
			if entries[i].Kind == readstate.EventMessage {
				t.loaded.Messages = append(t.loaded.Messages, entries[i])
			}
		}
	}
	return more, nil
}

// write queues what has changed. Positions are written when all is applied.
func (t *transaction) write(ctx context.Context, queue *pipeline, last bool) (err error) {
	e := &t.effects
	if len(e.Inserted) > 0 {
		err = errors.Join(err, t.queries.InsertEntries(ctx, t.journalOf(queue, &t.batch), insertParams(e.Inserted, t.recordedAt)))
	}
	if len(e.Corrected) > 0 {
		err = errors.Join(err, t.queries.CorrectEntries(ctx, queue, correctParams(e.Corrected, t.recordedAt)))
	}
	err = errors.Join(err, t.saveStates(ctx, queue, e.States, t.loaded.States))
	t.lookups = append(t.lookups, e.Lookups...)
	t.change.AddEffects(e)
	if !last {
		return err
	}
	t.change.AddLookups(t.lookups)
	return errors.Join(err,
		t.savePositions(ctx, queue, e.Positions),
		t.enqueueLookups(ctx, queue, t.lookups, t.recordedAt),
		t.insertRejections(ctx, queue, t.batch.Rejections),
		t.insertChange(ctx, queue, &t.change, t.recordedAt))
}

// saveStates queues states that have changed from what was loaded. The database keeps
// the later estimate, so that one which was taken back is cleared first.
func (s *Store) saveStates(
	ctx context.Context, queue db.DBTX, states []readstate.ReadState, loaded map[readstate.Pair]readstate.ReadState,
) (err error) {
	if len(states) == 0 {
		return nil
	}
	for i := range states {
		now, before := &states[i].Estimate, loaded[states[i].Pair].Estimate
		if !before.FirstAt.IsZero() && (now.FirstAt.IsZero() || now.FirstAt.After(before.FirstAt)) {
			err = errors.Join(err, s.queries.ClearFirstEstimate(ctx, queue, db.ClearFirstEstimateParams{
				UserID: states[i].UserID, GroupID: states[i].GroupID, FirstEstimateAt: before.FirstAt,
			}))
		}
		if before.At.IsZero() || now.ID == before.ID || now.At.After(before.At) {
			continue
		}
		err = errors.Join(err, s.queries.ClearEstimate(ctx, queue, db.ClearEstimateParams{
			UserID: states[i].UserID, GroupID: states[i].GroupID, EstimateID: identity(before.ID),
		}))
	}
	return errors.Join(err, s.queries.SaveStates(ctx, queue, stateParams(states)))
}

// lookUpMembers adds a lookup of some member of each group that somebody has left, or where
// announced messages are not stored yet.
func (t *transaction) lookUpMembers(ctx context.Context) error {
	if len(t.effects.MemberLookups) == 0 && len(t.effects.StoreChecks) == 0 {
		return nil
	}
	var queue pipeline
	add := func(groupID string, not []string, turn int, found func(userID string), nobody func()) {
		queue.ask(func(conn db.DBTX) error {
			users, err := t.queries.SomeMembers(ctx, conn, db.SomeMembersParams{
				GroupID: groupID, NotUserIds: not, DismissedAt: bound(t.loaded.Positions[groupID].DismissedAt), MaxRows: witnesses,
			})
			if len(users) > 0 {
				found(users[turn%len(users)])
			} else if err == nil {
				nobody()
			}
			return err
		})
	}
	for groupID, leavers := range t.effects.MemberLookups {
		add(groupID, leavers, 0, func(userID string) {
			t.lookups = append(t.lookups, readstate.Lookup{
				Pair:  readstate.Pair{UserID: userID, GroupID: groupID},
				DueAt: t.recordedAt.Add(readstate.Debounce), SettlesAt: t.recordedAt.Add(readstate.Settling),
			})
		}, func() {})
	}
	for groupID, check := range t.effects.StoreChecks {
		add(groupID, []string{}, check.Turn, func(userID string) {
			check.UserID = userID
			t.lookups = append(t.lookups, check.Lookup)
		}, func() { t.lookups = append(t.lookups, check.Lookup) })
	}
	return queue.send(ctx, t.conn)
}

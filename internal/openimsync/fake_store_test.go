package openimsync_test

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"readmark/internal/readstate"
)

// queued is a lookup in the fake store.
type queued struct {
	readstate.LeasedLookup
	background       bool
	due, leasedUntil time.Time
}

type leased struct {
	count int
	at    time.Time
}

// fakeStore keeps in memory what a Sync needs, by the rules of package readstate, without
// late events. fault, when set, runs in each call that may fail; its error is the answer.
type fakeStore struct {
	fault func(ctx context.Context, method string) error

	mu        sync.Mutex
	lookups   map[readstate.Pair]queued
	leases    []leased
	postponed []time.Duration
	finished  []time.Time
	enqueued  []readstate.Pair
	states    map[readstate.Pair]readstate.ReadState
	positions map[string]readstate.GroupPosition
	untrusted map[readstate.Pair]bool
	batches   []readstate.Batch
	kept      []readstate.Entry // of these, what changed something
	checks    map[readstate.Pair]time.Time
	seeds     int
	saved     map[readstate.Pair]readstate.Difference
	// lookUps has committed events queue the lookups that they ask for.
	lookUps bool
}

func newStore() *fakeStore {
	return &fakeStore{
		lookups: map[readstate.Pair]queued{}, states: map[readstate.Pair]readstate.ReadState{},
		positions: map[string]readstate.GroupPosition{}, untrusted: map[readstate.Pair]bool{},
		checks: map[readstate.Pair]time.Time{}, saved: map[readstate.Pair]readstate.Difference{},
	}
}

func (s *fakeStore) begin(ctx context.Context, method string) (unlock func(), err error) {
	if s.fault != nil {
		if err := s.fault(ctx, method); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	return s.mu.Unlock, nil
}

// know stores a state, exact, with the group's highest seq.
func (s *fakeStore) know(userID, groupID string, unread, maxSeq int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := time.Now().Add(-time.Hour).UTC()
	s.positions[groupID] = readstate.GroupPosition{GroupID: groupID, HasSeq: true, MaxSeq: maxSeq, BaseSeq: maxSeq, MovedAt: at}
	s.states[pairOf(userID, groupID)] = readstate.ReadState{
		Pair: pairOf(userID, groupID), Exact: readstate.ExactRead{At: at, SnapshotAt: at, FirstAt: at, ReachedAt: at, Seq: maxSeq - unread, SaidSeq: maxSeq - unread},
	}
}

// change changes what is stored of a pair and of its group.
func (s *fakeStore) change(pair readstate.Pair, change func(state *readstate.ReadState, position *readstate.GroupPosition)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state, position := s.states[pair], s.positions[pair.GroupID]
	state.Pair, position.GroupID = pair, pair.GroupID
	change(&state, &position)
	s.states[pair], s.positions[pair.GroupID] = state, position
}

// leave has a user have left a group.
func (s *fakeStore) leave(userID, groupID string) {
	s.change(pairOf(userID, groupID), func(state *readstate.ReadState, _ *readstate.GroupPosition) {
		state.LeftAt = time.Now().Add(-time.Minute).UTC()
	})
}

// dismiss has a group dismissed now.
func (s *fakeStore) dismiss(groupID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	position := s.positions[groupID]
	position.GroupID, position.DismissedAt = groupID, time.Now().UTC()
	s.positions[groupID] = position
}

// shows gives a count in the group g as it is served, and whether it is exact.
func (s *fakeStore) shows(userID string) (unread int64, exact bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state, position := s.states[pairOf(userID, "g")], s.positions["g"]
	shown, _ := state.Show(&position)
	return shown.UnreadCount, shown.Exact
}

// queue adds a lookup as a callback does: also while it is leased.
func (s *fakeStore) queue(pair readstate.Pair, settlesAt time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queueLocked(pair, settlesAt)
}

func (s *fakeStore) queueLocked(pair readstate.Pair, settlesAt time.Time) {
	s.enqueue(readstate.Lookup{Pair: pair, DueAt: time.Now(), SettlesAt: settlesAt})
}

func (s *fakeStore) enqueue(l readstate.Lookup) {
	q, found := s.lookups[l.Pair]
	if !found {
		q.Pair, q.Since, q.due, q.background = l.Pair, time.Now(), l.DueAt, l.Background
	}
	if now := time.Now(); l.DueAt.Before(q.due) || q.leasedUntil.After(now) && !q.due.After(now) {
		q.due = l.DueAt
	}
	q.Version++
	q.background = q.background && l.Background
	if l.SettlesAt.After(q.SettlesAt) {
		q.SettlesAt = l.SettlesAt
	}
	if !l.Doubt.At.IsZero() && (l.Doubt.MaxSeq != q.Doubt.MaxSeq || l.Doubt.ReadSeq != q.Doubt.ReadSeq || q.Doubt.At.IsZero()) {
		q.Doubt = l.Doubt
	}
	s.lookups[l.Pair] = q
}

func (s *fakeStore) LeaseLookups(
	ctx context.Context, background bool, limit int32, lease time.Duration,
) (list []readstate.LeasedLookup, err error) {
	unlock, err := s.begin(ctx, "LeaseLookups")
	if err != nil {
		return nil, err
	}
	defer unlock()
	now := time.Now()
	for pair, q := range s.lookups {
		if len(list) < int(limit) && q.background == background && !q.due.After(now) && !q.leasedUntil.After(now) {
			q.leasedUntil = now.Add(lease)
			s.lookups[pair] = q
			list = append(list, q.LeasedLookup)
		}
	}
	if len(list) > 0 {
		s.leases = append(s.leases, leased{len(list), now})
	}
	return list, nil
}

func (s *fakeStore) FinishLookup(ctx context.Context, l readstate.LeasedLookup, fetchedAt time.Time) error {
	unlock, err := s.begin(ctx, "FinishLookup")
	if err != nil {
		return err
	}
	defer unlock()
	q := s.lookups[l.Pair]
	if q.Version == l.Version && !fetchedAt.Before(q.SettlesAt) {
		delete(s.lookups, l.Pair)
		s.finished = append(s.finished, fetchedAt)
		return nil
	}
	if q.leasedUntil = (time.Time{}); q.Version == l.Version {
		q.due = q.SettlesAt
	}
	s.lookups[l.Pair] = q
	return nil
}

func (s *fakeStore) PostponeLookup(ctx context.Context, l readstate.LeasedLookup, after time.Duration) error {
	unlock, err := s.begin(ctx, "PostponeLookup")
	if err != nil {
		return err
	}
	defer unlock()
	q := s.lookups[l.Pair]
	q.leasedUntil, q.due = time.Time{}, time.Now().Add(after)
	s.lookups[l.Pair] = q
	s.postponed = append(s.postponed, after)
	return nil
}

func (s *fakeStore) EnqueueLookups(ctx context.Context, pairs []readstate.Pair) error {
	unlock, err := s.begin(ctx, "EnqueueLookups")
	if err != nil {
		return err
	}
	defer unlock()
	s.enqueued = append(s.enqueued, pairs...)
	return nil
}

func (s *fakeStore) Commit(ctx context.Context, batch readstate.Batch) error {
	unlock, err := s.begin(ctx, "Commit")
	if err != nil {
		return err
	}
	defer unlock()
	s.batches = append(s.batches, batch)
	for _, e := range batch.Events {
		if !e.Kind.FromOpenIM() && e.Kind != readstate.EventDismissed && e.Kind != readstate.EventJoined {
			return errors.New("no event of this package: " + string(e.Kind))
		}
	}
	loaded := readstate.Loaded{Positions: s.positions, States: s.states}
	effects := readstate.Apply(&loaded, batch.Events, readstate.Options{Now: time.Now(), CanLookUp: true})
	s.kept = append(s.kept, effects.Inserted...)
	for _, state := range effects.States {
		s.states[state.Pair] = state
	}
	for _, position := range effects.Positions {
		s.positions[position.GroupID] = position
	}
	if s.lookUps {
		for _, l := range effects.Lookups {
			s.enqueue(l)
		}
		for _, l := range effects.StoreChecks {
			var members []string
			for pair, state := range s.states {
				if pair.GroupID == l.GroupID && s.shown(pair) && !state.Exact.Capped {
					members = append(members, pair.UserID)
				}
			}
			slices.Sort(members)
			if len(members) > 0 {
				l.UserID = members[l.Turn%len(members)]
			}
			s.enqueue(l.Lookup)
		}
	}
	return nil
}

func (s *fakeStore) FilterTrusted(ctx context.Context, pairs []readstate.Pair) ([]readstate.Pair, error) {
	unlock, err := s.begin(ctx, "FilterTrusted")
	if err != nil {
		return nil, err
	}
	defer unlock()
	return slices.DeleteFunc(slices.Clone(pairs), func(p readstate.Pair) bool { return s.untrusted[p] }), nil
}

func (s *fakeStore) shown(pair readstate.Pair) bool {
	state, position := s.states[pair], s.positions[pair.GroupID]
	_, found := state.Show(&position)
	return found
}

func (s *fakeStore) MembersWithoutState(ctx context.Context, groupID string, userIDs []string) (list []string, err error) {
	unlock, err := s.begin(ctx, "MembersWithoutState")
	if err != nil {
		return nil, err
	}
	defer unlock()
	for _, userID := range userIDs {
		if !s.shown(pairOf(userID, groupID)) {
			list = append(list, userID)
		}
	}
	return list, nil
}

func (s *fakeStore) GroupStates(ctx context.Context, groupID string, page readstate.Page) ([]readstate.State, error) {
	return s.page(ctx, "GroupStates", page, func(p readstate.Pair) (string, bool) { return p.UserID, p.GroupID == groupID })
}

// page gives a page of the states that key picks, in the order of the keys.
func (s *fakeStore) page(
	ctx context.Context, method string, page readstate.Page, key func(readstate.Pair) (string, bool),
) (list []readstate.State, err error) {
	unlock, err := s.begin(ctx, method)
	if err != nil {
		return nil, err
	}
	defer unlock()
	for pair, state := range s.states {
		position := s.positions[pair.GroupID]
		shown, found := state.Show(&position)
		if k, picked := key(pair); picked && k > page.After.Key && found {
			list = append(list, shown)
		}
	}
	slices.SortFunc(list, func(a, b readstate.State) int {
		return cmp.Or(cmp.Compare(a.UserID, b.UserID), cmp.Compare(a.GroupID, b.GroupID))
	})
	return list[:min(len(list), int(page.Limit))], nil
}

func (s *fakeStore) ReadStates(ctx context.Context, of readstate.Pair) (list []readstate.ReadState, err error) {
	unlock, err := s.begin(ctx, "ReadStates")
	if err != nil {
		return nil, err
	}
	defer unlock()
	for pair, state := range s.states {
		if pair.UserID == of.UserID && (of.GroupID == "" || of.GroupID == pair.GroupID) {
			list = append(list, state)
		}
	}
	return list, nil
}

func (s *fakeStore) GroupPositions(ctx context.Context, groupIDs []string) (map[string]readstate.GroupPosition, error) {
	unlock, err := s.begin(ctx, "GroupPositions")
	if err != nil {
		return nil, err
	}
	defer unlock()
	positions := map[string]readstate.GroupPosition{}
	for _, groupID := range groupIDs {
		if position, found := s.positions[groupID]; found {
			positions[groupID] = position
		}
	}
	return positions, nil
}

func (s *fakeStore) SaveCheck(ctx context.Context, subject readstate.Pair, d readstate.Difference, interval time.Duration) error {
	unlock, err := s.begin(ctx, "SaveCheck")
	if err != nil {
		return err
	}
	defer unlock()
	s.saved[subject], s.checks[subject] = d, time.Now().Add(interval)
	return nil
}

func (s *fakeStore) CountDrifts(ctx context.Context) (map[readstate.OffReason]int64, error) {
	unlock, err := s.begin(ctx, "CountDrifts")
	if err != nil {
		return nil, err
	}
	defer unlock()
	counts := map[readstate.OffReason]int64{}
	for _, d := range s.saved {
		for i := range d.Left {
			counts[d.Left[i].Reason]++
		}
	}
	return counts, nil
}

func (s *fakeStore) SeedChecks(ctx context.Context, spread time.Duration) error {
	unlock, err := s.begin(ctx, "SeedChecks")
	if err != nil {
		return err
	}
	defer unlock()
	s.seeds++
	added := 0
	for pair := range s.states {
		for _, subject := range []readstate.Pair{{UserID: pair.UserID}, {GroupID: pair.GroupID}} {
			if _, found := s.checks[subject]; !found {
				added++
				s.checks[subject] = time.Now().Add(spread * time.Duration(added) / time.Duration(2*len(s.states)))
			}
		}
	}
	return nil
}

func (s *fakeStore) TakeChecks(ctx context.Context, limit int32, interval time.Duration) (list []readstate.Pair, err error) {
	unlock, err := s.begin(ctx, "TakeChecks")
	if err != nil {
		return nil, err
	}
	defer unlock()
	for subject, due := range s.checks {
		if len(list) < int(limit) && !due.After(time.Now()) {
			list = append(list, subject)
			s.checks[subject] = time.Now().Add(interval)
		}
	}
	return list, nil
}

// events gives all committed events.
func (s *fakeStore) events() (list []readstate.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, batch := range s.batches {
		list = append(list, batch.Events...)
	}
	return list
}

// results gives what checks have saved, and forgets it.
func (s *fakeStore) results() map[readstate.Pair]readstate.Difference {
	s.mu.Lock()
	defer s.mu.Unlock()
	saved := s.saved
	s.saved = map[readstate.Pair]readstate.Difference{}
	return saved
}

// hasLeft reports whether a user has left a group.
func (s *fakeStore) hasLeft(pair readstate.Pair) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.states[pair]
	return state.Left()
}

// givenBack is how many lookups were given back.
func (s *fakeStore) givenBack() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.postponed)
}

func (s *fakeStore) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.lookups)
}

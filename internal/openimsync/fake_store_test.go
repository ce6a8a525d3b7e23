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
	due, leasedUntil time.Time
}

type leased struct {
	count int
	at    time.Time
}

// fakeStore keeps in memory what a Sync needs, by the simplest rules. fault, when set, runs
// in each call that may fail; its error is the answer.
type fakeStore struct {
	fault func(ctx context.Context, method string) error

	mu        sync.Mutex
	lookups   map[readstate.Pair]queued
	leases    []leased
	postponed []time.Duration
	finished  []time.Time
	enqueued  []readstate.Pair
	states    map[readstate.Pair]readstate.State
	left      map[readstate.Pair]bool
	untrusted map[readstate.Pair]bool
	dismissed map[string]bool
	maxSeqs   map[string]int64
	batches   []readstate.Batch
	checks    map[readstate.Pair]time.Time
	seeds     int
	saved     map[readstate.Pair]readstate.Difference
}

func newStore() *fakeStore {
	return &fakeStore{
		lookups: map[readstate.Pair]queued{}, states: map[readstate.Pair]readstate.State{},
		left: map[readstate.Pair]bool{}, untrusted: map[readstate.Pair]bool{}, dismissed: map[string]bool{},
		maxSeqs: map[string]int64{}, checks: map[readstate.Pair]time.Time{}, saved: map[readstate.Pair]readstate.Difference{},
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
	s.maxSeqs[groupID] = maxSeq
	s.states[pairOf(userID, groupID)] = readstate.State{Pair: pairOf(userID, groupID), UnreadCount: unread, Exact: true}
}

// queue adds a lookup as a callback does: also while it is leased.
func (s *fakeStore) queue(pair readstate.Pair, settlesAt time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queueLocked(pair, settlesAt)
}

func (s *fakeStore) queueLocked(pair readstate.Pair, settlesAt time.Time) {
	q, found := s.lookups[pair]
	if !found {
		q.Pair, q.Since, q.due = pair, time.Now(), time.Now()
	}
	q.Version++
	q.SettlesAt = settlesAt
	s.lookups[pair] = q
}

func (s *fakeStore) LeaseLookups(ctx context.Context, limit int32, lease time.Duration) (list []readstate.LeasedLookup, err error) {
	unlock, err := s.begin(ctx, "LeaseLookups")
	if err != nil {
		return nil, err
	}
	defer unlock()
	now := time.Now()
	for pair, q := range s.lookups {
		if len(list) < int(limit) && !q.due.After(now) && !q.leasedUntil.After(now) {
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
	q.leasedUntil, q.due = time.Time{}, time.Now().Add(readstate.Debounce)
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
		switch e.Kind {
		case readstate.EventListed:
			delete(s.left, e.Pair())
		case readstate.EventUnlisted:
			s.left[e.Pair()] = true
		case readstate.EventDismissed:
			s.dismissed[e.GroupID] = true
		case readstate.EventSnapshot:
			if known := s.maxSeqs[e.GroupID]; e.AllowDecrease || e.MaxSeq > known {
				s.maxSeqs[e.GroupID] = e.MaxSeq
			}
			s.states[e.Pair()] = readstate.State{
				Pair: e.Pair(), UnreadCount: max(0, s.maxSeqs[e.GroupID]-e.ReadSeq), Exact: true,
			}
		default:
			return errors.New("no event of this package: " + string(e.Kind))
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
	_, found := s.states[pair]
	return found && !s.left[pair] && !s.dismissed[pair.GroupID]
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

func (s *fakeStore) Dismissed(ctx context.Context, groupID string) (bool, error) {
	unlock, err := s.begin(ctx, "Dismissed")
	if err != nil {
		return false, err
	}
	defer unlock()
	return s.dismissed[groupID], nil
}

func (s *fakeStore) GroupStates(ctx context.Context, groupID string, page readstate.Page) ([]readstate.State, error) {
	return s.list(ctx, "GroupStates", page, func(p readstate.Pair) (string, bool) { return p.UserID, p.GroupID == groupID })
}

func (s *fakeStore) UserStates(ctx context.Context, userID string, page readstate.Page) ([]readstate.State, error) {
	return s.list(ctx, "UserStates", page, func(p readstate.Pair) (string, bool) { return p.GroupID, p.UserID == userID })
}

// list gives a page of the states that key picks, in the order of the keys.
func (s *fakeStore) list(
	ctx context.Context, method string, page readstate.Page, key func(readstate.Pair) (string, bool),
) (list []readstate.State, err error) {
	unlock, err := s.begin(ctx, method)
	if err != nil {
		return nil, err
	}
	defer unlock()
	for pair, state := range s.states {
		if k, picked := key(pair); picked && k > page.After.Key && s.shown(pair) {
			list = append(list, state)
		}
	}
	slices.SortFunc(list, func(a, b readstate.State) int {
		return cmp.Or(cmp.Compare(a.UserID, b.UserID), cmp.Compare(a.GroupID, b.GroupID))
	})
	return list[:min(len(list), int(page.Limit))], nil
}

func (s *fakeStore) LeftGroups(ctx context.Context, userID string) (map[string]bool, error) {
	unlock, err := s.begin(ctx, "LeftGroups")
	if err != nil {
		return nil, err
	}
	defer unlock()
	groups := map[string]bool{}
	for pair := range s.left {
		if pair.UserID == userID {
			groups[pair.GroupID] = true
		}
	}
	return groups, nil
}

func (s *fakeStore) MaxSeqs(ctx context.Context, groupIDs []string) (map[string]int64, error) {
	unlock, err := s.begin(ctx, "MaxSeqs")
	if err != nil {
		return nil, err
	}
	defer unlock()
	seqs := map[string]int64{}
	for _, groupID := range groupIDs {
		if seq, found := s.maxSeqs[groupID]; found {
			seqs[groupID] = seq
		}
	}
	return seqs, nil
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
	return s.left[pair]
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

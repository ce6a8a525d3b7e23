// Package reconcile compares counts with what OpenIM says, and repairs those that
// differ: what callbacks did not tell, or OpenIM dropped.
package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"readmark/internal/openim/rest"
	"readmark/internal/readstate"
	"readmark/internal/resolve"
)

const (
	// page is how many rows are read at once.
	page = 1000
	// membersFor is how long an answer about a group's members is used again.
	membersFor = time.Minute
)

// Store is what is compared, see [store.Store].
type Store interface {
	resolve.MemberStore
	UserStates(ctx context.Context, userID string, page readstate.Page) ([]readstate.State, error)
	HiddenGroups(ctx context.Context, userID string) (map[string]bool, error)
	KnownSeqs(ctx context.Context, groupIDs []string) (map[string]int64, error)
	SaveCheck(ctx context.Context, subject readstate.Pair, d readstate.Difference, interval time.Duration) error
	SeedChecks(ctx context.Context, spread time.Duration) error
	TakeChecks(ctx context.Context, limit int32, interval time.Duration) ([]readstate.Pair, error)
}

// Options is what a Reconciler works with.
type Options struct {
	Store    Store
	OpenIM   resolve.OpenIM
	Check    bool          // compare only: nothing is changed
	Interval time.Duration // between two comparisons of a user by the sweep
	Now      func() time.Time
	Logger   *slog.Logger
}

// Reconciler compares with OpenIM. It is safe for concurrent use.
type Reconciler struct {
	Options
	metrics *metrics

	mu      sync.Mutex
	members map[string]memberList
}

type memberList struct {
	users   map[string]bool
	askedAt time.Time
}

// New returns a Reconciler.
func New(options Options) *Reconciler {
	return &Reconciler{Options: options, metrics: newMetrics(), members: map[string]memberList{}}
}

// User compares all of a user's groups, and repairs what differs unless it only
// checks.
func (r *Reconciler) User(ctx context.Context, userID string) (readstate.Difference, error) {
	return r.compare(ctx, readstate.Pair{UserID: userID})
}

// Group asks who is in a group, takes out who is not any more, and compares each
// member in that group.
func (r *Reconciler) Group(ctx context.Context, groupID string) (readstate.Difference, error) {
	var sum readstate.Difference
	members, err := r.Members(ctx, groupID)
	if err != nil {
		return sum, err
	}
	for _, userID := range members {
		d, err := r.compare(ctx, readstate.Pair{UserID: userID, GroupID: groupID})
		if err != nil {
			return sum, err
		}
		sum.Add(d)
	}
	return sum, nil
}

// Members asks OpenIM who is in a group and takes that over, see [resolve.Members],
// unless it only checks.
func (r *Reconciler) Members(ctx context.Context, groupID string) (members []string, err error) {
	askedAt := r.now()
	if r.Check {
		if members, err = r.OpenIM.Members(ctx, groupID); rest.IsUnknown(err) {
			err = nil
		}
	} else {
		members, askedAt, err = resolve.Members(ctx, r.Store, r.OpenIM, r.Now, groupID)
	}
	if err != nil {
		return nil, err
	}
	list := memberList{users: make(map[string]bool, len(members)), askedAt: askedAt}
	for _, userID := range members {
		list.users[userID] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.members) > page { // a cache, not a copy of OpenIM
		clear(r.members)
	}
	r.members[groupID] = list
	return members, nil
}

// compare asks OpenIM for a user in all groups or in one. What differs is asked
// again, since callbacks go on meanwhile; what differs then is off.
func (r *Reconciler) compare(ctx context.Context, pair readstate.Pair) (readstate.Difference, error) {
	first, err := r.look(ctx, pair)
	if err != nil || len(first.off) == 0 {
		return first.Difference, err
	}
	second, err := r.look(ctx, pair)
	if err != nil {
		return first.Difference, err
	}
	if r.Check || len(second.off) == 0 {
		return second.Difference, nil
	}
	batch := readstate.Batch{}
	for _, fact := range second.off {
		before, found := first.seqs[fact.Pair]
		// Lower seqs are believed when they are said twice, of a member: who left sees the
		// seq of then.
		if found && before == (seqs{fact.MaxSeq, fact.ReadSeq}) && second.lower[fact.Pair] {
			if fact.Lowers, err = r.isMember(ctx, fact.Pair); err != nil {
				return second.Difference, err
			}
			if !fact.Lowers {
				continue
			}
		}
		batch.Facts = append(batch.Facts, fact)
	}
	if err := r.Store.Commit(ctx, batch); err != nil {
		return second.Difference, fmt.Errorf("commit facts: %w", err)
	}
	third, err := r.look(ctx, pair)
	second.Repaired = second.Off - min(second.Off, third.Off)
	return second.Difference, err
}

type seqs struct{ max, read int64 }

// looked is one look at OpenIM and at what is stored.
type looked struct {
	readstate.Difference
	off   []readstate.Fact // also where only the seqs differ, and not the count
	seqs  map[readstate.Pair]seqs
	lower map[readstate.Pair]bool // OpenIM's highest seq is below the one learnt
}

func (r *Reconciler) look(ctx context.Context, pair readstate.Pair) (looked, error) {
	l := looked{seqs: map[readstate.Pair]seqs{}, lower: map[readstate.Pair]bool{}}
	facts, _, err := resolve.Facts(ctx, r.OpenIM, r.Now, pair)
	if err != nil {
		return l, err
	}
	if facts, err = r.believed(ctx, facts); err != nil {
		return l, err
	}
	states, err := r.states(ctx, pair.UserID)
	if err != nil {
		return l, err
	}
	hidden, err := r.Store.HiddenGroups(ctx, pair.UserID)
	if err != nil {
		return l, err
	}
	groups := make([]string, len(facts))
	for i := range facts {
		groups[i] = facts[i].GroupID
	}
	known, err := r.Store.KnownSeqs(ctx, groups)
	if err != nil {
		return l, err
	}
	for _, fact := range facts {
		if hidden[fact.GroupID] {
			continue
		}
		state, found := states[fact.GroupID]
		if !found { // OpenIM goes on listing conversations of groups that a user has left
			member, err := r.isMember(ctx, fact.Pair)
			if err != nil {
				return l, err
			}
			if !member {
				continue
			}
		}
		l.Pairs++
		l.seqs[fact.Pair] = seqs{fact.MaxSeq, fact.ReadSeq}
		highest, placed := known[fact.GroupID]
		l.lower[fact.Pair] = fact.MaxSeq < highest
		want := unread(fact)
		if found && state.UnreadCount == want && state.Exact && placed && highest == fact.MaxSeq {
			continue
		}
		if !found || state.UnreadCount != want {
			l.Off++
			l.Largest = max(l.Largest, distance(state.UnreadCount, want))
		}
		l.off = append(l.off, fact)
	}
	return l, nil
}

// believed leaves out what the store would not take: who was erased differs from OpenIM.
func (r *Reconciler) believed(ctx context.Context, facts []readstate.Fact) (left []readstate.Fact, err error) {
	pairs := make([]readstate.Pair, len(facts))
	for i := range facts {
		pairs[i] = facts[i].Pair
	}
	if pairs, err = r.Store.Believed(ctx, pairs); err != nil {
		return nil, err
	}
	for i := range facts { // both are in the same order
		if len(pairs) > 0 && pairs[0] == facts[i].Pair {
			left, pairs = append(left, facts[i]), pairs[1:]
		}
	}
	return left, nil
}

func (r *Reconciler) states(ctx context.Context, userID string) (map[string]readstate.State, error) {
	all := map[string]readstate.State{}
	for after := ""; ; {
		states, err := r.Store.UserStates(ctx, userID, readstate.Page{After: readstate.Place{Key: after}, Limit: page})
		if err != nil {
			return nil, err
		}
		for _, state := range states {
			all[state.GroupID] = state
			after = state.GroupID
		}
		if len(states) < page {
			return all, nil
		}
	}
}

// isMember reports whether OpenIM lists a user as a member.
func (r *Reconciler) isMember(ctx context.Context, pair readstate.Pair) (bool, error) {
	r.mu.Lock()
	list, found := r.members[pair.GroupID]
	r.mu.Unlock()
	if found && r.now().Sub(list.askedAt) < membersFor {
		return list.users[pair.UserID], nil
	}
	members, err := r.OpenIM.Members(ctx, pair.GroupID)
	if rest.IsUnknown(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask members: %w", err)
	}
	return slices.Contains(members, pair.UserID), nil
}

func (r *Reconciler) now() time.Time { return r.Now().UTC().Truncate(time.Microsecond) }

// unread is what OpenIM's own clients show.
func unread(fact readstate.Fact) int64 {
	if fact.ReadSeq >= fact.MaxSeq {
		return 0
	}
	return fact.MaxSeq - fact.ReadSeq // neither is negative
}

func distance(a, b int64) int64 {
	if a < b {
		a, b = b, a
	}
	if d := a - b; d >= 0 {
		return d
	}
	return math.MaxInt64
}

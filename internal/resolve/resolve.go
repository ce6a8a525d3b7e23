// Package resolve asks OpenIM's REST API for what its callbacks do not tell: it
// takes the marks that callbacks have left, and turns OpenIM's answers into facts.
package resolve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"readmark/internal/openim/rest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

const (
	// workers is how many questions are under way at once, at most.
	workers = 16
	// lease is how long a mark is this process's: longer than most questions take.
	// Who takes longer may be overtaken, which changes nothing.
	lease = 30 * time.Second
	// pollInterval is how often marks are looked for.
	pollInterval = 50 * time.Millisecond
	// The pauses after a failure, with jitter.
	minRetry = time.Second
	maxRetry = 5 * time.Second
	// page is how many states are read at once.
	page = 1000
	// onePage is below what OpenIM gives in one answer.
	onePage = 100
	// groupPrefix begins the conversation ID of a group (OpenIM's msgprocessor).
	groupPrefix = "sg_"
)

// OpenIM is what is asked, see [rest.Client].
type OpenIM interface {
	Conversations(ctx context.Context, userID string, ids ...string) (map[string]rest.Seqs, error)
	Members(ctx context.Context, groupID string) ([]string, error)
}

// Store keeps marks and takes facts, see [store.Store].
type Store interface {
	Lease(ctx context.Context, limit int32, lease time.Duration) ([]store.Pending, error)
	Resolve(ctx context.Context, p store.Pending, askedAt time.Time) error
	Postpone(ctx context.Context, p store.Pending, after time.Duration) error
	Ask(ctx context.Context, pairs []readstate.Pair) error
	MemberStore
	Strangers(ctx context.Context, groupID string, userIDs []string) ([]string, error)
}

// Options is what a Resolver works with.
type Options struct {
	Store  Store
	OpenIM OpenIM
	Now    func() time.Time
	Logger *slog.Logger
}

// Resolver turns marks into facts.
type Resolver struct {
	Options
	metrics *metrics
}

// New returns a Resolver that does nothing until Run.
func New(options Options) *Resolver {
	return &Resolver{Options: options, metrics: newMetrics()}
}

// Run resolves what is due until the context ends, and returns when all that was
// under way has ended. What fails is tried again; several processes share the work.
func (r *Resolver) Run(ctx context.Context) {
	var under sync.WaitGroup
	defer under.Wait()
	slots := make(chan struct{}, workers)
	var failing bool
	for {
		free := workers - len(slots)
		var found []store.Pending
		if free > 0 {
			var err error
			if found, err = r.Store.Lease(ctx, int32(free), lease); err != nil && ctx.Err() == nil && !failing {
				r.Logger.WarnContext(ctx, "pending users cannot be read", "error", err)
			}
			failing = err != nil
		}
		for _, p := range found {
			slots <- struct{}{}
			under.Go(func() {
				defer func() { <-slots }()
				r.resolve(ctx, p)
			})
		}
		wait := pollInterval
		if failing {
			wait = time.Second
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// resolve asks for one mark and settles it.
func (r *Resolver) resolve(ctx context.Context, p store.Pending) {
	askedAt, err := r.ask(ctx, p)
	if err == nil {
		err = r.Store.Resolve(ctx, p, askedAt)
	}
	if err == nil {
		r.metrics.resolved.Observe(r.Now().Sub(p.Since).Seconds())
		return
	}
	r.metrics.failures.Inc()
	level := slog.LevelDebug
	var refused *rest.Error
	if errors.As(err, &refused) {
		level = slog.LevelWarn
	}
	r.Logger.Log(ctx, level, "openim not asked: tried again", "error", err)
	// The lease is given back as soon as the database takes that, also when the context
	// has ended: nobody need wait for its end.
	for given := r.Now(); r.Now().Sub(given) < lease; {
		if r.giveBack(ctx, p) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(minRetry):
		}
	}
}

func (r *Resolver) giveBack(ctx context.Context, p store.Pending) bool {
	giving, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	wait := minRetry + rand.N(maxRetry-minRetry) //nolint:gosec // no secret
	err := r.Store.Postpone(giving, p, wait)
	if err != nil {
		r.Logger.DebugContext(ctx, "lease not given back", "error", err)
	}
	return err == nil
}

func (r *Resolver) ask(ctx context.Context, p store.Pending) (askedAt time.Time, err error) {
	if p.UserID == "" {
		return r.askMembers(ctx, p.GroupID)
	}
	facts, askedAt, err := Facts(ctx, r.OpenIM, r.Now, p.Pair)
	if err != nil || len(facts) == 0 {
		return askedAt, err
	}
	if err := r.Store.Commit(ctx, readstate.Batch{Facts: facts}); err != nil {
		return askedAt, fmt.Errorf("commit facts: %w", err)
	}
	return askedAt, nil
}

// askMembers asks who is in a group, and marks whom nothing is known of.
func (r *Resolver) askMembers(ctx context.Context, groupID string) (askedAt time.Time, err error) {
	members, askedAt, err := Members(ctx, r.Store, r.OpenIM, r.Now, groupID)
	if err != nil || len(members) == 0 {
		return askedAt, err
	}
	strangers, err := r.Store.Strangers(ctx, groupID, members)
	if err != nil {
		return askedAt, err
	}
	if len(strangers) == 0 {
		// Everybody is known: what changed is the position, which any member tells.
		strangers = members[:1]
	}
	pairs := make([]readstate.Pair, len(strangers))
	for i, userID := range strangers {
		pairs[i] = readstate.Pair{UserID: userID, GroupID: groupID}
	}
	return askedAt, r.Store.Ask(ctx, pairs)
}

// MemberStore takes over who is in a group.
type MemberStore interface {
	Believed(ctx context.Context, pairs []readstate.Pair) ([]readstate.Pair, error)
	Commit(ctx context.Context, batch readstate.Batch) error
	Dismissed(ctx context.Context, groupID string) (bool, error)
	GroupStates(ctx context.Context, groupID string, page readstate.Page) ([]readstate.State, error)
}

// Members asks OpenIM who is in a group, and takes that over: tombstones of those who
// are, are lifted; whoever is shown and is not listed has left. A group of which
// OpenIM lists nobody, or that is known to be dismissed, is left as it is.
func Members(ctx context.Context, s MemberStore, openim OpenIM, clock func() time.Time, groupID string) (
	members []string, askedAt time.Time, err error,
) {
	askedAt = now(clock)
	listed, err := openim.Members(ctx, groupID)
	if rest.IsUnknown(err) {
		return nil, askedAt, nil
	}
	if err != nil {
		return nil, askedAt, fmt.Errorf("ask members: %w", err)
	}
	var pairs []readstate.Pair
	for _, userID := range listed { // what cannot be stored is left out
		if readstate.CheckID(userID) == nil {
			pairs = append(pairs, readstate.Pair{UserID: userID, GroupID: groupID})
		}
	}
	if pairs, err = s.Believed(ctx, pairs); err != nil { // and who was erased
		return nil, askedAt, err
	}
	for _, pair := range pairs {
		members = append(members, pair.UserID)
	}
	dismissed, err := s.Dismissed(ctx, groupID)
	if err != nil || dismissed || len(members) == 0 {
		return members, askedAt, err
	}
	left, err := absent(ctx, s, groupID, members)
	if err == nil && len(left) > 0 && len(listed) >= onePage {
		// A member may have slipped from one page to another while they were read.
		left, err = listedNever(ctx, openim, groupID, left)
	}
	if err != nil {
		return nil, askedAt, err
	}
	id, err := identity()
	if err != nil {
		return nil, askedAt, err
	}
	batch := readstate.Batch{Listings: []readstate.Listing{{ID: id, GroupID: groupID, AskedAt: askedAt, UserIDs: members}}}
	if len(left) > 0 {
		batch.Changes = []readstate.Change{{
			ID: id, ReceivedAt: askedAt, Kind: readstate.ChangeAbsent, GroupID: groupID, UserIDs: left,
		}}
	}
	if err := s.Commit(ctx, batch); err != nil {
		return nil, askedAt, fmt.Errorf("commit members: %w", err)
	}
	return members, askedAt, nil
}

// listedNever gives those who are not listed when OpenIM is asked again either.
func listedNever(ctx context.Context, openim OpenIM, groupID string, userIDs []string) ([]string, error) {
	again, err := openim.Members(ctx, groupID)
	if err != nil {
		return nil, fmt.Errorf("ask members again: %w", err)
	}
	listed := make(map[string]bool, len(again))
	for _, userID := range again {
		listed[userID] = true
	}
	return slices.DeleteFunc(userIDs, func(userID string) bool { return listed[userID] }), nil
}

// absent gives the users who are shown in a group and are not listed.
func absent(ctx context.Context, s MemberStore, groupID string, members []string) (left []string, err error) {
	listed := make(map[string]bool, len(members))
	for _, userID := range members {
		listed[userID] = true
	}
	for after := ""; ; {
		shown, err := s.GroupStates(ctx, groupID, readstate.Page{After: readstate.Place{Key: after}, Limit: page})
		if err != nil {
			return nil, err
		}
		for i := range shown {
			if after = shown[i].UserID; !listed[after] {
				left = append(left, after)
			}
		}
		if len(shown) < page {
			return left, nil
		}
	}
}

// Facts asks OpenIM for all group conversations of a user (no GroupID), or for one.
// askedAt is the moment before; the facts are not older.
func Facts(ctx context.Context, openim OpenIM, clock func() time.Time, pair readstate.Pair) (
	facts []readstate.Fact, askedAt time.Time, err error,
) {
	var ids []string
	if pair.GroupID != "" {
		ids = []string{groupPrefix + pair.GroupID}
	}
	askedAt = now(clock)
	conversations, err := openim.Conversations(ctx, pair.UserID, ids...)
	if rest.IsUnknown(err) {
		return nil, askedAt, nil
	}
	if err != nil {
		return nil, askedAt, fmt.Errorf("ask conversations: %w", err)
	}
	for conversationID, seqs := range conversations {
		groupID, group := strings.CutPrefix(conversationID, groupPrefix)
		if !group || readstate.CheckID(groupID) != nil || pair.GroupID != "" && pair.GroupID != groupID {
			continue
		}
		id, err := identity()
		if err != nil {
			return nil, askedAt, err
		}
		facts = append(facts, readstate.Fact{
			ID: id, AskedAt: askedAt, Pair: readstate.Pair{UserID: pair.UserID, GroupID: groupID},
			MaxSeq: seqs.MaxSeq, ReadSeq: seqs.HasReadSeq,
		})
	}
	return facts, askedAt, nil
}

func now(clock func() time.Time) time.Time { return clock().UTC().Truncate(time.Microsecond) }

func identity() (readstate.ID, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return readstate.ID{}, fmt.Errorf("make identity: %w", err)
	}
	return readstate.ID(id), nil
}

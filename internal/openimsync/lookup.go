package openimsync

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"readmark/internal/openim/client"
	"readmark/internal/readstate"
)

const (
	// workers is how many lookups run at once, at most, and backgroundWorkers how many in the
	// background beside them: so few that a reader's is next at OpenIM.
	workers           = 16
	backgroundWorkers = 4
	// lease is how long a lookup belongs to this process. Most lookups take less. A longer
	// one may be done twice, which changes nothing. Lookups in the background wait for others,
	// and the list of a large group takes many calls.
	lease           = 30 * time.Second
	backgroundLease = 10 * time.Minute
	// pollInterval is how often the queue is read, failedPollInterval how often after that
	// has failed.
	pollInterval       = 50 * time.Millisecond
	failedPollInterval = time.Second
	// A failed lookup is due again after minRetry to maxRetry, at random.
	minRetry = time.Second
	maxRetry = 5 * time.Second
	// postponeTimeout bounds one attempt to give a lookup back.
	postponeTimeout = time.Second
)

// Run does the lookups that are due until the context ends. It blocks until all that it
// started have ended. A lookup that fails is tried again. Several processes share the work.
func (s *Sync) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	queues := []queue{
		{background: false, lease: lease, slots: make(chan struct{}, workers)},
		{background: true, lease: backgroundLease, slots: make(chan struct{}, backgroundWorkers)},
	}
	failing := false
	for {
		var err error
		for _, q := range queues {
			var lookups []readstate.LeasedLookup
			if free := cap(q.slots) - len(q.slots); free > 0 && err == nil {
				lookups, err = s.options.Store.LeaseLookups(ctx, q.background, int32(free), q.lease) //nolint:gosec // small
			}
			for _, l := range lookups {
				q.slots <- struct{}{} // never blocks: no more were leased than slots are free
				running.Go(func() {
					defer func() { <-q.slots }()
					s.runLookup(q.context(ctx), l)
				})
			}
		}
		if err != nil && ctx.Err() == nil && !failing {
			s.options.Logger.WarnContext(ctx, "lookups cannot be read from the database", "error", err)
		}
		failing = err != nil
		wait := pollInterval
		if failing {
			wait = failedPollInterval
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// queue is the lookups in the background, or the others, as far as they run.
type queue struct {
	background bool
	lease      time.Duration
	slots      chan struct{}
}

// context has calls to OpenIM in the background wait for the others.
func (q *queue) context(ctx context.Context) context.Context {
	if q.background {
		return client.InBackground(ctx)
	}
	return ctx
}

// runLookup does one lookup and finishes it, or gives it back.
func (s *Sync) runLookup(ctx context.Context, l readstate.LeasedLookup) {
	fetchedAt, err := s.lookUp(ctx, &l)
	if err == nil {
		err = s.options.Store.FinishLookup(ctx, l, fetchedAt)
	}
	if err == nil {
		s.metrics.lookupDuration.Observe(max(0, s.options.Now().Sub(l.Since).Seconds()))
		return
	}
	s.metrics.lookupFailures.Inc()
	s.options.Logger.DebugContext(ctx, "lookup failed, it is tried again", "error", err)
	var refused *client.Error
	if errors.As(err, &refused) && !refused.IsLogin() && !errors.Is(err, client.ErrTokenEnded) { // of these others tell
		s.refused.Log(ctx, slog.Any("error", err))
	}
	s.giveBack(ctx, l)
}

// lookUp asks OpenIM and commits the answer. fetchedAt is the moment before the call.
func (s *Sync) lookUp(ctx context.Context, l *readstate.LeasedLookup) (fetchedAt time.Time, err error) {
	if l.UserID == "" {
		return s.lookUpMembers(ctx, l.GroupID)
	}
	snapshots, fetchedAt, err := s.fetchSnapshots(ctx, l.Pair)
	switch {
	case err != nil:
		return fetchedAt, err
	case len(snapshots) == 0 && l.GroupID == "":
		return fetchedAt, nil
	case len(snapshots) == 0:
		return fetchedAt, s.unanswered(ctx, l.Pair)
	}
	k, err := s.known(ctx, l.Pair, snapshots)
	if err != nil {
		return fetchedAt, err
	}
	snapshots, memberships, err := s.ofMembers(ctx, snapshots, &k)
	if err != nil {
		return fetchedAt, err
	}
	if err := s.commit(ctx, memberships); err != nil { // first: of who has left, no snapshot is kept
		return fetchedAt, err
	}
	var events []readstate.Event
	k.askOwners = k.newGroups(snapshots) <= fewGroups
	for _, e := range snapshots {
		judged, err := s.judge(ctx, e, l.Doubt, true, &k)
		if err != nil {
			return fetchedAt, err
		}
		events = append(events, judged...)
	}
	return fetchedAt, s.commit(ctx, events)
}

// lookUpMembers syncs the member list of a group, and queues lookups of the members of whom
// nothing is known. When there are none, one lookup of any member tells the group's
// position.
func (s *Sync) lookUpMembers(ctx context.Context, groupID string) (fetchedAt time.Time, err error) {
	members, fetchedAt, err := s.syncMembers(ctx, groupID)
	if err != nil || len(members) == 0 {
		return fetchedAt, err
	}
	// This list is shorter than the one before the commit: who had left and is back has
	// a state again.
	unknown, err := s.options.Store.MembersWithoutState(ctx, groupID, members)
	if err != nil {
		return fetchedAt, fmt.Errorf("list members without state: %w", err)
	}
	if len(unknown) == 0 {
		unknown = members[:1]
	}
	pairs := make([]readstate.Pair, len(unknown))
	for i, userID := range unknown {
		pairs[i] = readstate.Pair{UserID: userID, GroupID: groupID}
	}
	if err := s.options.Store.EnqueueLookups(ctx, pairs); err != nil {
		return fetchedAt, fmt.Errorf("enqueue lookups: %w", err)
	}
	return fetchedAt, nil
}

// giveBack postpones a lookup as soon as the database takes that, so that nobody has to wait
// for the end of the lease. After the context has ended it tries once.
func (s *Sync) giveBack(ctx context.Context, l readstate.LeasedLookup) {
	for since := s.options.Now(); s.options.Now().Sub(since) < lease; {
		if s.postpone(ctx, l) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(minRetry):
		}
	}
}

// postpone tries once to give a lookup back, also when the context has ended.
func (s *Sync) postpone(ctx context.Context, l readstate.LeasedLookup) bool {
	attempt, cancel := context.WithTimeout(context.WithoutCancel(ctx), postponeTimeout)
	defer cancel()
	after := minRetry + rand.N(maxRetry-minRetry) //nolint:gosec // no secret
	err := s.options.Store.PostponeLookup(attempt, l, after)
	if err != nil {
		s.options.Logger.DebugContext(ctx, "lookup not given back", "error", err)
	}
	return err == nil
}

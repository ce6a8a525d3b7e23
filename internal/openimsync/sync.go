// Package openimsync keeps counts equal to OpenIM's own through OpenIM's REST API. It does
// the lookups that callbacks have queued, compares counts with OpenIM's and repairs them,
// and sweeps over every user and group once an interval.
//
// What OpenIM answers becomes events: a seq snapshot of a user in a group, a member list, or
// what a user has muted.
// The rules of what they change stand in package readstate.
package openimsync

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2"

	"golang.org/x/sync/singleflight"

	"readmark/internal/lograte"
	"readmark/internal/openim/client"
	"readmark/internal/readstate"
)

const (
	// commitEvents is how many events are committed in one transaction, at most.
	commitEvents = 1000
	// pageStates is how many states are read at once.
	pageStates = 1000
)

// OpenIM is the part of OpenIM's REST API that is needed, see [client.Client]. Calls block
// until they are answered or the context ends.
type OpenIM interface {
	Conversations(ctx context.Context, userID string, ids ...string) (map[string]client.Seqs, error)
	Members(ctx context.Context, groupID string) (client.MemberList, error)
	SomeMembers(ctx context.Context, groupID string) (client.MemberList, error)
	JoinedGroups(ctx context.Context, userID string) (groupIDs []string, complete bool, err error)
	GroupStatus(ctx context.Context, groupID string) (client.GroupStatus, error)
	AreMembers(ctx context.Context, groupID string, userIDs ...string) (map[string]bool, error)
	MutedConversations(ctx context.Context, userID string) ([]string, error)
	MutesEverything(ctx context.Context, userID string) (bool, error)
}

// Store is the part of the store that is needed. Calls fail with
// [readstate.ErrUnavailable] when the database is away.
type Store interface {
	LookupStore
	StateStore
	CheckStore
}

// LookupStore is the queue of lookups.
type LookupStore interface {
	// LeaseLookups takes up to limit lookups that are due, of those in the background or of
	// the others. No other process gets them until the lease ends.
	LeaseLookups(ctx context.Context, background bool, limit int32, lease time.Duration) ([]readstate.LeasedLookup, error)
	// FinishLookup ends a lookup whose answer is committed. fetchedAt is the moment before
	// OpenIM was called. A lookup that was queued again meanwhile becomes due again.
	FinishLookup(ctx context.Context, l readstate.LeasedLookup, fetchedAt time.Time) error
	// PostponeLookup gives a lookup back. It is due again after the given time.
	PostponeLookup(ctx context.Context, l readstate.LeasedLookup, after time.Duration) error
	// EnqueueLookups queues lookups in the background that are due at once.
	EnqueueLookups(ctx context.Context, pairs []readstate.Pair) error
}

// StateStore is what is known of users and groups.
type StateStore interface {
	Commit(ctx context.Context, batch readstate.Batch) error
	// FilterTrusted gives the pairs about which OpenIM is trusted: who was erased is not
	// among them until a callback names the user again.
	FilterTrusted(ctx context.Context, pairs []readstate.Pair) ([]readstate.Pair, error)
	// MembersWithoutState gives those of the users of whom no state is shown in the group.
	MembersWithoutState(ctx context.Context, groupID string, userIDs []string) ([]string, error)
	GroupStates(ctx context.Context, groupID string, page readstate.Page) ([]readstate.State, error)
	// ReadStates gives what is stored of a user in all groups (no GroupID) or in one, also
	// where the user has left.
	ReadStates(ctx context.Context, pair readstate.Pair) ([]readstate.ReadState, error)
	// GroupPositions gives the positions of groups, by group ID, as far as they are known.
	GroupPositions(ctx context.Context, groupIDs []string) (map[string]readstate.GroupPosition, error)
}

// CheckStore is the schedule of the sweep. The subject of a check is a user (no GroupID) or
// a group (no UserID).
type CheckStore interface {
	// SeedChecks schedules a check of every user and group that has none, spread over the
	// given time.
	SeedChecks(ctx context.Context, spread time.Duration) error
	// TakeChecks takes up to limit checks that are due. They are due again an interval
	// later.
	TakeChecks(ctx context.Context, limit int32, interval time.Duration) ([]readstate.Pair, error)
	// SaveCheck keeps the result of a check, which is due again an interval later.
	SaveCheck(ctx context.Context, subject readstate.Pair, d readstate.Difference, interval time.Duration) error
	// CountDrifts counts, by the reason, the pairs that stayed off in the newest comparison of
	// each user.
	CountDrifts(ctx context.Context) (map[readstate.OffReason]int64, error)
}

// Options configures a Sync.
type Options struct {
	Store  Store
	OpenIM OpenIM
	// Interval is the time between two checks of a user or group by the sweep.
	Interval time.Duration
	// CheckOnly makes comparisons report differences and commit nothing.
	CheckOnly bool
	// MissingFor is how long a member has to be missing at OpenIM, in one look at the group
	// after the other, until that is believed. 0: 10 s.
	MissingFor time.Duration
	// Swept is told how each round of the sweep ended; nil: nobody is. It must not block.
	Swept  func(err error)
	Now    func() time.Time // nil: the machine's clock
	Logger *slog.Logger
}

// Sync does lookups and comparisons. It is safe for concurrent use.
type Sync struct {
	options Options
	metrics *metrics
	drifts  driftLog

	outsiders *lru.Cache[readstate.Pair, outsider]
	fetching  singleflight.Group // of lists
	mutes     *mutes
	refused   *lograte.Line // lookups

	mu      sync.Mutex
	members map[string]memberList // by group ID, the newest lists
	doubts  map[string]*doubt     // by group ID
}

// New returns a Sync. It does nothing until one of its methods is called.
func New(o Options) *Sync {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MissingFor == 0 {
		o.MissingFor = missingFor
	}
	outsiders, err := lru.New[readstate.Pair, outsider](maxOutsiders)
	if err != nil {
		panic(err) // the size is above zero
	}
	return &Sync{
		options: o, metrics: newMetrics(), drifts: driftLog{logger: o.Logger, now: o.Now}, outsiders: outsiders, mutes: newMutes(),
		members: map[string]memberList{}, doubts: map[string]*doubt{},
		refused: lograte.New(o.Logger, slog.LevelWarn, "openim refuses a lookup, it is tried again"),
	}
}

// now is the time in the form that events carry: UTC, in whole microseconds.
func (s *Sync) now() time.Time { return s.options.Now().UTC().Truncate(time.Microsecond) }

// newEvent gives an event with an identity of its own. It panics without a source of random
// numbers, as package crypto/rand itself does.
func newEvent(kind readstate.EventKind, pair readstate.Pair, at time.Time) readstate.Event {
	id := readstate.ID(uuid.Must(uuid.NewV7()))
	return readstate.Event{Kind: kind, ID: id, At: at, UserID: pair.UserID, GroupID: pair.GroupID}
}

// commit stores new events, in several transactions when they are many. When it fails some
// of them may be stored: the caller calls OpenIM again later and makes new events.
func (s *Sync) commit(ctx context.Context, events []readstate.Event) error {
	for part := range slices.Chunk(events, commitEvents) {
		if err := s.options.Store.Commit(ctx, readstate.Batch{Events: part, Fresh: true}); err != nil {
			return fmt.Errorf("commit openim's answer: %w", err)
		}
	}
	for i := range events {
		if events[i].Restarted {
			if err := s.lookUpMembersOf(ctx, events[i].GroupID); err != nil {
				return err
			}
		}
	}
	return nil
}

// allStates reads a list of states page by page and passes each to visit. key gives the ID
// by which the list is sorted.
func allStates(
	read func(page readstate.Page) ([]readstate.State, error),
	key func(*readstate.State) string, visit func(*readstate.State),
) error {
	page := readstate.Page{Limit: pageStates}
	for {
		states, err := read(page)
		if err != nil {
			return fmt.Errorf("read states: %w", err)
		}
		for i := range states {
			visit(&states[i])
		}
		if len(states) < pageStates {
			return nil
		}
		page.After.Key = key(&states[len(states)-1])
	}
}

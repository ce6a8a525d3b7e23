// Package readcache answers the read API from memory: read states by user, groups with all their
// members, and the positions of groups. Each answer is as fresh as one from the database. A
// request is answered after one poll of what has changed that began after the request came, or
// at most [Options.Staleness] before; all requests that wait share the poll. See
// docs/decisions/read-cache.md.
package readcache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"readmark/internal/coalesce"
	"readmark/internal/readstate"
)

const (
	// maxRounds is in how many rounds a request may be answered. It needs more than one where
	// what it is about was not known, or changed just before the round.
	maxRounds = 6
	// maxRequests is how many requests one round answers.
	maxRequests = 1024
	// idlePoll is how often changes are asked for while nobody reads, so that few come together.
	idlePoll = time.Second
	// yields is how often a round lets others run before it begins: under load more requests
	// share it then, and alone it costs nothing.
	yields = 2
	// logLength is of how many users it is remembered that anything of them has changed.
	logLength = 1 << 16
)

// Source gives what the cache holds.
type Source interface {
	// Poll tells what has changed since a revision, nil for the first poll, and loads states, in
	// one snapshot. One call at a time.
	Poll(ctx context.Context, since *readstate.Revision, load readstate.Load) (readstate.Poll, error)
	// LoadUser and LoadGroup read all states, in key order and one snapshot, and say from which
	// server. What they pass is valid during the call only. An error that wraps
	// [readstate.ErrRetry] may come in the middle.
	LoadUser(ctx context.Context, userID string, visit func(*readstate.ServedState)) (readstate.Server, error)
	LoadGroup(ctx context.Context, groupID string, visit func(userID []byte, v *readstate.Served)) (
		readstate.ServedPosition, readstate.Server, error)
}

// Reader answers from the database.
type Reader interface {
	State(ctx context.Context, pair readstate.Pair) (readstate.State, error)
	UserStates(ctx context.Context, userID string, page readstate.Page) ([]readstate.State, error)
	GroupStates(ctx context.Context, groupID string, page readstate.Page) ([]readstate.State, error)
	Badge(ctx context.Context, userID string) (readstate.Badge, error)
	GroupSum(ctx context.Context, groupID string) (readstate.GroupSum, error)
	Snapshot(ctx context.Context, pairs []readstate.Pair, userIDs []string) (
		map[readstate.Pair]readstate.State, map[string]readstate.Badge, error)
}

// Options configures a Cache.
type Options struct {
	Source   Source
	Database Reader // answers what is not held
	// MaxBytes bounds what is held. 0 has the database answer everything, without Source.
	MaxBytes int
	// Staleness is how old a poll may be that a request is answered by.
	Staleness time.Duration
	// AsOf gives a moment that no read which begins after the call is older than; the zero time
	// while nothing can be read.
	AsOf   func() time.Time
	Now    func() time.Time // of the monotonic clock
	Logger *slog.Logger
	Tracer trace.Tracer // nil: nothing is traced
}

// Cache answers reads. It is safe for concurrent use.
type Cache struct {
	options Options
	rounds  *coalesce.Batcher[*request]
	metrics *metrics

	loading  context.Context //nolint:containedctx // of the loads, which outlive requests
	endLoads context.CancelFunc
	loaders  sync.WaitGroup

	mu        sync.Mutex
	users     map[string]*user
	groups    map[string]*group
	positions positions
	small     *list
	large     *list
	tooLarge  map[string]time.Time // groups and users that do not fit, until when that is believed
	largeUser map[string]bool      // users who are loaded outside of rounds
	loads     map[loadKey]*largeLoad
	logged    []string // users of whom anything has changed, the last ones
	logEnd    uint64   // how many were logged ever

	revision *readstate.Revision // of the last poll; nil: nothing is held
	tick     uint64              // is raised with whatever changes the order of things
	hits     uint64              // is raised with whatever may change an answer
	moved    uint64              // when anything was touched or loaded last
	polling  bool
	touched  []readstate.Change // by this process while a poll is under way
	began    time.Time          // when the last poll began
	asOf     time.Time          // what it contains
}

// request is a question to the cache. Its functions are called with the lock held.
type request struct {
	// answer answers when all that it needs is there, and says that it did. Else it names, where
	// l is not nil, what has to be loaded.
	answer func(l *loading) bool
	early  bool // it was answered before the poll, which may confirm that
	asOf   time.Time
	done   bool
	err    error
	waits  []*largeLoad
	direct bool       // the database has to answer
	caller trace.Span // of who asks; nil: nothing is traced
}

// loading collects what a round loads.
type loading struct {
	readstate.Load
	request *request
	pairs   map[readstate.Pair]bool // false for those that only a group asks for
	others  map[string]bool         // users, positions and lookups, behind a letter
}

func (l *loading) pair(pair readstate.Pair) {
	l.member(pair)
	l.pairs[pair] = true
}

// member is pair for a group's sake.
func (l *loading) member(pair readstate.Pair) {
	if _, found := l.pairs[pair]; !found {
		l.pairs[pair] = false
		l.Pairs = append(l.Pairs, pair)
	}
}

func (l *loading) add(kind, id string, to *[]string) {
	if !l.others[kind+id] {
		l.others[kind+id] = true
		*to = append(*to, id)
	}
}

func (l *loading) user(id string)     { l.add("u", id, &l.Users) }
func (l *loading) position(id string) { l.add("p", id, &l.Positions) }
func (l *loading) lookup(id string)   { l.add("l", id, &l.Lookups) }

// New returns a Cache that holds nothing. Close ends it.
func New(options Options) *Cache {
	c := &Cache{options: options, metrics: newMetrics(), logEnd: 1}
	c.loading, c.endLoads = context.WithCancel(context.Background())
	c.forget()
	c.rounds = coalesce.New(coalesce.Options[*request]{
		Limit:   maxRequests,
		MayRun:  func(_ []*request, running [][]*request) bool { return len(running) == 0 },
		Run:     c.run,
		Tracing: coalesce.Tracing{Tracer: options.Tracer, Wait: "read", Run: "poll"},
		Gather: func() {
			for range yields {
				runtime.Gosched()
			}
		},
	})
	return c
}

// Close ends what is under way, and blocks until it has ended: a poll takes 4 s at most. No read
// may come meanwhile or later.
func (c *Cache) Close() {
	c.rounds.Wait()
	c.endLoads()
	c.loaders.Wait()
}

// Run polls while nobody reads, until the context ends.
func (c *Cache) Run(ctx context.Context) {
	ticker := time.NewTicker(idlePoll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		c.mu.Lock()
		idle := c.revision != nil && c.options.Now().Sub(c.began) >= idlePoll
		c.mu.Unlock()
		if idle {
			_ = c.rounds.Do(ctx, &request{answer: func(*loading) bool { return true }}) // it fails as reads do
		}
	}
}

// Touch takes note of what a transaction of this process has written, before that is
// acknowledged: nobody is answered by an older poll then.
func (c *Cache) Touch(change *readstate.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.polling { // the poll's snapshot may be older
		c.touched = append(c.touched, *change)
	}
	if c.revision != nil {
		c.tick++
		c.moved = c.tick
		c.mark(change)
	}
}

// ask answers a request from memory, and reports whether it did.
func (c *Cache) ask(ctx context.Context, r *request) (bool, error) {
	if c.options.MaxBytes <= 0 {
		return false, nil
	}
	if c.options.Staleness > 0 && c.askStale(r) {
		return true, nil
	}
	if c.options.Tracer != nil {
		r.caller = trace.SpanFromContext(ctx)
	}
	for range maxRounds {
		r.waits, r.direct = nil, false
		if err := c.rounds.Do(ctx, r); err != nil {
			return false, fmt.Errorf("wait for a poll: %w", err)
		}
		if errors.Is(r.err, readstate.ErrUnavailable) && !errors.Is(r.err, readstate.ErrRetry) {
			return false, r.err // the database would not answer either
		}
		if r.done || r.err != nil || r.direct {
			break
		}
		waited := c.traceWait(ctx, r.waits)
		useful, err := r.wait(ctx)
		waited()
		if err != nil || !useful {
			return false, err
		}
	}
	return r.done, nil //nolint:nilerr // the database is asked then
}

// wait blocks until what the request waits for is loaded, and reports whether it can be used.
func (r *request) wait(ctx context.Context) (useful bool, err error) {
	for _, load := range r.waits {
		select {
		case <-load.done:
			if load.err != nil || !load.fits {
				return false, nil //nolint:nilerr // the database is asked then
			}
		case <-ctx.Done():
			return false, fmt.Errorf("wait for a load: %w", ctx.Err())
		}
	}
	return true, nil
}

// askStale answers by a poll that is not too old.
func (c *Cache) askStale(r *request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.revision == nil || c.options.Now().Sub(c.began) > c.options.Staleness {
		return false
	}
	r.asOf, r.done = c.asOf, r.answer(nil)
	return r.done
}

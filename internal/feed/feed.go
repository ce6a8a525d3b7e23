// Package feed tells subscribers what has changed of what is served: states, groups that have moved, what
// was removed. Each subscriber has a cursor, and everything behind it is told, whichever process is
// asked and whatever fails in between. One poll of the database serves all subscribers of a process; who is behind
// polls by itself. See docs/decisions/feed.md.
package feed

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"readmark/internal/lograte"
	"readmark/internal/readstate"
)

const (
	// pollInterval is how often it is asked what other processes have written, while somebody
	// subscribes.
	pollInterval = 50 * time.Millisecond
	// pollPause is how long it takes from one poll to the next, at least, so that the changes of a busy
	// moment come together.
	pollPause = 5 * time.Millisecond
	// maxFailurePause bounds the growing pauses between polls that fail.
	maxFailurePause = time.Second
	// pageLimit is how many changes one question reads.
	pageLimit = 1000
	// maxQueued is how many batches a subscriber may be behind before it polls by itself.
	maxQueued = 32
)

// ErrClosed says that the feed is closing: subscribers are to go elsewhere.
var ErrClosed = errors.New("the feed is closing")

// Source reads changes, as the store does.
type Source interface {
	Changes(ctx context.Context, since *readstate.FeedCursor, filter readstate.FeedFilter, limit int) (readstate.FeedPage, error)
	ChangesOfUser(ctx context.Context, since *readstate.FeedCursor, filter readstate.FeedFilter, limit int) (
		page readstate.FeedPage, states []readstate.ServedState, large bool, err error)
}

// Options configures a Feed.
type Options struct {
	Source Source
	// AsOf gives a moment that no poll which begins after the call is older than; the zero time while
	// nothing can be read.
	AsOf   func() time.Time
	Logger *slog.Logger
}

// Page is some changes, and as of when they are.
type Page struct {
	readstate.FeedPage

	AsOf time.Time
}

// Feed is what the subscribers of a process share. It is safe for concurrent use.
type Feed struct {
	options Options
	wake    chan struct{} // a poll is wanted
	closed  chan struct{}
	failed  *lograte.Line
	metrics *metrics

	mu     sync.Mutex
	number int64 // of registrations
	subs   map[*Subscription]struct{}
	wide   map[*Subscription]struct{} // those that want changes of any group or user
	users  map[string]map[*Subscription]struct{}
	groups map[string]map[*Subscription]struct{}
	cursor *readstate.FeedCursor // up to where batches were handed out; nil: no poll was made yet
}

// batch is what one poll has found. It is never changed.
type batch struct {
	from, to readstate.FeedCursor
	changes  []readstate.FeedChange
	pending  map[string]bool // see readstate.FeedPage
	asOf     time.Time
}

// New returns a Feed, which needs Run.
func New(options Options) *Feed {
	return &Feed{
		options: options, wake: make(chan struct{}, 1), closed: make(chan struct{}), metrics: newMetrics(),
		failed: lograte.New(options.Logger, slog.LevelWarn, "feed cannot ask what has changed"),
		subs:   map[*Subscription]struct{}{}, wide: map[*Subscription]struct{}{},
		users: map[string]map[*Subscription]struct{}{}, groups: map[string]map[*Subscription]struct{}{},
	}
}

// Register registers the metrics.
func (f *Feed) Register(registry prometheus.Registerer) { f.metrics.register(registry) }

// Touch takes note that a transaction of this process has written: it is asked for at once.
func (f *Feed) Touch(*readstate.Change) {
	select {
	case f.wake <- struct{}{}:
	default: // wanted already
	}
}

// Close has all subscribers end with [ErrClosed]. It must be called once.
func (f *Feed) Close() { close(f.closed) }

// Run polls while somebody subscribes, until the context ends.
func (f *Feed) Run(ctx context.Context) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-f.wake:
		}
		err := f.poll(ctx)
		pause := pollPause
		if err != nil && ctx.Err() == nil {
			f.failed.Log(ctx, slog.Any("error", err))
			failures = min(failures+1, 20)
			pause = min(maxFailurePause, pollInterval<<failures)
		} else {
			failures = 0
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// poll reads what has changed, and hands it out, batch by batch.
func (f *Feed) poll(ctx context.Context) error {
	for {
		since, filter, covers, wanted := f.begin()
		if !wanted {
			return nil
		}
		asOf := f.options.AsOf()
		if asOf.IsZero() {
			return readstate.ErrUnavailable
		}
		b, more, err := f.read(ctx, since, filter)
		if errors.Is(err, readstate.ErrGone) { // subscribers find out by themselves
			f.restart()
			return nil
		}
		if err != nil {
			return err
		}
		b.asOf = asOf
		f.handOut(b, covers)
		if !more {
			return nil
		}
	}
}

// begin says what is to be read next. Subscribers up to a number had joined before, so that batches concern
// them from it on.
func (f *Feed) begin() (since *readstate.FeedCursor, filter readstate.FeedFilter, covers int64, wanted bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.subs) == 0 {
		f.cursor = nil
		return nil, filter, 0, false
	}
	if len(f.wide) == 0 {
		filter.Users = make(map[string]bool, len(f.users))
		for userID := range f.users {
			filter.Users[userID] = true
		}
	}
	return f.cursor, filter, f.number, true
}

func (f *Feed) restart() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cursor = nil
	for s := range f.subs {
		s.rejoin(f)
		s.tell()
	}
}

// read reads one round.
func (f *Feed) read(ctx context.Context, since *readstate.FeedCursor, filter readstate.FeedFilter) (b *batch, more bool, err error) {
	b = &batch{}
	for at := since; ; {
		page, err := f.options.Source.Changes(ctx, at, filter, pageLimit)
		f.metrics.polls.Inc()
		if err != nil {
			return nil, false, err //nolint:wrapcheck // the source says what it did
		}
		b.changes = append(b.changes, page.Changes...)
		if page.Pending != nil {
			b.pending = page.Pending
		}
		if page.Next.Until != nil {
			at = &page.Next
			continue
		}
		b.to = page.Next
		if b.from = page.Next; since != nil {
			b.from = *since
		}
		return b, page.More, nil
	}
}

// handOut gives a batch to those whom it may concern.
func (f *Feed) handOut(b *batch, covers int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cursor = &b.to
	for s := range f.subs {
		if s.from == nil && s.number <= covers {
			s.from = &b.from
			s.tell()
		}
	}
	if len(b.changes) == 0 && len(b.pending) == 0 {
		return
	}
	for s := range f.wide {
		s.queued(b)
	}
	for i := range b.changes {
		f.handOutChange(b, &b.changes[i])
	}
	for userID := range b.pending {
		for s := range f.users[userID] {
			s.queued(b)
		}
	}
}

func (f *Feed) handOutChange(b *batch, c *readstate.FeedChange) {
	switch {
	case c.UserID == "" && c.GroupID == "":
		for s := range f.subs {
			s.queued(b)
		}
		return
	case c.Erased:
		for _, subs := range f.users {
			for s := range subs {
				s.queued(b)
			}
		}
	case c.UserID != "":
		for s := range f.users[c.UserID] {
			if c.Kind == readstate.FeedChanged {
				s.follow(f, c.GroupID)
			}
			s.queued(b)
		}
	}
	for s := range f.groups[c.GroupID] {
		if c.UserID == "" || s.filter.UserID == "" {
			s.queued(b)
		}
	}
}

// Package stats keeps in memory what the last hour and day of a process were like: how many callbacks came, and how
// many reads were answered and how fast. It looks at the counters of others every now and then, so that counting
// costs nothing. What was before the process began it takes from the journal.
package stats

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"readmark/internal/condition"
	"readmark/internal/readstate"
)

const (
	// interval is how often counters are looked at.
	interval = 5 * time.Second
	// The slots: of the last minute in intervals, of the last hour in minutes, of the last day in quarters of an hour.
	recentSlots  = 12
	minuteSlots  = 60
	quarterSlots = 96
	quarter      = 15 * time.Minute
	// pastRest is how much longer than a question about the past the pause behind it is.
	pastRest = 9
	// latencyMinutes is of how many minutes quantiles of latencies are.
	latencyMinutes = 5
	// newestCallbacks is how many callbacks a report names.
	newestCallbacks = 20
	// Results of callbacks that the database knows.
	accepted, rejected = "accepted", "rejected"
)

// Total is how many callbacks a process has answered, by command and what became of them.
type Total struct {
	Command, Result string
	Count           int64
}

// Latencies is how many reads a process has answered, by how long each took: Counts[i] took at most Bounds[i] seconds
// and longer than the bound before; the last of Counts is beyond all bounds.
type Latencies struct {
	Bounds []float64
	Counts []uint64
}

// Counters are looked at. Both functions are called by one goroutine at a time and must not block.
type Counters struct {
	Callbacks func() []Total
	Reads     func() Latencies
}

// Journal tells of callbacks that came before, and of the newest. Its errors wrap [readstate.ErrUnavailable].
type Journal interface {
	CountCallbacks(ctx context.Context, from, to time.Time) (counts []readstate.MinuteCount, complete bool, err error)
	NewestEvents(ctx context.Context, now time.Time, limit int32) ([]readstate.Event, error)
	Rejections(ctx context.Context, before readstate.EventCursor, limit int32) ([]readstate.Rejection, error)
}

// Options configures a Recorder.
type Options struct {
	// Past is asked for what was before the process began, Journal for the newest callbacks.
	Past, Journal Journal
	Board         *condition.Board
	// CommandOf gives the command that tells an event of a kind; stored: a message that has a seq. Label gives a
	// command as Counters name it.
	CommandOf func(kind readstate.EventKind, stored bool) string
	Label     func(command string) string
	// Now is the clock by which callbacks arrive.
	Now    func() time.Time
	Logger *slog.Logger
}

// Recorder keeps what was. It is safe for concurrent use.
type Recorder struct {
	options Options
	pastTo  time.Time // what was from then until the process began is known

	mu        sync.Mutex
	began     time.Time
	counters  Counters
	callbacks map[key]*series
	reads     readSeries
}

type key struct{ command, result string }

// series is how often something happened.
type series struct {
	total                     int64
	recent, minutes, quarters ring
}

func newSeries() *series {
	return &series{
		recent: newRing(interval, recentSlots), minutes: newRing(time.Minute, minuteSlots), quarters: newRing(quarter, quarterSlots),
	}
}

func (s *series) add(now time.Time, n int64) {
	s.total += n
	s.recent.add(now, n)
	s.minutes.add(now, n)
	s.quarters.add(now, n)
}

// New returns a Recorder that begins now. It needs Run.
func New(options Options) *Recorder {
	now := options.Now()
	return &Recorder{options: options, began: now, pastTo: now, callbacks: map[key]*series{}, reads: readSeries{series: *newSeries()}}
}

// Follow has counters be looked at, which count from 0 on.
func (r *Recorder) Follow(counters Counters) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counters = counters
}

// Run looks at the counters until the context ends.
func (r *Recorder) Run(ctx context.Context) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			r.mu.Lock()
			r.look(r.options.Now())
			r.mu.Unlock()
		}
	}
}

// look takes what has happened since the last look; r.mu is held.
func (r *Recorder) look(now time.Time) {
	if r.counters.Callbacks != nil {
		for _, total := range r.counters.Callbacks() {
			s := r.callbacks[key{total.Command, total.Result}]
			if s == nil && total.Count == 0 {
				continue
			}
			if s == nil {
				s = r.series(key{total.Command, total.Result}, now)
			}
			if n := total.Count - s.total; n > 0 {
				s.add(now, n)
			}
		}
	}
	if r.counters.Reads != nil {
		r.reads.look(r.counters.Reads(), now)
	}
}

// series gives the series of a key, which it makes where there is none; r.mu is held.
func (r *Recorder) series(k key, now time.Time) *series {
	s := r.callbacks[k]
	if s == nil {
		s = newSeries()
		s.minutes.advance(now)
		s.quarters.advance(now)
		r.callbacks[k] = s
	}
	return s
}

// LoadPast takes what was before the process began from the journal, of all processes: as far back as a day, or until
// there is too much to count. It takes a tenth of one connection's time, since all processes may start at once. It is
// called once; after an error the next call goes on.
func (r *Recorder) LoadPast(ctx context.Context) error {
	for r.pastTo.After(r.began.Add(-quarterSlots * quarter)) {
		asked := time.Now()
		counts, complete, err := r.options.Past.CountCallbacks(ctx, r.pastTo.Add(-quarter), r.pastTo)
		if err != nil {
			return err //nolint:wrapcheck // the store says what it did
		}
		if !complete {
			return nil
		}
		r.addPast(counts)
		r.pastTo = r.pastTo.Add(-quarter)
		select {
		case <-ctx.Done():
			return ctx.Err() //nolint:wrapcheck // the caller's
		case <-time.After(pastRest * time.Since(asked)):
		}
	}
	return nil
}

func (r *Recorder) addPast(counts []readstate.MinuteCount) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.options.Now()
	for _, c := range counts {
		k := key{r.options.Label(c.Command), rejected}
		if c.Kind != "" {
			k = key{r.options.CommandOf(c.Kind, c.Stored), accepted}
		}
		s := r.series(k, now)
		s.minutes.addPast(c.Minute, c.Count)
		s.quarters.addPast(c.Minute, c.Count)
	}
}

// Report is what was.
type Report struct {
	// Since is when the process began: totals are of what was since then.
	Since, AsOf time.Time
	Callbacks   []Series // by command and result
	Reads       Reads
	Conditions  []condition.Problem
	// Newest are the newest callbacks of all processes, the newest first; none where the journal cannot be read.
	Newest []Callback
}

// Series is how many callbacks there were.
type Series struct {
	Command, Result string
	Total           int64
	PerSecond       float64 // in the last minute
	// LastHour has one count for each minute, LastDay one for each quarter of an hour, the oldest first. The last of
	// each is not over yet.
	LastHour, LastDay []int64
}

// Reads is how many reads were answered.
type Reads struct {
	Total     int64
	PerSecond float64
	// P50 and P95 are quantiles of the last minutes in seconds, where there were any: Timed.
	Timed    bool
	P50, P95 float64
	LastHour []int64
}

// Callback is one callback, as the journal has it.
type Callback struct {
	At              time.Time
	Command, Result string
	UserID, GroupID string // empty where it names none, or not any more
}

// Report gives what was until now. Where the journal cannot be read it says nothing of the newest callbacks.
func (r *Recorder) Report(ctx context.Context) Report {
	newest, err := r.newest(ctx)
	if err != nil && !errors.Is(err, readstate.ErrUnavailable) && ctx.Err() == nil {
		r.options.Logger.WarnContext(ctx, "newest callbacks cannot be read", "error", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.options.Now()
	r.look(now)
	minute := min(max(now.Sub(r.began), time.Second), recentSlots*interval).Seconds()
	report := Report{Since: r.began, AsOf: now, Conditions: r.options.Board.Problems(), Newest: newest, Reads: r.reads.report(now, minute)}
	for k, s := range r.callbacks {
		report.Callbacks = append(report.Callbacks, Series{
			Command: k.command, Result: k.result, Total: s.total, PerSecond: float64(s.recent.sum(now)) / minute,
			LastHour: s.minutes.list(now), LastDay: s.quarters.list(now),
		})
	}
	slices.SortFunc(report.Callbacks, func(a, b Series) int {
		return cmp.Or(cmp.Compare(a.Command, b.Command), cmp.Compare(a.Result, b.Result))
	})
	return report
}

func (r *Recorder) newest(ctx context.Context) ([]Callback, error) {
	events, err := r.options.Journal.NewestEvents(ctx, r.options.Now(), newestCallbacks)
	if err != nil {
		return nil, err //nolint:wrapcheck // the store says what it did
	}
	refused, err := r.options.Journal.Rejections(ctx, readstate.EventCursor{}, newestCallbacks)
	if err != nil {
		return nil, err //nolint:wrapcheck // the store says what it did
	}
	list := make([]Callback, 0, len(events)+len(refused))
	for i := range events {
		e := &events[i]
		list = append(list, Callback{e.At, r.options.CommandOf(e.Kind, e.ReadSeq > 0), accepted, e.UserID, e.GroupID})
	}
	for i := range refused {
		e := &refused[i]
		list = append(list, Callback{e.ReceivedAt, r.options.Label(e.Command), rejected, e.UserID, e.GroupID})
	}
	slices.SortStableFunc(list, func(a, b Callback) int { return b.At.Compare(a.At) })
	return list[:min(len(list), newestCallbacks)], nil
}

package stats_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"readmark/internal/condition"
	"readmark/internal/readstate"
	"readmark/internal/stats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal is what a test says that was.
type journal struct {
	counts     []readstate.MinuteCount
	full       time.Time // before it there is too much to count
	events     []readstate.Event
	rejections []readstate.Rejection
	err        error
	takes      time.Duration // a count
	asked      int
	failsAt    int // this count fails
}

func (j *journal) CountCallbacks(_ context.Context, from, to time.Time) (counts []readstate.MinuteCount, complete bool, err error) {
	<-time.After(j.takes)
	if j.asked++; j.asked == j.failsAt {
		return nil, false, errors.New("away")
	}
	for _, c := range j.counts {
		if !c.Minute.Before(from) && c.Minute.Before(to) {
			counts = append(counts, c)
		}
	}
	return counts, from.After(j.full), j.err
}

func (j *journal) NewestEvents(_ context.Context, _ time.Time, limit int32) ([]readstate.Event, error) {
	return j.events[:min(len(j.events), int(limit))], j.err
}

func (j *journal) Rejections(context.Context, readstate.EventCursor, int32) ([]readstate.Rejection, error) {
	return j.rejections, nil
}

// world is a process whose counters a test moves.
type world struct {
	*stats.Recorder
	journal journal
	board   *condition.Board
	totals  []stats.Total
	reads   stats.Latencies
}

func newWorld() *world {
	w := &world{
		board: condition.New(time.Now, slog.New(slog.DiscardHandler)), totals: []stats.Total{{Command: "read", Result: "accepted"}, {Command: "read", Result: "failed"}},
		reads: stats.Latencies{Bounds: []float64{.001, .01, .1}, Counts: make([]uint64, 4)},
	}
	w.Recorder = stats.New(stats.Options{
		Past: &w.journal, Journal: &w.journal, Board: w.board, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
		CommandOf: func(kind readstate.EventKind, stored bool) string {
			if stored {
				return "stored"
			}
			return map[readstate.EventKind]string{readstate.EventReceipt: "read", readstate.EventMessage: "message"}[kind]
		},
		Label: func(command string) string { return "the " + command },
	})
	w.Follow(stats.Counters{
		Callbacks: func() []stats.Total { return append([]stats.Total(nil), w.totals...) },
		Reads: func() stats.Latencies {
			return stats.Latencies{Bounds: w.reads.Bounds, Counts: append([]uint64(nil), w.reads.Counts...)}
		},
	})
	return w
}

// Counts stand in the minute and the quarter in which they were seen, move on with time and are forgotten; totals
// stay.
func TestCallbacksMoveOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // whose time begins at midnight
		w := newWorld()
		require.Empty(t, w.Report(t.Context()).Callbacks, "what never came is not there")
		w.totals[0].Count = 30
		report := w.Report(t.Context())
		require.Len(t, report.Callbacks, 1)
		one := report.Callbacks[0]
		require.Equal(t, "read accepted", one.Command+" "+one.Result)
		require.Len(t, one.LastHour, 60)
		require.Len(t, one.LastDay, 96)
		require.EqualValues(t, 30, one.LastHour[59])
		require.EqualValues(t, 30, one.LastDay[95])
		require.InDelta(t, 30, one.PerSecond, 0, "the process is a second old at most")
		pass(30 * time.Second)
		require.InDelta(t, 1, w.Report(t.Context()).Callbacks[0].PerSecond, 1e-9)
		pass(40 * time.Second)
		w.totals[0].Count = 36
		one = w.Report(t.Context()).Callbacks[0]
		require.Equal(t, []int64{30, 6}, one.LastHour[58:])
		require.InDelta(t, .1, one.PerSecond, 1e-9)
		pass(59 * time.Minute)
		one = w.Report(t.Context()).Callbacks[0]
		require.Equal(t, []int64{6, 0}, one.LastHour[:2])
		require.Equal(t, []int64{36, 0, 0, 0, 0}, one.LastDay[91:])
		require.Zero(t, one.PerSecond)
		pass(24 * time.Hour)
		one = w.Report(t.Context()).Callbacks[0]
		require.Equal(t, make([]int64, 60), one.LastHour)
		require.Equal(t, make([]int64, 96), one.LastDay)
		require.EqualValues(t, 36, one.Total)
	})
}

// Counters are looked at while nobody asks, so that what comes is told at its time.
func TestRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		w.totals[0].Count = 7
		go func() { defer close(done); w.Run(ctx) }()
		pass(6 * time.Second)
		pass(5 * time.Minute)
		require.EqualValues(t, 7, w.Report(t.Context()).Callbacks[0].LastHour[54])
		cancel()
		<-done
	})
}

// What was before the process began is from the journal, as far back as that can be counted; totals are the process's
// own.
func TestPast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pass(30 * time.Second)
		w := newWorld()
		began := time.Now()
		minute := began.Truncate(time.Minute)
		w.totals[0].Count = 2
		w.journal.counts = []readstate.MinuteCount{
			{Minute: minute.Add(-time.Minute), Kind: readstate.EventReceipt, Count: 5},
			{Minute: minute.Add(-2 * time.Minute), Kind: readstate.EventMessage, Stored: true, Count: 3},
			{Minute: minute.Add(-2 * time.Minute), Command: "odd", Count: 1},
			{Minute: minute.Add(-3 * time.Hour), Kind: readstate.EventReceipt, Count: 9},
			{Minute: minute.Add(-9 * time.Hour), Kind: readstate.EventReceipt, Count: 9},
		}
		w.journal.full, w.journal.err = minute.Add(-6*time.Hour), errors.New("away")
		require.Error(t, w.LoadPast(t.Context()))
		w.journal.err = nil
		require.NoError(t, w.LoadPast(t.Context()))
		report := w.Report(t.Context())
		require.Equal(t, began, report.Since)
		require.Len(t, report.Callbacks, 3)
		read, stored, odd := report.Callbacks[0], report.Callbacks[1], report.Callbacks[2]
		require.Equal(t, []int64{5, 2}, read.LastHour[58:])
		require.EqualValues(t, 2, read.Total)
		require.EqualValues(t, 16, sum(read.LastDay), "nothing from where there is too much to count")
		require.Equal(t, "stored accepted", stored.Command+" "+stored.Result)
		require.EqualValues(t, 3, stored.LastHour[57])
		require.Equal(t, "the odd rejected", odd.Command+" "+odd.Result)
		require.Zero(t, odd.Total)
	})
}

// Counting what was before takes a tenth of the time; after a failure it goes on where it was.
func TestPastIsPaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		began := time.Now()
		w.journal.counts = []readstate.MinuteCount{{Minute: began.Truncate(time.Minute).Add(-time.Hour), Kind: readstate.EventReceipt, Count: 5}}
		w.journal.takes, w.journal.failsAt = 100*time.Millisecond, 50
		require.Error(t, w.LoadPast(t.Context()))
		require.NoError(t, w.LoadPast(t.Context()))
		require.Equal(t, 97, w.journal.asked, "a quarter of an hour each, and one twice")
		require.InDelta(t, 96, time.Since(began).Seconds(), 1)
		require.EqualValues(t, 5, sum(w.Report(t.Context()).Callbacks[0].LastDay))
	})
}

// Quantiles are of the last five minutes; without reads there is none.
func TestReads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		require.False(t, w.Report(t.Context()).Reads.Timed)
		copy(w.reads.Counts, []uint64{90, 8, 0, 2})
		r := w.Report(t.Context()).Reads
		require.True(t, r.Timed)
		require.EqualValues(t, 100, r.Total)
		require.EqualValues(t, 100, r.LastHour[59])
		require.InDelta(t, .001*50/90, r.P50, 1e-9)
		require.InDelta(t, .001+.009*5/8, r.P95, 1e-9)
		pass(4 * time.Minute)
		w.reads.Counts[2] += 300
		r = w.Report(t.Context()).Reads
		require.InDelta(t, .01+.09*102/300, r.P50, 1e-9, "of both")
		pass(2 * time.Minute)
		r = w.Report(t.Context()).Reads
		require.InDelta(t, .01+.09*150/300, r.P50, 1e-9, "of the later ones")
		pass(10 * time.Minute)
		r = w.Report(t.Context()).Reads
		require.False(t, r.Timed)
		require.EqualValues(t, 400, r.Total)
		w.reads.Counts[3]++
		require.InDelta(t, .1, w.Report(t.Context()).Reads.P95, 1e-9, "beyond all bounds")
	})
}

// The newest callbacks are those of the journal and the rejected ones, in one order; where they cannot be read the
// rest is told.
func TestNewest(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.board.Report(condition.Clock, condition.Skewed, "two clocks")
	at := time.Now()
	for i := range 30 {
		w.journal.events = append(w.journal.events, readstate.Event{Kind: readstate.EventReceipt, At: at.Add(-time.Duration(i) * time.Second), UserID: "u", GroupID: "g"})
	}
	w.journal.rejections = []readstate.Rejection{{Command: "read", ReceivedAt: at.Add(-1500 * time.Millisecond)}, {Command: "old", ReceivedAt: at.Add(-time.Hour)}}
	report := w.Report(t.Context())
	require.Len(t, report.Newest, 20)
	require.Equal(t, stats.Callback{At: at, Command: "read", Result: "accepted", UserID: "u", GroupID: "g"}, report.Newest[0])
	require.Equal(t, stats.Callback{At: at.Add(-1500 * time.Millisecond), Command: "the read", Result: "rejected"}, report.Newest[2])
	require.Equal(t, "two clocks", report.Conditions[0].Text)
	w.journal.err = readstate.ErrUnavailable
	report = w.Report(t.Context())
	require.Empty(t, report.Newest)
	require.Len(t, report.Conditions, 1)
}

func sum(counts []int64) (total int64) {
	for _, n := range counts {
		total += n
	}
	return total
}

// pass lets a synctest's time pass.
func pass(d time.Duration) { <-time.After(d) }

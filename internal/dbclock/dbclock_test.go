package dbclock_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"readmark/internal/dbclock"
)

// world has a machine and a database whose clocks are set by hand.
type world struct {
	elapsed  time.Duration // the time that has really passed
	wall     time.Duration // the machine's clock is ahead of the database's by so much
	database time.Time     // at elapsed 0
	trips    []time.Duration
}

func (w *world) now() time.Time { return w.database.Add(w.elapsed) }

func (w *world) machine() dbclock.Machine {
	return dbclock.Machine{
		Wall:    func() time.Time { return w.now().Add(w.wall) },
		Elapsed: func() time.Duration { return w.elapsed },
	}
}

// ask takes half of a round trip each way.
func (w *world) ask(context.Context) (time.Time, error) {
	trip := 10 * time.Millisecond
	if len(w.trips) > 0 {
		trip, w.trips = w.trips[0], w.trips[1:]
	}
	w.elapsed += trip / 2
	at := w.now()
	w.elapsed += trip - trip/2
	return at, nil
}

func newWorld() *world { return &world{database: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)} }

func TestMeasure(t *testing.T) {
	t.Parallel()
	const years = 10 * 365 * 24 * time.Hour
	for _, ahead := range []time.Duration{0, years, -years, 90 * time.Second} {
		w := newWorld()
		w.wall = ahead
		c := dbclock.New(w.machine())
		require.False(t, c.Read().Measured)
		require.Equal(t, w.now().Add(ahead), c.Now(), "the machine's, until the database's is known")
		w.elapsed += time.Minute
		before := c.Read()
		require.NoError(t, c.Measure(t.Context(), w.ask))
		require.True(t, c.Read().Measured)
		require.Equal(t, w.now(), c.Now())
		require.Equal(t, -ahead, c.Offset())
		read := c.Read()
		require.Equal(t, w.now().Add(-40*time.Millisecond), before.At.Add(read.Correction))
		w.wall = -ahead / 2 // set
		w.elapsed += time.Hour
		require.Equal(t, w.now(), c.Now(), "setting the machine's clock changes nothing")
		require.Equal(t, min(0, -ahead/2), c.Earlier().Sub(c.Now()))
		require.NoError(t, c.Measure(t.Context(), w.ask))
		require.Equal(t, ahead/2, c.Offset())
		require.Equal(t, read.Correction, c.Read().Correction, "what was told before the first measurement moves by the same for ever")
	}
}

// A database that does not answer keeps nobody else from measuring.
func TestMeasureBesideAHang(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := dbclock.New(w.machine())
	asking, ended := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(ended)
		_ = c.Measure(ctx, func(ctx context.Context) (time.Time, error) {
			close(asking)
			<-ctx.Done()
			return time.Time{}, ctx.Err()
		})
	}()
	<-asking
	require.NoError(t, c.Measure(t.Context(), w.ask))
	require.Equal(t, w.now(), c.Now())
	cancel()
	<-ended
}

// The fastest answer counts, and a worse measurement that agrees with a better one changes
// nothing.
func TestBestOfSeveral(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := dbclock.New(w.machine())
	w.trips = []time.Duration{time.Second, 4 * time.Millisecond, 2 * time.Second, time.Second}
	require.NoError(t, c.Measure(t.Context(), w.ask))
	require.Equal(t, 2*time.Millisecond, c.Accuracy())
	w.trips = []time.Duration{time.Second, time.Second, time.Second, time.Second}
	require.NoError(t, c.Measure(t.Context(), w.ask))
	require.Equal(t, 2*time.Millisecond, c.Accuracy())
	require.Equal(t, w.now(), c.Now())

	w.database = w.database.Add(-10 * 365 * 24 * time.Hour) // set back
	w.wall = -w.wall
	require.NoError(t, c.Measure(t.Context(), w.ask))
	require.Equal(t, w.now(), c.Now())

	errAway := errors.New("away")
	require.ErrorIs(t, c.Measure(t.Context(), func(context.Context) (time.Time, error) { return time.Time{}, errAway }), errAway)
	require.Equal(t, w.now(), c.Now())
}

// Whatever the clocks do, after a measurement the time is right within its accuracy, and what
// the round trips could not tell is below their half.
func TestMeasureProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld()
		c := dbclock.New(w.machine())
		for range rapid.IntRange(1, 20).Draw(r, "steps") {
			w.elapsed += time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(r, "passes"))
			w.wall = time.Duration(rapid.Int64Range(-1<<58, 1<<58).Draw(r, "wall"))
			if rapid.IntRange(0, 4).Draw(r, "set") == 0 {
				w.database = w.database.Add(time.Duration(rapid.Int64Range(-1<<50, 1<<50).Draw(r, "database")))
			}
			best := time.Duration(1 << 60)
			w.trips = nil
			for range 4 {
				trip := time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(r, "trip"))
				w.trips, best = append(w.trips, trip), min(best, trip)
			}
			require.NoError(r, c.Measure(context.Background(), w.ask))
			require.InDelta(r, w.now().UnixMicro(), c.Now().UnixMicro(), 1+2*float64(best.Microseconds()))
		}
	})
}

// Follow measures every ten seconds, and at once when the machine's clock leaps.
func TestFollow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var set, measured atomic.Int64
		start := time.Now()
		c := dbclock.New(dbclock.Machine{
			Wall: func() time.Time { return time.Now().Add(time.Duration(set.Load())) }, Elapsed: func() time.Duration { return time.Since(start) },
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.Follow(ctx, func(context.Context) error { measured.Add(1); return nil })
		}()
		pass := func(d time.Duration) {
			time.Sleep(d) //nolint:forbidigo // the bubble's clock
			synctest.Wait()
		}
		pass(30500 * time.Millisecond)
		require.EqualValues(t, 3, measured.Load())
		set.Store(int64(-time.Hour))
		pass(time.Second)
		require.EqualValues(t, 4, measured.Load())
		pass(5 * time.Second)
		require.EqualValues(t, 4, measured.Load())
		cancel()
		<-done
	})
}

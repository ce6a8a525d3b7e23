package spool

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"readmark/internal/readstate"
)

// noon is when the tests of Correct take place, by the database's clock.
var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

const years = 10 * 365 * 24 * time.Hour

// dated makes a batch of entries from a number on, which arrived then.
func dated(machineTime bool, first int, at ...time.Time) readstate.Batch {
	b := readstate.Batch{MachineTime: machineTime}
	for i := range at {
		b.Events = append(b.Events, readstate.Event{Kind: readstate.EventReceipt, ID: id(first + i), At: at[i], UserID: "u", GroupID: "g"})
	}
	return b
}

// oneEach has each append begin a segment.
func oneEach(o *Options) { o.segmentSize = 1 }

// arrivals takes out all that is queued, and gives when it arrived.
func arrivals(t require.TestingT, s *Spool) (at []time.Time) {
	for {
		b, mark, err := s.Next(100, mebibyte)
		require.NoError(t, err)
		if b.Len() == 0 {
			return at
		}
		for i := range b.Events {
			at = append(at, b.Events[i].At)
		}
		require.NoError(t, s.Remove(mark))
	}
}

// What earlier processes have left by clocks that were wrong stays in its order, and moves no
// further than it has to.
func TestCorrectKeepsOrder(t *testing.T) {
	t.Parallel()
	const s, us = time.Second, time.Microsecond
	type segment struct {
		machine bool
		at      []time.Duration // from noon, when the last process starts
	}
	for name, test := range map[string]struct {
		earlier, own []segment
		correction   time.Duration
		want         []time.Duration
	}{
		"clocks were right": {
			earlier: []segment{{true, []time.Duration{-9 * s, -8 * s}}, {true, []time.Duration{-5 * s}}},
			own:     []segment{{true, []time.Duration{0, s}}},
			want:    []time.Duration{-9 * s, -8 * s, -5 * s, 0, s},
		},
		"one clock, ahead": {
			earlier:    []segment{{true, []time.Duration{99 * s, 100 * s}}, {true, []time.Duration{103 * s}}},
			own:        []segment{{true, []time.Duration{-90 * s, -80 * s}}},
			correction: 90 * s,
			want:       []time.Duration{-s - 2*us, -2 * us, -us, 0, 10 * s},
		},
		"one clock, appended out of order": {
			earlier: []segment{{true, []time.Duration{100 * s}}, {true, []time.Duration{99 * s, 101 * s}}},
			want:    []time.Duration{-s - us, -2*s - us, -us},
		},
		"the later clock ahead": {
			earlier: []segment{{true, []time.Duration{-9 * s}}, {true, []time.Duration{years, years + s}}},
			own:     []segment{{true, []time.Duration{0}}},
			want:    []time.Duration{-9 * s, -s - us, -us, 0},
		},
		"the earlier clock ahead": {
			earlier: []segment{{true, []time.Duration{years, years + s}}, {true, []time.Duration{-9 * s, -8 * s}}},
			own:     []segment{{true, []time.Duration{0}}},
			want:    []time.Duration{-10*s - us, -9*s - us, -9 * s, -8 * s, 0},
		},
		"before a segment by the database's clock": {
			earlier: []segment{{true, []time.Duration{years}}, {false, []time.Duration{-9 * s}}},
			own:     []segment{{true, []time.Duration{0}}},
			want:    []time.Duration{-9*s - us, -9 * s, 0},
		},
		"the clock behind": {
			earlier: []segment{{false, []time.Duration{-9 * s}}, {true, []time.Duration{-years, -years + s}}, {true, []time.Duration{-years + 2*s}}},
			want:    []time.Duration{-9 * s, -9*s + us, -8*s + us, -8*s + 2*us},
		},
		"the right clock, then one behind": {
			earlier: []segment{{false, []time.Duration{-9 * s}}, {true, []time.Duration{-8 * s}}, {true, []time.Duration{-years}}},
			want:    []time.Duration{-9 * s, -9*s + us, -9*s + 2*us},
		},
		"no room": {
			earlier: []segment{{false, []time.Duration{-9 * s}}, {true, []time.Duration{-years, -years + 60*s}}, {true, []time.Duration{years}}},
			want:    []time.Duration{-9 * s, -60*s - 2*us, -2 * us, -us},
		},
		"a database's clock was ahead too": {
			earlier: []segment{{true, []time.Duration{-2 * s}}, {false, []time.Duration{years}}, {false, []time.Duration{-9 * s}}},
			want:    []time.Duration{-9*s - us, years, -9 * s},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			put := func(q *Spool, list []segment) {
				for _, g := range list {
					at := make([]time.Time, len(g.at))
					for i := range g.at {
						at[i] = noon.Add(g.at[i])
					}
					require.NoError(t, put(q, dated(g.machine, 0, at...)))
				}
			}
			q, _ := openWith(t, dir, oneEach)
			put(q, test.earlier)
			require.NoError(t, q.Close())
			q, _ = openWith(t, dir, oneEach)
			put(q, test.own)
			require.NoError(t, q.Correct(test.correction, noon))
			var got []time.Duration
			for _, at := range arrivals(t, q) {
				got = append(got, at.Sub(noon))
			}
			require.Equal(t, test.want, got)
		})
	}
}

// Whatever the clocks of some processes tell, and wherever their corrections fail: what is
// queued comes in the order of appending, with rising arrivals, and what a process has queued
// that has measured the database's clock came when it did.
func TestCorrectProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		dir, err := os.MkdirTemp("", "readmark-spool-")
		require.NoError(r, err)
		defer func() { require.NoError(r, os.RemoveAll(dir)) }()
		now, appended := noon, 0
		truth := map[int]time.Time{} // of what a process has queued that corrected it
		for left := rapid.IntRange(1, 5).Draw(r, "processes"); left > 0; left-- {
			f := newFaults()
			o, _ := options(dir, func(o *Options) { o.segmentSize, o.wrap = int64(rapid.IntRange(1, 600).Draw(r, "size")), f.wrap })
			s, err := Open(o)
			require.NoError(r, err)
			started, first := now, appended
			ahead := rapid.SampledFrom([]time.Duration{0, time.Millisecond, time.Hour, -time.Hour, years, -years}).Draw(r, "ahead")
			for range rapid.IntRange(0, 6).Draw(r, "appends") {
				now = now.Add(time.Duration(rapid.IntRange(2, 10_000_000).Draw(r, "µs")) * time.Microsecond)
				at := now.Add(ahead)
				require.NoError(r, put(s, dated(true, appended, at, at.Add(time.Microsecond))))
				truth[appended], truth[appended+1] = now, now.Add(time.Microsecond)
				appended += 2
			}
			now = now.Add(time.Second)
			measured := left == 1 || rapid.Bool().Draw(r, "measured")
			for tries := 0; measured; tries++ {
				if tries < 4 && rapid.Bool().Draw(r, "fails") {
					f.once(rapid.SampledFrom([]string{"rename", "sync directory"}).Draw(r, "operation"))
					f.skip = rapid.IntRange(0, 5).Draw(r, "later")
				} else {
					f.set(nil)
				}
				if err := s.Correct(-ahead, started); err == nil {
					break
				}
				if left > 1 && rapid.Bool().Draw(r, "dies") {
					measured = false
				}
			}
			if !measured {
				for i := first; i < appended; i++ {
					delete(truth, i)
				}
			}
			f.set(nil)
			if left > 1 {
				require.NoError(r, s.Close())
				continue
			}
			b, _, err := s.Next(appended+1, mebibyte)
			require.NoError(r, err)
			require.NoError(r, s.Close())
			require.Len(r, b.Events, appended)
			for i := range b.Events {
				require.Equal(r, i, number(b.Events[i].ID))
				if i > 0 {
					require.True(r, b.Events[i].At.After(b.Events[i-1].At), "%d: %v then %v", i, b.Events[i-1].At, b.Events[i].At)
				}
				if at, known := truth[i]; known {
					require.Equal(r, at, b.Events[i].At)
				}
			}
		}
	})
}

// correctionLife is what a process does that measures the database's clock late. It gives to the
// database what it reads.
func correctionLife(s *Spool, given map[int]time.Time) (acked []int) {
	appendOne := func(machineTime bool, n int, at time.Duration) bool {
		if put(s, dated(machineTime, n, noon.Add(at), noon.Add(at+time.Second))) != nil {
			return false
		}
		acked = append(acked, n, n+1)
		return true
	}
	drainSome := func(n int) bool {
		b, mark, err := s.Next(n, mebibyte)
		for i := range b.Events {
			given[number(b.Events[i].ID)] = b.Events[i].At
		}
		return err == nil && s.Remove(mark) == nil
	}
	_ = appendOne(true, 0, 0) && appendOne(true, 2, 10*time.Second) && appendOne(true, 4, 20*time.Second) &&
		s.Correct(time.Hour, noon.Add(time.Hour)) == nil && drainSome(3) && appendOne(false, 6, time.Hour+30*time.Second) &&
		drainSome(1) && drainSome(2) && drainSome(9)
	return acked
}

// kill -9 and power losses before each operation of a process that corrects what is queued:
// nothing that was acknowledged is lost, and what was given to the database has the same arrival
// when the next process gives it again, whatever that one's clocks tell.
func TestCorrectKilledAtEachOperation(t *testing.T) {
	t.Parallel()
	f := newFaults()
	s, _ := openWith(t, t.TempDir(), oneEach, func(o *Options) { o.wrap = f.wrap })
	require.Len(t, correctionLife(s, map[int]time.Time{}), 8)
	require.Zero(t, s.Len())
	require.NoError(t, s.Close())
	ops := f.ops
	require.Subset(t, ops, []string{"rename", "sync directory", "remove"})
	for n := 1; n <= len(ops)+1; n++ {
		for _, how := range []string{"killed", "killed in a write", "power lost", "killed, then power lost"} {
			trace := fmt.Sprintf("%s at operation %d", how, n)
			dir := t.TempDir()
			f := newFaults()
			f.half = how == "killed in a write"
			f.killAt(n)
			s, _ := openWith(t, dir, oneEach, func(o *Options) { o.wrap = f.wrap })
			journal := map[int]time.Time{}
			acked := correctionLife(s, journal)
			require.NoError(t, s.Close())
			f.set(nil)
			if how == "power lost" {
				f.losePower(t, dir)
			}
			restart := func(correction time.Duration, limit int) {
				next, log := openWith(t, dir, oneEach, func(o *Options) { o.wrap = f.wrap })
				require.NoError(t, next.Correct(correction, noon.Add(2*time.Hour)), trace)
				var last time.Time
				for limit > 0 {
					b, mark, err := next.Next(3, mebibyte)
					require.NoError(t, err, trace)
					if b.Len() == 0 {
						break
					}
					for i := range b.Events {
						n, at := number(b.Events[i].ID), b.Events[i].At
						require.True(t, at.After(last), trace)
						if before, known := journal[n]; known {
							require.Equal(t, before, at, "%s: entry %d is in the journal twice", trace, n)
						}
						journal[n], last = at, at
					}
					if limit--; limit > 0 {
						require.NoError(t, next.Remove(mark), trace)
					}
				}
				require.Empty(t, next.Stats().Damaged, "%s: %s", trace, log)
				require.NoError(t, next.Close())
			}
			if how == "killed, then power lost" {
				restart(-time.Hour, 1)
				f.losePower(t, dir)
			}
			restart(time.Minute, 100)
			for _, n := range acked {
				require.Contains(t, journal, n, trace)
			}
		}
	}
}

// After a correction whose names could not be made durable nothing is given, also when all of
// them are there; the same call makes them durable.
func TestCorrectNotSynced(t *testing.T) {
	t.Parallel()
	f, dir := newFaults(), t.TempDir()
	s, _ := openWith(t, dir, oneEach, func(o *Options) { o.wrap = f.wrap })
	require.NoError(t, put(s, dated(true, 0, noon)))
	require.NoError(t, put(s, dated(true, 1, noon.Add(time.Second))))
	f.always("sync directory")
	for range 2 {
		require.ErrorIs(t, s.Correct(0, noon), errDisk)
		_, _, err := s.Next(1, mebibyte)
		require.ErrorIs(t, err, errDisk)
	}
	f.set(nil)
	require.NoError(t, s.Correct(0, noon))
	require.Empty(t, f.before, "all names are durable")
	require.Equal(t, []time.Time{noon, noon.Add(time.Second)}, arrivals(t, s))

	// A process that dies before leaves it to the next one.
	require.NoError(t, put(s, dated(true, 2, noon.Add(2*time.Second))))
	f.always("sync directory")
	require.Error(t, s.Correct(time.Hour, noon))
	require.NoError(t, s.Close())
	s, _ = openWith(t, dir, oneEach, func(o *Options) { o.wrap = f.wrap })
	_, _, err := s.Next(1, mebibyte)
	require.ErrorIs(t, err, errDisk)
	f.set(nil)
	require.Equal(t, []time.Time{noon.Add(time.Hour + 2*time.Second)}, arrivals(t, s))
}

// A file that has vanished holds nothing of the others back.
func TestCorrectVanished(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, log := openWith(t, dir, oneEach)
	for i := range 3 {
		require.NoError(t, put(s, dated(true, i, noon.Add(time.Duration(i)*time.Second))))
	}
	require.NoError(t, os.Remove(filepath.Join(dir, s.segments[1].name())))
	require.NoError(t, s.Correct(time.Hour, noon.Add(2*time.Hour)))
	require.Contains(t, log.String(), "spool files vanished")
	require.Equal(t, []time.Time{noon.Add(time.Hour), noon.Add(time.Hour + 2*time.Second)}, arrivals(t, s))
}

// The name of a segment says how it is dated, and is read as it was written.
func TestSegmentNames(t *testing.T) {
	t.Parallel()
	for _, d := range []dating{{}, {machineTime: true}, {corrected: true}, {corrected: true, correction: time.Hour}, {corrected: true, correction: -time.Microsecond}} {
		g := &segment{sequence: 12, dating: d}
		sequence, got, ok := parseName(g.name())
		require.True(t, ok, g.name())
		require.EqualValues(t, 12, sequence)
		require.Equal(t, d, got)
	}
	for _, name := range []string{"0.log", strings.Repeat("0", 16), strings.Repeat("g", 16) + ".log", strings.Repeat("0", 16) + "5.log", lockName} {
		_, _, ok := parseName(name)
		require.False(t, ok, name)
	}
}

package stats

import "time"

// readSeries is how many reads were answered, and how fast.
type readSeries struct {
	series

	bounds []float64
	seen   []uint64                // at the last look
	slots  [latencyMinutes][]int64 // of each minute how many took how long
	last   int64                   // number of the newest minute
}

// look takes what has happened since the last look.
func (s *readSeries) look(l Latencies, now time.Time) {
	if s.seen == nil {
		s.bounds, s.seen = l.Bounds, make([]uint64, len(l.Counts))
		for i := range s.slots {
			s.slots[i] = make([]int64, len(l.Counts))
		}
	}
	slot := s.slots[s.advance(now)]
	all := int64(0)
	for i, n := range l.Counts {
		more := int64(n - s.seen[i]) //nolint:gosec // it counts single requests
		s.seen[i] = n
		slot[i] += more
		all += more
	}
	s.add(now, all)
}

// advance forgets minutes that are too old, and gives the place of this one.
func (s *readSeries) advance(now time.Time) int64 {
	number := max(now.UnixNano()/int64(time.Minute), s.last)
	for next := max(s.last+1, number-latencyMinutes+1); next <= number; next++ {
		clear(s.slots[next%latencyMinutes])
	}
	s.last = number
	return number % latencyMinutes
}

func (s *readSeries) report(now time.Time, minute float64) Reads {
	s.advance(now)
	r := Reads{Total: s.total, PerSecond: float64(s.recent.sum(now)) / minute, LastHour: s.minutes.list(now)}
	counts := make([]int64, len(s.seen))
	all := int64(0)
	for _, slot := range s.slots {
		for i, n := range slot {
			counts[i] += n
			all += n
		}
	}
	if r.Timed = all > 0; r.Timed {
		r.P50, r.P95 = quantile(s.bounds, counts, all, .5), quantile(s.bounds, counts, all, .95)
	}
	return r
}

// quantile gives the time that a part of the reads took at most, in seconds: as if all of one range were spread evenly
// over it. What is beyond the last bound is taken to be at it.
func quantile(bounds []float64, counts []int64, all int64, part float64) float64 {
	rank, below, from := part*float64(all), int64(0), 0.0
	for i, bound := range bounds {
		if n := counts[i]; n > 0 && float64(below+n) >= rank {
			return from + (bound-from)*(rank-float64(below))/float64(n)
		}
		below += counts[i]
		from = bound
	}
	return from
}

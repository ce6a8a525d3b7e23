package stats

import "time"

// ring counts what happens in the last slots of time, each of one step. Older slots are forgotten.
type ring struct {
	step   time.Duration
	counts []int64
	last   int64 // number of the newest slot, since 1970
}

func newRing(step time.Duration, slots int) ring {
	return ring{step: step, counts: make([]int64, slots)}
}

func (r *ring) slot(at time.Time) int64 { return at.UnixNano() / int64(r.step) }

// advance makes the slot of a moment the newest. A clock that goes back changes nothing.
func (r *ring) advance(now time.Time) {
	slots := int64(len(r.counts))
	for next := max(r.last+1, r.slot(now)-slots+1); next <= r.slot(now); next++ {
		r.counts[next%slots] = 0
		r.last = next
	}
}

// add counts something that happened now.
func (r *ring) add(now time.Time, n int64) {
	r.advance(now)
	r.counts[r.last%int64(len(r.counts))] += n
}

// addPast counts something that happened before; what is older than the ring is left out.
func (r *ring) addPast(at time.Time, n int64) {
	slots := int64(len(r.counts))
	if slot := r.slot(at); slot > r.last-slots && slot <= r.last {
		r.counts[slot%slots] += n
	}
}

// list gives the slots up to now, the oldest first.
func (r *ring) list(now time.Time) []int64 {
	r.advance(now)
	slots := int64(len(r.counts))
	first := int(r.last+1) % int(slots)
	return append(append(make([]int64, 0, slots), r.counts[first:]...), r.counts[:first]...)
}

// sum gives what happened in all slots up to now.
func (r *ring) sum(now time.Time) (total int64) {
	r.advance(now)
	for _, n := range r.counts {
		total += n
	}
	return total
}

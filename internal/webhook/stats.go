package webhook

import (
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// ProbeUserID is the user of callbacks that are sent to try the way out; they are
// not counted in the stats.
const ProbeUserID = "readmark-doctor"

// CallbackStat says how often, and when, a kind of callback was answered with success.
type CallbackStat struct {
	Command string // as known to OpenIM; else "other"
	Dialect string // of a read callback, see [readstate.EventKind.Dialect]; else "none"
	Count   int64
	FirstAt time.Time
	LastAt  time.Time
}

// stats counts callbacks that were answered with success, by command and dialect. It is
// safe for concurrent use.
type stats struct {
	mu      sync.Mutex
	entries map[statKey]CallbackStat
}

type statKey struct{ command, dialect string }

// count adds one callback.
func (s *stats) count(command, dialect string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries == nil {
		s.entries = map[statKey]CallbackStat{}
	}
	key := statKey{command, dialect}
	entry := s.entries[key]
	if entry.Count == 0 {
		entry = CallbackStat{Command: command, Dialect: dialect, FirstAt: at, LastAt: at}
	}
	entry.Count++
	// Concurrent callers come here in any order.
	if at.Before(entry.FirstAt) {
		entry.FirstAt = at
	}
	if at.After(entry.LastAt) {
		entry.LastAt = at
	}
	s.entries[key] = entry
}

// TakeStats takes out what was counted since it was called before.
func (h *Handler) TakeStats() []CallbackStat {
	h.stats.mu.Lock()
	defer h.stats.mu.Unlock()
	list := make([]CallbackStat, 0, len(h.stats.entries))
	for _, entry := range h.stats.entries {
		list = append(list, entry)
	}
	h.stats.entries = nil
	return list
}

// CallbackTotal is how many callbacks were answered since the process began.
type CallbackTotal struct {
	Command string // its newest spelling; else "other"
	Result  string // what became of them, as in the metric readmark_callbacks_total
	Count   int64
}

// Totals gives the totals of all commands and results that can be.
func (h *Handler) Totals() []CallbackTotal {
	index := map[[2]string]int{}
	list := make([]CallbackTotal, 0, len(h.metrics.totals))
	for _, one := range h.metrics.totals {
		var read dto.Metric
		_ = one.callbacks.Write(&read) // a counter can be read
		count := int64(read.GetCounter().GetValue())
		key := [2]string{one.command, one.result}
		at, found := index[key]
		if !found { // not of another dialect
			at = len(list)
			index[key] = at
			list = append(list, CallbackTotal{Command: one.command, Result: one.result})
		}
		list[at].Count += count
	}
	return list
}

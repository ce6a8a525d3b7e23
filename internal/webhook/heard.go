package webhook

import (
	"sync"
	"time"

	"readmark/internal/readstate"
)

// ProbeUserID is the user of callbacks that are sent to try the way out; they are
// not counted as heard.
const ProbeUserID = "readmark-doctor"

// Heard says how often a callback was taken.
type Heard struct {
	Command string // known ones; else "other"
	Dialect string // of a receipt; else "none"
	Count   int64
	FirstAt time.Time
	LastAt  time.Time
}

// heard counts callbacks that were answered with success, by command and dialect.
type heard struct {
	mu   sync.Mutex
	seen map[heardKey]Heard
}

type heardKey struct {
	command string
	dialect readstate.Dialect
}

func (h *heard) note(command string, dialect readstate.Dialect, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.seen == nil {
		h.seen = map[heardKey]Heard{}
	}
	key := heardKey{command, dialect}
	entry := h.seen[key]
	if entry.Count == 0 {
		entry = Heard{Command: command, Dialect: dialect.String(), FirstAt: at, LastAt: at}
	}
	entry.Count++
	// Concurrent callers come here in any order.
	if at.Before(entry.FirstAt) {
		entry.FirstAt = at
	}
	if at.After(entry.LastAt) {
		entry.LastAt = at
	}
	h.seen[key] = entry
}

// Heard takes out what was heard since it was called before.
func (h *Handler) Heard() []Heard {
	h.heard.mu.Lock()
	defer h.heard.mu.Unlock()
	list := make([]Heard, 0, len(h.heard.seen))
	for _, entry := range h.heard.seen {
		list = append(list, entry)
	}
	h.heard.seen = nil
	return list
}

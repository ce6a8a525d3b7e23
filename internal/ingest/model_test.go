package ingest_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"readmark/internal/readstate"
)

// model is a database in memory with the rules of the real one; what Commit
// does is decided by the script, a call at a time, then by always.
type model struct {
	mu       sync.Mutex
	script   []string // "ok", "away", "deadlock", "hang", "lost answer"
	always   string
	most     int // events that it can take at once; 0: any number
	calls    int
	sizes    []int // of the batches that it has taken
	journal  map[readstate.ID]readstate.Event
	order    []readstate.ID                     // of first insertion
	states   map[readstate.Pair]readstate.Event // the last event of each
	rejected map[readstate.ID]readstate.Rejection
	tried    map[readstate.ID]bool // may be in the journal as far as the caller knows
	notFresh []string              // what was said to be fresh and is not
}

func newModel(always string, script ...string) *model {
	return &model{
		always: always, script: script, journal: map[readstate.ID]readstate.Event{},
		states: map[readstate.Pair]readstate.Event{}, rejected: map[readstate.ID]readstate.Rejection{},
		tried: map[readstate.ID]bool{},
	}
}

func (m *model) set(always string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.always = always
}

func (m *model) setMost(most int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.most = most
}

func (m *model) Commit(ctx context.Context, batch readstate.Batch) error {
	switch m.next(&batch) {
	case "away":
		return errAway
	case "deadlock":
		return errDeadlock
	case "hang":
		<-ctx.Done()
		return fmt.Errorf("%w: %w", readstate.ErrUnavailable, ctx.Err())
	case "lost answer":
		if err := m.take(&batch); err != nil {
			return err
		}
		return errDeadlock
	default:
		return m.take(&batch)
	}
}

// next gives what is to happen to a batch.
func (m *model) next(batch *readstate.Batch) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	what := m.always
	if len(m.script) > 0 {
		what, m.script = m.script[0], m.script[1:]
	}
	if m.most > 0 && batch.Len() > m.most {
		what = "away"
	}
	for i := range batch.Events {
		e := &batch.Events[i]
		if batch.Fresh && m.tried[e.ID] {
			m.notFresh = append(m.notFresh, e.UserID)
		}
		if what != "ok" {
			m.tried[e.ID] = true
		}
	}
	return what
}

func (m *model) take(batch *readstate.Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range batch.Events {
		if batch.Events[i].UserID == "poison" {
			return errPoison
		}
	}
	for i := range batch.Events {
		e := batch.Events[i]
		m.tried[e.ID] = true
		if _, known := m.journal[e.ID]; !known {
			m.journal[e.ID] = e
			m.order = append(m.order, e.ID)
		}
		if last, known := m.states[e.Pair()]; !known || e.Compare(&last) > 0 {
			m.states[e.Pair()] = e
		}
	}
	for _, r := range batch.Rejections {
		m.rejected[r.ID] = r
	}
	m.sizes = append(m.sizes, batch.Len())
	return nil
}

// users gives the users of the events in the order in which they came.
func (m *model) users() (users []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range m.order {
		users = append(users, m.journal[id].UserID)
	}
	return users
}

// missing gives which of the events until a moment are not in the journal.
func (m *model) missing(events []readstate.Event, until time.Time) (missing []readstate.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range events {
		if _, known := m.journal[e.ID]; !known && !e.At.After(until) {
			missing = append(missing, e)
		}
	}
	return missing
}

package keyring

import (
	"time"

	"readmark/internal/auth"
)

// missing remembers keys that do not exist, the newest of them. Its zero value
// remembers none.
type missing struct {
	until map[auth.Hash]time.Time
	order []auth.Hash // a ring once it is full
	next  int         // the oldest in a full ring
}

func (m *missing) has(hash auth.Hash, now time.Time) bool {
	until, there := m.until[hash]
	return there && now.Before(until)
}

func (m *missing) add(hash auth.Hash, now time.Time) {
	if m.until == nil {
		m.until = map[auth.Hash]time.Time{}
	}
	_, there := m.until[hash]
	m.until[hash] = now.Add(missingLife)
	switch {
	case there:
	case len(m.order) < maxMissing:
		m.order = append(m.order, hash)
	default:
		delete(m.until, m.order[m.next])
		m.order[m.next] = hash
		m.next = (m.next + 1) % maxMissing
	}
}

package openimsync_test

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/readstate"
)

// announce commits a callback of a message without a seq.
func (s *fakeStore) announce(userID, messageID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now().UTC()
	e := readstate.Event{Kind: readstate.EventMessage, At: now, UserID: userID, GroupID: "g", MessageID: messageID, SentAt: now}
	copy(e.ID[:], messageID)
	effects := readstate.Apply(&readstate.Loaded{Positions: s.positions, States: s.states}, []readstate.Event{e},
		readstate.Options{Now: now, CanLookUp: true})
	for _, state := range effects.States {
		s.states[state.Pair] = state
	}
	for _, position := range effects.Positions {
		s.positions[position.GroupID] = position
	}
	for _, l := range effects.Lookups {
		s.enqueue(l)
	}
}

// In a group where OpenIM stores a message some time after announcing it, and the next is
// announced before, not everybody who was asked about once is asked about again and again.
func TestBusyGroupCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const members, seconds = 50, 120
		s, o := newStore(), &fakeOpenIM{members: map[string][]string{"g": {"owner"}}}
		s.lookUps = true
		set := func(stored int64) {
			for i := range members {
				o.set("u"+strconv.Itoa(i), "g", 10+stored, 0)
			}
			o.set("owner", "g", 10+stored, 10+stored)
		}
		for i := range members {
			s.know("u"+strconv.Itoa(i), "g", 10, 10)
		}
		s.know("owner", "g", 0, 10)
		set(0)
		sync, _, _ := newSync(s, o)
		end := start(t, sync.Run)
		for i := range seconds * 5 { // 5 a second, stored 400 ms later
			s.announce("owner", strconv.Itoa(i))
			set(max(0, int64(i)-1))
			if i == 10 { // everybody reads once
				for k := range members {
					s.queue(pairOf("u"+strconv.Itoa(k), ""), time.Time{})
				}
			}
			wait(200 * time.Millisecond)
		}
		set(seconds * 5)
		wait(15 * time.Minute)
		end()
		calls := len(o.called())
		require.Less(t, calls, 4*members+2*seconds)
		require.Zero(t, s.waiting())
	})
}

package openimsim

import (
	"math/rand/v2"
	"time"
)

// Freeze has a member see the group's present maxSeq for ever, until Unfreeze or the next
// Join. It happens in OpenIM to a member who joins again within about 100 ms: what the
// leave writes comes after what the join does. The user is a member, gets messages and may
// read, but is shown a maxSeq that does not move. It never happens to the owner, who cannot
// leave.
func (s *Server) Freeze(groupID, userID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[groupID]; g != nil {
		g.freeze(userID, g.maxSeq)
	}
}

// FreezeAt is Freeze at another seq. A version of OpenIM writes 2^63−1 when somebody joins.
func (s *Server) FreezeAt(groupID, userID string, seq int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[groupID]; g != nil {
		g.freeze(userID, seq)
	}
}

func (g *group) freeze(userID string, seq int64) {
	if g.is(userID) && userID != g.owner {
		g.members[userID].frozen, g.members[userID].silent = seq, true
	}
}

// Unfreeze has a member see the group's own maxSeq again, which an operator can do in
// OpenIM's database. No callback tells it.
func (s *Server) Unfreeze(groupID, userID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[groupID]; g != nil && g.is(userID) {
		g.members[userID].frozen = 0
	}
}

// Rejoin has a member leave and join again after a pause, and reports whether the user is
// frozen then, at the maxSeq of the leave: with the chance of a real server, which was
// 13 of 16 without a pause, 5 of 16 at 50 ms and none from 100 ms. The owner cannot leave.
// The callbacks of both steps are queued; nothing waits.
func (s *Server) Rejoin(random *rand.Rand, groupID, userID string, pause time.Duration) (frozen bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[groupID]
	if g == nil || g.dismissed || !g.is(userID) || userID == g.owner {
		return false
	}
	s.leave(groupID, userID, random.IntN(2) == 0)
	left := g.maxSeq
	s.join(groupID, userID, random.IntN(2) == 0)
	if random.Float64() >= frozenAfter(pause) {
		return false
	}
	g.freeze(userID, left)
	return true
}

// frozenAfter is how likely a pause freezes, straight lines between what was measured.
func frozenAfter(pause time.Duration) float64 {
	const step, none, middle = 50 * time.Millisecond, 13. / 16, 5. / 16
	switch part := float64(pause) / float64(step); {
	case part < 1:
		return none + (middle-none)*part
	case part < 2:
		return middle * (2 - part)
	default:
		return 0
	}
}

// Clear empties a member's conversation (clear_conversation_msg, and user_clear_all_msg for
// all of them): OpenIM sets hasReadSeq to the group's maxSeq, also where it was above it or
// where the user is shown another one, and tells nobody.
func (s *Server) Clear(groupID, userID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[groupID]
	if g == nil {
		return
	}
	if m := g.members[userID]; m != nil && m.read != g.maxSeq {
		m.read, m.told = g.maxSeq, false
	}
}

// Reset puts a group back to lower seqs, as a restored backup of OpenIM would.
func (s *Server) Reset(groupID string, maxSeq, read int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[groupID]
	if g == nil {
		return
	}
	g.maxSeq, g.maxSeqTime, g.said = maxSeq, 0, -1
	for _, m := range g.members {
		m.read, m.told = read, false
	}
}

// Reuse makes a new group under an ID that another one had: its seqs start anew, nothing of
// the other's members, cursors or held messages is left, and the callbacks of a creation
// come where they are enabled. OpenIM refuses the ID of a group that it knows, dismissed
// ones too, so that this is a server whose data was wiped or replaced.
func (s *Server) Reuse(groupID string, users ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.create(groupID, users).members {
		m.silent = true
	}
}

// BadEntry has the answer about a user's conversations hold entries of single chats whose
// seqs cannot be used: a negative one, one that is a string, and one with a fraction.
func (s *Server) BadEntry(userID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.badEntries[userID] = true
}

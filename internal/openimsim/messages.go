package openimsim

import (
	"fmt"
	"maps"
	"time"
)

// AdminUserID is the user as whom the REST API is used.
const AdminUserID = "imAdmin"

// Send has a member send a message.
func (s *Server) Send(groupID, userID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[groupID]; g != nil && g.is(userID) {
		s.send(groupID, userID)
	}
}

// AdminSend sends a message as imAdmin, who is no member. OpenIM lets its admins send to
// every group that is not dismissed, stores and tells the message like any other, and moves
// the admin's read cursor to it (which every sender's is). It makes no conversation for the
// admin: its seqs are answered to whoever asks for it by its ID, and are in no list.
func (s *Server) AdminSend(groupID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.send(groupID, AdminUserID)
}

// send accepts a message, and stores it unless the group's messages are held.
func (s *Server) send(groupID, userID string) {
	g := s.groups[groupID]
	if g == nil || g.dismissed {
		return
	}
	s.last++
	body := map[string]any{
		"sendID": userID, "serverMsgID": fmt.Sprintf("%032x", s.last), "sessionType": 3, "contentType": 101,
		"sendTime": time.Now().UnixMilli(), "content": `{"content":"secret"}`, "seq": 0, "groupID": groupID,
	}
	told := s.say("callbackAfterSendGroupMsgCommand", maps.Clone(body))
	if g.holding {
		g.held = append(g.held, body)
		if told {
			g.said = -1 // more was told than OpenIM counts
		}
		return
	}
	s.store(g, body, told)
}

// store gives a message its seq, and moves the sender's cursor to it. It reports the
// message as told where a callback has told of it just now.
func (s *Server) store(g *group, body map[string]any, told bool) {
	body["seq"] = g.take()
	told = s.say("callbackAfterMsgSaveDBCommand", body) || told
	if told {
		g.said = g.maxSeq
	}
	userID, _ := body["sendID"].(string)
	m := g.members[userID]
	if m == nil {
		g.strangers[userID] = g.maxSeq
		return
	}
	m.read, m.told = max(m.read, g.maxSeq), told // may have read beyond, which stays
}

// Hold has the group's messages stored late: from now on they are accepted and announced
// (callbackAfterSendGroupMsgCommand) at once, but have no seq, and no count holds them,
// until Store or Release. A real server takes 100 ms in the middle and 1.3 s at most under
// load, a queued deployment longer.
func (s *Server) Hold(groupID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[groupID]; g != nil {
		g.holding = true
	}
}

// Store stores the n oldest messages that are held, or all where there are fewer: they take
// the next seqs, their senders' cursors advance, and callbackAfterMsgSaveDBCommand tells it
// where it is enabled. A dismissal does not keep OpenIM from storing what it has accepted.
func (s *Server) Store(groupID string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.storeHeld(s.groups[groupID], n)
}

func (s *Server) storeHeld(g *group, n int) {
	if g == nil {
		return
	}
	for _, body := range g.takeHeld(n) {
		s.store(g, body, false)
	}
}

// Drop loses the n oldest messages that are held, or all where there are fewer: they were
// announced, and are never stored. OpenIM loses them where its queue or its database fails.
func (s *Server) Drop(groupID string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[groupID]; g != nil {
		g.takeHeld(n)
	}
}

// Release stores all messages that are held, and ends what Hold began.
func (s *Server) Release(groupID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[groupID]; g != nil {
		s.storeHeld(g, len(g.held))
		g.holding = false
	}
}

// Held gives how many messages of a group are held.
func (s *Server) Held(groupID string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[groupID]; g != nil {
		return len(g.held)
	}
	return 0
}

func (g *group) takeHeld(n int) []map[string]any {
	n = min(max(0, n), len(g.held))
	taken := g.held[:n:n]
	g.held = g.held[n:]
	return taken
}

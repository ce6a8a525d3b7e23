package openimsim

import (
	"encoding/json"
	"net/http"
	"slices"
)

// notNotify is the recvMsgOpt, and globalRecvMsgOpt, of what is received without a notice.
const notNotify = 2

// Mute mutes or unmutes a group for one of its users (recvMsgOpt 2 of the conversation). No
// callback tells it. OpenIM counts muted conversations, but leaves them out of its total.
func (s *Server) Mute(groupID, userID string, muted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[groupID]
	if g == nil {
		return
	}
	if m := g.members[userID]; m != nil {
		m.muted = muted
	}
}

// GlobalMute mutes or unmutes everything for a user (globalRecvMsgOpt 2 of the user). No
// callback tells it, and no conversation's recvMsgOpt changes.
func (s *Server) GlobalMute(userID string, muted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.muted[userID] = muted
}

// mutedIDs answers with the IDs of the conversations that a user has muted, those of groups
// that were left or dismissed among them.
func (s *Server) mutedIDs(w http.ResponseWriter, r *http.Request) {
	var request struct {
		UserID string `json:"userID"`
	}
	if json.NewDecoder(r.Body).Decode(&request) != nil || request.UserID == "" {
		refuse(w, 1001, "ArgsError", "userID is empty")
		return
	}
	ids := []string{}
	for groupID, g := range s.groups {
		if m := g.members[request.UserID]; m != nil && m.muted {
			ids = append(ids, "sg_"+groupID)
		}
	}
	slices.Sort(ids)
	answer(w, map[string]any{"conversationIDs": ids})
}

// users answers with what OpenIM keeps of users. The model takes every ID for a user's.
func (s *Server) users(w http.ResponseWriter, r *http.Request) {
	var request struct {
		UserIDs []string `json:"userIDs"`
	}
	if json.NewDecoder(r.Body).Decode(&request) != nil || len(request.UserIDs) == 0 {
		refuse(w, 1001, "ArgsError", "userIDs is empty")
		return
	}
	list := make([]map[string]any, len(request.UserIDs))
	for i, userID := range request.UserIDs {
		option := 0
		if s.muted[userID] {
			option = notNotify
		}
		list[i] = map[string]any{
			"userID": userID, "nickname": userID, "faceURL": "", "ex": "", "createTime": created,
			"appMangerLevel": 1, "globalRecvMsgOpt": option,
		}
	}
	answer(w, map[string]any{"usersInfo": list})
}

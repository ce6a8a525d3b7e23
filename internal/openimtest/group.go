package openimtest

import (
	"encoding/json"
	"net/http"
)

// groupsInfo tells of groups whether they are dismissed: one that is unknown is left out.
func (s *Server) groupsInfo(w http.ResponseWriter, r *http.Request) {
	var request struct {
		GroupIDs []string `json:"groupIDs"`
	}
	if json.NewDecoder(r.Body).Decode(&request) != nil || len(request.GroupIDs) == 0 {
		refuse(w, 1001, "ArgsError", "groupID is empty")
		return
	}
	var infos []map[string]any
	for _, groupID := range request.GroupIDs {
		g := s.groups[groupID]
		if g == nil {
			continue
		}
		status := 0
		if g.dismissed {
			status = 2
		}
		infos = append(infos, map[string]any{"groupID": groupID, "status": status, "memberCount": len(g.in())})
	}
	answer(w, map[string]any{"groupInfos": infos})
}

// membersInfo tells of users who are members: the others are left out.
func (s *Server) membersInfo(w http.ResponseWriter, r *http.Request) {
	var request struct {
		GroupID string   `json:"groupID"`
		UserIDs []string `json:"userIDs"`
	}
	if json.NewDecoder(r.Body).Decode(&request) != nil || request.GroupID == "" || len(request.UserIDs) == 0 {
		refuse(w, 1001, "ArgsError", "userIDs empty")
		return
	}
	var members []map[string]any
	for _, userID := range request.UserIDs {
		if g := s.groups[request.GroupID]; g != nil && g.is(userID) {
			members = append(members, map[string]any{"groupID": request.GroupID, "userID": userID, "roleLevel": 20})
		}
	}
	answer(w, map[string]any{"members": members})
}

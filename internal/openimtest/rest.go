package openimtest

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// Secret is what the REST API takes for a login as imAdmin.
const Secret = "openIM123"

// ServeHTTP is OpenIM's REST API.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[r.URL.Path]++
	if s.Fail != nil {
		if status := s.Fail(r.URL.Path); status != 0 {
			http.Error(w, "not OpenIM's answer", status)
			return
		}
	}
	if r.Header.Get("operationID") == "" {
		refuse(w, 1001, "ArgsError", "header must have operationID")
		return
	}
	if r.URL.Path == "/auth/get_admin_token" {
		s.login(w, r)
		return
	}
	if s.token == "" || r.Header.Get("token") != s.token {
		refuse(w, 1503, "TokenInvalidError", "token is not right")
		return
	}
	switch r.URL.Path {
	case "/msg/get_conversations_has_read_and_max_seq":
		s.seqs(w, r)
	case "/group/get_group_member_list":
		s.list(w, r)
	case "/group/get_groups_info":
		s.groupsInfo(w, r)
	case "/group/get_group_members_info":
		s.membersInfo(w, r)
	default:
		http.NotFound(w, r)
	}
}

// Expire ends the token.
func (s *Server) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = ""
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	var request struct{ Secret, UserID string }
	if json.NewDecoder(r.Body).Decode(&request) != nil || request.Secret != Secret || request.UserID != "imAdmin" {
		refuse(w, 1001, "ArgsError", "secret invalid")
		return
	}
	s.logins++
	s.token = fmt.Sprint("token-", s.logins)
	answer(w, map[string]any{"token": s.token, "expireTimeSeconds": 7776000})
}

func (s *Server) seqs(w http.ResponseWriter, r *http.Request) {
	var request struct {
		UserID          string   `json:"userID"`
		ConversationIDs []string `json:"conversationIDs"`
	}
	if json.NewDecoder(r.Body).Decode(&request) != nil || request.UserID == "" || request.ConversationIDs == nil {
		refuse(w, 1001, "ArgsError", "userID is empty")
		return
	}
	seqs := map[string]any{}
	for groupID, g := range s.groups {
		m := g.members[request.UserID]
		if m == nil || len(request.ConversationIDs) > 0 && !contains(request.ConversationIDs, "sg_"+groupID) {
			continue
		}
		highest := g.maxSeq
		if m.frozen > 0 {
			highest = m.frozen
		}
		seqs["sg_"+groupID] = map[string]any{"maxSeq": highest, "hasReadSeq": m.read, "maxSeqTime": 1795471313127}
	}
	if len(request.ConversationIDs) == 0 {
		seqs["si_"+request.UserID+"_x"] = map[string]any{"maxSeq": 3, "hasReadSeq": 1}
	}
	answer(w, map[string]any{"seqs": seqs, "pinnedConversationIDs": nil})
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	var request struct {
		GroupID    string `json:"groupID"`
		Pagination struct {
			PageNumber int `json:"pageNumber"`
			ShowNumber int `json:"showNumber"`
		} `json:"pagination"`
	}
	if json.NewDecoder(r.Body).Decode(&request) != nil || request.Pagination.PageNumber < 1 || request.Pagination.ShowNumber < 1 {
		refuse(w, 1001, "ArgsError", "pagination is missing")
		return
	}
	g := s.groups[request.GroupID]
	if g == nil {
		refuse(w, 1004, "RecordNotFoundError", "group not found")
		return
	}
	users := g.in()
	from := min((request.Pagination.PageNumber-1)*request.Pagination.ShowNumber, len(users))
	to := min(from+request.Pagination.ShowNumber, len(users))
	members := []map[string]any{}
	for _, userID := range users[from:to] {
		members = append(members, map[string]any{"userID": userID, "roleLevel": 20, "joinTime": 1795471311387})
	}
	answer(w, map[string]any{"total": len(users), "members": members})
}

func contains(list []string, id string) bool {
	for _, other := range list {
		if other == id {
			return true
		}
	}
	return false
}

func answer(w http.ResponseWriter, data any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(map[string]any{"errCode": 0, "errMsg": "", "errDlt": "", "data": data})
}

func refuse(w http.ResponseWriter, code int, message, detail string) {
	_ = json.NewEncoder(w).Encode(map[string]any{"errCode": code, "errMsg": message, "errDlt": detail})
}

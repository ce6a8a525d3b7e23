package openimsim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Secret is what the REST API takes for a login as imAdmin.
const Secret = "openIM123"

// The errCodes of tokens that the server does not take.
const (
	tokenInvalid = 1503
	tokenEnded   = 1507 // a later login ended it
)

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
	switch code, known := s.tokens[r.Header.Get("token")]; {
	case code == tokenEnded:
		refuse(w, tokenEnded, "TokenNotExistError", "token is not exist")
		return
	case !known || code != 0:
		refuse(w, tokenInvalid, "TokenInvalidError", "token is not right")
		return
	}
	switch r.URL.Path {
	case "/msg/get_conversations_has_read_and_max_seq":
		s.seqs(w, r)
	case "/group/get_group_member_list":
		s.list(w, r)
	case "/group/get_group_members_info":
		s.membersInfo(w, r)
	case "/group/get_groups_info":
		s.groupsInfo(w, r)
	case "/group/get_joined_group_list":
		s.joined(w, r)
	case "/conversation/get_not_notify_conversation_ids":
		s.mutedIDs(w, r)
	case "/user/get_users_info":
		s.users(w, r)
	default:
		http.NotFound(w, r)
	}
}

// Expire ends every token (errCode 1503).
func (s *Server) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for token := range s.tokens {
		s.tokens[token] = tokenInvalid
	}
}

// ExpireOlder ends every token but that of the last login (errCode 1507). OpenIM does so
// 5 minutes after a login, to the older tokens of the same admin.
func (s *Server) ExpireOlder() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireOlder()
}

func (s *Server) expireOlder() {
	for token, code := range s.tokens {
		if token != s.newest && code == 0 {
			s.tokens[token] = tokenEnded
		}
	}
}

// login gives a new token each time.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	var request struct{ Secret, UserID string }
	if json.NewDecoder(r.Body).Decode(&request) != nil || request.Secret != Secret || request.UserID != AdminUserID {
		refuse(w, 1001, "ArgsError", "secret invalid")
		return
	}
	s.logins++
	s.newest = fmt.Sprint("token-", s.logins)
	s.tokens[s.newest] = 0
	if s.options.SingleToken {
		s.expireOlder()
	}
	answer(w, map[string]any{"token": s.newest, "expireTimeSeconds": 7776000})
}

// seqs answers with the seqs of a user's conversations: of all that the user has, or of
// those asked for by their IDs. Of the latter OpenIM answers every one, whoever's it is:
// with the conversation's own maxSeq where the user has none, and 0 where nothing was read,
// or (see Options.Zeros) where there is no such conversation.
func (s *Server) seqs(w http.ResponseWriter, r *http.Request) {
	var request struct {
		UserID          string   `json:"userID"`
		ConversationIDs []string `json:"conversationIDs"`
	}
	if json.NewDecoder(r.Body).Decode(&request) != nil || request.UserID == "" || request.ConversationIDs == nil {
		refuse(w, 1001, "ArgsError", "userID is empty")
		return
	}
	all := len(request.ConversationIDs) == 0
	seqs := map[string]any{}
	for groupID, g := range s.groups {
		m := g.members[request.UserID]
		if all && m == nil || !all && !slices.Contains(request.ConversationIDs, "sg_"+groupID) {
			continue
		}
		read := g.strangers[request.UserID]
		if m != nil {
			read = m.read
		}
		seqs["sg_"+groupID] = map[string]any{"maxSeq": g.shown(m), "hasReadSeq": read, "maxSeqTime": g.maxSeqTime}
	}
	for _, id := range request.ConversationIDs {
		groupID, group := strings.CutPrefix(id, "sg_")
		if s.options.Zeros && group && s.groups[groupID] == nil {
			seqs[id] = map[string]any{"maxSeq": 0, "hasReadSeq": 0, "maxSeqTime": 0}
		}
	}
	if all {
		seqs["si_"+request.UserID+"_x"] = map[string]any{"maxSeq": 3, "hasReadSeq": 1}
	}
	if all && s.badEntries[request.UserID] {
		for other, seq := range map[string]any{"negative": -1, "text": "9", "fraction": json.RawMessage("9.0")} {
			seqs["si_"+request.UserID+"_"+other] = map[string]any{"maxSeq": seq, "hasReadSeq": 1}
		}
	}
	answer(w, map[string]any{"seqs": seqs, "pinnedConversationIDs": nil})
}

func answer(w http.ResponseWriter, data any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(map[string]any{"errCode": 0, "errMsg": "", "errDlt": "", "data": data})
}

func refuse(w http.ResponseWriter, code int, message, detail string) {
	_ = json.NewEncoder(w).Encode(map[string]any{"errCode": code, "errMsg": message, "errDlt": detail})
}

package openimsim

import (
	"encoding/json"
	"net/http"
	"slices"
)

// created is when everything began, in milliseconds.
const created = 1795471311387

// lists are what is wrong with the lists of a group's members.
type lists struct {
	hidden, slips map[string]int // how many lists to come are without the user
	// now is what holds for the list that is being read, from its first page on.
	now struct{ hidden, slipping map[string]bool }
}

// HideRow has the next lists of the group's members, as many as times says, lack the row of
// a user's membership. OpenIM pages through user IDs and drops those without a row
// afterwards: the page is short by one, also in the middle, while total counts the ID. It
// happens where members are kicked or invited meanwhile, to IDs that are members or not.
func (s *Server) HideRow(groupID, userID string, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[groupID]; g != nil {
		g.lists.hidden = also(g.lists.hidden, userID, times)
		if times > 0 && g.is(userID) { // a list is complete again some time later
			g.members[userID].silent = true
		}
	}
}

// Slip has a member slip between the pages of the next lists, as many as times says: the
// user comes after the first page when that is read, and on it when the others are. The
// pages are full, total is right, another user comes twice, and the member not at all, as
// in 49 of 498 lists of a real server under kicks and invites. A list of one page has
// everybody, and is not counted.
func (s *Server) Slip(groupID, userID string, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[groupID]; g != nil {
		g.lists.slips = also(g.lists.slips, userID, times)
	}
}

func also(all map[string]int, userID string, times int) map[string]int {
	if all == nil {
		all = map[string]int{}
	}
	all[userID] = times
	return all
}

// begin takes what is wrong with a list whose first page is read.
func (l *lists) begin(long bool) {
	l.now.hidden, l.now.slipping = take(l.hidden), nil
	if long {
		l.now.slipping = take(l.slips)
	}
}

func take(times map[string]int) map[string]bool {
	taken := map[string]bool{}
	for userID, n := range times {
		if n > 0 {
			times[userID], taken[userID] = n-1, true
		}
	}
	return taken
}

// pagination names a page, from 1.
type pagination struct {
	PageNumber int `json:"pageNumber"`
	ShowNumber int `json:"showNumber"`
}

func (p pagination) valid() bool { return p.PageNumber >= 1 && p.ShowNumber >= 1 }

// of gives the page of a list.
func (p pagination) of(list []string) []string {
	from := min((p.PageNumber-1)*p.ShowNumber, len(list))
	return list[from:min(from+p.ShowNumber, len(list))]
}

// list answers with a page of a group's members; of a dismissed group there are none.
func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	var request struct {
		GroupID    string     `json:"groupID"`
		Pagination pagination `json:"pagination"`
	}
	if json.NewDecoder(r.Body).Decode(&request) != nil || !request.Pagination.valid() {
		refuse(w, 1001, "ArgsError", "pagination is missing")
		return
	}
	g := s.groups[request.GroupID]
	if g == nil {
		refuse(w, 1004, "RecordNotFoundError", "group not found")
		return
	}
	if g.dismissed {
		answer(w, map[string]any{"total": 0, "members": nil})
		return
	}
	users := g.in()
	first := request.Pagination.PageNumber == 1
	if first {
		g.lists.begin(len(users) > request.Pagination.ShowNumber)
	}
	for userID := range g.lists.now.hidden { // an ID without a row, of a member or not
		if !g.is(userID) {
			users = append(users, userID)
		}
	}
	slices.Sort(users)
	users = g.lists.slipped(users, first)
	var rows any // null where there are none
	if page := request.Pagination.of(users); len(page) > 0 {
		list := []map[string]any{}
		for _, userID := range page {
			if !g.lists.now.hidden[userID] {
				list = append(list, g.row(request.GroupID, userID))
			}
		}
		rows = list
	}
	answer(w, map[string]any{"total": len(users), "members": rows})
}

// slipped orders a list for a page: who slips comes last for the first page, and first for
// the others.
func (l *lists) slipped(users []string, first bool) []string {
	var slipping, others []string
	for _, userID := range users {
		if l.now.slipping[userID] {
			slipping = append(slipping, userID)
		} else {
			others = append(others, userID)
		}
	}
	if first {
		return append(others, slipping...)
	}
	return append(slipping, others...)
}

// row is what OpenIM gives of a member.
func (g *group) row(groupID, userID string) map[string]any {
	return map[string]any{
		"groupID": groupID, "userID": userID, "roleLevel": g.role(userID), "joinTime": created, "nickname": userID,
		"faceURL": "", "appMangerLevel": 0, "joinSource": 2, "operatorUserID": AdminUserID, "ex": "", "muteEndTime": 0,
		"inviterUserID": AdminUserID,
	}
}

// membersInfo answers with those of the users asked about who are members. It looks each of
// them up, so that nobody slips.
func (s *Server) membersInfo(w http.ResponseWriter, r *http.Request) {
	var request struct {
		GroupID string   `json:"groupID"`
		UserIDs []string `json:"userIDs"`
	}
	if json.NewDecoder(r.Body).Decode(&request) != nil || len(request.UserIDs) == 0 || request.GroupID == "" {
		refuse(w, 1001, "ArgsError", "userIDs empty")
		return
	}
	rows := []map[string]any{}
	if g := s.groups[request.GroupID]; g != nil && !g.dismissed {
		for _, userID := range request.UserIDs {
			if g.is(userID) {
				rows = append(rows, g.row(request.GroupID, userID))
			}
		}
	}
	answer(w, map[string]any{"members": rows})
}

// info is what OpenIM gives of a group. Status 2 says that it is dismissed.
func (g *group) info(groupID string) map[string]any {
	owner, count, status := g.owner, len(g.in()), 0
	if g.dismissed {
		owner, count, status = "", 0, 2
	}
	return map[string]any{
		"groupID": groupID, "groupName": "g", "notification": "", "introduction": "", "faceURL": "", "ownerUserID": owner,
		"createTime": created, "memberCount": count, "ex": "", "status": status, "creatorUserID": "", "groupType": 2,
		"needVerification": 2, "lookMemberInfo": 0, "applyMemberFriend": 0, "notificationUpdateTime": 0, "notificationUserID": "",
	}
}

// groupsInfo answers with the groups that OpenIM knows of those asked about.
func (s *Server) groupsInfo(w http.ResponseWriter, r *http.Request) {
	var request struct {
		GroupIDs []string `json:"groupIDs"`
	}
	if json.NewDecoder(r.Body).Decode(&request) != nil || len(request.GroupIDs) == 0 {
		refuse(w, 1001, "ArgsError", "groupID is empty")
		return
	}
	infos := []map[string]any{}
	for _, groupID := range request.GroupIDs {
		if g := s.groups[groupID]; g != nil {
			infos = append(infos, g.info(groupID))
		}
	}
	answer(w, map[string]any{"groupInfos": infos})
}

// joined answers with a page of the groups that a user is in, without those dismissed.
func (s *Server) joined(w http.ResponseWriter, r *http.Request) {
	var request struct {
		FromUserID string     `json:"fromUserID"`
		Pagination pagination `json:"pagination"`
	}
	if json.NewDecoder(r.Body).Decode(&request) != nil || request.FromUserID == "" || !request.Pagination.valid() {
		refuse(w, 1001, "ArgsError", "pagination is missing")
		return
	}
	var ids []string
	for groupID, g := range s.groups {
		if g.is(request.FromUserID) && !g.dismissed {
			ids = append(ids, groupID)
		}
	}
	slices.Sort(ids)
	var infos []map[string]any // null where there are none
	for _, groupID := range request.Pagination.of(ids) {
		infos = append(infos, s.groups[groupID].info(groupID))
	}
	answer(w, map[string]any{"total": len(ids), "groups": infos})
}

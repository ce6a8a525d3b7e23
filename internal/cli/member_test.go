package cli_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// memberServer is an OpenIM with one group, g: it cuts the IDs of the members into pages, and
// drops those of which it has no row.
type memberServer struct {
	mu       sync.Mutex
	ids      []string
	rowless  []string
	status   int
	unknown  bool     // the list is refused with errCode 1004, and the group has no row
	callings []string // paths, in order
}

func (m *memberServer) change(what func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	what()
}

func (m *memberServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.callings = append(m.callings, r.URL.Path)
	var request struct {
		UserIDs    []string `json:"userIDs"`
		Pagination struct {
			PageNumber int `json:"pageNumber"`
			ShowNumber int `json:"showNumber"`
		} `json:"pagination"`
	}
	if json.NewDecoder(r.Body).Decode(&request) != nil {
		http.Error(w, "no JSON", http.StatusBadRequest)
		return
	}
	var data any
	switch r.URL.Path {
	case "/auth/get_admin_token":
		data = map[string]any{"token": "t", "expireTimeSeconds": 7776000}
	case "/msg/get_conversations_has_read_and_max_seq": // also of a group that is gone
		data = map[string]any{"seqs": map[string]any{"sg_g": map[string]any{"maxSeq": 9, "hasReadSeq": 3}}}
	case "/group/get_group_member_list":
		if m.unknown {
			_, _ = fmt.Fprint(w, `{"errCode":1004,"errMsg":"RecordNotFoundError","errDlt":"","data":null}`)
			return
		}
		size := request.Pagination.ShowNumber
		from := min((request.Pagination.PageNumber-1)*size, len(m.ids))
		data = map[string]any{"total": len(m.ids), "members": m.rows(m.ids[from:min(from+size, len(m.ids))])}
	case "/group/get_group_members_info":
		data = map[string]any{"members": m.rows(request.UserIDs)}
	case "/group/get_groups_info":
		infos := []any{map[string]any{"groupID": "g", "status": m.status, "memberCount": len(m.ids), "ownerUserID": ""}}
		if m.unknown {
			infos = nil
		}
		data = map[string]any{"groupInfos": infos}
	default:
		http.NotFound(w, r)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"errCode": 0, "errMsg": "", "errDlt": "", "data": data})
}

func (m *memberServer) rows(userIDs []string) (rows []any) {
	for _, userID := range userIDs {
		if slices.Contains(m.ids, userID) && !slices.Contains(m.rowless, userID) {
			rows = append(rows, map[string]any{"userID": userID, "roleLevel": 20})
		}
	}
	return rows
}

// allKnown serves with a group of n members, all of whom have a count of OpenIM's.
func allKnown(t *testing.T, n int) (*service, *memberServer, map[string]string) {
	t.Helper()
	m := &memberServer{}
	for i := range n {
		m.ids = append(m.ids, fmt.Sprintf("m%03d", i))
	}
	environment := withOpenIM(t, m)
	s := serve(t, environment)
	for _, userID := range m.ids {
		s.read(userID, "g", 4)
	}
	resolved(t, environment["DATABASE_URL"])
	require.Equal(t, n, s.knownUsers())
	return s, m, environment
}

// knownUsers gives how many users have a count in the group g.
func (s *service) knownUsers() int {
	s.t.Helper()
	status, sum := s.get("/v1/groups/g/unread")
	if status == http.StatusNotFound {
		return 0
	}
	require.Equal(s.t, http.StatusOK, status, sum)
	users, _ := sum["users"].(float64)
	return int(users)
}

// A dismissal whose callback was lost leaves nobody with a count, though OpenIM goes on
// answering the conversations. Who joins a new group of that ID is shown.
func TestLostDismissal(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]func(*memberServer){
		"status 2, nobody is listed": func(m *memberServer) { m.ids, m.status = nil, 2 },
		"status 2, all are listed":   func(m *memberServer) { m.status = 2 },
		"errCode 1004":               func(m *memberServer) { m.ids, m.unknown = nil, true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, m, environment := allKnown(t, 90)
			m.change(func() { gone(m) })
			status, _, errs := run(t, environment, "reconcile", "--all")
			require.Equal(t, 0, status, errs)
			require.Zero(t, s.knownUsers())
			status, badge := s.get("/v1/users/m007/unread")
			if status != http.StatusNotFound {
				require.EqualValues(t, 0, badge["unreadCount"], badge)
			}
			status, _ = s.get("/v1/users/m007/groups/g")
			require.Equal(t, http.StatusNotFound, status)
			status, out, errs := run(t, environment, "reconcile", "--all", "--json")
			require.Equal(t, 0, status, errs)
			require.Contains(t, out, `"pairs":0`)
			require.Zero(t, s.knownUsers())

			m.change(func() { m.ids, m.status, m.unknown = []string{"m007"}, 0, false })
			s.post("/callbackAfterJoinGroupCommand",
				`{"callbackCommand":"callbackAfterJoinGroupCommand","groupID":"g","inviterUserID":"m007","joinSource":3}`)
			resolved(t, environment["DATABASE_URL"])
			status, state := s.get("/v1/users/m007/groups/g")
			require.Equal(t, http.StatusOK, status)
			require.EqualValues(t, 6, state["unreadCount"])
			require.Equal(t, 1, s.knownUsers())
			s.end()
		})
	}
}

// While serving, the next look at the group finds the dismissal.
func TestLostDismissalWhileServing(t *testing.T) {
	t.Parallel()
	s, m, environment := allKnown(t, 3)
	m.change(func() { m.ids, m.status = nil, 2 })
	status, _ := s.post("/callbackAfterCreateGroupChatConversationsCommand", `{"groupId":"g","conversationId":"sg_g"}`)
	require.Equal(t, http.StatusOK, status)
	resolved(t, environment["DATABASE_URL"])
	require.Zero(t, s.knownUsers())
	s.end()
}

// A page that is short, since OpenIM has no row of a member, hides nobody: neither who comes
// after it nor the member. Who has really left is taken out by the same run.
func TestMemberWithoutRow(t *testing.T) {
	t.Parallel()
	for _, n := range []int{101, 250} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			s, m, environment := allKnown(t, n)
			m.change(func() { m.rowless = []string{"m050"} })
			status, _, errs := run(t, environment, "reconcile", "--all")
			require.Equal(t, 0, status, errs)
			require.Equal(t, n, s.knownUsers())
			m.change(func() { m.rowless, m.ids = nil, slices.Delete(m.ids, 70, 72) })
			status, _, errs = run(t, environment, "reconcile", "--group", "g")
			require.Equal(t, 0, status, errs)
			require.Equal(t, n-2, s.knownUsers())
			for _, userID := range []string{"m070", "m071"} {
				status, _ = s.get("/v1/users/" + userID + "/groups/g")
				require.Equal(t, http.StatusNotFound, status)
			}
			s.end()
		})
	}
}

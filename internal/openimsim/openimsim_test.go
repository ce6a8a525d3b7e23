package openimsim_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/openimsim"
	"readmark/internal/readstate"
)

const (
	seqsPath   = "/msg/get_conversations_has_read_and_max_seq"
	listPath   = "/group/get_group_member_list"
	loginPath  = "/auth/get_admin_token"
	everything = `{"pageNumber":1,"showNumber":100}`
)

// api asks a model as Readmark does.
type api struct {
	*testing.T

	model *openimsim.Server
	token string
}

func logIn(t *testing.T, model *openimsim.Server) *api {
	t.Helper()
	a := &api{T: t, model: model}
	data := a.data(loginPath, `{"secret":"`+openimsim.Secret+`","userID":"imAdmin"}`)
	a.token, _ = data["token"].(string)
	return a
}

// ask gives the whole answer.
func (a *api) ask(path, request string) (answer map[string]any) {
	a.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(request))
	r.Header.Set("Operationid", "test")
	r.Header.Set("Token", a.token)
	recorder := httptest.NewRecorder()
	a.model.ServeHTTP(recorder, r)
	require.Equal(a, http.StatusOK, recorder.Code, path)
	require.NoError(a, json.Unmarshal(recorder.Body.Bytes(), &answer))
	return answer
}

// data gives the data of an answer without an error.
func (a *api) data(path, request string) map[string]any {
	a.Helper()
	answer := a.ask(path, request)
	require.Zero(a, answer["errCode"], "%s: %v", path, answer)
	data, _ := answer["data"].(map[string]any)
	return data
}

func (a *api) code(path, request string) any {
	a.Helper()
	return a.ask(path, request)["errCode"]
}

// seqs gives maxSeq and hasReadSeq of a user in the group g.
func (a *api) seqs(userID string) [2]int64 {
	a.Helper()
	data := a.data(seqsPath, `{"userID":"`+userID+`","conversationIDs":["sg_g"]}`)
	conversations, _ := data["seqs"].(map[string]any)
	seqs, _ := conversations["sg_g"].(map[string]any)
	require.NotNil(a, seqs, userID)
	highest, _ := seqs["maxSeq"].(float64)
	read, _ := seqs["hasReadSeq"].(float64)
	return [2]int64{int64(highest), int64(read)}
}

// listed gives a page of the members of g, and the total.
func (a *api) listed(page, size int) (users []string, total int) {
	a.Helper()
	data := a.data(listPath, fmt.Sprintf(`{"groupID":"g","pagination":{"pageNumber":%d,"showNumber":%d}}`, page, size))
	members, _ := data["members"].([]any)
	for _, row := range members {
		member, _ := row.(map[string]any)
		userID, _ := member["userID"].(string)
		users = append(users, userID)
	}
	number, _ := data["total"].(float64)
	return users, int(number)
}

func unread(model *openimsim.Server, userID string) int64 {
	return model.Counts()[readstate.Pair{UserID: userID, GroupID: "g"}].Unread
}

func withGroup(options openimsim.Options) *openimsim.Server {
	model := openimsim.New(options)
	model.CreateGroup("g", "a", "b", "c")
	return model
}

// commands gives the commands of the callbacks that are queued, in their order.
func commands(model *openimsim.Server) (list []string) {
	for _, event := range model.Take(rand.New(rand.NewPCG(1, 1)), 1, 0) {
		list = append(list, strings.TrimSuffix(strings.TrimPrefix(event.Command, "callbackAfter"), "Command"))
	}
	return list
}

// shape is what an answer is made of, whatever its values: of a list the first entry counts.
func shape(value any) any {
	switch value := value.(type) {
	case map[string]any:
		parts := map[string]any{}
		for name, part := range value {
			if strings.HasPrefix(name, "sg_") {
				name = "sg_"
			}
			parts[name] = shape(part)
		}
		return parts
	case []any:
		if len(value) == 0 {
			return "an empty list"
		}
		return []any{shape(value[0])}
	default:
		return fmt.Sprintf("%T", value)
	}
}

// The answers are made like those that a real server gave, of a living group and of a
// dismissed one.
func TestAnswersAreShapedAsCaptured(t *testing.T) {
	t.Parallel()
	requests := map[string]string{
		listPath:                       `{"groupID":"g","filter":0,"keyword":"","pagination":` + everything + `}`,
		"/group/get_groups_info":       `{"groupIDs":["g","unknown"]}`,
		"/group/get_joined_group_list": `{"fromUserID":"b","pagination":` + everything + `}`,
		seqsPath:                       `{"userID":"b","conversationIDs":["sg_g"]}`,
		"/conversation/get_not_notify_conversation_ids": `{"userID":"b"}`,
	}
	file, err := os.Open("testdata/rest.jsonl")
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	held := 0
	for lines := bufio.NewScanner(file); lines.Scan(); held++ {
		var line struct {
			Path, State string
			Answer      map[string]any
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &line))
		model := withGroup(openimsim.Options{})
		model.Mute("g", "b", true)
		if line.State == "dismissed" {
			model.Dismiss("g")
		}
		got := logIn(t, model).ask(line.Path, requests[line.Path])
		require.Equal(t, shape(line.Answer), shape(got), "%s %s", line.Path, line.State)
		if line.Path == "/group/get_groups_info" {
			want, _ := line.Answer["data"].(map[string]any)["groupInfos"].([]any)[0].(map[string]any)
			infos, _ := got["data"].(map[string]any)["groupInfos"].([]any)
			require.Len(t, infos, 1, "an unknown group is left out")
			info, _ := infos[0].(map[string]any)
			require.Equal(t, want["status"], info["status"])
			require.Equal(t, want["memberCount"], info["memberCount"])
			require.Equal(t, want["ownerUserID"] == "", info["ownerUserID"] == "")
		}
	}
	require.Equal(t, 8, held)
}

// A dismissed group has no members and is in nobody's list, but its seqs are answered.
func TestDismissed(t *testing.T) {
	t.Parallel()
	model := withGroup(openimsim.Options{})
	a := logIn(t, model)
	joined := func() any {
		return a.data("/group/get_joined_group_list", `{"fromUserID":"b","pagination":`+everything+`}`)["total"]
	}
	require.EqualValues(t, 1, joined())
	require.EqualValues(t, 1004, a.code(listPath, `{"groupID":"unknown","pagination":`+everything+`}`))
	model.Dismiss("g")
	model.Send("g", "a")
	model.AdminSend("g")
	require.EqualValues(t, 0, joined())
	require.Equal(t, [2]int64{1, 0}, a.seqs("b"))
	require.Empty(t, model.Counts())
	require.Empty(t, a.data("/group/get_group_members_info", `{"groupID":"g","userIDs":["a","b"]}`)["members"])
}

// The first member owns the group: the role says so, and the owner stays.
func TestOwner(t *testing.T) {
	t.Parallel()
	model := withGroup(openimsim.Options{})
	model.Leave("g", "a", true)
	model.Freeze("g", "a")
	model.Send("g", "b")
	require.EqualValues(t, 1, unread(model, "a"))
	a := logIn(t, model)
	members, _ := a.data("/group/get_group_members_info", `{"groupID":"g","userIDs":["b","x","a"]}`)["members"].([]any)
	var roles []any
	for _, row := range members {
		member, _ := row.(map[string]any)
		roles = append(roles, member["userID"], member["roleLevel"])
	}
	require.Equal(t, []any{"b", 20., "a", 100.}, roles)
	require.EqualValues(t, 1001, a.code("/group/get_group_members_info", `{"groupID":"g"}`))
}

// Who is frozen is a member whose maxSeq does not move.
func TestFreeze(t *testing.T) {
	t.Parallel()
	model := withGroup(openimsim.Options{})
	a := logIn(t, model)
	model.Freeze("g", "b")
	model.FreezeAt("g", "c", math.MaxInt64)
	model.Send("g", "a")
	model.Send("g", "a")
	require.Equal(t, [2]int64{1, 0}, a.seqs("b"))
	require.EqualValues(t, 1, unread(model, "b"))
	require.EqualValues(t, 3, unread(model, "c"), "there are no messages beyond")
	users, total := a.listed(1, 100)
	require.Equal(t, []string{"a", "b", "c"}, users)
	require.Equal(t, 3, total)
	model.Read("g", "b", 3)
	require.EqualValues(t, 0, unread(model, "b"))
	model.Unfreeze("g", "b")
	model.Send("g", "a")
	require.EqualValues(t, 1, unread(model, "b"))

	// Cleared, the user has read what the group has, not what the user is shown.
	model.Freeze("g", "b")
	model.Read("g", "b", 1000)
	model.Send("g", "a")
	model.Clear("g", "b")
	require.Equal(t, [2]int64{4, 5}, a.seqs("b"))
}

// Joining again freezes as often as on a real server.
func TestRejoin(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(12, 12))
	for pause, share := range map[time.Duration]float64{
		0: 13. / 16, 25 * time.Millisecond: 9. / 16, 50 * time.Millisecond: 5. / 16, 100 * time.Millisecond: 0, time.Hour: 0,
	} {
		model := withGroup(openimsim.Options{})
		frozen := 0
		for range 2000 {
			if model.Rejoin(random, "g", "b", pause) {
				frozen++
				require.Equal(t, model.MaxSeq("g")-1, logIn(t, model).seqs("b")[0], "the maxSeq of the leave")
			}
		}
		require.InDelta(t, share, float64(frozen)/2000, .05, pause)
		require.False(t, model.Rejoin(random, "g", "a", 0), "the owner cannot leave")
	}
}

// A message that is held is announced, and counts once it is stored.
func TestHold(t *testing.T) {
	t.Parallel()
	model := withGroup(openimsim.Options{Webhooks: []string{"callbackAfterSendGroupMsgCommand", "callbackAfterMsgSaveDBCommand"}})
	a := logIn(t, model)
	model.Hold("g")
	for _, userID := range []string{"b", "c", "b", "a", "imAdmin"} {
		if userID == "imAdmin" {
			model.AdminSend("g")
		} else {
			model.Send("g", userID)
		}
	}
	require.Equal(t, slices.Repeat([]string{"SendGroupMsg"}, 5), commands(model))
	require.Equal(t, 5, model.Held("g"))
	require.Equal(t, [2]int64{1, 0}, a.seqs("b"))
	require.EqualValues(t, 1, unread(model, "b"))
	require.False(t, model.Counts()[readstate.Pair{UserID: "b", GroupID: "g"}].Announced)

	model.Store("g", 1)
	require.Equal(t, []string{"MsgSaveDB"}, commands(model))
	require.Equal(t, [2]int64{2, 2}, a.seqs("b"))
	model.Drop("g", 2)
	require.Empty(t, commands(model))
	model.Release("g")
	require.Equal(t, []string{"MsgSaveDB", "MsgSaveDB"}, commands(model))
	require.Equal(t, [2]int64{4, 2}, a.seqs("b"))
	require.Equal(t, [2]int64{4, 0}, a.seqs("c"))
	require.Equal(t, [2]int64{4, 3}, a.seqs("a"))
	require.Equal(t, [2]int64{4, 4}, a.seqs("imAdmin"))
	model.Send("g", "c")
	require.Zero(t, model.Held("g"))
	require.EqualValues(t, 5, model.MaxSeq("g"))
}

// An admin who writes to a group has seqs there, but neither membership nor conversation.
func TestAdminSend(t *testing.T) {
	t.Parallel()
	model := withGroup(openimsim.Options{Webhooks: []string{"callbackAfterSendGroupMsgCommand"}})
	a := logIn(t, model)
	require.Equal(t, [2]int64{1, 0}, a.seqs("imAdmin"), "asked by its ID, a conversation is answered to anybody")
	model.AdminSend("g")
	require.Equal(t, [2]int64{2, 2}, a.seqs("imAdmin"))
	seqs, _ := a.data(seqsPath, `{"userID":"imAdmin","conversationIDs":[]}`)["seqs"].(map[string]any)
	require.NotContains(t, seqs, "sg_g")
	users, _ := a.listed(1, 100)
	require.NotContains(t, users, "imAdmin")
	require.NotContains(t, model.Counts(), readstate.Pair{UserID: "imAdmin", GroupID: "g"})
	require.Equal(t, "imAdmin", model.Take(rand.New(rand.NewPCG(1, 1)), 1, 0)[0].Body["sendID"])
}

// A group ID that is used again has nothing of the old group.
func TestReuse(t *testing.T) {
	t.Parallel()
	model := withGroup(openimsim.Options{Webhooks: []string{"callbackAfterCreateGroupCommand"}})
	for range 5 {
		model.Send("g", "b")
	}
	require.Len(t, commands(model), 1)
	model.Dismiss("g")
	model.Reuse("g", "c", "d")
	require.Equal(t, []string{"CreateGroup"}, commands(model))
	users, _ := logIn(t, model).listed(1, 100)
	require.Equal(t, []string{"c", "d"}, users)
	require.EqualValues(t, 1, model.MaxSeq("g"))
	require.Equal(t, map[readstate.Pair]openimsim.Count{
		{UserID: "c", GroupID: "g"}: {Unread: 0}, {UserID: "d", GroupID: "g"}: {Unread: 1},
	}, model.Counts())
}

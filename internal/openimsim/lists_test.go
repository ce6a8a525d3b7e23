package openimsim_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/openimsim"
)

// An ID without a row leaves its page short, and total as it is, for as many lists as said.
func TestHideRow(t *testing.T) {
	t.Parallel()
	model := openimsim.New(openimsim.Options{})
	model.CreateGroup("g", "a", "b", "c", "d", "e")
	a := logIn(t, model)
	model.HideRow("g", "b", 2)
	model.HideRow("g", "x", 1) // kicked a moment ago: the ID is still there
	type page struct {
		users []string
		total int
	}
	read := func() (pages []page) {
		for number := range 3 {
			users, total := a.listed(number+1, 2)
			pages = append(pages, page{users, total})
		}
		return pages
	}
	require.Equal(t, []page{{[]string{"a"}, 6}, {[]string{"c", "d"}, 6}, {[]string{"e"}, 6}}, read())
	require.Equal(t, []page{{[]string{"a"}, 5}, {[]string{"c", "d"}, 5}, {[]string{"e"}, 5}}, read())
	require.Equal(t, []page{{[]string{"a", "b"}, 5}, {[]string{"c", "d"}, 5}, {[]string{"e"}, 5}}, read())
}

// Who slips is on no page of a list of several, another comes twice, and asked about by ID
// is a member.
func TestSlip(t *testing.T) {
	t.Parallel()
	model := openimsim.New(openimsim.Options{})
	var users []string
	for i := range 250 {
		users = append(users, fmt.Sprintf("u%03d", i))
	}
	model.CreateGroup("g", users...)
	a := logIn(t, model)
	model.Slip("g", "u007", 1)
	short, total := a.listed(1, 250)
	require.Contains(t, short, "u007", "nobody slips in a list of one page")
	require.Equal(t, 250, total)
	read := func() (all []string) {
		for number := range 3 {
			users, total := a.listed(number+1, 100)
			require.Equal(t, 250, total)
			require.Len(t, users, []int{100, 100, 50}[number])
			all = append(all, users...)
		}
		return all
	}
	slipped := read()
	slices.Sort(slipped)
	require.NotContains(t, slipped, "u007")
	require.Len(t, slices.Compact(slipped), 249)
	require.Len(t, a.data("/group/get_group_members_info", `{"groupID":"g","userIDs":["u007"]}`)["members"], 1)
	require.Equal(t, users, read())
}

// Muting is told by the REST API alone.
func TestMute(t *testing.T) {
	t.Parallel()
	model := withGroup(openimsim.Options{})
	a := logIn(t, model)
	conversations := func() any {
		return a.data("/conversation/get_not_notify_conversation_ids", `{"userID":"b"}`)["conversationIDs"]
	}
	global := func(userID string) any {
		users, _ := a.data("/user/get_users_info", `{"userIDs":["`+userID+`"]}`)["usersInfo"].([]any)
		require.Len(t, users, 1)
		user, _ := users[0].(map[string]any)
		require.Equal(t, userID, user["userID"])
		return user["globalRecvMsgOpt"]
	}
	require.Empty(t, conversations())
	model.Mute("g", "b", true)
	model.Mute("g", "x", true)
	require.Equal(t, []any{"sg_g"}, conversations())
	model.Mute("g", "b", false)
	require.Empty(t, conversations())
	model.GlobalMute("b", true)
	require.EqualValues(t, 2, global("b"))
	require.EqualValues(t, 0, global("c"))
	require.Empty(t, conversations())
	model.GlobalMute("b", false)
	require.EqualValues(t, 0, global("b"))
	require.Empty(t, commands(model))
	require.EqualValues(t, 1001, a.code("/conversation/get_not_notify_conversation_ids", `{}`))
	require.EqualValues(t, 1001, a.code("/user/get_users_info", `{}`))
}

// A later login ends older tokens: at once or later, but not its own.
func TestTokens(t *testing.T) {
	t.Parallel()
	const request = `{"userID":"b","conversationIDs":[]}`
	model := withGroup(openimsim.Options{})
	first, second := logIn(t, model), logIn(t, model)
	require.NotEqual(t, first.token, second.token)
	require.Equal(t, 2, model.CallsOf(loginPath))
	require.Zero(t, first.code(seqsPath, request))
	model.ExpireOlder()
	require.EqualValues(t, 1507, first.code(seqsPath, request))
	require.Zero(t, second.code(seqsPath, request))
	model.Expire()
	require.EqualValues(t, 1503, second.code(seqsPath, request))
	second.token = "made up"
	require.EqualValues(t, 1503, second.code(seqsPath, request))

	model = withGroup(openimsim.Options{SingleToken: true})
	first, second = logIn(t, model), logIn(t, model)
	require.EqualValues(t, 1507, first.code(seqsPath, request))
	require.Zero(t, second.code(seqsPath, request))
}

// Entries that cannot be used are of single chats; the others stay right.
func TestBadEntry(t *testing.T) {
	t.Parallel()
	model := withGroup(openimsim.Options{})
	a := logIn(t, model)
	model.BadEntry("b")
	seqs, _ := a.data(seqsPath, `{"userID":"b","conversationIDs":[]}`)["seqs"].(map[string]any)
	require.Len(t, seqs, 5)
	require.Equal(t, [2]int64{1, 0}, a.seqs("b"))
	seqs, _ = a.data(seqsPath, `{"userID":"c","conversationIDs":[]}`)["seqs"].(map[string]any)
	require.Len(t, seqs, 2)
}

// Asked for by its ID, a conversation that does not exist is answered with zeros.
func TestZeros(t *testing.T) {
	t.Parallel()
	for zeros, want := range map[bool]map[string]any{
		false: {}, true: {"sg_unknown": map[string]any{"maxSeq": 0., "hasReadSeq": 0., "maxSeqTime": 0.}},
	} {
		a := logIn(t, openimsim.New(openimsim.Options{Zeros: zeros}))
		require.Equal(t, want, a.data(seqsPath, `{"userID":"b","conversationIDs":["sg_unknown"]}`)["seqs"])
	}
}

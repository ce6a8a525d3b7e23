package client_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/openim/client"
)

const (
	mutedConversations = "/conversation/get_not_notify_conversation_ids"
	usersInfo          = "/user/get_users_info"
)

// The muted conversations are those that OpenIM lists; of a user whom it does not know there
// are none.
func TestMutedConversations(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string][]string{
		`{"errCode":0,"data":{"conversationIDs":["sg_g","si_a_b"]}}`:  {"sg_g", "si_a_b"},
		`{"errCode":0,"data":{"conversationIDs":null}}`:               nil,
		`{"errCode":0,"data":{}}`:                                     nil,
		`{"errCode":1004,"errMsg":"RecordNotFoundError","errDlt":""}`: nil,
	} {
		f := loggedIn(func(path string, request map[string]any) (int, string) {
			require.Equal(t, mutedConversations, path)
			require.Equal(t, map[string]any{"userID": "u"}, request)
			return 200, answer
		})
		c, _ := newClient(f, 1e6)
		got, err := c.MutedConversations(t.Context(), "u")
		require.NoError(t, err)
		require.Equal(t, want, got, answer)
		c.Close()
	}
}

// Only the option of the user counts, and each but 0 mutes.
func TestMutesEverything(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]bool{
		`{"errCode":0,"data":{"usersInfo":[{"userID":"u","nickname":"","globalRecvMsgOpt":2}]}}`: true,
		`{"errCode":0,"data":{"usersInfo":[{"userID":"u","globalRecvMsgOpt":1}]}}`:               true,
		`{"errCode":0,"data":{"usersInfo":[{"userID":"u","globalRecvMsgOpt":0}]}}`:               false,
		`{"errCode":0,"data":{"usersInfo":[{"userID":"u"}]}}`:                                    false,
		`{"errCode":0,"data":{"usersInfo":[{"userID":"v","globalRecvMsgOpt":2}]}}`:               false,
		`{"errCode":0,"data":{"usersInfo":null}}`:                                                false,
		`{"errCode":1004,"errMsg":"RecordNotFoundError","errDlt":""}`:                            false,
	} {
		f := loggedIn(func(path string, request map[string]any) (int, string) {
			require.Equal(t, usersInfo, path)
			require.Equal(t, map[string]any{"userIDs": []any{"u"}}, request)
			return 200, answer
		})
		c, _ := newClient(f, 1e6)
		got, err := c.MutesEverything(t.Context(), "u")
		require.NoError(t, err)
		require.Equal(t, want, got, answer)
		c.Close()
	}
}

// A server that does not know the paths says 404, and one that fails is no answer.
func TestMutesAreNotTold(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]int{404: 404, 200: 500} {
		f := loggedIn(func(string, map[string]any) (int, string) {
			return status, `{"errCode":500,"errMsg":"ServerInternalError"}`
		})
		c, _ := newClient(f, 1e6)
		_, err := c.MutedConversations(t.Context(), "u")
		var refused *client.Error
		require.ErrorAs(t, err, &refused)
		require.Equal(t, want, refused.Code)
		_, err = c.MutesEverything(t.Context(), "u")
		require.ErrorAs(t, err, &refused)
		require.Equal(t, want, refused.Code)
		c.Close()
	}
}

package openim_test

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"readmark/internal/openim"
	"readmark/internal/readstate"
)

// Each of the other callbacks tells what it means, and names the field that is wrong.
func TestDecodeCallback(t *testing.T) {
	t.Parallel()
	member := func(kind readstate.ChangeKind, users ...string) openim.Told {
		return openim.Told{Change: &readstate.Change{Kind: kind, GroupID: "g", UserIDs: users}}
	}
	long := strings.Repeat("g", readstate.MaxIDBytes)
	for name, test := range map[string]struct {
		command, body string
		want          openim.Told
		field         string
	}{
		"read of a group": {
			openim.CommandAfterSingleMsgRead, `{"conversationID":"sg_g_1","userID":"u","Seqs":[2,9,3],"contentType":3}`,
			openim.Told{Receipt: &readstate.Receipt{Dialect: readstate.DialectConversation, UserID: "u", GroupID: "g_1", ReadSeq: 9, ContentType: 3}},
			"",
		},
		"read of a single chat": {openim.CommandAfterSingleMsgRead, `{"conversationID":"si_a_b","userID":"u","Seqs":null}`, openim.Told{}, ""},
		"read of no group":      {openim.CommandAfterSingleMsgRead, `{"conversationID":"sg_","userID":"u"}`, openim.Told{}, "conversationID"},
		"read by nobody":        {openim.CommandAfterSingleMsgRead, `{"conversationID":"sg_g"}`, openim.Told{}, "userID"},
		"seqs that are none":    {openim.CommandAfterSingleMsgRead, `{"conversationID":"sg_g","userID":"u","Seqs":["a"]}`, openim.Told{}, "Seqs"},
		"read by an odd user":   {openim.CommandAfterSingleMsgRead, `{"conversationID":"sg_g","userID":"u\u0000"}`, openim.Told{}, "userID"},
		"read of an odd group":  {openim.CommandAfterSingleMsgRead, `{"conversationID":"sg_g\u0000","userID":"u"}`, openim.Told{}, "conversationID"},
		"read of a long group": {
			openim.CommandAfterSingleMsgRead, `{"conversationID":"sg_` + long + `","userID":"u","Seqs":[-4,0,null]}`,
			openim.Told{Receipt: &readstate.Receipt{Dialect: readstate.DialectConversation, UserID: "u", GroupID: long}},
			"",
		},
		"read of a too long group": {openim.CommandAfterSingleMsgRead, `{"conversationID":"sg_g` + long + `","userID":"u"}`, openim.Told{}, "conversationID"},
		"read of a long chat":      {openim.CommandAfterSingleMsgRead, `{"conversationID":"si_` + long + `_` + long + `","userID":"u"}`, openim.Told{}, ""},
		"read of nothing":          {openim.CommandAfterSingleMsgRead, `{"userID":"u"}`, openim.Told{}, "conversationID"},
		"seqs with a fraction":     {openim.CommandAfterSingleMsgRead, `{"conversationID":"sg_g","userID":"u","Seqs":[1.5]}`, openim.Told{}, "Seqs"},
		"seqs beyond JSON":         {openim.CommandAfterSingleMsgRead, `{"conversationID":"sg_g","userID":"u","Seqs":[1,x]}`, openim.Told{}, "Seqs"},
		"seqs that are no list":    {openim.CommandAfterSingleMsgRead, `{"conversationID":"sg_g","userID":"u","Seqs":7}`, openim.Told{}, "Seqs"},
		"single message":           {openim.CommandAfterMsgSaveDB, `{"sessionType":1,"sendID":"u","recvID":"v","groupID":"","seq":1}`, openim.Told{}, ""},
		"message": {
			openim.CommandAfterMsgSaveDB, `{"sendID":"u","groupID":"g","serverMsgID":"m","seq":7,"sendTime":1500,"contentType":101,"content":"secret","userID":7}`,
			openim.Told{Message: &readstate.Message{GroupID: "g", UserID: "u", MessageID: "m", Seq: 7, SentAt: time.UnixMilli(1500).UTC(), ContentType: 101}},
			"",
		},
		"message of no time": {
			openim.CommandAfterSendGroupMsg, `{"sessionType":3,"sendID":"u","groupID":"g","serverMsgID":"m","seq":null,"sendTime":253402300800000}`,
			openim.Told{Message: &readstate.Message{GroupID: "g", UserID: "u", MessageID: "m"}},
			"",
		},
		"notification":           {openim.CommandAfterMsgSaveDB, `{"sessionType":4,"sendID":"u","groupID":"g"}`, openim.Told{}, ""},
		"message of no type":     {openim.CommandAfterMsgSaveDB, `{"sendID":"u","recvID":"v","groupID":""}`, openim.Told{}, ""},
		"message with a long ID": {openim.CommandAfterMsgSaveDB, `{"sessionType":3,"sendID":"u","groupID":"g","serverMsgID":"m` + long + `"}`, openim.Told{}, "serverMsgID"},
		"seq of a fraction":      {openim.CommandAfterMsgSaveDB, `{"sessionType":3,"sendID":"u","groupID":"g","serverMsgID":"m","seq":1.5}`, openim.Told{}, "seq"},
		"message without ID":     {openim.CommandAfterSendGroupMsg, `{"sessionType":3,"sendID":"u","groupID":"g"}`, openim.Told{}, "serverMsgID"},
		"message of nobody":      {openim.CommandAfterSendGroupMsg, `{"sessionType":3,"groupID":"g","serverMsgID":"m"}`, openim.Told{}, "sendID"},
		"message to no group":    {openim.CommandAfterSendGroupMsg, `{"sessionType":3,"sendID":"u","serverMsgID":"m"}`, openim.Told{}, "groupID"},
		"negative seq":           {openim.CommandAfterMsgSaveDB, `{"sessionType":3,"sendID":"u","groupID":"g","serverMsgID":"m","seq":-1}`, openim.Told{}, "seq"},
		"another command":        {openim.CommandAfterQuitGroup, `{"callbackCommand":"callbackAfterKickGroupCommand","groupID":"g"}`, openim.Told{}, "callbackCommand"},
		"created":                {openim.CommandAfterCreateGroup, `{"groupID":"g","initMemberList":[{"userID":"a","x":{"userID":"z"}},{"userID":""},{"userID":"b"},{"userID":"a"}]}`, member(readstate.ChangeJoined, "a", "b"), ""},
		"created without a list": {openim.CommandAfterCreateGroup, `{"groupID":"g","initMemberList":null}`, member(readstate.ChangeMembers), ""},
		"created with odd ones":  {openim.CommandAfterCreateGroup, `{"groupID":"g","initMemberList":[null,{},{"userID":7},{"userID":{"userID":"z"}},{"userID":"\u0000"},{"userID":"a"}]}`, member(readstate.ChangeJoined, "a"), ""},
		"created with odd list":  {openim.CommandAfterCreateGroup, `{"groupID":"g","initMemberList":{}}`, openim.Told{}, "initMemberList"},
		"created with half one":  {openim.CommandAfterCreateGroup, `{"groupID":"g","initMemberList":[{"userID":"a"`, openim.Told{}, "initMemberList"},
		"created with nonsense":  {openim.CommandAfterCreateGroup, `{"groupID":"g","initMemberList":[7]}`, openim.Told{}, "initMemberList"},
		"joined":                 {openim.CommandAfterJoinGroup, `{"groupID":"g","inviterUserID":"a"}`, member(readstate.ChangeJoined, "a"), ""},
		"joined by nobody":       {openim.CommandAfterJoinGroup, `{"groupID":"g"}`, openim.Told{}, "inviterUserID"},
		"quit":                   {openim.CommandAfterQuitGroup, `{"groupID":"g","userID":"a"}`, member(readstate.ChangeLeft, "a"), ""},
		"quit, up to v3.6":       {openim.CommandQuitGroup, `{"callbackCommand":"callbackAfterQuitGroupCommand","groupID":"g","userID":"a"}`, member(readstate.ChangeLeft, "a"), ""},
		"kicked":                 {openim.CommandKillGroup, `{"groupID":"g","kickedUserIDs":["a","b","a"]}`, member(readstate.ChangeLeft, "a", "b"), ""},
		"kicked odd ones":        {openim.CommandAfterKickGroup, `{"groupID":"g","kickedUserIDs":["","\u0000","a"]}`, member(readstate.ChangeLeft, "a"), ""},
		"kicked numbers":         {openim.CommandAfterKickGroup, `{"groupID":"g","kickedUserIDs":[7]}`, openim.Told{}, "kickedUserIDs"},
		"others' fields":         {openim.CommandAfterQuitGroup, `{"groupID":"g","userID":"a","seq":"x","Seqs":7,"initMemberList":1}`, member(readstate.ChangeLeft, "a"), ""},
		"name twice":             {openim.CommandAfterQuitGroup, `{"groupID":"g","groupID":"h","userID":"a"}`, openim.Told{}, "groupID"},
		"invalid UTF-8":          {openim.CommandAfterQuitGroup, "{\"groupID\":\"g\",\"userID\":\"\xff\"}", openim.Told{}, "userID"},
		"trailing data":          {openim.CommandAfterQuitGroup, `{"groupID":"g","userID":"a"}1`, openim.Told{}, "body"},
		"not used":               {"callbackBeforeAfterMsgCommand", `not read`, openim.Told{}, ""},
		"nobody was kicked":      {openim.CommandAfterKickGroup, `{"groupID":"g","kickedUserIDs":[]}`, openim.Told{}, ""},
		"dismissed":              {openim.CommandDismissGroup, `{"groupID":"g","membersID":[]}`, member(readstate.ChangeDismissed), ""},
		"dismissed nothing":      {openim.CommandAfterDismissGroup, `{}`, openim.Told{}, "groupID"},
		"conversations":          {openim.CommandGroupConversations, `{"groupId":"g"}`, member(readstate.ChangeMembers), ""},
		"conversations by ID":    {openim.CommandGroupConversations, `{"groupId":"","conversationId":"sg_g"}`, member(readstate.ChangeMembers), ""},
		"conversations of none":  {openim.CommandGroupConversations, `{"conversationId":"si_a_b"}`, openim.Told{}, "groupId"},
		"not JSON":               {openim.CommandAfterQuitGroup, `{"groupID":`, openim.Told{}, "groupID"},
		"not an object":          {openim.CommandAfterQuitGroup, `[]`, openim.Told{}, "body"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := openim.DecodeCallback(test.command, []byte(test.body))
			if test.field == "" {
				require.NoError(t, err)
				require.Equal(t, test.want, got)
				return
			}
			var input *readstate.InputError
			require.ErrorAs(t, err, &input)
			require.Equal(t, test.field, input.Field)
			require.Contains(t, input.Message, test.field)
		})
	}
}

// A command has one meaning, under either of its names, in path and body.
func TestCommandNames(t *testing.T) {
	t.Parallel()
	for _, names := range [][2]string{
		{openim.CommandGroupMsgRead, openim.CommandAfterGroupMsgRead},
		{openim.CommandQuitGroup, openim.CommandAfterQuitGroup},
		{openim.CommandKillGroup, openim.CommandAfterKickGroup},
		{openim.CommandDismissGroup, openim.CommandAfterDismissGroup},
	} {
		for _, path := range names {
			require.True(t, openim.IsUsed(path))
			for _, command := range names {
				_, err := openim.DecodeCallback(path, []byte(`{"callbackCommand":"`+command+
					`","sendID":"u","receiveID":"g","unreadMsgNum":1,"groupID":"g","userID":"u","kickedUserIDs":["u"]}`))
				require.NoError(t, err)
			}
			_, err := openim.DecodeCallback(path, []byte(`{"callbackCommand":"callbackAfterJoinGroupCommand"}`))
			var input *readstate.InputError
			require.ErrorAs(t, err, &input)
			require.Equal(t, readstate.CodeCommandMismatch, input.Code)
			require.Equal(t, "expected "+names[0]+" or "+names[1], input.Detail)
		}
	}
}

// FuzzDecodeCallback: whatever comes, an error names a field, and what is told can
// be stored.
func FuzzDecodeCallback(f *testing.F) {
	commands := []string{
		openim.CommandAfterSingleMsgRead, openim.CommandAfterSendGroupMsg, openim.CommandAfterMsgSaveDB, openim.CommandAfterCreateGroup,
		openim.CommandAfterJoinGroup, openim.CommandQuitGroup, openim.CommandAfterKickGroup, openim.CommandAfterDismissGroup,
		openim.CommandGroupConversations,
	}
	for _, c := range captures(f) {
		for i, command := range commands {
			if command == c.command {
				f.Add(uint8(i), c.body)
			}
		}
	}
	f.Fuzz(func(t *testing.T, n uint8, body []byte) {
		told, err := openim.DecodeCallback(commands[int(n)%len(commands)], body)
		if err != nil {
			var input *readstate.InputError
			require.ErrorAs(t, err, &input)
			require.NotEmpty(t, input.Field)
			require.True(t, utf8.ValidString(input.Message))
			return
		}
		switch {
		case told.Receipt != nil:
			require.NoError(t, errors.Join(readstate.CheckID(told.Receipt.UserID), readstate.CheckID(told.Receipt.GroupID)))
			require.GreaterOrEqual(t, told.Receipt.ReadSeq, int64(0))
		case told.Message != nil:
			m := told.Message
			require.NoError(t, errors.Join(readstate.CheckID(m.UserID), readstate.CheckID(m.GroupID), readstate.CheckID(m.MessageID)))
			require.GreaterOrEqual(t, m.Seq, int64(0))
		case told.Change != nil:
			require.NoError(t, readstate.CheckID(told.Change.GroupID))
			for _, userID := range told.Change.UserIDs {
				require.NoError(t, readstate.CheckID(userID))
			}
		}
	})
}

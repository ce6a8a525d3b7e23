package openim_test

import (
	"errors"
	"runtime"
	"strconv"
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
	of := func(kind readstate.EventKind, users ...string) (events []readstate.Event) {
		for _, user := range users {
			events = append(events, readstate.Event{Kind: kind, GroupID: "g", UserID: user})
		}
		return events
	}
	long := strings.Repeat("g", readstate.MaxIDBytes)
	for name, test := range map[string]struct {
		command, body string
		want          []readstate.Event
		field         string
	}{
		"read of a group": {
			openim.CommandAfterSingleMsgRead, `{"conversationID":"sg_g_1","userID":"u","Seqs":[2,9,3],"contentType":3}`,
			[]readstate.Event{{Kind: readstate.EventGroupRead, UserID: "u", GroupID: "g_1", ReadSeq: 9, ContentType: 3}},
			"",
		},
		"read of a single chat": {openim.CommandAfterSingleMsgRead, `{"conversationID":"si_a_b","userID":"u","Seqs":null}`, nil, ""},
		"read of no group":      {openim.CommandAfterSingleMsgRead, `{"conversationID":"sg_","userID":"u"}`, nil, "conversationID"},
		"read by nobody":        {openim.CommandAfterSingleMsgRead, `{"conversationID":"sg_g"}`, nil, "userID"},
		"seqs that are none":    {openim.CommandAfterSingleMsgRead, `{"conversationID":"sg_g","userID":"u","Seqs":["a"]}`, nil, "Seqs"},
		"read by an odd user":   {openim.CommandAfterSingleMsgRead, `{"conversationID":"sg_g","userID":"u\u0000"}`, nil, "userID"},
		"read of an odd group":  {openim.CommandAfterSingleMsgRead, `{"conversationID":"sg_g\u0000","userID":"u"}`, nil, "conversationID"},
		"read of a long group": {
			openim.CommandAfterSingleMsgRead, `{"conversationID":"sg_` + long + `","userID":"u","Seqs":[-4,0,null]}`,
			[]readstate.Event{{Kind: readstate.EventGroupRead, UserID: "u", GroupID: long}},
			"",
		},
		"read of a too long group": {openim.CommandAfterSingleMsgRead, `{"conversationID":"sg_g` + long + `","userID":"u"}`, nil, "conversationID"},
		"read of a long chat":      {openim.CommandAfterSingleMsgRead, `{"conversationID":"si_` + long + `_` + long + `","userID":"u"}`, nil, ""},
		"read of nothing":          {openim.CommandAfterSingleMsgRead, `{"userID":"u"}`, nil, "conversationID"},
		"seqs with a fraction":     {openim.CommandAfterSingleMsgRead, `{"conversationID":"sg_g","userID":"u","Seqs":[1.5]}`, nil, "Seqs"},
		"seqs beyond JSON":         {openim.CommandAfterSingleMsgRead, `{"conversationID":"sg_g","userID":"u","Seqs":[1,x]}`, nil, "Seqs"},
		"seqs that are no list":    {openim.CommandAfterSingleMsgRead, `{"conversationID":"sg_g","userID":"u","Seqs":7}`, nil, "Seqs"},
		"single message":           {openim.CommandAfterMsgSaveDB, `{"sessionType":1,"sendID":"u","recvID":"v","groupID":"","seq":1}`, nil, ""},
		"message": {
			openim.CommandAfterMsgSaveDB, `{"sendID":"u","groupID":"g","serverMsgID":"m","seq":7,"sendTime":1500,"contentType":101,"content":"secret","userID":7}`,
			[]readstate.Event{{Kind: readstate.EventMessage, GroupID: "g", UserID: "u", MessageID: "m", ReadSeq: 7, SentAt: time.UnixMilli(1500).UTC(), ContentType: 101}},
			"",
		},
		"message of no time": {
			openim.CommandAfterSendGroupMsg, `{"sessionType":3,"sendID":"u","groupID":"g","serverMsgID":"m","seq":null,"sendTime":253402300800000}`,
			[]readstate.Event{{Kind: readstate.EventMessage, GroupID: "g", UserID: "u", MessageID: "m"}},
			"",
		},
		"notification":           {openim.CommandAfterMsgSaveDB, `{"sessionType":4,"sendID":"u","groupID":"g"}`, nil, ""},
		"message of no type":     {openim.CommandAfterMsgSaveDB, `{"sendID":"u","recvID":"v","groupID":""}`, nil, ""},
		"message with a long ID": {openim.CommandAfterMsgSaveDB, `{"sessionType":3,"sendID":"u","groupID":"g","serverMsgID":"m` + long + `"}`, nil, "serverMsgID"},
		"seq of a fraction":      {openim.CommandAfterMsgSaveDB, `{"sessionType":3,"sendID":"u","groupID":"g","serverMsgID":"m","seq":1.5}`, nil, "seq"},
		"message without ID":     {openim.CommandAfterSendGroupMsg, `{"sessionType":3,"sendID":"u","groupID":"g"}`, nil, "serverMsgID"},
		"message of nobody":      {openim.CommandAfterSendGroupMsg, `{"sessionType":3,"groupID":"g","serverMsgID":"m"}`, nil, "sendID"},
		"message to no group":    {openim.CommandAfterSendGroupMsg, `{"sessionType":3,"sendID":"u","serverMsgID":"m"}`, nil, "groupID"},
		"negative seq":           {openim.CommandAfterMsgSaveDB, `{"sessionType":3,"sendID":"u","groupID":"g","serverMsgID":"m","seq":-1}`, nil, "seq"},
		"another command":        {openim.CommandAfterQuitGroup, `{"callbackCommand":"callbackAfterKickGroupCommand","groupID":"g"}`, nil, "callbackCommand"},
		"created":                {openim.CommandAfterCreateGroup, `{"groupID":"g","initMemberList":[{"userID":"a","x":{"userID":"z"}},{"userID":""},{"userID":"b"},{"userID":"a"}]}`, of(readstate.EventJoined, "a", "b"), ""},
		"created without a list": {openim.CommandAfterCreateGroup, `{"groupID":"g","initMemberList":null}`, of(readstate.EventMembersChanged, ""), ""},
		"created with odd ones":  {openim.CommandAfterCreateGroup, `{"groupID":"g","initMemberList":[null,{},{"userID":7},{"userID":{"userID":"z"}},{"userID":"\u0000"},{"userID":"a"}]}`, of(readstate.EventJoined, "a"), ""},
		"created with odd list":  {openim.CommandAfterCreateGroup, `{"groupID":"g","initMemberList":{}}`, nil, "initMemberList"},
		"created with half one":  {openim.CommandAfterCreateGroup, `{"groupID":"g","initMemberList":[{"userID":"a"`, nil, "initMemberList"},
		"created with nonsense":  {openim.CommandAfterCreateGroup, `{"groupID":"g","initMemberList":[7]}`, nil, "initMemberList"},
		"joined":                 {openim.CommandAfterJoinGroup, `{"groupID":"g","inviterUserID":"a"}`, of(readstate.EventJoined, "a"), ""},
		"joined by nobody":       {openim.CommandAfterJoinGroup, `{"groupID":"g"}`, nil, "inviterUserID"},
		"quit":                   {openim.CommandAfterQuitGroup, `{"groupID":"g","userID":"a"}`, of(readstate.EventLeft, "a"), ""},
		"quit, up to v3.6":       {openim.CommandQuitGroup, `{"callbackCommand":"callbackAfterQuitGroupCommand","groupID":"g","userID":"a"}`, of(readstate.EventLeft, "a"), ""},
		"kicked":                 {openim.CommandKillGroup, `{"groupID":"g","kickedUserIDs":["a","b","a"]}`, of(readstate.EventLeft, "a", "b"), ""},
		"kicked odd ones":        {openim.CommandAfterKickGroup, `{"groupID":"g","kickedUserIDs":["","\u0000","a"]}`, of(readstate.EventLeft, "a"), ""},
		"kicked numbers":         {openim.CommandAfterKickGroup, `{"groupID":"g","kickedUserIDs":[7]}`, nil, "kickedUserIDs"},
		"others' fields":         {openim.CommandAfterQuitGroup, `{"groupID":"g","userID":"a","seq":"x","Seqs":7,"initMemberList":1}`, of(readstate.EventLeft, "a"), ""},
		"name twice":             {openim.CommandAfterQuitGroup, `{"groupID":"g","groupID":"h","userID":"a"}`, nil, "groupID"},
		"invalid UTF-8":          {openim.CommandAfterQuitGroup, "{\"groupID\":\"g\",\"userID\":\"\xff\"}", nil, "userID"},
		"trailing data":          {openim.CommandAfterQuitGroup, `{"groupID":"g","userID":"a"}1`, nil, "body"},
		"not used":               {"callbackBeforeAfterMsgCommand", `not read`, nil, ""},
		"nobody was kicked":      {openim.CommandAfterKickGroup, `{"groupID":"g","kickedUserIDs":[]}`, nil, ""},
		"dismissed":              {openim.CommandDismissGroup, `{"groupID":"g","membersID":[]}`, of(readstate.EventDismissed, ""), ""},
		"dismissed nothing":      {openim.CommandAfterDismissGroup, `{}`, nil, "groupID"},
		"conversations":          {openim.CommandGroupConversations, `{"groupId":"g"}`, of(readstate.EventMembersChanged, ""), ""},
		"conversations by ID":    {openim.CommandGroupConversations, `{"groupId":"","conversationId":"sg_g"}`, of(readstate.EventMembersChanged, ""), ""},
		"conversations of none":  {openim.CommandGroupConversations, `{"conversationId":"si_a_b"}`, nil, "groupId"},
		"not JSON":               {openim.CommandAfterQuitGroup, `{"groupID":`, nil, "groupID"},
		"not an object":          {openim.CommandAfterQuitGroup, `[]`, nil, "body"},
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
		events, err := openim.DecodeCallback(commands[int(n)%len(commands)], body)
		if err != nil {
			var input *readstate.InputError
			require.ErrorAs(t, err, &input)
			require.NotEmpty(t, input.Field)
			require.True(t, utf8.ValidString(input.Message))
			require.Nil(t, events)
			return
		}
		users := map[string]bool{}
		for _, event := range events {
			requireStorable(t, event)
			require.False(t, users[event.UserID], "one event for each user")
			users[event.UserID] = true
			require.Equal(t, events[0].Kind, event.Kind)
			require.Equal(t, events[0].GroupID, event.GroupID)
		}
	})
}

// requireStorable checks an event as it comes from a callback.
func requireStorable(t *testing.T, event readstate.Event) {
	t.Helper()
	require.Zero(t, event.ID)
	require.Zero(t, event.At)
	require.GreaterOrEqual(t, event.UnreadCount, int64(0))
	require.GreaterOrEqual(t, event.ReadSeq, int64(0))
	switch event.Kind {
	case readstate.EventMembersChanged, readstate.EventDismissed:
		require.Empty(t, event.UserID)
		require.NoError(t, readstate.CheckID(event.GroupID))
	case readstate.EventServerReceipt:
		require.NoError(t, readstate.CheckID(event.UserID))
		require.Empty(t, event.GroupID)
	default:
		require.NoError(t, errors.Join(readstate.CheckID(event.UserID), readstate.CheckID(event.GroupID)))
	}
	if event.Kind == readstate.EventMessage {
		require.NoError(t, readstate.CheckID(event.MessageID))
	}
}

// Every spelling of every command has its own label and bounds, and is decoded as the
// other spellings of the command are.
func TestEverySpelling(t *testing.T) {
	t.Parallel()
	const body = `"sendID":"u","receiveID":"g","unreadMsgNum":1,"contentType":101,"conversationID":"sg_g","serverMsgID":"m",` +
		`"groupID":"g","groupId":"g","userID":"u","inviterUserID":"u","kickedUserIDs":["u"],"initMemberList":[{"userID":"u"}]}`
	commands, used := openim.KnownCommands()
	all := map[string]bool{}
	for i, spellings := range commands {
		for _, name := range spellings {
			require.False(t, all[name], "%s stands in the table once", name)
			all[name] = true
			require.True(t, openim.IsCommand(name), name)
			require.Equal(t, name, openim.CommandLabel(name))
			require.Equal(t, used[i], openim.IsUsed(name), name)
			for _, inBody := range spellings {
				events, err := openim.DecodeCallback(name, []byte(`{"callbackCommand":"`+inBody+`",`+body))
				require.NoError(t, err, name)
				if !used[i] {
					require.Nil(t, events, name)
					continue
				}
				require.Len(t, events, 1, name)
				require.Equal(t, "g", events[0].GroupID, name)
			}
		}
	}
	for _, c := range captures(t) {
		require.True(t, all[c.command], "%s is captured, but not in the table", c.command)
	}
	require.GreaterOrEqual(t, len(all), 53, "OpenIM has as many")
}

func TestBodyLimit(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]int64{
		openim.CommandAfterGroupMsgRead: 1 << 20, openim.CommandGroupMsgRead: 1 << 20, openim.CommandAfterMsgSaveDB: 1 << 20,
		"callbackMadeUpCommand": 1 << 20, "callbackBeforeSendGroupMsgCommand": 1 << 20,
		openim.CommandAfterKickGroup: 16 << 20, openim.CommandKillGroup: 16 << 20, openim.CommandAfterCreateGroup: 16 << 20,
		openim.CommandAfterJoinGroup: 16 << 20, openim.CommandQuitGroup: 16 << 20, openim.CommandDismissGroup: 16 << 20,
		"callbackBeforeCreateGroupCommand": 16 << 20,
	} {
		require.Equal(t, limit, openim.BodyLimit(name), name)
	}
}

// A callback that lists as many users as fit costs memory for as many as are allowed,
// and time for each once.
//
//nolint:paralleltest // it counts what the process allocates
func TestManyUsers(t *testing.T) {
	events, err := openim.DecodeCallback(openim.CommandAfterKickGroup, kick(openim.MaxListedUsers))
	require.NoError(t, err)
	require.Len(t, events, openim.MaxListedUsers)
	require.Equal(t, "u0", events[0].UserID)
	require.Equal(t, "u249999", events[len(events)-1].UserID)

	repeated := []byte(`{"groupID":"g","kickedUserIDs":["a"` + strings.Repeat(`,"a"`, 4<<20-10) + `]}`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	events, err = openim.DecodeCallback(openim.CommandAfterKickGroup, repeated)
	runtime.ReadMemStats(&after)
	require.NoError(t, err)
	require.Len(t, events, 1)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20), "repeats cost nothing")

	for command, body := range map[string][]byte{
		openim.CommandAfterKickGroup: kick(openim.MaxListedUsers + 1),
		openim.CommandAfterCreateGroup: []byte(`{"groupID":"g","initMemberList":[{"userID":"` +
			strings.Join(strings.Split(strings.TrimSuffix(string(numbers(openim.MaxListedUsers+1)), ","), ","), `"},{"userID":"`) + `"}]}`),
	} {
		_, err = openim.DecodeCallback(command, body)
		var input *readstate.InputError
		require.ErrorAs(t, err, &input)
		require.Equal(t, readstate.CodeInvalidField, input.Code)
		require.Contains(t, input.Message, "names too many users")
		require.Equal(t, "expected at most 250000", input.Detail)
	}
}

// numbers are as many numbers, each with a comma behind it.
func numbers(count int) (text []byte) {
	for i := range count {
		text = append(strconv.AppendInt(text, int64(i), 10), ',')
	}
	return text
}

// Package openim holds what OpenIM sends over the wire and what it expects
// back: commands, the two dialects of the read callback, and the answer. It is
// pure: no I/O, no clock. The facts come from OpenIM's public sources and from
// captured requests (testdata/captures).
package openim

import (
	"slices"
	"strings"

	"readmark/internal/readstate"
)

// The commands whose bodies are read, in all their spellings.
const (
	CommandAfterGroupMsgRead  = "callbackAfterGroupMsgReadCommand"
	CommandGroupMsgRead       = "callbackGroupMsgReadCommand"
	CommandAfterSingleMsgRead = "callbackAfterSingleMsgReadCommand"
	CommandAfterSendGroupMsg  = "callbackAfterSendGroupMsgCommand"
	CommandAfterMsgSaveDB     = "callbackAfterMsgSaveDBCommand"
	CommandAfterCreateGroup   = "callbackAfterCreateGroupCommand"
	CommandAfterJoinGroup     = "callbackAfterJoinGroupCommand"
	CommandAfterQuitGroup     = "callbackAfterQuitGroupCommand"
	CommandQuitGroup          = "callbackQuitGroupCommand"
	CommandAfterKickGroup     = "callbackAfterKickGroupCommand"
	CommandKillGroup          = "callbackKillGroupCommand"
	CommandAfterDismissGroup  = "callbackAfterDisMissGroupCommand"
	CommandDismissGroup       = "callbackDisMissGroupCommand"
	CommandGroupConversations = "callbackAfterCreateGroupChatConversationsCommand"
)

// CommandRevoked comes after a message was revoked; its odd name is real.
const CommandRevoked = "callbackBeforeAfterMsgCommand"

// Bounds of a callback's body in bytes, see [BodyLimit].
const (
	maxBody     = 1 << 20
	maxListBody = 16 << 20 // of commands that list users
)

// command is one of OpenIM's callback commands.
type command struct {
	name string
	// older are the spellings of older servers (mostly up to v3.6), or of the
	// documentation. Path and body may use any.
	older []string
	// fields are read from the body, and events makes events of them. Without events the
	// callback is acknowledged and its body not looked at.
	fields []field
	events func(b *body) ([]readstate.Event, error)
	// reports are the kinds of events that a read report may make.
	reports []readstate.EventKind
	// lists says that the body may list many users.
	lists bool
	// echoes are fields that the answer has to repeat: OpenIM puts the answer's values, also
	// those that are not there, in the place of what the user asked for.
	echoes []string
}

// commands are all that OpenIM is known to send.
//
//nolint:gochecknoglobals // constant
var commands = []command{
	// Reads
	{
		name: CommandAfterGroupMsgRead, older: []string{CommandGroupMsgRead}, events: (*body).readReport,
		reports: []readstate.EventKind{readstate.EventReceipt, readstate.EventServerReceipt},
		fields:  []field{fieldCommand, fieldSendID, fieldReceiveID, fieldUnread, fieldContentType},
	},
	{
		name: CommandAfterSingleMsgRead, older: []string{"callbackSingleMsgRead"}, events: (*body).conversationRead,
		reports: []readstate.EventKind{readstate.EventGroupRead},
		fields:  []field{fieldCommand, fieldConversationID, fieldUserID, fieldSeqs, fieldContentType},
	},
	// Messages
	{name: "callbackBeforeSendGroupMsgCommand"},
	{name: CommandAfterSendGroupMsg, events: (*body).message, fields: messageFields},
	{name: CommandAfterMsgSaveDB, events: (*body).message, fields: messageFields},
	{name: "callbackBeforeSendSingleMsgCommand"},
	{name: "callbackAfterSendSingleMsgCommand"},
	{name: "callbackBeforeMsgModifyCommand", older: []string{"callbackMsgModifyCommand"}},
	{name: CommandRevoked},
	{name: "callbackAfterRevokeMsgCommand"},
	// Pushes
	{name: "callbackBeforeOnlinePushCommand", older: []string{"callbackOnlinePushCommand"}, lists: true},
	{name: "callbackBeforeGroupOnlinePushCommand", older: []string{"callbackSuperGroupOnlinePushCommand"}, lists: true},
	{name: "callbackBeforeOfflinePushCommand", older: []string{"callbackOfflinePushCommand"}, lists: true},
	// Members
	{
		name: CommandAfterCreateGroup, events: (*body).created, lists: true,
		fields: []field{fieldCommand, fieldGroupID, fieldMembers},
	},
	{
		name: CommandAfterJoinGroup, events: (*body).joined, lists: true,
		fields: []field{fieldCommand, fieldGroupID, fieldInviter},
	},
	{
		name: CommandAfterQuitGroup, older: []string{CommandQuitGroup}, events: (*body).quit, lists: true,
		fields: []field{fieldCommand, fieldGroupID, fieldUserID},
	},
	{
		name: CommandAfterKickGroup, older: []string{CommandKillGroup}, events: (*body).kicked, lists: true,
		fields: []field{fieldCommand, fieldGroupID, fieldKicked},
	},
	{
		name: CommandAfterDismissGroup, older: []string{CommandDismissGroup}, events: (*body).dismissed, lists: true,
		fields: []field{fieldCommand, fieldGroupID},
	},
	{
		name: CommandGroupConversations, events: (*body).conversationsCreated, lists: true,
		fields: []field{fieldCommand, fieldGroupRef, fieldConversationRef},
	},
	{name: "callbackBeforeCreateGroupCommand", lists: true},
	{name: "callbackBeforeJoinGroupCommand", lists: true},
	{name: "callbackBeforeMembersJoinGroupCommand", older: []string{"callbackBeforeMemberJoinGroupCommand"}, lists: true},
	{name: "callbackBeforeInviteJoinGroupCommand", lists: true},
	{name: "callbackBeforeInviteUserToGroupCommand", lists: true},
	// Groups and conversations
	{name: "callbackBeforeCreateGroupChatConversationsCommand"},
	{name: "callbackBeforeCreateSingleChatConversationsCommand"},
	{name: "callbackAfterCreateSingleChatConversationsCommand"},
	{name: "callbackBeforeSetGroupInfoCommand", echoes: []string{"groupID", "groupName", "introduction", "faceURL"}},
	{name: "callbackAfterSetGroupInfoCommand"},
	{
		name: "callbackBeforeSetGroupInfoExCommand", older: []string{"callbackBeforeSetGroupInfoEXCommand"},
		echoes: []string{
			"groupID", "groupName", "introduction", "faceURL", "ex", "needVerification", "lookMemberInfo", "applyMemberFriend",
		},
	},
	{name: "callbackAfterSetGroupInfoExCommand", older: []string{"callbackAfterSetGroupInfoCommandEX"}},
	{name: "callbackBeforeSetGroupMemberInfoCommand"},
	{name: "callbackAfterSetGroupMemberInfoCommand"},
	{name: "callbackAfterTransferGroupOwnerCommand", older: []string{"callbackTransferGroupOwnerAfter", "callbackAfterTransferGroupOwner"}},
	// Users and friends
	{name: "callbackBeforeUserRegisterCommand", lists: true},
	{name: "callbackAfterUserRegisterCommand", lists: true},
	{name: "callbackAfterUserOnlineCommand", older: []string{"callbackUserOnlineCommand"}},
	{name: "callbackAfterUserOfflineCommand", older: []string{"callbackUserOfflineCommand"}},
	{name: "callbackAfterUserKickOffCommand", older: []string{"callbackUserKickOffCommand"}},
	{name: "callbackBeforeUpdateUserInfoCommand"},
	{name: "callbackAfterUpdateUserInfoCommand"},
	{name: "callbackBeforeUpdateUserInfoExCommand"},
	{name: "callbackAfterUpdateUserInfoExCommand"},
	{name: "callbackBeforeAddFriendCommand"},
	{name: "callbackAfterAddFriendCommand"},
	{name: "callbackBeforeAddFriendAgreeCommand"},
	{name: "callbackAfterAddFriendAgreeCommand"},
	{
		name: "callbackBeforeSetFriendRemarkCommand", older: []string{"callbackBeforeSetFriendRemark"},
		echoes: []string{"remark"}, // up to v3.6
	},
	{name: "callbackAfterSetFriendRemarkCommand", older: []string{"callbackAfterSetFriendRemark"}},
	{name: "callbackBeforeImportFriendsCommand", lists: true},
	{name: "callbackAfterImportFriendsCommand", lists: true},
	{name: "callbackAfterDeleteFriendCommand"},
	{name: "callbackBeforeAddBlackCommand"},
	{name: "callbackAfterRemoveBlackCommand"},
}

// Both message callbacks have the same body.
//
//nolint:gochecknoglobals // constant
var messageFields = []field{
	fieldCommand, fieldSendID, fieldGroupID, fieldServerMsgID, fieldSessionType, fieldSeq, fieldSendTime, fieldContentType,
}

// bySpelling finds a command by each of its spellings.
//
//nolint:gochecknoglobals // constant
var bySpelling = func() map[string]*command {
	index := map[string]*command{}
	for i := range commands {
		for _, spelling := range commands[i].spellings() {
			index[spelling] = &commands[i]
		}
	}
	return index
}()

// spellings gives the older ones first.
func (c *command) spellings() []string { return append(slices.Clone(c.older), c.name) }

// knownSpelling gives the table's own copy of a command's name, which saves one for each
// callback; empty if the command is not known.
func knownSpelling(name string) string {
	c := bySpelling[name]
	if c == nil {
		return ""
	}
	for _, spelling := range c.older {
		if name == spelling {
			return spelling
		}
	}
	return c.name
}

// IsCommand reports whether a path segment names a callback command, known or not: it
// begins with callback, and is letters and digits throughout. A space or a parameter
// behind a command makes another name, whose body nobody would look at.
func IsCommand(name string) bool {
	for _, c := range []byte(name) {
		if c < '0' || c > '9' && c < 'A' || c > 'Z' && c < 'a' || c > 'z' {
			return false
		}
	}
	return strings.HasPrefix(name, "callback")
}

// IsUsed reports whether a callback's body is read, see [DecodeCallback]; all others
// are acknowledged unread.
func IsUsed(name string) bool {
	c := bySpelling[name]
	return c != nil && c.events != nil
}

// IsBefore reports whether OpenIM waits for the answer before it does what a user asked
// for. Readmark needs no such callback.
func IsBefore(name string) bool {
	if c := bySpelling[name]; c != nil {
		name = c.name
	}
	return strings.HasPrefix(name, "callbackBefore") && name != CommandRevoked
}

// ListsUsers reports whether a callback's body may list many users.
func ListsUsers(name string) bool {
	c := bySpelling[name]
	return c != nil && c.lists
}

// BodyLimit gives the largest body that a command may have, in bytes: 16 MiB where it
// may list users, else 1 MiB.
func BodyLimit(name string) int64 {
	if ListsUsers(name) {
		return maxListBody
	}
	return maxBody
}

// CommandLabel gives a command's name for metrics: itself when OpenIM is known
// to send it, "other" otherwise, so that a caller cannot grow the label set.
func CommandLabel(name string) string {
	if bySpelling[name] == nil {
		return "other"
	}
	return name
}

// Newest gives the newest spelling of a command that OpenIM is known to send, and "other" for others.
func Newest(name string) string {
	if c := bySpelling[name]; c != nil {
		return c.name
	}
	return "other"
}

// CommandOf gives the command by which an event of a kind comes; where several tell the same, the one that servers send
// mostly. Of a message it depends on whether it has a seq, so that it was stored.
func CommandOf(kind readstate.EventKind, stored bool) string {
	switch kind {
	case readstate.EventReceipt, readstate.EventServerReceipt:
		return CommandAfterGroupMsgRead
	case readstate.EventGroupRead:
		return CommandAfterSingleMsgRead
	case readstate.EventMessage:
		if stored {
			return CommandAfterMsgSaveDB
		}
		return CommandAfterSendGroupMsg
	case readstate.EventJoined:
		return CommandAfterJoinGroup
	case readstate.EventLeft:
		return CommandAfterQuitGroup
	case readstate.EventDismissed:
		return CommandAfterDismissGroup
	case readstate.EventMembersChanged:
		return CommandGroupConversations
	default: // OpenIM's answers come by no callback
		return "other"
	}
}

// Command describes one of the commands that OpenIM is known to send.
type Command struct {
	Name      string   // the newest spelling
	Spellings []string // all
	Used      bool     // the body is read, see [IsUsed]
	Dialects  []string // of its events, see [readstate.EventKind.Dialect]; none where it is not used
}

// Commands describes all commands that OpenIM is known to send.
func Commands() []Command {
	list := make([]Command, len(commands))
	for i := range commands {
		c := &commands[i]
		list[i] = Command{Name: c.name, Spellings: c.spellings(), Used: c.events != nil}
		for _, kind := range c.reports {
			list[i].Dialects = append(list[i].Dialects, kind.Dialect())
		}
		if c.events != nil && len(c.reports) == 0 {
			list[i].Dialects = []string{readstate.EventMessage.Dialect()}
		}
	}
	return list
}

// check holds the body's command, if there is one, against the path's.
func (c *command) check(inBody string) error {
	if inBody == "" || inBody == c.name || slices.Contains(c.older, inBody) {
		return nil
	}
	return &readstate.InputError{
		Code: readstate.CodeCommandMismatch, Field: fieldCommand.name(),
		Message: "callbackCommand contradicts the path's command",
		Detail:  "expected " + strings.Join(c.spellings(), " or "),
	}
}

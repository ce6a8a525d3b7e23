// Package openim holds what OpenIM sends over the wire and what it expects
// back: commands, the two dialects of the read callback, and the answer. It is
// pure: no I/O, no clock. The facts come from OpenIM's public sources and from
// captured requests (testdata/captures).
package openim

import "strings"

// The names of the read callback. Released servers use either, in the path and
// in the body, so each is accepted in either place.
const (
	CommandAfterGroupMsgRead = "callbackAfterGroupMsgReadCommand"
	CommandGroupMsgRead      = "callbackGroupMsgReadCommand"
)

// The names of the other callbacks whose bodies are read. Three of them had another
// name up to v3.6; each is accepted in either place.
const (
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

// meaning gives one name to the spellings of one command.
func meaning(command string) string {
	switch command {
	case CommandGroupMsgRead:
		return CommandAfterGroupMsgRead
	case CommandQuitGroup:
		return CommandAfterQuitGroup
	case CommandKillGroup:
		return CommandAfterKickGroup
	case CommandDismissGroup:
		return CommandAfterDismissGroup
	default:
		return command
	}
}

// otherName gives the other spelling of a command's [meaning], if it has one.
func otherName(command string) string {
	switch command {
	case CommandAfterGroupMsgRead:
		return CommandGroupMsgRead
	case CommandAfterQuitGroup:
		return CommandQuitGroup
	case CommandAfterKickGroup:
		return CommandKillGroup
	case CommandAfterDismissGroup:
		return CommandDismissGroup
	default:
		return ""
	}
}

func sameCommand(a, b string) bool { return a == b || meaning(a) == meaning(b) }

// IsUsed reports whether a callback's body is read, see [DecodeCallback]; all others
// are acknowledged unread.
func IsUsed(command string) bool {
	switch meaning(command) {
	case CommandAfterGroupMsgRead, CommandAfterSingleMsgRead, CommandAfterSendGroupMsg, CommandAfterMsgSaveDB,
		CommandAfterCreateGroup, CommandAfterJoinGroup, CommandAfterQuitGroup, CommandAfterKickGroup,
		CommandAfterDismissGroup, CommandGroupConversations:
		return true
	default:
		return false
	}
}

// commandPrefix begins the name of every callback command of OpenIM.
const commandPrefix = "callback"

// IsCommand reports whether a path segment names a callback command, known or
// not.
func IsCommand(name string) bool { return strings.HasPrefix(name, commandPrefix) }

// IsReadReport reports whether the command is the group read callback.
func IsReadReport(command string) bool {
	return command == CommandAfterGroupMsgRead || command == CommandGroupMsgRead
}

// CommandLabel gives a command's name for metrics: itself when OpenIM is known
// to send it, "other" otherwise, so that a caller cannot grow the label set.
func CommandLabel(command string) string {
	switch command {
	case CommandAfterGroupMsgRead, CommandGroupMsgRead,
		CommandAfterSingleMsgRead,
		"callbackBeforeSendGroupMsgCommand", CommandAfterSendGroupMsg,
		"callbackBeforeSendSingleMsgCommand", "callbackAfterSendSingleMsgCommand",
		"callbackBeforeMsgModifyCommand", CommandAfterMsgSaveDB,
		"callbackBeforeAfterMsgCommand", "callbackAfterRevokeMsgCommand",
		"callbackBeforeCreateGroupCommand", CommandAfterCreateGroup,
		"callbackBeforeJoinGroupCommand", CommandAfterJoinGroup,
		CommandAfterQuitGroup, CommandQuitGroup,
		CommandAfterKickGroup, CommandKillGroup,
		CommandAfterDismissGroup, CommandDismissGroup,
		"callbackBeforeInviteUserToGroupCommand",
		CommandGroupConversations,
		"callbackAfterCreateSingleChatConversationsCommand",
		"callbackBeforeUserRegisterCommand", "callbackAfterUserRegisterCommand",
		"callbackAfterUserOnlineCommand", "callbackAfterUserOfflineCommand":
		return command
	default:
		return "other"
	}
}

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
		"callbackAfterSingleMsgReadCommand",
		"callbackBeforeSendGroupMsgCommand", "callbackAfterSendGroupMsgCommand",
		"callbackBeforeSendSingleMsgCommand", "callbackAfterSendSingleMsgCommand",
		"callbackBeforeMsgModifyCommand", "callbackAfterMsgSaveDBCommand",
		"callbackBeforeAfterMsgCommand", "callbackAfterRevokeMsgCommand",
		"callbackBeforeCreateGroupCommand", "callbackAfterCreateGroupCommand",
		"callbackBeforeJoinGroupCommand", "callbackAfterJoinGroupCommand",
		"callbackAfterQuitGroupCommand", "callbackQuitGroupCommand",
		"callbackAfterKickGroupCommand", "callbackKillGroupCommand",
		"callbackAfterDisMissGroupCommand", "callbackDisMissGroupCommand",
		"callbackBeforeInviteUserToGroupCommand",
		"callbackAfterCreateGroupChatConversationsCommand",
		"callbackAfterCreateSingleChatConversationsCommand",
		"callbackBeforeUserRegisterCommand", "callbackAfterUserRegisterCommand",
		"callbackAfterUserOnlineCommand", "callbackAfterUserOfflineCommand":
		return command
	default:
		return "other"
	}
}

package webhook

// kind is one of the webhooks that OpenIM has.
type kind struct {
	webhook string   // its name in OpenIM's webhooks.yml
	command string   // what it sends; empty: nothing
	older   []string // spellings of older servers
	does    string   // what Readmark does, for docs/callbacks.md
	tells   int      // how many events the body gives
	body    string   // empty: the last one that was captured
	merge   merge    // of a "before" webhook
	answer  string   // the exact answer; empty: plain success
}

// merge says what OpenIM's source does with the fields of an answer to a "before" webhook.
type merge struct {
	always []string // replace what was asked for, also where they are not there
	set    []string // replace it where they are there and not null
	filled []string // replace it where they are neither empty nor missing
}

const (
	plainSuccess = `{"actionCode":0,"errCode":0,"errMsg":"","errDlt":"","nextCode":0}`
	notRead      = "acknowledged; the body is not read"
	letThrough   = "let through; the body is not read"
	givenBack    = "let through; OpenIM gets back what it would take as empty"
)

// kinds are all 53: the switches of config/webhooks.yml in OpenIM's main of July 2026
// (commit 7848d7c; its top-level keys but for url). pkg/callbackstruct/constant.go has 52
// commands, and each is sent in one place; nothing reads the switch afterGroupMsgRevoke.
// How answers are merged is in internal/rpc/{group,user,relation,msg,conversation}/callback.go
// and internal/push/callback.go.
var kinds = []kind{
	// Used
	{
		webhook: "afterGroupMsgRead", command: "callbackAfterGroupMsgReadCommand", older: []string{"callbackGroupMsgReadCommand"},
		does: "a read position, or OpenIM is asked", tells: 1,
	},
	{
		webhook: "afterSingleMsgRead", command: "callbackAfterSingleMsgReadCommand", older: []string{"callbackSingleMsgRead"},
		does: "of a group's messages: OpenIM is asked", tells: 1,
		body: `{"callbackCommand":"callbackAfterSingleMsgReadCommand","conversationID":"sg_544345490","userID":"u2","Seqs":[20,21],"contentType":3}`,
	},
	{webhook: "afterSendGroupMsg", command: "callbackAfterSendGroupMsgCommand", does: "a message without its seq", tells: 1},
	{
		webhook: "afterMsgSaveDB", command: "callbackAfterMsgSaveDBCommand", does: "a stored message, if a group's", tells: 1,
		body: `{"sendID":"u1","callbackCommand":"callbackAfterMsgSaveDBCommand","serverMsgID":"2e96","clientMsgID":"e959","operationID":"1",` +
			`"senderPlatformID":5,"senderNickname":"u1","sessionType":3,"msgFrom":200,"contentType":101,"status":0,` +
			`"sendTime":1795470192006,"createTime":1795470192006,"content":"{\"content\":\"hello\"}","seq":2,"atUserList":null,` +
			`"faceURL":"","ex":"","recvID":"","groupID":"544345490"}`,
	},
	{webhook: "afterCreateGroup", command: "callbackAfterCreateGroupCommand", does: "members", tells: 2},
	{webhook: "afterJoinGroup", command: "callbackAfterJoinGroupCommand", does: "a member", tells: 1},
	{
		webhook: "afterQuitGroup", command: "callbackAfterQuitGroupCommand", older: []string{"callbackQuitGroupCommand"},
		does: "a member who left", tells: 1,
	},
	{
		webhook: "afterKickGroupMember", command: "callbackAfterKickGroupCommand", older: []string{"callbackKillGroupCommand"},
		does: "members who left", tells: 1,
	},
	{
		webhook: "afterDismissGroup", command: "callbackAfterDisMissGroupCommand", older: []string{"callbackDisMissGroupCommand"},
		does: "the group is gone", tells: 1,
	},
	{
		webhook: "afterCreateGroupChatConversations", command: "callbackAfterCreateGroupChatConversationsCommand",
		does: "OpenIM is asked for the members", tells: 1,
	},
	// "Before" webhooks whose answers OpenIM takes as a whole
	{
		webhook: "beforeSetGroupInfo", command: "callbackBeforeSetGroupInfoCommand", does: givenBack,
		merge: merge{
			always: []string{"groupID", "groupName", "faceURL", "introduction"},
			set:    []string{"ex", "needVerification", "lookMemberInfo", "applyMemberFriend"},
		},
		answer: `{"actionCode":0,"errCode":0,"errDlt":"","errMsg":"","faceURL":"","groupID":"1300924965","groupName":"n",` +
			`"introduction":"i","nextCode":0}`,
	},
	{
		webhook: "beforeSetGroupInfoEx", command: "callbackBeforeSetGroupInfoExCommand",
		older: []string{"callbackBeforeSetGroupInfoEXCommand"}, does: givenBack,
		merge: merge{always: []string{
			"groupID", "groupName", "faceURL", "introduction", "ex", "needVerification", "lookMemberInfo", "applyMemberFriend",
		}},
		answer: `{"actionCode":0,"applyMemberFriend":null,"errCode":0,"errDlt":"","errMsg":"","ex":null,"faceURL":null,` +
			`"groupID":"1300924965","groupName":"n2","introduction":null,"lookMemberInfo":null,"needVerification":null,"nextCode":0}`,
	},
	{ // on main it is merged where it is not empty
		webhook: "beforeSetFriendRemark", command: "callbackBeforeSetFriendRemarkCommand",
		older: []string{"callbackBeforeSetFriendRemark"}, does: givenBack, merge: merge{always: []string{"remark"}},
		answer: `{"actionCode":0,"errCode":0,"errDlt":"","errMsg":"","nextCode":0,"remark":"r"}`,
	},
	// Other "before" webhooks
	{webhook: "beforeSendSingleMsg", command: "callbackBeforeSendSingleMsgCommand", does: letThrough},
	{webhook: "beforeSendGroupMsg", command: "callbackBeforeSendGroupMsgCommand", does: letThrough},
	{
		webhook: "beforeMsgModify", command: "callbackBeforeMsgModifyCommand", older: []string{"callbackMsgModifyCommand"}, does: letThrough,
		merge: merge{set: []string{
			"content", "recvID", "groupID", "clientMsgID", "serverMsgID", "senderPlatformID", "senderNickname", "senderFaceURL",
			"sessionType", "msgFrom", "contentType", "status", "options", "offlinePushInfo", "atUserIDList", "attachedInfo", "ex",
		}},
	},
	{
		webhook: "beforeOfflinePush", command: "callbackBeforeOfflinePushCommand", older: []string{"callbackOfflinePushCommand"},
		does: letThrough, merge: merge{set: []string{"offlinePushInfo"}, filled: []string{"userIDList"}},
	},
	{
		webhook: "beforeOnlinePush", command: "callbackBeforeOnlinePushCommand", older: []string{"callbackOnlinePushCommand"},
		does: letThrough,
	},
	{
		webhook: "beforeGroupOnlinePush", command: "callbackBeforeGroupOnlinePushCommand",
		older: []string{"callbackSuperGroupOnlinePushCommand"}, does: letThrough, merge: merge{filled: []string{"userIDList"}},
	},
	{
		webhook: "beforeCreateGroup", command: "callbackBeforeCreateGroupCommand", does: letThrough,
		merge: merge{set: []string{
			"groupID", "groupName", "notification", "introduction", "faceURL", "ownerUserID", "ex", "status", "creatorUserID",
			"groupType", "needVerification", "lookMemberInfo",
		}},
	},
	{
		webhook: "beforeMemberJoinGroup", command: "callbackBeforeMembersJoinGroupCommand",
		older: []string{"callbackBeforeMemberJoinGroupCommand"}, does: letThrough, merge: merge{filled: []string{"memberCallbackList"}},
	},
	{
		webhook: "beforeSetGroupMemberInfo", command: "callbackBeforeSetGroupMemberInfoCommand", does: letThrough,
		merge: merge{set: []string{"ex", "nickName", "faceURL", "roleLevel"}},
	},
	{webhook: "beforeApplyJoinGroup", command: "callbackBeforeJoinGroupCommand", does: letThrough},
	{webhook: "beforeInviteUserToGroup", command: "callbackBeforeInviteJoinGroupCommand", does: letThrough},
	{
		webhook: "beforeCreateSingleChatConversations", command: "callbackBeforeCreateSingleChatConversationsCommand", does: letThrough,
		merge: merge{set: []string{"recvMsgOpt", "isPinned", "isPrivateChat", "burnDuration", "groupAtType", "attachedInfo", "ex"}},
	},
	{
		webhook: "beforeCreateGroupChatConversations", command: "callbackBeforeCreateGroupChatConversationsCommand", does: letThrough,
		merge: merge{set: []string{"recvMsgOpt", "isPinned", "isPrivateChat", "burnDuration", "groupAtType", "attachedInfo", "ex"}},
	},
	{
		webhook: "beforeUserRegister", command: "callbackBeforeUserRegisterCommand", does: letThrough,
		merge: merge{filled: []string{"users"}},
	},
	{
		webhook: "beforeUpdateUserInfo", command: "callbackBeforeUpdateUserInfoCommand", does: letThrough,
		merge: merge{set: []string{"nickName", "faceURL", "ex"}},
	},
	{
		webhook: "beforeUpdateUserInfoEx", command: "callbackBeforeUpdateUserInfoExCommand", does: letThrough,
		merge: merge{set: []string{"nickName", "faceURL", "ex"}},
	},
	{webhook: "beforeAddFriend", command: "callbackBeforeAddFriendCommand", does: letThrough},
	{webhook: "beforeAddFriendAgree", command: "callbackBeforeAddFriendAgreeCommand", does: letThrough},
	{
		webhook: "beforeImportFriends", command: "callbackBeforeImportFriendsCommand", does: letThrough,
		merge: merge{filled: []string{"friendUserIDs"}},
	},
	{webhook: "beforeAddBlack", command: "callbackBeforeAddBlackCommand", does: letThrough},
	// Not used
	{webhook: "afterSendSingleMsg", command: "callbackAfterSendSingleMsgCommand", does: notRead},
	{webhook: "afterRevokeMsg", command: "callbackBeforeAfterMsgCommand", does: notRead},
	{webhook: "afterGroupMsgRevoke", does: "OpenIM never sends it"},
	{webhook: "afterCreateSingleChatConversations", command: "callbackAfterCreateSingleChatConversationsCommand", does: notRead},
	{webhook: "afterSetGroupInfo", command: "callbackAfterSetGroupInfoCommand", does: notRead},
	{
		webhook: "afterSetGroupInfoEx", command: "callbackAfterSetGroupInfoExCommand",
		older: []string{"callbackAfterSetGroupInfoCommandEX"}, does: notRead,
	},
	{webhook: "afterSetGroupMemberInfo", command: "callbackAfterSetGroupMemberInfoCommand", does: notRead},
	{
		webhook: "afterTransferGroupOwner", command: "callbackAfterTransferGroupOwnerCommand",
		older: []string{"callbackAfterTransferGroupOwner", "callbackTransferGroupOwnerAfter"}, does: notRead,
	},
	{webhook: "afterUserRegister", command: "callbackAfterUserRegisterCommand", does: notRead},
	{
		webhook: "afterUserOnline", command: "callbackAfterUserOnlineCommand", older: []string{"callbackUserOnlineCommand"}, does: notRead,
	},
	{
		webhook: "afterUserOffline", command: "callbackAfterUserOfflineCommand", older: []string{"callbackUserOfflineCommand"}, does: notRead,
	},
	{
		webhook: "afterUserKickOff", command: "callbackAfterUserKickOffCommand", older: []string{"callbackUserKickOffCommand"}, does: notRead,
		body: `{"callbackCommand":"callbackAfterUserKickOffCommand","operationID":"p_28841_3","platformID":5,"platform":"Web",` +
			`"userID":"u1","seq":1795632734073}`,
	},
	{webhook: "afterUpdateUserInfo", command: "callbackAfterUpdateUserInfoCommand", does: notRead},
	{webhook: "afterUpdateUserInfoEx", command: "callbackAfterUpdateUserInfoExCommand", does: notRead},
	{webhook: "afterAddFriend", command: "callbackAfterAddFriendCommand", does: notRead},
	{webhook: "afterAddFriendAgree", command: "callbackAfterAddFriendAgreeCommand", does: notRead},
	{
		webhook: "afterSetFriendRemark", command: "callbackAfterSetFriendRemarkCommand",
		older: []string{"callbackAfterSetFriendRemark"}, does: notRead,
	},
	{webhook: "afterImportFriends", command: "callbackAfterImportFriendsCommand", does: notRead},
	{webhook: "afterDeleteFriend", command: "callbackAfterDeleteFriendCommand", does: notRead},
	{webhook: "afterRemoveBlack", command: "callbackAfterRemoveBlackCommand", does: notRead},
}

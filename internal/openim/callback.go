package openim

import (
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"readmark/internal/readstate"
)

// The fields of the other callbacks. Their spelling is OpenIM's.
const (
	fieldConversationID  = "conversationID"
	fieldConversationRef = "conversationId"
	fieldUserID          = "userID"
	fieldSeqs            = "Seqs"
	fieldServerMsgID     = "serverMsgID"
	fieldSessionType     = "sessionType"
	fieldSeq             = "seq"
	fieldSendTime        = "sendTime"
	fieldGroupID         = "groupID"
	fieldGroupRef        = "groupId"
	fieldInviter         = "inviterUserID"
	fieldKicked          = "kickedUserIDs"
	fieldMembers         = "initMemberList"
)

// groupConversation begins the conversation ID of a group; the group's ID follows.
const groupConversation = "sg_"

// lastMillisecond is the end of the year 9999, above which a time is none.
const lastMillisecond = 253402300799999

// Told is what a callback tells: one of the three, or nothing, where it is about
// what Readmark does not keep.
type Told struct {
	Receipt *readstate.Receipt
	Message *readstate.Message
	Change  *readstate.Change
}

// DecodeCallback reads the body of a callback that [IsUsed]; others tell nothing. What it tells has
// neither identity nor time of arrival yet. The error, if any, is a
// [*readstate.InputError] as in [Decode]; so are the rules of reading. A message's
// content is skipped.
func DecodeCallback(command string, body []byte) (Told, error) {
	if IsReadReport(command) {
		receipt, err := Decode(command, body)
		if err != nil {
			return Told{}, err
		}
		return Told{Receipt: &receipt}, nil
	}
	wanted := fieldsOf(meaning(command))
	if wanted == nil {
		return Told{}, nil
	}
	var f fields
	err := readBody(body, wanted, f.read)
	if err == nil {
		err = checkCommand(f.command.text, command)
	}
	var told Told
	if err == nil {
		told, err = f.tell(meaning(command))
	}
	if err != nil {
		var input *readstate.InputError
		if errors.As(err, &input) {
			input.UserID, input.GroupID = legible(f.userID.text), legible(f.groupID.text)
			if input.UserID == "" {
				input.UserID = legible(f.sendID.text)
			}
			if input.Code == readstate.CodeMalformedBody && !utf8.Valid(body) {
				input.Message = input.Field + " is not valid UTF-8"
			}
		}
		return Told{}, err
	}
	return told, nil
}

// The fields of each callback; what belongs to another one is skipped.
//
//nolint:gochecknoglobals // constant
var (
	readFields          = names{fieldCommand, fieldConversationID, fieldUserID, fieldSeqs, fieldContentType}
	messageFields       = names{fieldCommand, fieldSendID, fieldGroupID, fieldServerMsgID, fieldSessionType, fieldSeq, fieldSendTime, fieldContentType}
	createFields        = names{fieldCommand, fieldGroupID, fieldMembers}
	joinFields          = names{fieldCommand, fieldGroupID, fieldInviter}
	quitFields          = names{fieldCommand, fieldGroupID, fieldUserID}
	kickFields          = names{fieldCommand, fieldGroupID, fieldKicked}
	dismissFields       = names{fieldCommand, fieldGroupID}
	conversationsFields = names{fieldCommand, fieldGroupRef, fieldConversationRef}
	memberFields        = names{fieldUserID}
)

// fieldsOf gives the fields that a command is read for, nil if its body is not read.
func fieldsOf(command string) names {
	switch command {
	case CommandAfterSingleMsgRead:
		return readFields
	case CommandAfterSendGroupMsg, CommandAfterMsgSaveDB:
		return messageFields
	case CommandAfterCreateGroup:
		return createFields
	case CommandAfterJoinGroup:
		return joinFields
	case CommandAfterQuitGroup:
		return quitFields
	case CommandAfterKickGroup:
		return kickFields
	case CommandAfterDismissGroup:
		return dismissFields
	case CommandGroupConversations:
		return conversationsFields
	default:
		return nil
	}
}

// fields is every field that one of the callbacks is read for.
type fields struct {
	command, sendID, userID, groupID, groupRef text
	conversationID, conversationRef            text
	serverMsgID, inviter                       text
	contentType, sessionType, seq, sendTime    number
	readSeq                                    int64    // the largest of Seqs
	kicked, members                            []string // those that are legible
}

func (f *fields) read(dec *jsontext.Decoder, name string) error {
	switch name {
	case fieldCommand:
		return f.command.read(dec, name)
	case fieldSendID:
		return f.sendID.read(dec, name)
	case fieldUserID:
		return f.userID.read(dec, name)
	case fieldGroupID:
		return f.groupID.read(dec, name)
	case fieldGroupRef:
		return f.groupRef.read(dec, name)
	case fieldConversationID:
		return f.conversationID.read(dec, name)
	case fieldConversationRef:
		return f.conversationRef.read(dec, name)
	case fieldServerMsgID:
		return f.serverMsgID.read(dec, name)
	case fieldInviter:
		return f.inviter.read(dec, name)
	case fieldContentType:
		return f.contentType.read(dec, name)
	case fieldSessionType:
		return f.sessionType.read(dec, name)
	case fieldSeq:
		return f.seq.read(dec, name)
	case fieldSendTime:
		return f.sendTime.read(dec, name)
	case fieldSeqs:
		return f.readSeqs(dec)
	case fieldKicked:
		return list(dec, name, func() error {
			var user text
			err := user.read(dec, name)
			f.kicked = appendID(f.kicked, user.text)
			return err
		})
	case fieldMembers:
		return list(dec, name, func() error { return f.readMember(dec) })
	default:
		return dec.SkipValue()
	}
}

func (f *fields) readSeqs(dec *jsontext.Decoder) error {
	return list(dec, fieldSeqs, func() error {
		var seq number
		err := seq.read(dec, fieldSeqs)
		f.readSeq = max(f.readSeq, seq.value)
		return err
	})
}

// readMember reads one element of a group's first members; one that has no legible
// ID harms no other.
func (f *fields) readMember(dec *jsontext.Decoder) error {
	switch dec.PeekKind() {
	case 'n':
		return dec.SkipValue()
	case '{', 0:
	default:
		return invalid(fieldMembers, "holds something else than members", "expected a list of objects with a userID")
	}
	return readObject(dec, memberFields, func(dec *jsontext.Decoder, name string) error {
		if kind := dec.PeekKind(); kind != '"' && kind != 0 {
			return dec.SkipValue()
		}
		var user text
		err := user.read(dec, name)
		f.members = appendID(f.members, user.text)
		return err
	})
}

// list reads an array, element by element; null is an empty one.
func list(dec *jsontext.Decoder, field string, element func() error) error {
	switch dec.PeekKind() {
	case 'n':
		return dec.SkipValue()
	case '[', 0:
	default:
		return invalid(field, "is not a list", "expected a list")
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != ']' {
		if err := element(); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

// appendID adds an ID that can be stored; a list names some in one body, of which
// one that cannot be harms no other.
func appendID(ids []string, id string) []string {
	if legible(id) == "" {
		return ids
	}
	return append(ids, id)
}

// distinct drops repeats: OpenIM names a group's owner twice.
func distinct(ids []string) []string {
	seen := make(map[string]bool, len(ids))
	kept := ids[:0]
	for _, id := range ids {
		if !seen[id] {
			seen[id] = true
			kept = append(kept, id)
		}
	}
	return kept
}

// tell gives what the fields mean for a command.
func (f *fields) tell(command string) (Told, error) {
	switch command {
	case CommandAfterSingleMsgRead:
		return f.conversationRead()
	case CommandAfterSendGroupMsg, CommandAfterMsgSaveDB:
		return f.message()
	default:
		return f.change(command)
	}
}

// conversationRead is the read of single messages, which released servers send for
// groups too (from mark_msgs_as_read).
func (f *fields) conversationRead() (Told, error) {
	if f.conversationID.text == "" {
		return Told{}, f.conversationID.checkID(fieldConversationID)
	}
	if err := f.userID.checkID(fieldUserID); err != nil {
		return Told{}, err
	}
	// No other rule holds for conversations: those of two users may be long.
	groupID, group := strings.CutPrefix(f.conversationID.text, groupConversation)
	if !group {
		return Told{}, nil
	}
	if err := readstate.CheckID(groupID); err != nil {
		return Told{}, invalid(fieldConversationID, "names a group whose ID "+err.Error(), "expected sg_ and the group's ID")
	}
	return Told{Receipt: &readstate.Receipt{
		Dialect: readstate.DialectConversation, UserID: f.userID.text, GroupID: groupID,
		ReadSeq: f.readSeq, ContentType: f.contentType.value,
	}}, nil
}

// message is a group message that was accepted (without a seq) or stored (with one).
func (f *fields) message() (Told, error) {
	switch f.sessionType.value {
	case readstate.ConversationSingle, readstate.ConversationNotification:
		return Told{}, nil
	case 0:
		if f.groupID.text == "" {
			return Told{}, nil
		}
	}
	for _, id := range []struct {
		text  text
		field string
	}{{f.sendID, fieldSendID}, {f.groupID, fieldGroupID}, {f.serverMsgID, fieldServerMsgID}} {
		if err := id.text.checkID(id.field); err != nil {
			return Told{}, err
		}
	}
	if f.seq.value < 0 {
		return Told{}, invalid(fieldSeq, "is negative", "expected zero or more")
	}
	m := &readstate.Message{
		GroupID: f.groupID.text, UserID: f.sendID.text, MessageID: f.serverMsgID.text,
		Seq: f.seq.value, ContentType: f.contentType.value,
	}
	if at := f.sendTime.value; at > 0 && at <= lastMillisecond {
		m.SentAt = time.UnixMilli(at).UTC()
	}
	return Told{Message: m}, nil
}

// change is what happened to a group's membership.
func (f *fields) change(command string) (Told, error) {
	if command == CommandGroupConversations {
		return f.conversationsCreated()
	}
	if err := f.groupID.checkID(fieldGroupID); err != nil {
		return Told{}, err
	}
	c := &readstate.Change{GroupID: f.groupID.text}
	switch command {
	case CommandAfterCreateGroup:
		if c.Kind, c.UserIDs = readstate.ChangeJoined, distinct(f.members); len(c.UserIDs) == 0 {
			c.Kind = readstate.ChangeMembers
		}
	case CommandAfterJoinGroup: // the inviter's field holds who joined
		if err := f.inviter.checkID(fieldInviter); err != nil {
			return Told{}, err
		}
		c.Kind, c.UserIDs = readstate.ChangeJoined, []string{f.inviter.text}
	case CommandAfterQuitGroup:
		if err := f.userID.checkID(fieldUserID); err != nil {
			return Told{}, err
		}
		c.Kind, c.UserIDs = readstate.ChangeLeft, []string{f.userID.text}
	case CommandAfterKickGroup:
		if c.Kind, c.UserIDs = readstate.ChangeLeft, distinct(f.kicked); len(c.UserIDs) == 0 {
			return Told{}, nil
		}
	case CommandAfterDismissGroup:
		c.Kind = readstate.ChangeDismissed
	default:
		return Told{}, nil
	}
	return Told{Change: c}, nil
}

// conversationsCreated comes where members were invited or let in, without saying
// who; its group has a spelling of its own.
func (f *fields) conversationsCreated() (Told, error) {
	groupID := f.groupRef
	if groupID.text == "" {
		if id, group := strings.CutPrefix(f.conversationRef.text, groupConversation); group {
			groupID = text{id, true}
		}
	}
	if err := groupID.checkID(fieldGroupRef); err != nil {
		return Told{}, err
	}
	return Told{Change: &readstate.Change{Kind: readstate.ChangeMembers, GroupID: groupID.text}}, nil
}

package openim

import (
	"errors"
	"strings"
	"time"

	"readmark/internal/readstate"
)

// groupConversation begins the conversation ID of a group; the group's ID follows.
const groupConversation = "sg_"

// lastMillisecond is the end of the year 9999. A later sendTime is ignored.
const lastMillisecond = 253402300799999

// readReport is the group read callback. Released servers send the reader twice and a
// conversation type where the documentation has the group and the content type
// of the message (message contents begin at 101).
func (b *body) readReport() ([]readstate.Event, error) {
	if err := b.checkIDs(fieldSendID, fieldReceiveID); err != nil {
		return nil, err
	}
	unread := &b.values[fieldUnread]
	switch {
	case !unread.present:
		return nil, missing(fieldUnread, "expected the number of unread messages")
	case unread.number < 0:
		return nil, invalid(fieldUnread, "is negative", "expected zero or more")
	}
	user, group, contentType := b.text(fieldSendID), b.text(fieldReceiveID), b.number(fieldContentType)
	if user == group && contentType >= readstate.ConversationSingle && contentType <= readstate.ConversationNotification {
		return []readstate.Event{{
			Kind: readstate.EventServerReceipt, UserID: user, ReadSeq: unread.number, ContentType: contentType,
		}}, nil
	}
	return []readstate.Event{{
		Kind: readstate.EventReceipt, UserID: user, GroupID: group, UnreadCount: unread.number, ContentType: contentType,
	}}, nil
}

// conversationRead is the read of single messages, which released servers send for
// groups too (from mark_msgs_as_read).
func (b *body) conversationRead() ([]readstate.Event, error) {
	if b.text(fieldConversationID) == "" {
		return nil, b.checkID(fieldConversationID)
	}
	if err := b.checkID(fieldUserID); err != nil {
		return nil, err
	}
	// No other rule holds for conversations: those of two users may be long.
	group, ok := strings.CutPrefix(b.text(fieldConversationID), groupConversation)
	if !ok {
		return nil, nil
	}
	if err := readstate.CheckID(group); err != nil {
		return nil, invalid(fieldConversationID, "names a group whose ID "+err.Error(), "expected sg_ and the group's ID")
	}
	return []readstate.Event{{
		Kind: readstate.EventGroupRead, UserID: b.text(fieldUserID), GroupID: group,
		ReadSeq: b.number(fieldSeqs), ContentType: b.number(fieldContentType),
	}}, nil
}

// message is a group message that was accepted (without a seq) or stored (with one).
func (b *body) message() ([]readstate.Event, error) {
	switch b.number(fieldSessionType) {
	case readstate.ConversationSingle, readstate.ConversationNotification:
		return nil, nil
	case 0:
		if b.text(fieldGroupID) == "" {
			return nil, nil
		}
	}
	if err := b.checkIDs(fieldSendID, fieldGroupID, fieldServerMsgID); err != nil {
		return nil, err
	}
	if b.number(fieldSeq) < 0 {
		return nil, invalid(fieldSeq, "is negative", "expected zero or more")
	}
	event := readstate.Event{
		Kind: readstate.EventMessage, UserID: b.text(fieldSendID), GroupID: b.text(fieldGroupID),
		MessageID: b.text(fieldServerMsgID), ReadSeq: b.number(fieldSeq), ContentType: b.number(fieldContentType),
	}
	if at := b.number(fieldSendTime); at > 0 && at <= lastMillisecond {
		event.SentAt = time.UnixMilli(at).UTC()
	}
	return []readstate.Event{event}, nil
}

// created is a group with its first members. Where none of them is legible OpenIM has
// to be asked.
func (b *body) created() ([]readstate.Event, error) {
	if err := b.checkID(fieldGroupID); err != nil {
		return nil, err
	}
	if len(b.users) == 0 {
		return b.membership(readstate.EventMembersChanged, b.text(fieldGroupID), ""), nil
	}
	return b.membership(readstate.EventJoined, b.text(fieldGroupID), b.users...), nil
}

// joined is a user who joined: the inviter's field holds who it was.
func (b *body) joined() ([]readstate.Event, error) {
	if err := b.checkIDs(fieldGroupID, fieldInviter); err != nil {
		return nil, err
	}
	return b.membership(readstate.EventJoined, b.text(fieldGroupID), b.text(fieldInviter)), nil
}

func (b *body) quit() ([]readstate.Event, error) {
	if err := b.checkIDs(fieldGroupID, fieldUserID); err != nil {
		return nil, err
	}
	return b.membership(readstate.EventLeft, b.text(fieldGroupID), b.text(fieldUserID)), nil
}

func (b *body) kicked() ([]readstate.Event, error) {
	if err := b.checkID(fieldGroupID); err != nil {
		return nil, err
	}
	return b.membership(readstate.EventLeft, b.text(fieldGroupID), b.users...), nil
}

func (b *body) dismissed() ([]readstate.Event, error) {
	if err := b.checkID(fieldGroupID); err != nil {
		return nil, err
	}
	return b.membership(readstate.EventDismissed, b.text(fieldGroupID), ""), nil
}

// conversationsCreated comes where members were invited or let in, without saying
// who; its group has a spelling of its own.
func (b *body) conversationsCreated() ([]readstate.Event, error) {
	if b.text(fieldGroupRef) == "" {
		if group, ok := strings.CutPrefix(b.text(fieldConversationRef), groupConversation); ok {
			b.values[fieldGroupRef] = value{text: group, present: true}
		}
	}
	if err := b.checkID(fieldGroupRef); err != nil {
		return nil, err
	}
	return b.membership(readstate.EventMembersChanged, b.text(fieldGroupRef), ""), nil
}

// membership gives one event for each user.
func (*body) membership(kind readstate.EventKind, group string, users ...string) []readstate.Event {
	if len(users) == 0 {
		return nil
	}
	events := make([]readstate.Event, len(users))
	for i, user := range users {
		events[i] = readstate.Event{Kind: kind, GroupID: group, UserID: user}
	}
	return events
}

// checkIDs applies the rules of IDs to each of the fields, in this order.
func (b *body) checkIDs(fields ...field) error {
	for _, f := range fields {
		if err := b.checkID(f); err != nil {
			return err
		}
	}
	return nil
}

func (b *body) checkID(f field) error {
	const expected = "expected a non-empty string of at most 255 bytes, valid UTF-8, without control characters"
	err := readstate.CheckID(b.text(f))
	switch {
	case !b.values[f].present:
		return missing(f, expected)
	case errors.Is(err, readstate.ErrIDEmpty):
		return &readstate.InputError{
			Code: readstate.CodeMissingField, Field: f.name(),
			Message: f.name() + " is empty", Detail: expected,
		}
	case err != nil:
		return invalid(f, err.Error(), expected)
	}
	return nil
}

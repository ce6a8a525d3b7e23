package openim

import (
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"readmark/internal/readstate"
)

// field is a member of a callback's body that is read.
type field int

const (
	fieldCommand field = iota
	fieldSendID
	fieldReceiveID
	fieldUserID
	fieldInviter
	fieldGroupID
	fieldGroupRef
	fieldConversationID
	fieldConversationRef
	fieldServerMsgID
	fieldUnread
	fieldContentType
	fieldSessionType
	fieldSeq
	fieldSendTime
	fieldSeqs
	fieldKicked
	fieldMembers
	fieldCount
)

// kind is the form of a field's value.
type kind int

const (
	kindText kind = iota
	kindNumber
	kindNumbers // a list of numbers, of which the largest counts
	kindUsers   // a list of user IDs
	kindMembers // a list of objects with a userID
)

// fieldTable has each field's name, in OpenIM's spelling, and form.
//
//nolint:gochecknoglobals // constant
var fieldTable = [fieldCount]struct {
	name string
	kind kind
}{
	fieldCommand:         {"callbackCommand", kindText},
	fieldSendID:          {"sendID", kindText},
	fieldReceiveID:       {"receiveID", kindText},
	fieldUserID:          {"userID", kindText},
	fieldInviter:         {"inviterUserID", kindText},
	fieldGroupID:         {"groupID", kindText},
	fieldGroupRef:        {"groupId", kindText},
	fieldConversationID:  {"conversationID", kindText},
	fieldConversationRef: {"conversationId", kindText},
	fieldServerMsgID:     {"serverMsgID", kindText},
	fieldUnread:          {"unreadMsgNum", kindNumber},
	fieldContentType:     {"contentType", kindNumber},
	fieldSessionType:     {"sessionType", kindNumber},
	fieldSeq:             {"seq", kindNumber},
	fieldSendTime:        {"sendTime", kindNumber},
	fieldSeqs:            {"Seqs", kindNumbers},
	fieldKicked:          {"kickedUserIDs", kindUsers},
	fieldMembers:         {"initMemberList", kindMembers},
}

// memberFields are read of an object in a list of members.
//
//nolint:gochecknoglobals // constant
var memberFields = []field{fieldUserID}

func (f field) name() string { return fieldTable[f].name }

// named finds the field of a name among those that are wanted.
func named(wanted []field, name string) (f field, found bool) {
	for _, f := range wanted {
		if fieldTable[f].name == name {
			return f, true
		}
	}
	return 0, false
}

// value is what a body says of a field.
type value struct {
	text    string
	number  int64
	present bool // there, and not null
}

// body is a callback's body as far as it is read.
type body struct {
	values [fieldCount]value
	users  []string // of a list, those that are legible, without repeats
	seen   map[string]struct{}
}

func (b *body) text(f field) string  { return b.values[f].text }
func (b *body) number(f field) int64 { return b.values[f].number }

// read reads the value of a field; null is as good as none.
func (b *body) read(dec *jsontext.Decoder, f field) error {
	next := dec.PeekKind() // 0: a syntax error, which reading it tells
	if next == 'n' {
		return dec.SkipValue()
	}
	v := &b.values[f]
	switch fieldTable[f].kind {
	case kindText:
		if next != '"' && next != 0 {
			return invalid(f, "is not a string", "expected a string")
		}
		token, err := dec.ReadToken()
		if err != nil {
			return err
		}
		v.present = true
		if f == fieldCommand {
			if v.text = knownSpelling(token.String()); v.text != "" {
				return nil
			}
		}
		v.text = token.String()
		return nil
	case kindNumber:
		return v.readNumber(dec, f)
	case kindNumbers:
		return readList(dec, f, func() error {
			var element value
			if dec.PeekKind() == 'n' {
				return dec.SkipValue()
			}
			err := element.readNumber(dec, f)
			v.number = max(v.number, element.number)
			return err
		})
	case kindUsers:
		return readList(dec, f, func() error { return b.readUser(dec, f) })
	default: // kindMembers
		return readList(dec, f, func() error { return b.readMember(dec, f) })
	}
}

func (v *value) readNumber(dec *jsontext.Decoder, f field) error {
	if next := dec.PeekKind(); next != '0' && next != 0 {
		return invalid(f, "is not an integer", "expected a number")
	}
	text, err := dec.ReadValue()
	if err != nil {
		return err
	}
	// Not Token.Int: that would round 1.5 and saturate 1e30.
	if v.number, err = strconv.ParseInt(string(text), 10, 64); err != nil {
		return invalid(f, "is not an integer", "expected a whole number of 64 bits without fraction or exponent")
	}
	v.present = true
	return nil
}

// readUser reads an ID in a list.
func (b *body) readUser(dec *jsontext.Decoder, f field) error {
	switch dec.PeekKind() {
	case 'n':
		return dec.SkipValue()
	case '"', 0:
		token, err := dec.ReadToken()
		if err != nil {
			return err
		}
		if _, repeated := b.seen[token.String()]; repeated { // OpenIM names a group's owner twice
			return nil
		}
		return b.addUser(f, token.String())
	default:
		return invalid(f, "is not a string", "expected a string")
	}
}

// readMember reads an object in a list of members; one that has no legible ID harms
// no other.
func (b *body) readMember(dec *jsontext.Decoder, f field) error {
	switch dec.PeekKind() {
	case 'n':
		return dec.SkipValue()
	case '{', 0:
		return readObject(dec, memberFields, func(dec *jsontext.Decoder, _ field) error {
			if next := dec.PeekKind(); next != '"' && next != 0 {
				return dec.SkipValue()
			}
			return b.readUser(dec, f)
		})
	default:
		return invalid(f, "holds something else than members", "expected a list of objects with a userID")
	}
}

// addUser notes a user of a list, unless nobody can have this ID.
func (b *body) addUser(f field, id string) error {
	if legible(id) == "" {
		return nil
	}
	if len(b.users) == MaxListedUsers {
		return invalid(f, "names too many users", "expected at most "+strconv.Itoa(MaxListedUsers))
	}
	if b.seen == nil {
		b.seen = map[string]struct{}{}
	}
	b.seen[id] = struct{}{}
	b.users = append(b.users, id)
	return nil
}

// readList reads an array, element by element.
func readList(dec *jsontext.Decoder, f field, element func() error) error {
	if next := dec.PeekKind(); next != '[' && next != 0 {
		return invalid(f, "is not a list", "expected a list")
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

// readObject reads an object: visit reads the values of the wanted members, each of
// which may come once. All others are skipped, however often they come.
func readObject(dec *jsontext.Decoder, wanted []field, visit func(dec *jsontext.Decoder, f field) error) error {
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	var seen [fieldCount]bool
	for dec.PeekKind() != '}' {
		token, err := dec.ReadToken()
		if err != nil {
			return err
		}
		if f, found := named(wanted, token.String()); found {
			if seen[f] {
				return &readstate.InputError{
					Code: readstate.CodeMalformedBody, Field: f.name(),
					Message: f.name() + " comes twice", Detail: "expected each field once",
				}
			}
			seen[f] = true
			err = visit(dec, f)
		} else {
			err = dec.SkipValue()
		}
		if err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

// legible gives an ID back only if it could be stored.
func legible(id string) string {
	if readstate.CheckID(id) != nil {
		return ""
	}
	return id
}

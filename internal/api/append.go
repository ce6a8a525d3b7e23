package api

import (
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"
)

// The answers that are polled most are written without reflection, in the same form as
// encoding/json writes them. A test holds both equal.

// appendJSON appends the answer.
func (a *StateAnswer) appendJSON(b []byte) []byte {
	b = appendTime(append(a.appendFields(b), `,"asOf":`...), a.AsOf)
	return append(b, "}\n"...)
}

// appendFields appends the state without its end.
func (a *State) appendFields(b []byte) []byte {
	b = appendText(append(b, `{"userID":`...), a.UserID)
	b = appendText(append(b, `,"groupID":`...), a.GroupID)
	b = strconv.AppendInt(append(b, `,"unreadCount":`...), a.UnreadCount, 10)
	b = strconv.AppendInt(append(b, `,"contentType":`...), a.ContentType, 10)
	b = append(b, `,"lastReadAt":`...)
	if a.LastReadAt == nil {
		b = append(b, "null"...)
	} else {
		b = appendTime(b, *a.LastReadAt)
	}
	b = appendText(append(b, `,"source":`...), a.Source)
	b = strconv.AppendBool(append(b, `,"exact":`...), a.Exact)
	b = strconv.AppendBool(append(b, `,"pending":`...), a.Pending)
	b = strconv.AppendBool(append(b, `,"muted":`...), a.Muted)
	b = appendTime(append(b, `,"updatedAt":`...), a.UpdatedAt)
	if a.Position == nil {
		return b
	}
	return appendNumbers(b, a.Position, a.PositionExact, a.ReadPosition, a.PositionCap, a.ReadExact)
}

// appendNumbers appends those fields of a state or a change that are there.
func appendNumbers(b []byte, position *int64, positionExact *bool, readPosition, positionCap *int64, readExact *bool) []byte {
	b = appendNumber(b, `,"position":`, position)
	b = appendFlag(b, `,"positionExact":`, positionExact)
	b = appendNumber(b, `,"readPosition":`, readPosition)
	b = appendNumber(b, `,"positionCap":`, positionCap)
	return appendFlag(b, `,"readExact":`, readExact)
}

// appendJSON appends the badge.
func (a *Badge) appendJSON(b []byte) []byte {
	b = appendText(append(b, `{"userID":`...), a.UserID)
	b = strconv.AppendInt(append(b, `,"unreadCount":`...), a.UnreadCount, 10)
	b = strconv.AppendInt(append(b, `,"unreadCountUnmuted":`...), a.UnreadCountUnmuted, 10)
	b = strconv.AppendInt(append(b, `,"unreadGroups":`...), a.UnreadGroups, 10)
	b = strconv.AppendInt(append(b, `,"groups":`...), a.Groups, 10)
	b = strconv.AppendBool(append(b, `,"exact":`...), a.Exact)
	b = strconv.AppendBool(append(b, `,"pending":`...), a.Pending)
	b = appendTime(append(b, `,"asOf":`...), a.AsOf)
	return append(b, "}\n"...)
}

// appendJSON appends the page.
func (l *StateList) appendJSON(b []byte) []byte {
	b = append(b, `{"items":[`...)
	for i := range l.Items {
		b = l.Items[i].appendFields(appendComma(b, i))
		b = append(b, '}')
	}
	b = appendText(append(b, `],"nextCursor":`...), l.NextCursor)
	b = appendTime(append(b, `,"asOf":`...), l.AsOf)
	return append(b, "}\n"...)
}

// appendJSON appends the batch.
func (a QueryOutputBody) appendJSON(b []byte) []byte {
	b = append(b, `{"pairs":[`...)
	for i := range a.Pairs {
		pair := &a.Pairs[i]
		b = appendText(append(appendComma(b, i), `{"userID":`...), pair.UserID)
		b = appendText(append(b, `,"groupID":`...), pair.GroupID)
		b = appendText(append(b, `,"status":`...), pair.Status)
		if pair.State != nil {
			b = append(pair.State.appendFields(append(b, `,"state":`...)), '}')
		}
		b = append(b, '}')
	}
	b = append(b, `],"users":[`...)
	for i := range a.Users {
		b = a.Users[i].appendJSON(appendComma(b, i))
	}
	b = appendTime(append(b, `],"asOf":`...), a.AsOf)
	b = strconv.AppendBool(append(b, `,"oneMoment":`...), a.OneMoment)
	return append(b, "}\n"...)
}

func (a *UserAnswer) appendJSON(b []byte) []byte {
	b = appendText(append(b, `{"userID":`...), a.UserID)
	b = appendText(append(b, `,"status":`...), a.Status)
	for _, n := range []struct {
		name  string
		value *int64
	}{
		{`,"unreadCount":`, a.UnreadCount},
		{`,"unreadCountUnmuted":`, a.UnreadCountUnmuted},
		{`,"unreadGroups":`, a.UnreadGroups},
		{`,"groups":`, a.Groups},
	} {
		if n.value != nil {
			b = strconv.AppendInt(append(b, n.name...), *n.value, 10)
		}
	}
	if a.Exact != nil {
		b = strconv.AppendBool(append(b, `,"exact":`...), *a.Exact)
	}
	if a.Pending != nil {
		b = strconv.AppendBool(append(b, `,"pending":`...), *a.Pending)
	}
	if a.AsOf != nil {
		b = appendTime(append(b, `,"asOf":`...), *a.AsOf)
	}
	return append(b, '}')
}

func appendComma(b []byte, i int) []byte {
	if i > 0 {
		return append(b, ',')
	}
	return b
}

func appendTime(b []byte, t time.Time) []byte {
	return append(t.AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
}

// appendText appends a JSON string. What is not plain ASCII is left to the library.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' || s[i] == '"' || s[i] == '\\' {
			var quoted quoting
			_ = huma.DefaultJSONFormat.Marshal(&quoted, s) // a string can be written
			return append(b, quoted[:len(quoted)-1]...)    // without the end of the line
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// quoting collects what is written.
type quoting []byte

// Write never fails.
func (q *quoting) Write(p []byte) (int, error) {
	*q = append(*q, p...)
	return len(p), nil
}

// appending is an answer that is written without reflection.
type appending interface {
	appendJSON(b []byte) []byte
}

// maxAnswer is about how long such an answer is with IDs as OpenIM makes them.
const maxAnswer = 512

func writeJSON(c *gin.Context, body appending) {
	_, _ = c.Writer.Write(body.appendJSON(make([]byte, 0, maxAnswer))) // fails when the caller has gone
}

package api

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"readmark/internal/readstate"
)

// A cursor is the place of the last state of a page, behind a mark that says which
// list and order it belongs to, and in which version.
const (
	listOfUser  = "g" // pages over group IDs
	listOfGroup = "u" // pages over user IDs
)

// orderMarks begins a cursor, by order; the digit is the version.
func orderMark(order readstate.Order) string {
	switch order {
	case readstate.OrderUnread:
		return "1n"
	case readstate.OrderLastRead:
		return "1t"
	default:
		return "1"
	}
}

func encodeCursor(list string, order readstate.Order, place readstate.Cursor) string {
	plain := orderMark(order) + list + ":"
	switch order {
	case readstate.OrderUnread:
		plain += strconv.FormatInt(place.UnreadCount, 10) + ":"
	case readstate.OrderLastRead:
		plain += strconv.FormatInt(micros(place.LastReadAt), 10) + ":"
	case readstate.OrderKey:
	}
	return base64.RawURLEncoding.EncodeToString([]byte(plain + place.Key))
}

// decodeCursor gives the place after which a page begins; the zero one for the
// first page.
func decodeCursor(list string, order readstate.Order, cursor string) (readstate.Cursor, error) {
	if cursor == "" {
		return readstate.Cursor{}, nil
	}
	plain, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	key, ours := strings.CutPrefix(string(plain), orderMark(order)+list+":")
	place := readstate.Cursor{Key: key}
	if err == nil && order != readstate.OrderKey {
		var text string
		var number int64
		text, place.Key, _ = strings.Cut(key, ":")
		number, err = strconv.ParseInt(text, 10, 64)
		if order == readstate.OrderUnread {
			place.UnreadCount = number
		} else {
			place.LastReadAt = fromMicros(number)
		}
		ours = ours && number >= 0 && place.LastReadAt.Year() < 9999
	}
	if err != nil || !ours || readstate.CheckID(place.Key) != nil {
		return readstate.Cursor{}, invalidParameter("cursor", "is not a cursor of this list in this order")
	}
	return place, nil
}

// micros is a moment in microseconds since 1970, 0 for the zero time: nobody read
// at that moment.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

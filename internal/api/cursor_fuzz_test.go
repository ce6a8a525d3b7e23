package api

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/readstate"
)

// FuzzCursor: what is no cursor is refused, and what is taken names a place that a
// state can have, the same one when it is written again.
func FuzzCursor(f *testing.F) {
	moment := time.Date(2026, 11, 24, 12, 0, 0, 1000, time.UTC)
	for _, place := range []readstate.Cursor{{Key: "g"}, {Key: "a:b/ü", UnreadCount: 7, LastReadAt: moment}, {Key: "0"}} {
		for order := readstate.OrderKey; order <= readstate.OrderLastRead; order++ {
			f.Add(encodeCursor(listOfUser, order, place))
			f.Add(encodeCursor(listOfGroup, order, place))
		}
	}
	histories := []string{cursorOfPairReceipts, cursorOfUserReceipts, cursorOfGroupReceipts}
	for _, mark := range histories {
		f.Add(encodeEventCursor(mark, readstate.EventCursor{At: moment, ID: readstate.ID{1, 2, 3}}))
	}
	for _, plain := range []string{
		"1rp:", "1rp:12345678", "1ru:\xff\xff\xff\xff\xff\xff\xff\xff0123456789abcdef", "1g:", "1g:\x00", "1g:\xff", "1ng:-1:g", "1ng:+1:g", "1ng:1", "1ng:99999999999999999999:g", "1tg:9223372036854775807:g", "2g:g", "g",
	} {
		f.Add(base64.RawURLEncoding.EncodeToString([]byte(plain)))
	}
	f.Add("!")
	f.Add("MWc6Zw==")
	f.Add("MWc6\nZw")
	f.Fuzz(func(t *testing.T, cursor string) {
		taken := 0
		for _, list := range []string{listOfUser, listOfGroup} {
			for order := readstate.OrderKey; order <= readstate.OrderLastRead; order++ {
				place, err := decodeCursor(list, order, cursor)
				if err != nil || cursor == "" {
					require.Zero(t, place)
					continue
				}
				taken++
				require.NoError(t, readstate.CheckID(place.Key))
				require.GreaterOrEqual(t, place.UnreadCount, int64(0))
				require.True(t, place.LastReadAt.IsZero() || place.LastReadAt.Year() >= 1970 && place.LastReadAt.Year() < 9999)
				again, err := decodeCursor(list, order, encodeCursor(list, order, place))
				require.NoError(t, err)
				require.Equal(t, place, again)
			}
		}
		for _, mark := range histories {
			place, err := decodeEventCursor(mark, cursor)
			if err != nil || cursor == "" {
				require.Zero(t, place)
				continue
			}
			taken++
			require.True(t, place.At.Year() >= 1 && place.At.Year() <= 9999, place.At)
			again, err := decodeEventCursor(mark, encodeEventCursor(mark, place))
			require.NoError(t, err)
			require.Equal(t, place, again)
		}
		require.LessOrEqual(t, taken, 1, "a cursor is one list's, in one order")
	})
}

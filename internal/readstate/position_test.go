package readstate_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"readmark/internal/readstate"
)

var dawn = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)

func at(µs int) time.Time { return dawn.Add(time.Duration(µs) * time.Microsecond) }

// events draws messages with and without seqs and facts of one group, with repeats.
func events(t *rapid.T) []readstate.Batch {
	n := rapid.IntRange(1, 40).Draw(t, "events")
	list := make([]readstate.Batch, n)
	for i := range list {
		id := readstate.ID{byte(i >> 8), byte(i)}
		message := rapid.IntRange(1, 12).Draw(t, "message")
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0, 1:
			list[i].Messages = []readstate.Message{{
				ID: id, ReceivedAt: at(i * 10), GroupID: "g", UserID: "u", MessageID: string(rune('a' + message)),
			}}
		case 2: // a message's seq is always the same
			list[i].Messages = []readstate.Message{{
				ID: id, ReceivedAt: at(i * 10), GroupID: "g", UserID: "u", MessageID: string(rune('a' + message)), Seq: int64(message),
			}}
		default:
			asked := i*10 - rapid.IntRange(0, 60).Draw(t, "ago")
			list[i].Facts = []readstate.Fact{{
				ID: id, AskedAt: at(max(0, asked)), Pair: readstate.Pair{UserID: "v", GroupID: "g"},
				MaxSeq: rapid.Int64Range(0, 12).Draw(t, "maxSeq"), ReadSeq: rapid.Int64Range(0, 14).Draw(t, "readSeq"),
			}}
		}
	}
	return list
}

func nothing() *readstate.Before {
	return &readstate.Before{
		Ledgers: map[string]*readstate.Ledger{"g": {}}, Cursors: map[readstate.Pair]readstate.Cursor{},
		Messages: map[readstate.MessageKey]readstate.KnownMessage{},
	}
}

// TestPosition: counted is, after every event, the number of distinct messages of
// which no seq is known and that arrived after the last moment that a seq covers;
// known is the highest seq learnt. One batch of everything gives the same.
func TestPosition(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		list := events(t)
		before := nothing()
		var known int64
		first, numbered := map[string]time.Time{}, map[string]bool{}
		for i := range list {
			readstate.Apply(&list[i], before)
			for _, m := range list[i].Messages {
				if _, seen := first[m.MessageID]; !seen {
					first[m.MessageID] = m.ReceivedAt
				}
				numbered[m.MessageID] = numbered[m.MessageID] || m.Seq > 0
				known = max(known, m.Seq)
			}
			for _, f := range list[i].Facts {
				known = max(known, f.MaxSeq)
			}
			l := before.Ledgers["g"]
			var counted int64
			for id, arrival := range first {
				if !numbered[id] && !arrival.Before(l.Cover()) {
					counted++
				}
			}
			if l.Counted != counted || l.Known != known {
				t.Fatalf("after event %d: %+v, want known %d and counted %d", i, l.Position, known, counted)
			}
		}
	})
}

// TestOrigin: the first seq that is learnt moves no count that was reckoned before,
// and what follows it counts on.
func TestOrigin(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var l readstate.Ledger
		n := rapid.IntRange(0, 20).Draw(t, "messages")
		reported := rapid.Int64Range(0, 30).Draw(t, "reported")
		readAfter := rapid.IntRange(0, n).Draw(t, "read after")
		var read int64
		for i := range n {
			if i == readAfter {
				read = l.Number() - reported
			}
			l.Count(at(i))
		}
		if readAfter == n {
			read = l.Number() - reported
		}
		unread := l.Number() - read
		seq := rapid.Int64Range(0, 1000).Draw(t, "seq")
		if rapid.Bool().Draw(t, "fact") {
			l.Ask(seq, at(rapid.IntRange(0, n).Draw(t, "asked")))
		} else {
			l.Store(seq, at(n))
		}
		if got := l.Number() - (l.Origin + read); got != unread {
			t.Fatalf("unread was %d and is %d: %+v", unread, got, l.Position)
		}
	})
}

// Numbers stop at the ends of int64.
func TestPositionSaturates(t *testing.T) {
	t.Parallel()
	var l readstate.Ledger
	l.Store(math.MaxInt64, at(1))
	l.Count(at(2))
	require.EqualValues(t, math.MaxInt64, l.Number())
}

// A count is in doubt until OpenIM was asked some time after what told of it, or a
// later message has told its seq.
func TestExact(t *testing.T) {
	t.Parallel()
	var l readstate.Ledger
	require.False(t, l.Exact(), "nothing is known")
	l.Ask(5, at(0))
	require.True(t, l.Exact())
	l.Count(at(1))
	require.False(t, l.Exact(), "a message is counted")
	l.Ask(6, at(2))
	require.Zero(t, l.Counted)
	require.False(t, l.Exact(), "OpenIM may not have stored the message yet")
	l.Ask(6, at(1).Add(readstate.Settling))
	require.True(t, l.Exact())
	l.Doubt(at(2_000_000))
	require.False(t, l.Exact())
	l.Store(8, at(2_000_001))
	require.True(t, l.Exact())
}

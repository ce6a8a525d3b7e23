package api

import (
	"bytes"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"readmark/internal/readstate"
)

// What is written without reflection is what encoding/json writes, whatever IDs hold.
func TestAppendJSON(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		id := func(name string) string {
			return rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"u1", `"`, `\`, "<&>", "\u2028", "李", "~ ", "\x7f"})).Draw(r, name)
		}
		number := func(name string) int64 { return rapid.Int64().Draw(r, name) }
		moment := func(name string) time.Time {
			return time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(r, name)).UTC()
		}
		flag := func(name string) bool { return rapid.Bool().Draw(r, name) }
		state := StateAnswer{State: State{
			UserID: id("user"), GroupID: id("group"), UnreadCount: number("unread"), ContentType: number("type"), Source: "fact",
			Exact: flag("exact"), Pending: flag("pending"), Muted: flag("muted"), UpdatedAt: moment("updated"),
		}, AsOf: moment("as of")}
		if flag("has read") {
			state.LastReadAt = new(moment("read"))
		}
		badge := Badge{
			UserID: id("user"), UnreadCount: number("unread"), UnreadCountUnmuted: number("unmuted"), UnreadGroups: number("unread groups"),
			Groups: number("groups"), Exact: flag("exact"), Pending: flag("pending"), AsOf: moment("as of"),
		}
		list := StateList{Items: []State{}, NextCursor: id("cursor"), AsOf: state.AsOf}
		for range rapid.IntRange(0, 3).Draw(r, "items") {
			item := state.State
			if flag("positions") {
				item.addNumbers(&readstate.Numbers{
					Position: number("position"), ReadPosition: number("read"), PositionExact: flag("position exact"), ReadExact: flag("read exact"),
					PositionCap: number("cap"), Capped: flag("capped"),
				})
			}
			list.Items = append(list.Items, item)
		}
		changes := ChangeList{Items: []Change{}, NextCursor: id("cursor"), AsOf: state.AsOf}
		for kind := readstate.FeedRemoved; kind <= readstate.FeedResync; kind++ {
			changes.Items = append(changes.Items, NewChange(&readstate.FeedChange{
				FeedKey:  readstate.FeedKey{GroupID: id("group"), UserID: id("user"), Kind: kind},
				Served:   readstate.Served{Read: number("read"), Capped: flag("capped"), MaxSeqCap: number("cap"), Muted: flag("muted")},
				Position: readstate.ServedPosition{HasSeq: flag("has seq"), MaxSeq: number("max seq")},
			}, id("cursor"), state.AsOf))
		}
		changes.Items = append(changes.Items, NewChange(&readstate.FeedChange{
			FeedKey:  readstate.FeedKey{GroupID: id("group"), UserID: id("user"), Kind: readstate.FeedReminder, RuleID: id("rule")},
			RuleName: id("rule name"), Served: readstate.Served{Read: number("read")},
		}, id("cursor"), state.AsOf), NewChange(&readstate.FeedChange{
			FeedKey:  readstate.FeedKey{UserID: id("user"), Kind: readstate.FeedReminder, RuleID: id("rule")},
			RuleName: id("rule name"), Badge: &readstate.Badge{UserID: id("user"), UnreadCount: number("unread")},
		}, id("cursor"), state.AsOf))
		batch := QueryOutputBody{
			Pairs: []PairAnswer{{UserID: id("user"), GroupID: id("group"), Status: "unknown"}, {UserID: id("user"), GroupID: id("group"), Status: "known", State: &state.State}},
			Users: []UserAnswer{{UserID: id("user"), Status: "unknown"}, {
				UserID: id("user"), Status: "known", UnreadCount: new(number("unread")), UnreadCountUnmuted: new(number("unmuted")),
				UnreadGroups: new(number("unread groups")), Groups: new(number("groups")), Exact: new(flag("exact")), Pending: new(flag("pending")), AsOf: &badge.AsOf,
			}},
			AsOf: state.AsOf, OneMoment: flag("one moment"),
		}
		for _, answer := range []appending{&state, &badge, &list, batch, &changes} {
			var want bytes.Buffer
			require.NoError(r, huma.DefaultJSONFormat.Marshal(&want, answer))
			require.Equal(r, want.String(), string(answer.appendJSON(nil)))
		}
	})
}

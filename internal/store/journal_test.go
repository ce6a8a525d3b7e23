package store_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"readmark/internal/pgtest"
	"readmark/internal/readstate"
	"readmark/internal/store"
)

// dump is all rows of a table as text, in key order.
func dump(t require.TestingT, conn *pgx.Conn, query string) []string {
	rows, err := conn.Query(context.Background(), query)
	require.NoError(t, err)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return list
}

// content is every column of what is made from events. A position that nothing has moved
// is a lock and says nothing.
type content struct{ States, Positions, Journal []string }

func contentOf(t require.TestingT, conn *pgx.Conn) content {
	return content{
		States:    dump(t, conn, "SELECT s::text FROM states AS s ORDER BY user_id, group_id"),
		Positions: dump(t, conn, "SELECT p::text FROM positions AS p WHERE moved_at IS NOT NULL ORDER BY group_id"),
		Journal:   dump(t, conn, "SELECT j::text FROM journal AS j ORDER BY received_at, id, user_id"),
	}
}

// eventAt draws something that happens at a moment to one of few users in one of few groups.
func eventAt(t *rapid.T, n int, at time.Time) readstate.Event {
	e := readstate.Event{
		Kind: rapid.SampledFrom([]readstate.EventKind{
			readstate.EventReceipt, readstate.EventReceipt, readstate.EventReceipt, readstate.EventMessage, readstate.EventMessage,
			readstate.EventMessage, readstate.EventSnapshot, readstate.EventSnapshot, readstate.EventJoined, readstate.EventLeft,
			readstate.EventDismissed, readstate.EventListed, readstate.EventUnlisted, readstate.EventMembersChanged,
			readstate.EventServerReceipt, readstate.EventGroupRead, readstate.EventMuted, readstate.EventUnmuted,
		}).Draw(t, "kind"),
		ID: readstate.ID{0: byte(rapid.IntRange(0, 255).Draw(t, "id")), 15: byte(n)}, At: at,
		UserID:  rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "user"),
		GroupID: rapid.SampledFrom([]string{"g", "h"}).Draw(t, "group"),
	}
	switch e.Kind {
	case readstate.EventReceipt:
		e.UnreadCount, e.ContentType = rapid.Int64Range(0, 9).Draw(t, "unread"), 101
	case readstate.EventServerReceipt:
		e.GroupID, e.ReadSeq, e.ContentType = "", 5, readstate.ConversationSuperGroup
	case readstate.EventMessage:
		m := rapid.IntRange(0, 5).Draw(t, "message")
		e.MessageID, e.UserID, e.ContentType = fmt.Sprint("m", m), []string{"a", "b", "c"}[m%3], 101 // a message has one sender
		if rapid.Bool().Draw(t, "stored") {
			e.ReadSeq = rapid.Int64Range(1, 12).Draw(t, "seq")
		}
		if rapid.Bool().Draw(t, "sent") {
			e.SentAt = at.Add(-time.Minute).Truncate(time.Hour) // the same in all callbacks
			if rapid.Bool().Draw(t, "just") {
				e.SentAt = at.Truncate(time.Second)
			}
		}
	case readstate.EventSnapshot:
		e.MaxSeq, e.ReadSeq = rapid.Int64Range(0, 12).Draw(t, "max"), rapid.Int64Range(0, 14).Draw(t, "read")
		if rapid.IntRange(0, 9).Draw(t, "leap") == 0 {
			e.MaxSeq = rapid.SampledFrom([]int64{700, math.MaxInt64}).Draw(t, "leapt")
		}
		e.Confirmed = rapid.IntRange(0, 4).Draw(t, "confirmed") == 0
		e.Restarted = rapid.IntRange(0, 6).Draw(t, "restarted") == 0
		e.OwnMaxSeq = rapid.IntRange(0, 4).Draw(t, "own") == 0
		e.AllowReadDecrease = rapid.IntRange(0, 4).Draw(t, "read decrease") == 0
		if rapid.Bool().Draw(t, "timed") {
			e.SentAt = at.Add(-time.Duration(rapid.IntRange(0, 2000).Draw(t, "age")) * time.Millisecond).Truncate(time.Millisecond)
		}
	case readstate.EventDismissed, readstate.EventMembersChanged:
		e.UserID = ""
	default:
	}
	return e
}

// batches draws events, and the batches in which they come: in any order, with repeats.
func batches(t *rapid.T, began time.Time) (list []readstate.Batch) {
	var events []readstate.Event
	at := began
	for n := range rapid.IntRange(1, 30).Draw(t, "events") {
		at = at.Add(time.Duration(rapid.SampledFrom([]int{0, 1, 300_000, 900_000, 4_000_000}).Draw(t, "µs")) * time.Microsecond)
		events = append(events, eventAt(t, n, at))
	}
	if rapid.Bool().Draw(t, "shuffled") {
		events = rapid.Permutation(events).Draw(t, "order")
	}
	events = append(events, events[:rapid.IntRange(0, len(events)).Draw(t, "repeated")]...)
	seen := map[readstate.ID]bool{}
	for len(events) > 0 {
		n := rapid.IntRange(1, min(8, len(events))).Draw(t, "batch")
		batch := readstate.Batch{Events: slices.Clone(events[:n]), Fresh: rapid.Bool().Draw(t, "fresh")}
		for _, e := range batch.Events {
			batch.Fresh = batch.Fresh && !seen[e.ID]
			seen[e.ID] = true
		}
		list, events = append(list, batch), events[n:]
	}
	return list
}

// TestJournalIsEnough: whatever is committed, in whatever order and batches, states and
// positions can be dropped, and replays bring every column of them back. Replays of what
// is there change nothing.
func TestJournalIsEnough(t *testing.T) {
	t.Parallel()
	for name, lateRows := range map[string]int{"at once": 5000, "in parts": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.New(t)
			s, conn := open(t, url), pgtest.Connect(t, url)
			s.EnableLookups()
			s.SetLateRows(lateRows)
			rapid.Check(t, func(rt *rapid.T) {
				_, err := conn.Exec(context.Background(), "TRUNCATE journal, states, positions, lookups")
				require.NoError(rt, err)
				began := time.Now().UTC().Truncate(time.Microsecond).Add(-2 * time.Minute)
				if rapid.Bool().Draw(rt, "yesterday") {
					began = began.AddDate(0, 0, -1)
				}
				var events []readstate.Event
				for _, batch := range batches(rt, began) {
					require.NoError(rt, s.Commit(context.Background(), batch))
					events = append(events, batch.Events...)
				}
				live := contentOf(rt, conn)
				for _, pageRows := range []int32{3, 0} {
					result, err := s.Replay(context.Background(), store.Replay{PageRows: pageRows}, ignore)
					require.NoError(rt, err)
					require.Equal(rt, live, contentOf(rt, conn), "replayed over itself, pages of %d", pageRows)
					require.Equal(rt, []int64{0, 0}, []int64{result.States, result.Positions}, "pages of %d", pageRows)
				}
				modelled(rt, s, conn, events)
				for _, pageRows := range []int32{0, 3} {
					_, err := conn.Exec(context.Background(), "TRUNCATE states, positions")
					require.NoError(rt, err)
					_, err = s.Replay(context.Background(), store.Replay{PageRows: pageRows}, ignore)
					require.NoError(rt, err)
					require.Equal(rt, live, contentOf(rt, conn), "replayed from nothing, pages of %d", pageRows)
				}
			})
		})
	}
}

// modelled compares what is served with the rules, applied at once to those of the events
// that the journal has.
func modelled(t *rapid.T, s *store.Store, conn *pgx.Conn, events []readstate.Event) {
	kept := map[string]bool{}
	for _, id := range dump(t, conn, "SELECT id::text || user_id FROM journal") {
		kept[id] = true
	}
	loaded := readstate.Loaded{Start: map[string]readstate.GroupPosition{}}
	for _, e := range events {
		if kept[uuidText(e.ID)+e.UserID] && e.GroupID != "" {
			loaded.Start[e.GroupID] = readstate.GroupPosition{GroupID: e.GroupID}
			loaded.Journal = append(loaded.Journal, readstate.Entry{Event: e})
			kept[uuidText(e.ID)+e.UserID] = false
		}
	}
	slices.SortFunc(loaded.Journal, func(a, b readstate.Entry) int { return a.Compare(&b.Event) })
	effects := readstate.Apply(&loaded, nil, readstate.Options{Now: time.Now()})
	for i := range effects.States {
		position := effects.End[effects.States[i].GroupID]
		want, known := effects.States[i].Show(&position)
		got, err := s.State(context.Background(), effects.States[i].Pair)
		if errors.Is(err, readstate.ErrUnknown) && !effects.States[i].KnownMember(&position) {
			continue // OpenIM is asked first whether the sender is a member
		}
		if !known {
			require.ErrorIs(t, err, readstate.ErrUnknown)
			continue
		}
		require.NoError(t, err)
		want.Exact, want.ReadExact = want.Exact && !got.Pending, want.ReadExact && !got.Pending
		got.Pending, got.UpdatedAt, want.UpdatedAt = false, time.Time{}, time.Time{}
		require.Equal(t, want, got)
	}
}

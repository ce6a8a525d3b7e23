package readstate_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"readmark/internal/readstate"
)

// ledger is a store in memory: what the database has, loaded and written as it is
// there.
type ledger struct {
	journal   []readstate.Entry // in order
	positions map[string]readstate.GroupPosition
	states    map[readstate.Pair]readstate.ReadState
	now       time.Time
}

func newLedger() *ledger {
	return &ledger{
		positions: map[string]readstate.GroupPosition{}, states: map[readstate.Pair]readstate.ReadState{},
		now: epoch().Add(time.Hour),
	}
}

func epoch() time.Time { return time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC) }

// commit writes events as one batch.
func (l *ledger) commit(events []readstate.Event) readstate.Effects {
	l.now = l.now.Add(time.Second)
	first := map[string]time.Time{} // of the events of each group
	wanted := map[readstate.MessageKey]bool{}
	for _, e := range events {
		if at, found := first[e.GroupID]; !found || e.At.Before(at) {
			first[e.GroupID] = e.At
		}
		wanted[readstate.MessageKey{GroupID: e.GroupID, MessageID: e.MessageID}] = e.Kind == readstate.EventMessage
	}
	loaded := readstate.Loaded{Positions: l.positions, States: l.states}
	for _, e := range l.journal {
		from, about := first[e.GroupID]
		if about && e.GroupID != "" && !e.At.Before(from) {
			loaded.Journal = append(loaded.Journal, e)
		}
	}
	for _, e := range loaded.Journal {
		wanted[readstate.MessageKey{GroupID: e.GroupID, MessageID: e.MessageID}] = true
	}
	for _, e := range l.journal {
		if e.Kind == readstate.EventMessage && wanted[readstate.MessageKey{GroupID: e.GroupID, MessageID: e.MessageID}] {
			loaded.Messages = append(loaded.Messages, e)
		}
	}
	options := readstate.Options{Now: l.now, CanLookUp: true}
	effects := readstate.Apply(&loaded, events, options)
	if len(effects.NeedEstimates) > 0 {
		loaded.Estimates = map[readstate.Pair]readstate.Entry{}
		for _, e := range l.journal { // the newest before those of the group stays
			if slices.Contains(effects.NeedEstimates, e.Pair()) && e.HasRead && e.At.Before(first[e.GroupID]) {
				loaded.Estimates[e.Pair()] = e
			}
		}
		effects = readstate.Apply(&loaded, events, options)
	}
	l.write(effects)
	return effects
}

func (l *ledger) write(effects readstate.Effects) {
	l.journal = append(l.journal, effects.Inserted...)
	for _, e := range effects.Corrected {
		i := slices.IndexFunc(l.journal, func(o readstate.Entry) bool { return o.ID == e.ID && o.UserID == e.UserID })
		l.journal[i] = e
	}
	slices.SortFunc(l.journal, func(a, b readstate.Entry) int { return a.Compare(&b.Event) })
	for _, s := range effects.States {
		l.states[s.Pair] = s
	}
	for _, p := range effects.Positions {
		l.positions[p.GroupID] = p
	}
}

// replayed gives what the journal alone makes, from nothing.
func (l *ledger) replayed() *ledger {
	r := newLedger()
	loaded := readstate.Loaded{Journal: l.journal, Start: map[string]readstate.GroupPosition{}}
	for _, e := range l.journal {
		if e.GroupID != "" {
			loaded.Start[e.GroupID] = readstate.GroupPosition{GroupID: e.GroupID}
		}
	}
	r.journal = slices.Clone(l.journal)
	r.write(readstate.Apply(&loaded, nil, readstate.Options{Now: r.now}))
	return r
}

// differences compares everything that is stored.
func (l *ledger) differences(o *ledger) []string {
	var out []string
	for pair, s := range l.states {
		if o.states[pair] != s {
			out = append(out, fmt.Sprintf("state %v:\n %+v\n %+v", pair, s, o.states[pair]))
		}
	}
	for id, p := range l.positions {
		if o.positions[id] != p {
			out = append(out, fmt.Sprintf("position %s:\n %+v\n %+v", id, p, o.positions[id]))
		}
	}
	for i, e := range l.journal {
		if o.journal[i] != e {
			out = append(out, fmt.Sprintf("row\n %+v\n %+v", e, o.journal[i]))
		}
	}
	if len(l.states) != len(o.states) || len(l.positions) != len(o.positions) {
		out = append(out, fmt.Sprintf("%d and %d states, %d and %d positions",
			len(l.states), len(o.states), len(l.positions), len(o.positions)))
	}
	return out
}

// events draws what happens to few users in few groups, some of it at one moment.
func events(t *rapid.T) []readstate.Event {
	kinds := []readstate.EventKind{
		readstate.EventReceipt, readstate.EventReceipt, readstate.EventMessage, readstate.EventMessage, readstate.EventMessage,
		readstate.EventSnapshot, readstate.EventSnapshot, readstate.EventJoined, readstate.EventLeft, readstate.EventDismissed,
		readstate.EventListed, readstate.EventUnlisted, readstate.EventMembersChanged, readstate.EventServerReceipt, readstate.EventGroupRead,
		readstate.EventMuted, readstate.EventUnmuted,
	}
	n := rapid.IntRange(1, 30).Draw(t, "events")
	list := make([]readstate.Event, 0, n)
	for i := range n {
		at := epoch().Add(time.Duration(i) * time.Duration(rapid.SampledFrom([]int{0, 0, 1, 300, 900, 4000}).Draw(t, "ms")) * time.Millisecond)
		e := readstate.Event{
			Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), At: at,
			UserID:  rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "user"),
			GroupID: rapid.SampledFrom([]string{"g", "h"}).Draw(t, "group"),
		}
		e.ID[0], e.ID[15] = byte(rapid.IntRange(0, 255).Draw(t, "id")), byte(i)
		switch e.Kind {
		case readstate.EventReceipt:
			e.UnreadCount = rapid.Int64Range(0, 9).Draw(t, "unread")
		case readstate.EventServerReceipt:
			e.GroupID, e.ContentType = "", readstate.ConversationSuperGroup
		case readstate.EventMessage:
			e.MessageID = rapid.SampledFrom([]string{"m1", "m2", "m3", "m4", "m5"}).Draw(t, "message")
			e.UserID = string('a' + (e.MessageID[1]-'0')%3) // a message has one sender
			if rapid.Bool().Draw(t, "stored") {
				e.ReadSeq = rapid.Int64Range(1, 12).Draw(t, "seq")
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
		list = append(list, e)
	}
	return list
}

// TestStateIsAFunctionOfTheJournal: in whatever order, batches and repeats events are
// committed, states, positions and the journal's own results are what the journal makes
// from nothing, in every field.
func TestStateIsAFunctionOfTheJournal(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := newLedger()
		left := events(t)
		if rapid.Bool().Draw(t, "shuffled") {
			left = rapid.Permutation(left).Draw(t, "order")
		}
		left = append(left, left[:rapid.IntRange(0, len(left)).Draw(t, "repeated")]...)
		for len(left) > 0 {
			n := rapid.IntRange(1, len(left)).Draw(t, "batch")
			l.commit(left[:n])
			left = left[n:]
		}
		if different := l.differences(l.replayed()); len(different) > 0 {
			t.Fatalf("live, then replayed: %v", different)
		}
	})
}

// TestOrderOfCommitDoesNotMatter: callbacks alone make the same of every order of
// commits. OpenIM's answers are kept or not by what is known when they come.
func TestOrderOfCommitDoesNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		list := slices.DeleteFunc(events(t), func(e readstate.Event) bool {
			return e.Kind.FromOpenIM()
		})
		if len(list) == 0 {
			return
		}
		sorted, shuffled := newLedger(), newLedger()
		slices.SortFunc(list, func(a, b readstate.Event) int { return a.Compare(&b) })
		sorted.commit(list)
		for _, e := range rapid.Permutation(list).Draw(t, "order") {
			shuffled.commit([]readstate.Event{e})
		}
		for _, l := range []*ledger{sorted, shuffled} { // when rows were written differs
			for pair, s := range l.states {
				s.UpdatedAt = time.Time{}
				l.states[pair] = s
			}
			for id, p := range l.positions {
				p.UpdatedAt = time.Time{}
				l.positions[id] = p
			}
			for i := range l.journal {
				l.journal[i].RecordedAt = time.Time{}
			}
		}
		if different := sorted.differences(shuffled); len(different) > 0 {
			t.Fatalf("sorted, then one by one: %v", different)
		}
	})
}

// TestOnlyWhatChangedIsGiven: a message rewrites nothing of another group.
func TestOnlyWhatChangedIsGiven(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := newLedger()
		list := events(t)
		list = slices.DeleteFunc(list, func(e readstate.Event) bool {
			return e.GroupID == "" || // the database finds that these are there
				e.Kind.FromOpenIM() && e.Kind != readstate.EventUnlisted // its word is sent once
		})
		l.commit(list)
		again := l.commit(list)
		if len(again.Inserted)+len(again.Corrected)+len(again.States)+len(again.Positions)+len(again.Lookups) > 0 {
			t.Fatalf("a repeat changed something: %+v", again)
		}
	})
}

package readstate_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"readmark/internal/readstate"
)

// What OpenIM said last of a mute counts, in whatever order it is committed, and only what
// changes something is kept. It moves no position and tells no count.
func TestMutes(t *testing.T) {
	t.Parallel()
	pair := readstate.Pair{UserID: "a", GroupID: "g"}
	rapid.Check(t, func(t *rapid.T) {
		l := newLedger()
		kinds := rapid.SliceOfN(rapid.SampledFrom([]readstate.EventKind{readstate.EventMuted, readstate.EventUnmuted}), 1, 8).Draw(t, "kinds")
		events := make([]readstate.Event, len(kinds))
		for i, kind := range kinds {
			events[i] = readstate.Event{Kind: kind, ID: readstate.ID{15: byte(i)}, At: epoch().Add(time.Duration(i) * time.Second), UserID: "a", GroupID: "g"}
		}
		inOrder := !rapid.Bool().Draw(t, "shuffled")
		order := events
		if !inOrder {
			order = rapid.Permutation(events).Draw(t, "order")
		}
		for _, e := range order {
			l.commit([]readstate.Event{e})
		}
		state := l.states[pair]
		if want := kinds[len(kinds)-1] == readstate.EventMuted; state.Muted() != want {
			t.Fatalf("muted: %v", state.Muted())
		}
		shown, known := state.Show(&readstate.GroupPosition{})
		if known || len(l.positions) > 0 && l.positions["g"].Number() != 0 {
			t.Fatalf("a mute makes a count: %+v %+v", shown, l.positions)
		}
		changes, muted := 0, false
		for _, kind := range kinds {
			if is := kind == readstate.EventMuted; is != muted {
				changes, muted = changes+1, is
			}
		}
		if inOrder && len(l.journal) != changes {
			t.Fatalf("%d changes, and %d rows", changes, len(l.journal))
		}
		if different := l.differences(l.replayed()); len(different) > 0 {
			t.Fatalf("live, then replayed: %v", different)
		}
	})
}

package readstate_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"readmark/internal/readstate"
)

// Of what is kept of OpenIM's word of a mute the newest counts, in whatever order it is
// committed, and what says nothing new is not kept. It moves no position and tells no count.
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
		order, shuffled := events, rapid.Bool().Draw(t, "shuffled")
		if shuffled {
			order = rapid.Permutation(events).Draw(t, "order")
		}
		for _, e := range order {
			l.commit([]readstate.Event{e})
		}
		state := l.states[pair]
		want := len(l.journal) > 0 && l.journal[len(l.journal)-1].Kind == readstate.EventMuted
		if state.Muted() != want || !shuffled && want != (kinds[len(kinds)-1] == readstate.EventMuted) {
			t.Fatalf("muted: %v", state.Muted())
		}
		shown, known := state.Show(&readstate.GroupPosition{})
		position := l.positions["g"]
		if known || position.Number() != 0 || !position.MovedAt.IsZero() {
			t.Fatalf("a mute makes a count: %+v %+v", shown, position)
		}
		changes, muted := 0, false
		for _, kind := range kinds {
			if is := kind == readstate.EventMuted; is != muted {
				changes, muted = changes+1, is
			}
		}
		if !shuffled && len(l.journal) != changes {
			t.Fatalf("%d changes, and %d rows", changes, len(l.journal))
		}
		if different := l.differences(l.replayed()); len(different) > 0 {
			t.Fatalf("live, then replayed: %v", different)
		}
	})
}

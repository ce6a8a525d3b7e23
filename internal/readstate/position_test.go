package readstate_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/readstate"
)

// TestFirstSeqCounts: a stored message which tells the first seq of its group is unread
// for who has read before it, whether it was announced or not.
func TestFirstSeqCounts(t *testing.T) {
	t.Parallel()
	for name, seqs := range map[string][]int64{"stored": {7}, "announced, stored": {0, 7}, "stored, announced": {7, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLedger()
			at := epoch()
			event := func(e readstate.Event) {
				at = at.Add(time.Second)
				e.At, e.GroupID, e.ID[15] = at, "g", byte(len(l.journal))
				l.commit([]readstate.Event{e})
			}
			event(readstate.Event{Kind: readstate.EventReceipt, UserID: "u", UnreadCount: 2})
			for _, seq := range seqs {
				event(readstate.Event{Kind: readstate.EventMessage, UserID: "s", MessageID: "m", ReadSeq: seq})
			}
			position, state := l.positions["g"], l.states[readstate.Pair{UserID: "u", GroupID: "g"}]
			shown, known := state.Show(&position)
			require.True(t, known)
			require.EqualValues(t, 3, shown.UnreadCount)
			require.EqualValues(t, 7, position.Number())
		})
	}
}

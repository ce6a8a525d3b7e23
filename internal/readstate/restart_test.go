package readstate_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"readmark/internal/readstate"
)

// Two members' answers of the same microsecond may both have the seqs begin anew, and come
// in any order: what each has read stays.
func TestRestartedTwiceAtOnce(t *testing.T) {
	t.Parallel()
	for name, reverse := range map[string]bool{"in order": false, "late": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, f := newLedger(), &told{}
			c, b := f.snapshot("c", 0, 20, 0), f.snapshot("b", 0, 20, 0)
			c.Restarted, b.Restarted = true, true
			first, second := c, b
			if reverse {
				first, second = b, c
			}
			l.commit([]readstate.Event{first})
			l.commit([]readstate.Event{second})
			for range 2 {
				for _, userID := range []string{"b", "c"} {
					count, exact := l.shows(userID)
					require.EqualValues(t, 10, count, userID)
					require.True(t, exact)
				}
				l = l.replayed()
			}
		})
	}
}

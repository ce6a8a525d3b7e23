package ingest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/readstate"
)

// Moves are forgotten once a replica has them by whatever clock, in whatever order the
// clock gave them; of too many the last ones count as one, and none is lost.
func TestDrained(t *testing.T) {
	t.Parallel()
	second := func(n int) time.Time { return time.Unix(int64(n), 0) }
	moved := func(d *drained, at int, arrivals ...int) {
		var batch readstate.Batch
		for _, arrival := range arrivals {
			batch.Receipts = append(batch.Receipts, readstate.Receipt{ReceivedAt: second(arrival)})
		}
		d.add(batch, second(at))
	}
	var few drained
	require.Zero(t, few.since(second(0)))
	moved(&few, 100) // nothing that is read
	moved(&few, 100, 12, 10, 11)
	moved(&few, 90, 20) // the clock was set back
	require.Equal(t, second(10), few.since(second(80)))
	require.Equal(t, second(10), few.since(second(92)), "the second one is there, also by a clock a second ahead")
	require.Equal(t, second(10), few.since(second(101)), "not yet by that clock")
	require.Zero(t, few.since(second(102)))

	var many drained
	for i := range maxMoves {
		moved(&many, i, 1000+i)
	}
	moved(&many, 5000, 3)
	moved(&many, 4000, 7)
	require.Len(t, many.moves, maxMoves)
	require.Equal(t, second(3), many.since(second(4999)))
	require.Zero(t, many.since(second(5002)))
}

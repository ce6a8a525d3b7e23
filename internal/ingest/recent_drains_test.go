package ingest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/readstate"
)

// Drains are forgotten once a replica has them by whatever clock, in whatever order the
// clock gave them; of too many the last ones count as one, and none is lost.
func TestRecentDrains(t *testing.T) {
	t.Parallel()
	second := func(n int) time.Time { return time.Unix(int64(n), 0) }
	drain := func(d *recentDrains, at int, arrivals ...int) {
		var batch readstate.Batch
		for _, arrival := range arrivals {
			batch.Events = append(batch.Events, readstate.Event{At: second(arrival)})
		}
		d.add(&batch, second(at))
	}
	var few recentDrains
	require.Zero(t, few.since(second(0)))
	drain(&few, 100) // rejected callbacks only
	drain(&few, 100, 12, 10, 11)
	drain(&few, 90, 20) // the clock was set back
	require.Equal(t, second(10), few.since(second(80)))
	require.Equal(t, second(10), few.since(second(92)), "the second one is there, also by a clock a second ahead")
	require.Equal(t, second(10), few.since(second(101)), "not yet by that clock")
	require.Zero(t, few.since(second(102)))

	var many recentDrains
	for i := range maxDrains {
		drain(&many, i, 1000+i)
	}
	drain(&many, 5000, 3)
	drain(&many, 4000, 7)
	require.Len(t, many.list, maxDrains)
	require.Equal(t, second(3), many.since(second(4999)))
	require.Zero(t, many.since(second(5002)))
}

package dbclock

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// interval is how often the clock is measured.
	interval = 10 * time.Second
	// lookInterval is how often it is looked whether the machine's clock has leapt by more
	// than leap beside the monotonic one: it was set, or the machine has slept.
	lookInterval = time.Second
	leap         = 500 * time.Millisecond
)

// Follow calls measure every ten seconds, and at once when the machine's clock has leapt,
// until the context ends. A measurement that fails is tried again as soon: until then time
// goes on by the monotonic clock.
func (c *Clock) Follow(ctx context.Context, measure func(ctx context.Context) error) {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	wall, elapsed := c.machine.Wall(), c.machine.Elapsed()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		nowWall, nowElapsed := c.machine.Wall(), c.machine.Elapsed()
		// Round strips the monotonic reading.
		leapt := nowWall.Round(0).Sub(wall.Round(0)) - (nowElapsed - elapsed)
		if nowElapsed-elapsed < interval && leapt.Abs() < leap {
			continue
		}
		if measure(ctx) == nil {
			wall, elapsed = nowWall, nowElapsed
		}
	}
}

// Collector gives the clock's metrics.
func (c *Clock) Collector() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "readmark_clock_offset_seconds",
		Help: "By how many seconds the database's clock is ahead of this machine's; 0 before it was measured.",
	}, func() float64 { return c.Offset().Seconds() })
}

package dbclock

import "time"

// Accuracy is within what Now was right when it was measured last; zero before.
func (c *Clock) Accuracy() time.Duration { return c.line.Load().accuracy }

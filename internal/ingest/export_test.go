package ingest

import (
	"time"

	"readmark/internal/dbclock"
)

// ClockFunc is a clock that tells a time which is known to be the database's.
type ClockFunc func() time.Time

// Read implements Clock.
func (f ClockFunc) Read() dbclock.Reading {
	return dbclock.Reading{At: f().UTC().Truncate(time.Microsecond), Measured: true}
}

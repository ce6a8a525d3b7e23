package cli

import (
	"context"
	"time"

	"readmark/internal/store"
)

// clock compares the machine's clock with the database's, and looks for events from the future.
func (d *doctor) clock(ctx context.Context, s *store.Store) {
	found, err := s.CountFutureEvents(ctx)
	if err != nil {
		d.ill("clock", "%v", err)
		return
	}
	if text := skewed(s.Clock().Offset()); text != "" {
		d.ill("clock", "%s", text)
	} else {
		d.well("clock", "this machine's agrees with the database's")
	}
	if found.Count == 0 {
		d.well("future rows", "the journal has none")
		return
	}
	d.ill("future rows", "the journal has %d events from the future, up to %s: a clock was ahead, maybe the database's own. A running serve gives them "+
		"arrivals of now within a minute. If they stay, look into its log, and check the clock of the database's machine",
		found.Count, found.Newest.Format(time.RFC3339))
}

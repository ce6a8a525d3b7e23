package cli

import (
	"context"

	"readmark/internal/store"
)

const topicCitus = "citus"

// citus says how the schema is spread, and what of Citus is not set up as it should be.
func (d *doctor) citus(ctx context.Context, s *store.Store) {
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	found, err := s.InspectCitus(ctx)
	switch {
	case err != nil:
		_, text := store.Diagnose(err, store.DatabaseVariable)
		d.ill(topicCitus, "it could not be asked how it is set up: %s", text)
		return
	case found.Version == "":
		return
	case found.Active():
		d.well(topicCitus, "%s", found.String())
	}
	for _, text := range found.Wrong {
		d.ill(topicCitus, "%s", text)
	}
	for _, text := range found.Advice {
		d.note(topicCitus, "%s", text)
	}
	if found.Active() {
		for _, text := range store.CitusDifferences() {
			d.note(topicCitus, "%s", text)
		}
	}
}

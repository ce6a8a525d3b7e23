package cli

import (
	"context"
	"errors"
	"time"

	"readmark/internal/store"
)

// schema reports whether the database can be used, and what to do where it cannot.
func (d *doctor) schema(ctx context.Context, s *store.Store) bool {
	version, _, err := s.Check(ctx)
	if err == nil {
		err = schemaCurrent(ctx, s)
	}
	switch {
	case errors.Is(err, store.ErrForeignSchema), errors.Is(err, store.ErrNoSchema):
		d.ill("schema", "%v", err)
		return false
	case err != nil: // it names what helps, if anything does
		d.ill("database", "%v", err)
		return false
	default:
		d.well("database", "PostgreSQL %s, the schema is current", version)
	}
	return true
}

// privileges names what a role lacks, and the statement that grants it.
func (d *doctor) privileges(ctx context.Context, topic string, ask func(context.Context) ([]store.MissingPrivilege, error)) {
	missing, err := ask(ctx)
	switch {
	case err != nil:
		d.ill(topic, "%v", err)
	case len(missing) == 0:
		d.well(topic, "the role has all it needs")
	}
	for _, m := range missing {
		d.ill(topic, "the role lacks %s. As the owner of the tables: %s;", m.Text, m.Grant)
	}
}

// days says how far ahead the partitions of days are made, and by whom.
func (d *doctor) days(ctx context.Context, s *store.Store) {
	may, err := s.MayMakeDays(ctx)
	var until time.Time
	if err == nil {
		until, err = s.DaysUntil(ctx)
	}
	left := until.Sub(s.Clock().Now())
	switch {
	case err != nil:
		d.ill(topicPartitions, "%v", err)
	case may:
		d.well(topicPartitions, "serve makes them")
	case left < store.DaysLeft:
		d.ill(topicPartitions, "they are made until %s only, and the role may not make more: run readmark partitions as the owner of the tables, daily",
			until.Format(time.RFC3339))
	default:
		d.well(topicPartitions, "they are made until %s; the role may not make more, so readmark partitions has to run daily as the owner of the tables",
			until.Format(time.RFC3339))
	}
}

const topicPartitions = "partitions"

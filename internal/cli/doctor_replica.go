package cli

import (
	"context"
	"time"

	"readmark/internal/condition"
	"readmark/internal/store"
)

const topicReplica = "replica"

// replicas says what is behind READMARK_REPLICA_URL: whether each answers, is a replica of the
// database, and how far behind.
func (d *doctor) replicas(ctx context.Context) {
	switch {
	case len(d.config.ReplicaURLs) == 0:
		return
	case d.config.DatabaseURL == "":
		d.note(topicReplica, "it is not compared with the embedded database: set READMARK_DATABASE_URL to that of its primary")
		return
	}
	s, err := store.Open(store.Options{URL: d.config.DatabaseURL, MaxConns: d.config.DatabaseMaxConns, Logger: d.logger(&d.config)})
	if err != nil {
		d.ill(topicReplica, "%v. Check READMARK_DATABASE_URL", err)
		return
	}
	defer s.Close()
	replicas, err := s.OpenReplicas(d.config.ReplicaURLs, store.ReplicaOptions{})
	if err != nil {
		d.ill(topicReplica, "%v. Check READMARK_REPLICA_URL", err)
		return
	}
	defer replicas.Close()
	for _, replica := range replicas.All() {
		d.replica(ctx, replica)
	}
}

func (d *doctor) replica(ctx context.Context, replica *store.Replica) {
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	found, err := replica.Inspect(ctx)
	if err != nil {
		reason, text := replicaProblem(err)
		d.ill(topicReplica, "%s: %s. %s", replica.Name(), text, replicaAdvice(reason))
		return
	}
	switch {
	case found.IsPrimary:
		d.note(topicReplica, "%s: it is the primary itself: that spares it nothing, and it can be left out of READMARK_REPLICA_URL", replica.Name())
	case found.PrimaryAway:
		d.note(topicReplica, "%s: PostgreSQL %s, in recovery; the primary cannot be asked. The newest it has was written at %s",
			replica.Name(), found.Version, found.AsOf.Format(time.RFC3339))
	default:
		d.well(topicReplica, "%s: PostgreSQL %s follows the primary, and had what was written there after %v", replica.Name(), found.Version,
			found.Lag.Round(time.Millisecond))
	}
	d.privileges(ctx, topicReplica+" "+replica.Name()+" privileges", replica.MissingPrivileges)
}

// replicaAdvice says what to do about a replica.
func replicaAdvice(reason condition.Reason) string {
	switch reason {
	case condition.Foreign, condition.Promoted:
		return "Point READMARK_REPLICA_URL at a streaming replica of the database in READMARK_DATABASE_URL, " +
			"or READMARK_DATABASE_URL at the server that is the primary now"
	case condition.Lagging:
		return "Look at pg_stat_replication on the primary, and at pg_last_wal_replay_lsn() and the log of the replica"
	default:
		return "Check READMARK_REPLICA_URL, and that PostgreSQL runs there and lets this user in"
	}
}

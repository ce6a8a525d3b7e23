package cli

import (
	"context"

	"readmark/internal/store"
)

// server says how the database server, the role and a pooler between are set up.
func (d *doctor) server(ctx context.Context, s *store.Store) {
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	found, err := s.Inspect(ctx)
	if err != nil {
		reason, text := store.Diagnose(err, store.DatabaseVariable)
		d.ill("database server", "it could not be asked how it is set up (%s): %s", reason, text)
		return
	}
	d.well("encodings", "the database and its connections use UTF8")
	if found.Pooler {
		d.note("pooler", "connections go through a pooler that gives each transaction another session: statements are not prepared, which costs "+
			"the server some of its time. Where the pooler takes prepared statements, add default_query_exec_mode=cache_statement to the URL")
	}
	if risk := found.Risk(); risk != "" {
		d.note("durability", "%s", risk)
	} else {
		d.well("durability", "fsync and full_page_writes are on")
	}
	if found.SynchronousCommit == "off" {
		d.note("synchronous_commit", "it is off for this role or database; Readmark's own transactions use local all the same")
	} else {
		d.well("synchronous_commit", "it is %s", found.SynchronousCommit)
	}
	d.connections(&found)
}

// connections compares what one process may open with what the server, the database and the role
// allow.
func (d *doctor) connections(found *store.Inspection) {
	wanted := d.config.DatabaseMaxConns
	limits := []struct {
		limit int32
		of    string
		mend  string
	}{
		{found.RoleLimit, "the role", "ALTER ROLE … CONNECTION LIMIT"},
		{found.DatabaseLimit, "the database", "ALTER DATABASE … CONNECTION LIMIT"},
		{found.ServerLimit, "the server", "max_connections"},
	}
	enough := true
	for _, l := range limits {
		if l.limit >= 0 && l.limit < wanted {
			enough = false
			d.ill("connections", "%s allows %d, and one process may open READMARK_DATABASE_MAX_CONNS = %d: lower that, or raise %s", l.of, l.limit, wanted, l.mend)
		}
	}
	if enough {
		d.well("connections", "one process may open %d; %d of the server's %d are in use", wanted, found.Used, found.ServerLimit)
	}
}

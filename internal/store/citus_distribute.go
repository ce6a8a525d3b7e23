package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"readmark/migrations"
)

// DefaultShards is how many shards each distributed table has on each node that takes shards, unless somebody
// asks for more: each one that a statement touches costs a round trip, and a process of PostgreSQL.
const DefaultShards = 2

// ErrNoCitus says that the database does not have the extension Citus, or not all that it needs.
var ErrNoCitus = errors.New("the schema cannot be distributed")

// placement is a table, and how it is spread.
type placement struct{ table, by string }

// placements lists the tables that are spread, that by whose shards all others go first.
func placements() (list []placement) {
	for line := range strings.Lines(migrations.Citus) {
		table, by, found := strings.Cut(strings.TrimSpace(line), "\t")
		if found && !strings.HasPrefix(table, "#") {
			list = append(list, placement{table, by})
		}
	}
	return list
}

// Distribution is how a schema is spread over the nodes of Citus.
type Distribution struct {
	Version     string   `json:"version"` // of the extension in the database; "": there is none
	Nodes       int      `json:"nodes"`   // that take shards
	Shards      int      `json:"shards"`  // of each distributed table; 0: none is distributed
	Distributed []string `json:"distributed"`
	Missing     []string `json:"missing"` // tables that should be among these, and are not
}

// Active reports whether tables are spread.
func (d *Distribution) Active() bool { return d.Shards > 0 }

// String says it in a sentence without a full stop.
func (d *Distribution) String() string {
	switch {
	case d.Version == "":
		return "the schema is on one PostgreSQL, without Citus"
	case !d.Active():
		return fmt.Sprintf("Citus %s, and the schema is not distributed", d.Version)
	default:
		return fmt.Sprintf("Citus %s: %s have %d shards each on %s", d.Version, strings.Join(d.Distributed, ", "), d.Shards, nodes(d.Nodes))
	}
}

func nodes(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}

// Distribution says how the schema is spread.
func (s *Store) Distribution(ctx context.Context) (Distribution, error) {
	d, err := readDistribution(ctx, s.pool)
	if err != nil {
		return d, fmt.Errorf("ask how the schema is distributed: %w", translate(err))
	}
	return d, nil
}

// Distribution is [Store.Distribution] where migrations connect.
func (m *Migrator) Distribution(ctx context.Context) (Distribution, error) {
	d, err := readDistribution(ctx, m.pool)
	if err != nil {
		return d, fmt.Errorf("ask how the schema is distributed: %w", translate(err))
	}
	return d, nil
}

func readDistribution(ctx context.Context, conn querier) (d Distribution, err error) {
	d.Distributed, d.Missing = []string{}, []string{}
	err = conn.QueryRow(ctx, "SELECT coalesce((SELECT extversion FROM pg_extension WHERE extname = 'citus'), '')").Scan(&d.Version)
	if err != nil || d.Version == "" {
		return d, err
	}
	// Where no node is known yet, Citus takes the coordinator.
	err = conn.QueryRow(ctx, `SELECT greatest(1, count(*))::integer FROM pg_catalog.pg_dist_node
		WHERE noderole = 'primary' AND isactive AND shouldhaveshards`).Scan(&d.Nodes)
	if err != nil {
		return d, err
	}
	found, err := readPlaced(ctx, conn, &d)
	for _, p := range placements() {
		if found[p.table] {
			d.Distributed = append(d.Distributed, p.table)
		} else {
			d.Missing = append(d.Missing, p.table)
		}
	}
	return d, err
}

// readPlaced gives the tables that are spread, and counts shards.
func readPlaced(ctx context.Context, conn querier, d *Distribution) (found map[string]bool, err error) {
	rows, err := conn.Query(ctx, `SELECT c.relname::text,
			(SELECT count(*) FROM pg_catalog.pg_dist_shard AS s WHERE s.logicalrelid = p.logicalrelid)::integer
		FROM pg_catalog.pg_dist_partition AS p JOIN pg_class AS c ON c.oid = p.logicalrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
		WHERE n.nspname = current_schema()`)
	if err != nil {
		return nil, err
	}
	var table string
	var shards int
	found = map[string]bool{}
	_, err = pgx.ForEachRow(rows, []any{&table, &shards}, func() error {
		found[table], d.Shards = true, max(d.Shards, shards)
		return nil
	})
	return found, err
}

// CheckCitus gives an [ErrNoCitus] that says what is missing where the schema cannot be distributed.
func (m *Migrator) CheckCitus(ctx context.Context) error {
	if err := checkCitus(ctx, m.pool); err != nil {
		return fmt.Errorf("look for Citus: %w", translateCitus(err))
	}
	return nil
}

func translateCitus(err error) error {
	if errors.Is(err, ErrNoCitus) {
		return err
	}
	return translateSchema(err)
}

func checkCitus(ctx context.Context, conn querier) error {
	var installed, available bool
	var database string
	err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus'),
		EXISTS (SELECT FROM pg_available_extensions WHERE name = 'citus'), current_database()`).Scan(&installed, &available, &database)
	switch {
	case err != nil:
		return err
	case !available:
		return fmt.Errorf("%w: this PostgreSQL server does not have the extension citus: install Citus 13 or newer on every node, "+
			"and set shared_preload_libraries = 'citus'", ErrNoCitus)
	case !installed:
		return fmt.Errorf("%w: database %s does not have the extension citus: run CREATE EXTENSION citus in the database of that name on every node, "+
			"then citus_set_coordinator_host and citus_add_node on the coordinator", ErrNoCitus, database)
	}
	var others, coordinator bool
	err = conn.QueryRow(ctx, `SELECT coalesce(bool_or(groupid <> 0), false), coalesce(bool_or(groupid = 0), false) FROM pg_catalog.pg_dist_node`).
		Scan(&others, &coordinator)
	if err == nil && others && !coordinator {
		err = fmt.Errorf("%w: the coordinator is not among the nodes: run SELECT citus_set_coordinator_host('host', 5432) "+
			"with the address at which the workers reach it", ErrNoCitus)
	}
	return err
}

// Distribute spreads the schema over the nodes of Citus, with so many shards of each table on each node (0:
// [DefaultShards]), and tells what it does, a line each. What is stored goes along. It is done wholly or not at all,
// and blocks who writes or reads meanwhile. Where the schema is distributed, it adds what is missing.
func (m *Migrator) Distribute(ctx context.Context, shards int, tell func(line string)) error {
	err := m.alone(ctx, func(ctx context.Context) error {
		schema, err := checkSchema(ctx, m.pool)
		if err != nil {
			return err
		}
		if err := schema.NeedCurrent(); err != nil {
			return err
		}
		if err := checkCitus(ctx, m.pool); err != nil {
			return err
		}
		return distribute(ctx, m.pool, shards, tell)
	})
	if err != nil {
		return fmt.Errorf("distribute the schema: %w", translateCitus(err))
	}
	return nil
}

// redistribute adds to a distributed schema what migrations have made.
func (m *Migrator) redistribute(ctx context.Context) error {
	d, err := readDistribution(ctx, m.pool)
	if err != nil || !d.Active() || len(d.Missing) == 0 {
		return err
	}
	return m.alone(ctx, func(ctx context.Context) error {
		return distribute(ctx, m.pool, 0, func(line string) { m.logger.InfoContext(ctx, "distributed by Citus", "what", line) })
	})
}

func distribute(ctx context.Context, conn *pool, shards int, tell func(line string)) error {
	var lines []string
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		d, err := readDistribution(ctx, tx)
		if err != nil {
			return err
		}
		if shards == 0 {
			shards = DefaultShards
		}
		if !d.Active() {
			d.Shards = shards * d.Nodes
		} else if len(d.Missing) == 0 {
			lines = append(lines, "nothing to distribute: "+d.String())
			return nil
		}
		// Several tables in one transaction, and what belongs to them.
		if _, err := tx.Exec(ctx, "SET LOCAL citus.multi_shard_modify_mode = 'sequential'"); err != nil {
			return err
		}
		if err := distributeFunctions(ctx, tx); err != nil {
			return err
		}
		for _, p := range placements() {
			if !slices.Contains(d.Missing, p.table) {
				continue
			}
			line, err := p.place(ctx, tx, &d)
			if err != nil {
				return fmt.Errorf("table %s: %w", p.table, err)
			}
			lines = append(lines, line)
		}
		return nil
	})
	if err == nil {
		for _, line := range lines {
			tell(line)
		}
	}
	return err
}

// distributeFunctions has every node have the functions that views and statements call.
func distributeFunctions(ctx context.Context, tx pgx.Tx) error {
	for _, name := range slices.Sorted(maps.Keys(readHistory().at(newestVersion()))) {
		if !strings.Contains(name, "(") {
			continue
		}
		if _, err := tx.Exec(ctx, "SELECT create_distributed_function($1::text::regprocedure)", name); err != nil {
			return fmt.Errorf("function %s: %w", name, err)
		}
	}
	return nil
}

// place spreads a table, and says what it did. Tables by the same column lie beside each other, others apart: where they lay
// beside each other, Citus could write a row on another connection than the one that has locked it.
func (p *placement) place(ctx context.Context, tx pgx.Tx, d *Distribution) (line string, err error) {
	if first := placements()[0]; p.table != first.table && p.by == first.by {
		_, err = tx.Exec(ctx, "SELECT create_distributed_table($1::text::regclass, $2, colocate_with => $3)", p.table, p.by, first.table)
		line = fmt.Sprintf("distributed %s by %s, beside %s", p.table, p.by, first.table)
	} else {
		_, err = tx.Exec(ctx, "SELECT create_distributed_table($1::text::regclass, $2, colocate_with => 'none', shard_count => $3)", p.table, p.by, d.Shards)
		line = fmt.Sprintf("distributed %s by %s, with %d shards on %s", p.table, p.by, d.Shards, nodes(d.Nodes))
	}
	if err != nil {
		return "", err
	}
	// The rows have been copied; those that are left behind would take room.
	_, err = tx.Exec(ctx, "SELECT truncate_local_data_after_distributing_table($1::text::regclass)", p.table)
	return line, err
}

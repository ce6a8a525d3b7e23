package store

import (
	"context"
	_ "embed"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// schemaObjects has what each migration makes and takes away: a line each of version, object and
// what it is, "-" for gone. A test makes it from a database: run it with -update to write it anew.
//
//go:embed schema_objects.tsv
var schemaObjects string

// gone stands for what an object is when a migration has taken it away.
const gone = "-"

// objectChange is what a migration does to an object.
type objectChange struct {
	version      int64
	object, what string
}

// history is what all migrations do to objects, the oldest first.
type history []objectChange

func readHistory() history {
	var h history
	for line := range strings.Lines(schemaObjects) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) != 3 {
			continue
		}
		version, err := strconv.ParseInt(fields[0], 10, 64)
		if err == nil {
			h = append(h, objectChange{version, fields[1], fields[2]})
		}
	}
	return h
}

// newestVersion is the newest migration that this binary knows.
func newestVersion() (newest int64) {
	for _, version := range readHistory().versions() {
		newest = max(newest, version)
	}
	return newest
}

// versions lists the versions, the oldest first; zero is that of goose's own table.
func (h history) versions() []int64 {
	seen := map[int64]bool{}
	for _, c := range h {
		seen[c.version] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

// at gives the objects of a version.
func (h history) at(version int64) map[string]string {
	objects := map[string]string{}
	for _, c := range h {
		if c.version > version {
			break
		}
		if c.what == gone {
			delete(objects, c.object)
		} else {
			objects[c.object] = c.what
		}
	}
	return objects
}

// comes reports whether a migration after a version makes an object.
func (h history) comes(object string, version int64) bool {
	return slices.ContainsFunc(h, func(c objectChange) bool { return c.object == object && c.version > version && c.what != gone })
}

// names lists all objects that ever were.
func (h history) names() []string {
	seen := map[string]bool{}
	for _, c := range h {
		seen[c.object] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

// listObjects gives what the objects of some names are in a schema, all when no names are given,
// but the partitions of days: relations and types by their names, columns as relation.column,
// functions with the types of their arguments.
func listObjects(ctx context.Context, tx querier, schema string, names []string) (map[string]string, error) {
	relations := []string{}
	for _, name := range names {
		if relation, _, _ := strings.Cut(name, "."); !slices.Contains(relations, relation) {
			relations = append(relations, relation)
		}
	}
	rows, err := tx.Query(ctx, `
		WITH relation AS (
			SELECT c.oid, c.relname, c.relkind FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
			WHERE n.nspname = $1 AND NOT c.relispartition AND c.relkind <> 't'
				AND CASE WHEN cardinality($2::text[]) = 0 THEN c.relname !~ '^(journal|changes)_[0-9]{8}' ELSE c.relname = ANY ($2::text[]) END
		)
		SELECT relname::text, CASE relkind
			WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
			WHEN 'f' THEN 'foreign table' WHEN 'i' THEN 'index' WHEN 'I' THEN 'partitioned index' WHEN 'S' THEN 'sequence'
			ELSE 'composite type' END
		FROM relation
		UNION ALL
		SELECT r.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod) ||
			CASE WHEN a.attcollation <> t.typcollation THEN ' COLLATE "' || l.collname || '"' ELSE '' END
		FROM relation AS r
		JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
		JOIN pg_type AS t ON t.oid = a.atttypid
		LEFT JOIN pg_collation AS l ON l.oid = a.attcollation
		WHERE r.relkind IN ('r', 'p', 'v', 'm', 'f')
		UNION ALL
		SELECT t.typname::text, CASE t.typtype
			WHEN 'e' THEN (SELECT 'enum ' || string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder) FROM pg_enum AS e WHERE e.enumtypid = t.oid)
			ELSE 'type' END
		FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace
		WHERE n.nspname = $1 AND t.typtype <> 'c' AND t.typcategory <> 'A' AND (cardinality($2::text[]) = 0 OR t.typname = ANY ($2::text[]))
		UNION ALL
		SELECT f.signature, f.result FROM (
			SELECT p.proname || '(' || oidvectortypes(p.proargtypes) || ')' AS signature, format_type(p.prorettype, NULL) AS result
			FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
			WHERE n.nspname = $1
		) AS f
		WHERE cardinality($2::text[]) = 0 OR f.signature = ANY ($2::text[])`, schema, relations)
	if err != nil {
		return nil, err
	}
	objects := map[string]string{}
	var name, what string
	_, err = pgx.ForEachRow(rows, []any{&name, &what}, func() error {
		objects[name] = what
		return nil
	})
	return objects, err
}

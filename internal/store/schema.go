package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"readmark/internal/readstate"
)

// versionTable is goose's own: the same files run with the plain goose CLI.
const versionTable = "goose_db_version"

var (
	// ErrForeignSchema says that what is in the schema is not Readmark's.
	ErrForeignSchema = errors.New("this schema belongs to another application: give Readmark a database or a schema of its own, " +
		"for example ?search_path=readmark")
	// ErrNoSchema says that the search_path leads to no schema that Readmark can use.
	ErrNoSchema = errors.New("no usable schema")
)

// Schema is what the database's schema is: Readmark's, or empty.
type Schema struct {
	Name string
	// Version is that of the newest migration that was applied, zero when none was. Newest is the
	// newest that this binary knows. A version beyond it is fine: a newer replica has migrated.
	Version, Newest int64

	applied map[int64]bool
}

// Current reports whether the schema has every migration that this binary knows.
func (s *Schema) Current() bool { return s.Version >= s.Newest }

// querier is a connection, a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// beginner begins transactions.
type beginner interface {
	BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error)
}

// Schema reads what the schema is and checks that it is Readmark's own, or empty. It writes and
// locks nothing. The error is [ErrForeignSchema] or [ErrNoSchema] where no waiting heals it.
func (s *Store) Schema(ctx context.Context) (Schema, error) {
	schema, err := checkSchema(ctx, s.pool)
	if err != nil {
		return schema, fmt.Errorf("check schema: %w", translateSchema(err))
	}
	return schema, nil
}

// SchemaVersion gives the schema's version, zero when nothing was migrated, and the newest that
// this binary knows. It looks at nothing else, so that probes can ask it.
func (s *Store) SchemaVersion(ctx context.Context) (current, newest int64, err error) {
	newest = newestVersion()
	err = s.pool.QueryRow(ctx, "SELECT coalesce(max(version_id), 0) FROM "+versionTable).Scan(&current)
	if err != nil && !hasState(err, stateUndefinedTable) {
		return 0, 0, fmt.Errorf("ask schema version: %w", translate(err))
	}
	return current, newest, nil
}

// translateSchema is translate, but for what is said about the schema.
func translateSchema(err error) error {
	if errors.Is(err, ErrForeignSchema) || errors.Is(err, ErrNoSchema) {
		return err
	}
	return translate(err)
}

// checkSchema sees versions and catalog in one snapshot: another process may be migrating.
func checkSchema(ctx context.Context, conn beginner) (schema Schema, err error) {
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, conn, options, func(tx pgx.Tx) error {
		schema, err = readSchema(ctx, tx)
		return err
	})
	return schema, err
}

func readSchema(ctx context.Context, tx querier) (Schema, error) {
	at, err := readLocation(ctx, tx)
	if err != nil {
		return Schema{}, err
	}
	schema := Schema{Name: at.schema, Newest: newestVersion(), applied: map[int64]bool{}}
	history := readHistory()
	found, err := listObjects(ctx, tx, at.schema, history.names())
	if err != nil {
		return schema, err
	}
	foreign := func(differences ...string) error {
		return fmt.Errorf("%w (in schema %s: %s)", ErrForeignSchema, at.schema, shorten(differences))
	}
	wanted := history.at(schema.Newest)
	if _, there := found[versionTable]; there {
		if differences := compare(wanted, found, isVersionTable); len(differences) > 0 {
			return schema, foreign(differences...)
		}
		schema.applied, err = readVersions(ctx, tx, at.schema)
		if hasState(err, statePermission) {
			return schema, fmt.Errorf("%w: %w: role %s may not read %s: GRANT SELECT ON %[4]s TO %[5]s", readstate.ErrUnavailable, errPermission,
				at.user, versionTable, pgx.Identifier{at.user}.Sanitize())
		} else if err != nil {
			return schema, err
		}
	}
	for version, applied := range schema.applied {
		if applied {
			schema.Version = max(schema.Version, version)
		}
	}
	if differences := history.differences(&schema, found); len(differences) > 0 {
		return schema, foreign(differences...)
	}
	if schema.Version == 0 {
		return schema, at.checkOthers(ctx, tx)
	}
	return schema, nil
}

// isVersionTable reports whether an object is goose's own table or belongs to it.
func isVersionTable(name string) bool { return strings.HasPrefix(name, versionTable) }

// readVersions gives the state of each version, as goose keeps it: its newest row counts.
func readVersions(ctx context.Context, tx querier, schema string) (map[int64]bool, error) {
	rows, err := tx.Query(ctx, "SELECT version_id, is_applied FROM "+pgx.Identifier{schema, versionTable}.Sanitize()+" ORDER BY id")
	if err != nil {
		return nil, err
	}
	applied := map[int64]bool{}
	var version int64
	var is bool
	_, err = pgx.ForEachRow(rows, []any{&version, &is}, func() error {
		applied[version] = is
		return nil
	})
	return applied, err
}

// differences says what keeps a schema from being Readmark's at its version: objects of the
// version that are not there, or other than they should be, and objects that migrations to come
// would find in their way.
func (h history) differences(schema *Schema, found map[string]string) (list []string) {
	for _, version := range h.versions() {
		if version > 0 && version <= schema.Version && !schema.applied[version] {
			list = append(list, fmt.Sprintf("%s has version %d without %d", versionTable, schema.Version, version))
			break
		}
	}
	version := min(schema.Version, schema.Newest)
	wanted := h.at(version)
	list = append(list, compare(wanted, found, func(name string) bool { return !isVersionTable(name) })...)
	for _, name := range h.names() {
		what, there := found[name]
		if _, expected := wanted[name]; there && !expected && !isVersionTable(name) && h.comes(name, version) {
			list = append(list, fmt.Sprintf("there is %s already", describe(name, what)))
		}
	}
	if len(list) > 0 && schema.Version > schema.Newest {
		list = append(list, fmt.Sprintf("version %d is newer than this Readmark, which knows %d", schema.Version, schema.Newest))
	}
	return list
}

// compare says which of the wanted objects are missing or other. Indexes and sequences are not
// compared: who has dropped or renamed one still has Readmark's tables.
func compare(wanted, found map[string]string, only func(name string) bool) (list []string) {
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		want := wanted[name]
		if !only(name) || strings.HasSuffix(want, "index") || want == "sequence" {
			continue
		}
		what, there := found[name]
		relation, _, isColumn := strings.Cut(name, ".")
		switch {
		case isColumn && found[relation] != wanted[relation]: // told once, of the relation
		case !there:
			list = append(list, describe(name, want)+" is missing")
		case what != want:
			list = append(list, fmt.Sprintf("%s should be %s", describe(name, what), want))
		}
	}
	return list
}

func describe(name, what string) string {
	switch {
	case strings.Contains(name, "("):
		return "function " + name
	case strings.Contains(name, "."):
		return "column " + name + " (" + what + ")"
	default:
		return what + " " + name
	}
}

// maxDifferences is how many differences a message has.
const maxDifferences = 3

func shorten(list []string) string {
	if len(list) <= maxDifferences {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s, and %d more", strings.Join(list[:maxDifferences], ", "), len(list)-maxDifferences)
}

// location is where a connection works.
type location struct {
	user               string
	schema, searchPath string
	others             []string // schemas behind it on the search_path
}

func readLocation(ctx context.Context, tx querier) (location, error) {
	var p location
	var schema *string
	var database string
	err := tx.QueryRow(ctx, `SELECT current_schema(), current_setting('search_path'), current_user, current_database(),
		array_remove(current_schemas(false), current_schema())::text[]`).Scan(&schema, &p.searchPath, &p.user, &database, &p.others)
	switch {
	case err != nil:
		return p, err
	case schema == nil:
		return p, noSchema(ctx, tx, p.searchPath, p.user, database)
	case strings.HasPrefix(*schema, "pg_") || *schema == "information_schema":
		return p, fmt.Errorf("%w: the search_path %q leads into PostgreSQL's own schema: set one of Readmark's own, for example ?search_path=readmark",
			ErrNoSchema, p.searchPath)
	}
	p.schema = *schema
	return p, nil
}

// noSchema says why the search_path leads nowhere.
func noSchema(ctx context.Context, tx querier, searchPath, user, database string) error {
	name := firstOf(searchPath, user)
	if name == "" {
		return fmt.Errorf("%w: the search_path is empty: set one, for example ?search_path=readmark", ErrNoSchema)
	}
	var there bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", name).Scan(&there); err != nil {
		return err
	}
	ident, role := pgx.Identifier{name}.Sanitize(), pgx.Identifier{user}.Sanitize()
	if there {
		return fmt.Errorf("%w: role %s may not use schema %s: GRANT USAGE ON SCHEMA %s TO %s", ErrNoSchema, user, name, ident, role)
	}
	return fmt.Errorf("%w: schema %s, to which the search_path leads, does not exist in database %s: CREATE SCHEMA %s AUTHORIZATION %s",
		ErrNoSchema, name, database, ident, role)
}

// firstOf gives the first schema that a search_path names; that of the user, which need not be
// there, only when no other is named.
func firstOf(searchPath, user string) string {
	first := ""
	for _, name := range splitNames(searchPath) {
		if name != "$user" {
			return name
		}
		first = user
	}
	return first
}

// splitNames takes a list of SQL names apart.
func splitNames(list string) (names []string) {
	quoted, name := false, ""
	for _, r := range list + "," {
		switch {
		case r == '"':
			quoted = !quoted
		case r == ',' && !quoted:
			if name = strings.TrimSpace(name); name != "" {
				names = append(names, name)
			}
			name = ""
		default:
			name += string(r)
		}
	}
	return names
}

// checkOthers refuses to begin anew beside tables that the search_path reaches, too: whoever has
// put another schema before them would take the data for lost.
func (p *location) checkOthers(ctx context.Context, tx querier) error {
	if len(p.others) == 0 {
		return nil
	}
	var other *string
	err := tx.QueryRow(ctx, `SELECT (SELECT n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
		WHERE n.nspname = ANY ($1::text[]) AND c.relname IN ('goose_db_version', 'journal', 'states', 'positions', 'lookups')
		GROUP BY n.nspname HAVING count(*) = 5 LIMIT 1)::text`, p.others).Scan(&other)
	if err != nil || other == nil {
		return err
	}
	return fmt.Errorf("%w: Readmark's tables are in schema %s, but the search_path %q leads to schema %s first, which has none: "+
		"set ?search_path=%[2]s, or ?search_path=%[4]s to begin anew", ErrNoSchema, *other, p.searchPath, p.schema)
}

// NeedCurrent gives an error when migrations are missing.
func (s *Schema) NeedCurrent() error {
	if s.Current() {
		return nil
	}
	return notCurrent(s.Version, s.Newest)
}

// errNotCurrent says that migrations are missing.
var errNotCurrent = errors.New("the schema is not current")

func notCurrent(current, newest int64) error {
	return fmt.Errorf("%w: %w: schema version is %d, %d is needed: run readmark migrate up", readstate.ErrUnavailable, errNotCurrent, current, newest)
}

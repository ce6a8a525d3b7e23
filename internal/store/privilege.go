package store

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"readmark/internal/readstate"
)

// MissingPrivilege is what a role may not do and needs to, and the statement that mends it.
type MissingPrivilege struct {
	Text  string // such as "INSERT on states"
	Grant string // to be run by the owner of the schema
}

// mayMigrate fails when the role may not make tables, or does not own those that are there. Whoever
// may can still migrate, so the database counts as unavailable.
func mayMigrate(ctx context.Context, conn querier, schema *Schema) error {
	var user, owner string
	var create, owns bool
	err := conn.QueryRow(ctx, `
		SELECT current_user, has_schema_privilege(current_user, n.oid, 'CREATE'), pg_get_userbyid(coalesce(c.relowner, n.nspowner)),
			c.relowner IS NULL OR pg_has_role(current_user, c.relowner, 'USAGE')
		FROM pg_namespace AS n LEFT JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = $2
		WHERE n.nspname = $1`, schema.Name, versionTable).Scan(&user, &create, &owner, &owns)
	if err != nil || create && owns {
		return err
	}
	who, name := pgx.Identifier{user}.Sanitize(), pgx.Identifier{schema.Name}.Sanitize()
	grant := fmt.Sprintf("GRANT CREATE ON SCHEMA %s TO %s", name, who)
	if !owns {
		grant = fmt.Sprintf("GRANT %s TO %s", pgx.Identifier{owner}.Sanitize(), who)
	}
	return fmt.Errorf("%w: %w: role %s may not migrate schema %s: run readmark migrate up as %s, set READMARK_MIGRATE_URL, or %s",
		readstate.ErrUnavailable, errPermission, user, schema.Name, owner, grant)
}

// MissingPrivileges lists what the role of the store needs and does not have. It needs nothing
// to make partitions: those of MakeDaysAhead may be made by somebody else.
func (s *Store) MissingPrivileges(ctx context.Context) ([]MissingPrivilege, error) {
	return missingPrivileges(ctx, s.pool, []string{"SELECT", "INSERT", "UPDATE", "DELETE"})
}

// MissingPrivileges lists what the role that reads needs and does not have.
func (x *Replica) MissingPrivileges(ctx context.Context) ([]MissingPrivilege, error) {
	return missingPrivileges(ctx, x.pool, []string{"SELECT"})
}

// secretRelation reports whether a relation is about secrets: who only reads may not read it.
func secretRelation(name string) bool {
	return name == "api_keys" || name == "erasure_keys" || name == "openim_tokens" || name == "webhooks"
}

// readOnlyRelation reports whether nobody but migrations writes to a relation.
func readOnlyRelation(name, what string) bool { return name == versionTable || what == "view" }

// MayMakeDays reports whether the role may make and drop partitions.
func (s *Store) MayMakeDays(ctx context.Context) (may bool, err error) {
	err = s.pool.QueryRow(ctx, `
		SELECT has_schema_privilege(current_user, current_schema(), 'CREATE') AND
			(SELECT count(*) FILTER (WHERE pg_has_role(current_user, c.relowner, 'USAGE')) = cardinality($1::text[])
				FROM pg_class AS c WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND c.relname = ANY ($1::text[]))`,
		[]string{string(journalTable), string(changesTable)}).Scan(&may)
	if err != nil {
		return false, fmt.Errorf("ask privileges: %w", translate(err))
	}
	return may, nil
}

func missingPrivileges(ctx context.Context, conn beginner, writes []string) (list []MissingPrivilege, err error) {
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, conn, options, func(tx pgx.Tx) error {
		list, err = askPrivileges(ctx, tx, writes)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask privileges: %w", translateSchema(err))
	}
	return list, nil
}

func askPrivileges(ctx context.Context, tx pgx.Tx, privileges []string) ([]MissingPrivilege, error) {
	at, err := readLocation(ctx, tx)
	if err != nil {
		return nil, err
	}
	var relations, functions, readOnly []string
	for name, what := range readHistory().at(newestVersion()) {
		switch {
		case strings.Contains(name, "("):
			functions = append(functions, name)
		case strings.Contains(name, "."), len(privileges) == 1 && secretRelation(name):
		case readOnlyRelation(name, what):
			readOnly = append(readOnly, name)
		case strings.HasSuffix(what, "table"):
			relations = append(relations, name)
		}
	}
	var days []string
	for _, table := range dayTables() {
		list, err := table.partitions(ctx, tx, "")
		if err != nil {
			return nil, err
		}
		for _, p := range list {
			if p.state == attached {
				days = append(days, p.name)
			}
		}
	}
	lacks := map[string][]string{} // privileges → relations and functions
	find := func(sql string, args ...any) error {
		rows, err := tx.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		var lacking, name string
		_, err = pgx.ForEachRow(rows, []any{&lacking, &name}, func() error {
			lacks[lacking] = append(lacks[lacking], name)
			return nil
		})
		return err
	}
	const ask = `
		SELECT array_to_string(array_agg(p ORDER BY o), ', '), c.relname::text
		FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace CROSS JOIN unnest($3::text[]) WITH ORDINALITY AS u (p, o)
		WHERE n.nspname = $1 AND c.relname = ANY ($2::text[]) AND NOT has_table_privilege(current_user, c.oid, p)
		GROUP BY c.relname`
	parts := []struct{ names, privileges []string }{{relations, privileges}, {readOnly, []string{"SELECT"}}}
	if len(privileges) > 1 { // today's partition is written to by its name
		parts = append(parts, struct{ names, privileges []string }{days, []string{"SELECT", "INSERT"}})
	}
	for _, part := range parts {
		if err := find(ask, at.schema, part.names, part.privileges); err != nil {
			return nil, err
		}
	}
	err = find(`
		SELECT 'EXECUTE', p.proname || '(' || oidvectortypes(p.proargtypes) || ')'
		FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
		WHERE n.nspname = $1 AND p.proname || '(' || oidvectortypes(p.proargtypes) || ')' = ANY ($2::text[])
			AND NOT has_function_privilege(current_user, p.oid, 'EXECUTE')`, at.schema, functions)
	if err != nil {
		return nil, err
	}
	return grants(lacks, at.schema, at.user), nil
}

// grants makes one statement for all that lack the same.
func grants(lacks map[string][]string, schema, user string) (list []MissingPrivilege) {
	for privileges, names := range lacks {
		slices.Sort(names)
		kind := ""
		qualified := make([]string, len(names))
		for i, name := range names {
			qualified[i] = pgx.Identifier{schema, name}.Sanitize()
			if function, arguments, is := strings.Cut(name, "("); is {
				kind = "FUNCTION "
				qualified[i] = pgx.Identifier{schema, function}.Sanitize() + "(" + arguments
			}
		}
		list = append(list, MissingPrivilege{
			Text:  privileges + " on " + strings.Join(names, ", "),
			Grant: fmt.Sprintf("GRANT %s ON %s%s TO %s", privileges, kind, strings.Join(qualified, ", "), pgx.Identifier{user}.Sanitize()),
		})
	}
	slices.SortFunc(list, func(x, y MissingPrivilege) int { return strings.Compare(x.Text, y.Text) })
	return list
}

package main

import (
	"fmt"
	"slices"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
)

// volatile and stable are functions of PostgreSQL whose results are no matter of their arguments alone. Those of the project are
// immutable: see receipt_read_position.
var (
	volatile = []string{"clock_timestamp", "gen_random_uuid", "nextval", "random", "set_config", "timeofday"}                                     //nolint:gochecknoglobals // a constant table
	stable   = []string{"age", "current_setting", "date_trunc", "now", "statement_timestamp", "to_char", "to_timestamp", "transaction_timestamp"} //nolint:gochecknoglobals // a constant table
)

// changing gives what in an expression is volatile, or stable: a function, a keyword such as current_timestamp, or a moment and an
// interval, whose sum depends on the time zone.
func changing(node proto.Message, functions []string, withIntervals bool) (text string, found bool) {
	within(node, func(m proto.Message) {
		switch v := m.(type) {
		case *pg.FuncCall:
			if isCall(v, functions) {
				text, found = nameOf(v.Funcname)+"()", true
			}
		case *pg.SQLValueFunction:
			if withIntervals {
				text, found = "current_timestamp or the like", true
			}
		case *pg.A_Expr:
			if op := nameOf(v.Name); withIntervals && (op == "+" || op == "-") && (isInterval(v.Lexpr) || isInterval(v.Rexpr)) {
				text, found = "a moment "+op+" an interval", true
			}
		}
	})
	return text, found
}

func isInterval(node *pg.Node) bool {
	names := node.GetTypeCast().GetTypeName().GetNames()
	return len(names) > 0 && names[len(names)-1].GetString_().GetSval() == "interval"
}

// conflictFunction: what is done about rows that conflict is done on the workers, each by itself.
func conflictFunction(node *pg.Node) (string, bool) {
	insert := node.GetInsertStmt()
	if insert == nil || distributed()[insert.Relation.Relname] == "" {
		return "", false
	}
	text, found := changing(insert.OnConflictClause, slices.Concat(volatile, stable), true)
	return text + " where rows conflict: take a column of excluded", found
}

// writeFunction: Citus refuses to write or pick rows by a function that is volatile, or by a stable one of a column.
func writeFunction(node *pg.Node) (text string, found bool) {
	walk(node, func(m proto.Message) bool {
		var table string
		var parts []proto.Message
		switch v := m.(type) {
		case *pg.UpdateStmt:
			table, parts = v.Relation.Relname, []proto.Message{v.WhereClause}
			for _, target := range v.TargetList {
				parts = append(parts, target)
			}
		case *pg.DeleteStmt:
			table, parts = v.Relation.Relname, []proto.Message{v.WhereClause}
		default:
			return true
		}
		if distributed()[table] == "" {
			return true
		}
		for _, part := range parts {
			if name, is := changing(part, volatile, false); is {
				text, found = fmt.Sprintf("rows of %s are written by %s: give the value", table, name), true
			}
			within(part, func(m proto.Message) {
				if name, is := stableOfColumn(m); is {
					text, found = fmt.Sprintf("rows of %s are written by %s of a column: give the value, or compare the column with one", table, name), true
				}
			})
		}
		return true
	})
	return text, found
}

// stableOfColumn reports whether a node is a stable function, or a sum with an interval, of a column.
func stableOfColumn(m proto.Message) (name string, found bool) {
	switch m.(type) {
	case *pg.FuncCall, *pg.A_Expr:
	default:
		return "", false
	}
	if e, is := m.(*pg.A_Expr); is && !slices.Contains([]string{"+", "-"}, nameOf(e.Name)) {
		return "", false
	}
	if name, found = changing(m, stable, true); !found {
		return "", false
	}
	column := false
	within(m, func(below proto.Message) {
		_, is := below.(*pg.ColumnRef)
		column = column || is
	})
	return name, column
}

// unnestCorrelated: Citus refuses a correlated subquery over a distributed table below a query of nothing but arrays.
func unnestCorrelated(q *query) (string, bool) {
	v, is := q.node.(*pg.SelectStmt)
	if !is || len(q.from) == 0 {
		return "", false
	}
	for _, s := range q.from {
		if !s.unnest {
			return "", false
		}
	}
	return "a correlated subquery below a query of arrays alone: join instead", correlatedBelow(v)
}

// correlatedBelow reports whether a query has a subquery over a distributed table that names what is around it.
func correlatedBelow(v *pg.SelectStmt) (found bool) {
	walk(v, func(m proto.Message) bool {
		below, is := m.(*pg.SubLink)
		if !is {
			return true
		}
		inner := queryOf(below.Subselect.GetSelectStmt())
		for _, s := range inner.tables() {
			for _, e := range equalities(inner.conditions...) {
				if c, is := columnOf(e.right); is && s.alias == e.left.alias && inner.source(c.alias) == nil && c.alias != "" {
					found = true
				}
			}
		}
		return true
	})
	return found
}

package main

import (
	"fmt"
	"slices"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
)

// query is a SELECT, or what an UPDATE or DELETE reads.
type query struct {
	node       proto.Message
	from       []source
	conditions []*pg.Node
	locks      bool // its rows
	target     string
}

// queries are all of a statement, the ones below others too.
func queries(statement *pg.Node) (list []query) {
	ctes := map[string]bool{}
	walk(statement, func(m proto.Message) bool {
		if c, is := m.(*pg.CommonTableExpr); is {
			ctes[c.Ctename] = true
		}
		return true
	})
	walk(statement, func(m proto.Message) bool {
		q := query{node: m}
		switch v := m.(type) {
		case *pg.SelectStmt:
			q.from, q.conditions = sources(v.FromClause, ctes)
			q.conditions, q.locks = append(q.conditions, v.WhereClause), len(v.LockingClause) > 0
		case *pg.UpdateStmt:
			q.from, q.conditions = sources(append([]*pg.Node{asNode(v.Relation)}, v.FromClause...), ctes)
			q.conditions, q.target = append(q.conditions, v.WhereClause), v.Relation.Relname
		case *pg.DeleteStmt:
			q.from, q.conditions = sources(append([]*pg.Node{asNode(v.Relation)}, v.UsingClause...), ctes)
			q.conditions, q.target = append(q.conditions, v.WhereClause), v.Relation.Relname
		default:
			return true
		}
		list = append(list, q)
		return true
	})
	return list
}

func asNode(v *pg.RangeVar) *pg.Node { return &pg.Node{Node: &pg.Node_RangeVar{RangeVar: v}} }

// tables are the distributed ones of a query.
func (q *query) tables() (list []source) {
	for _, s := range q.from {
		if distributed()[s.table] != "" {
			list = append(list, s)
		}
	}
	return list
}

// bound gives what a source's distribution column has to equal: what else is named, and whether
// something that is no column of this query's is.
func (q *query) bound(s source) (others []column, outside, anyOf bool) {
	key := distributed()[s.table]
	for _, e := range equalities(q.conditions...) {
		if e.left.name != key || e.left.alias != s.alias && (e.left.alias != "" || len(q.from) > 1) {
			continue
		}
		anyOf = anyOf || e.any
		if c, is := columnOf(e.right); is && q.has(c) {
			others = append(others, c)
		} else {
			outside = true
		}
	}
	return others, outside, anyOf
}

// has reports whether a column is one of this query's own sources.
func (q *query) has(c column) bool {
	if c.alias == "" {
		return true
	}
	return q.source(c.alias) != nil
}

func (q *query) source(alias string) *source {
	for i := range q.from {
		if q.from[i].alias == alias {
			return &q.from[i]
		}
	}
	return nil
}

// lockMany: Citus refuses to lock rows of several shards.
func lockMany(q *query) (string, bool) {
	for _, s := range q.tables() {
		if _, outside, anyOf := q.bound(s); q.locks && (!outside || anyOf) {
			return fmt.Sprintf("FOR UPDATE over many of %s: pick them in a materialized CTE, and check the condition again where they are written", s.table), true
		}
	}
	return "", false
}

// queryOf is a subquery, whose WITH is not looked at.
func queryOf(s *pg.SelectStmt) query {
	from, conditions := sources(s.GetFromClause(), nil)
	return query{node: s, from: from, conditions: append(conditions, s.GetWhereClause())}
}

// lateralSum: Citus refuses sums in a lateral subquery over a distributed table.
func lateralSum(q *query) (string, bool) {
	for _, s := range q.from {
		if !s.lateral || s.query == nil {
			continue
		}
		below := queryOf(s.query)
		if len(below.tables()) > 0 && calls(s.query, "count", "sum", "min", "max", "bool_and", "bool_or", "array_agg") {
			return "a lateral subquery that sums: filter by = ANY (…), and group", true
		}
	}
	return "", false
}

// bareCorrelated: Citus refuses a correlated subquery below a query that has no FROM.
func bareCorrelated(q *query) (string, bool) {
	v, is := q.node.(*pg.SelectStmt)
	if !is || len(v.FromClause) > 0 {
		return "", false
	}
	return "a correlated subquery below a query without FROM: join instead", correlatedBelow(v)
}

// antiJoin: Citus refuses to look for what is missing in another table where the rows lie on other
// nodes: where the tables are not joined by what both are distributed by.
func antiJoin(q *query) (string, bool) {
	const text = "an anti-join of %s and %s, not on what both are distributed by: do it in two steps"
	outer := q.tables()
	for _, s := range outer { // LEFT JOIN … WHERE … IS NULL
		if !s.nullable || !q.wantsNull(s.alias) {
			continue
		}
		others, outside, _ := q.bound(s)
		for _, other := range outer {
			if other.alias != s.alias && !other.nullable && !outside && !slices.Contains(others, column{other.alias, distributed()[other.table]}) {
				return fmt.Sprintf(text, other.table, s.table), true
			}
		}
	}
	for _, inner := range negated(q.conditions) {
		for _, s := range inner.tables() {
			others, alone := inner.correlated(s)
			for _, other := range outer {
				if !alone && !slices.Contains(others, column{other.alias, distributed()[other.table]}) {
					return fmt.Sprintf(text, other.table, s.table), true
				}
			}
		}
	}
	return "", false
}

// correlated gives what a source's distribution column has to equal, columns of the query around it
// among them, and whether that is a value, too: its rows lie in one place then.
func (q *query) correlated(s source) (others []column, alone bool) {
	for _, e := range equalities(q.conditions...) {
		if e.left.name != distributed()[s.table] || e.left.alias != s.alias {
			continue
		}
		if c, is := columnOf(e.right); is {
			others = append(others, c)
		} else {
			alone = true
		}
	}
	return others, alone
}

// wantsNull reports whether rows are wanted that have nothing of a source.
func (q *query) wantsNull(alias string) (found bool) {
	for _, condition := range q.conditions {
		within(condition, func(m proto.Message) {
			if test, is := m.(*pg.NullTest); is && test.Nulltesttype == pg.NullTestType_IS_NULL {
				c, named := columnOf(test.Arg)
				found = found || named && c.alias == alias
			}
		})
	}
	return found
}

// negated are the queries of which no row may be: NOT EXISTS and NOT IN.
func negated(conditions []*pg.Node) (list []query) {
	for _, condition := range conditions {
		within(condition, func(m proto.Message) {
			not, is := m.(*pg.BoolExpr)
			if !is || not.Boolop != pg.BoolExprType_NOT_EXPR {
				return
			}
			for _, arg := range not.Args {
				below := arg.GetSubLink().GetSubselect().GetSelectStmt()
				if below == nil {
					continue
				}
				list = append(list, queryOf(below))
			}
		})
	}
	return list
}

// unnestAny: one statement about many keys visits all shards unless the keys are in the condition, too.
func unnestAny(q *query) (string, bool) {
	for _, s := range q.tables() {
		others, outside, _ := q.bound(s)
		for _, c := range others {
			from := q.source(c.alias)
			if from != nil && from.unnest && !outside {
				return fmt.Sprintf("%s is joined with unnest alone: add %s.%s = ANY (…), so that only the shards of those are asked",
					s.table, s.alias, distributed()[s.table]), true
			}
		}
	}
	return "", false
}

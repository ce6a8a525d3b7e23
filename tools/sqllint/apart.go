package main

import (
	"fmt"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// apart: what is distributed by different columns lies on different nodes, and Citus joins it only by sending one of the two around.
func apart(q *query) (string, bool) {
	tables := q.tables()
	for _, s := range tables {
		if first := tables[0]; distributed()[s.table] != distributed()[first.table] {
			return fmt.Sprintf("%s lies by %s and %s by %s: read them one after the other on Citus",
				first.table, distributed()[first.table], s.table, distributed()[s.table]), true
		}
		if s.table == mixed {
			return "the view " + mixed + " joins what lies apart: read served_states and positions one after the other on Citus", true
		}
	}
	return "", false
}

// apartInsert: the same of what an INSERT reads, and where it writes.
func apartInsert(node *pg.Node) (string, bool) {
	insert := node.GetInsertStmt()
	into := distributed()[insert.GetRelation().GetRelname()]
	if into == "" {
		return "", false
	}
	for _, q := range queries(insert.SelectStmt) {
		for _, s := range q.tables() {
			if by := distributed()[s.table]; by != into {
				return fmt.Sprintf("rows of %s, which lie by %s, are made from %s, which lies by %s: read that before on Citus", insert.Relation.Relname, into, s.table, by), true
			}
		}
	}
	return "", false
}

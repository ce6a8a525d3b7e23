package main

import (
	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
)

// recursive: Citus takes a recursive query over several shards in no form.
func recursive(node *pg.Node) (text string, found bool) {
	walk(node, func(m proto.Message) bool {
		with, is := m.(*pg.WithClause)
		if !is || !with.Recursive {
			return true
		}
		for _, cte := range with.Ctes {
			all := queries(cte)
			for i := range all {
				for _, s := range all[i].tables() {
					if _, outside, _ := all[i].bound(s); !outside {
						text, found = "a recursive query over many of "+s.table+": ask in another way on Citus", true
					}
				}
			}
		}
		return true
	})
	return text, found
}

// conflictParameter: Citus runs the SELECT of an INSERT by itself, and what is done about rows that conflict on other
// nodes, without the parameters.
func conflictParameter(node *pg.Node) (string, bool) {
	insert := node.GetInsertStmt()
	if insert == nil || distributed()[insert.Relation.Relname] == "" || len(insert.SelectStmt.GetSelectStmt().GetValuesLists()) > 0 {
		return "", false
	}
	found := false
	walk(insert.OnConflictClause, func(m proto.Message) bool {
		switch v := m.(type) {
		case *pg.A_Expr: // @name is an operator to the parser
			found = found || v.Lexpr == nil && len(v.Name) == 1 && v.Name[0].GetString_().GetSval() == "@"
		case *pg.FuncCall: // sqlc.arg and sqlc.narg
			found = found || len(v.Funcname) == 2 && v.Funcname[0].GetString_().GetSval() == "sqlc"
		case *pg.ParamRef:
			found = true
		}
		return true
	})
	return "a parameter where rows conflict: take a column of excluded", found
}

// changesSelect: what an INSERT selects from distributed tables comes from a worker, and with it the number of the
// worker's transaction, which is the default of changes.xid.
func changesSelect(node *pg.Node) (string, bool) {
	into, reads := false, false
	walk(node, func(m proto.Message) bool {
		if insert, is := m.(*pg.InsertStmt); is && insert.Relation.Relname == "changes" && len(insert.SelectStmt.GetSelectStmt().GetValuesLists()) == 0 {
			into = true
		}
		if v, is := m.(*pg.RangeVar); is {
			reads = reads || distributed()[v.Relname] != ""
		}
		return true
	})
	return "changes are selected from a distributed table: their transaction would be a worker's. Insert values", into && reads
}

// lateralLimit: Citus refuses a lateral subquery with a LIMIT over a distributed table.
func lateralLimit(q *query) (string, bool) {
	for _, s := range q.from {
		if !s.lateral || s.query == nil || s.query.LimitCount == nil {
			continue
		}
		below := queryOf(s.query)
		for _, table := range below.tables() {
			if _, outside, _ := below.bound(table); !outside {
				return "a lateral subquery with a LIMIT over " + table.table + ": ask one by one on Citus", true
			}
		}
	}
	return "", false
}

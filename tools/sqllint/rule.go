package main

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
)

// finding is what is wrong with a statement.
type finding struct {
	line int
	rule string
	text string
}

// queryRules look at one query, at any depth.
func queryRules() map[string]func(*query) (string, bool) {
	return map[string]func(*query) (string, bool){
		"lock-many": lockMany, "lateral-sum": lateralSum, "lateral-limit": lateralLimit, "bare-correlated": bareCorrelated, "anti-join": antiJoin,
		"unnest-any": unnestAny, "apart": apart, "unnest-correlated": unnestCorrelated,
	}
}

// statementRules look at a whole statement.
func statementRules() map[string]func(*pg.Node) (string, bool) {
	return map[string]func(*pg.Node) (string, bool){
		"one-subcommand": oneSubcommand, "detach-concurrently": detachConcurrently, "session-state": sessionState,
		"generic-plan": genericPlan, "sql-function": sqlFunction, "key": key, "foreign-key": foreignKey,
		"recursive": recursive, "conflict-parameter": conflictParameter, "changes-select": changesSelect,
		"apart-insert": apartInsert, "conflict-function": conflictFunction, "write-function": writeFunction,
	}
}

// check looks at all statements of a file.
func check(text string) (list []finding, err error) {
	tree, err := pg.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	for _, raw := range tree.Stmts {
		end := int(raw.StmtLocation + raw.StmtLen)
		if raw.StmtLen == 0 {
			end = len(text)
		}
		own := text[raw.StmtLocation:end]
		start := int(raw.StmtLocation) + len(own) - len(afterComments(own))
		f := finding{line: 1 + strings.Count(text[:start], "\n")}
		allowed := allowances(own)
		add := func(rule, why string, found bool) {
			if found && !allowed[rule] && !allowed[plain] && !slices.Contains(list, finding{f.line, rule, why}) {
				list = append(list, finding{f.line, rule, why})
			}
		}
		for rule, look := range statementRules() {
			why, found := look(raw.Stmt)
			add(rule, why, found)
		}
		all := queries(raw.Stmt)
		for i := range all {
			for rule, look := range queryRules() {
				why, found := look(&all[i])
				add(rule, why, found)
			}
		}
	}
	slices.SortFunc(list, func(a, b finding) int {
		return cmp.Or(a.line-b.line, strings.Compare(a.rule, b.rule), strings.Compare(a.text, b.text))
	})
	return list, nil
}

// afterComments is a statement without the comments and the space before it.
func afterComments(text string) string {
	for {
		text = strings.TrimLeft(text, " \t\n\r")
		if !strings.HasPrefix(text, "--") {
			return text
		}
		_, text, _ = strings.Cut(text, "\n")
	}
}

// plain is no rule: a statement is asked of plain PostgreSQL only, and its reason says what is asked of Citus.
const plain = "plain"

var allowance = regexp.MustCompile(`(?m)^\s*-- citus: ([a-z-]+): \S`)

// allowances are the rules of which a statement says why it breaks them.
func allowances(text string) map[string]bool {
	rules := map[string]bool{}
	for _, match := range allowance.FindAllStringSubmatch(text, -1) {
		rules[match[1]] = true
	}
	return rules
}

// oneSubcommand: Citus refuses ALTER TABLE with several.
func oneSubcommand(node *pg.Node) (string, bool) {
	alter := node.GetAlterTableStmt()
	return "ALTER TABLE with several subcommands: one statement for each", alter != nil && len(alter.Cmds) > 1
}

// detachConcurrently: Citus knows neither CONCURRENTLY nor FINALIZE.
func detachConcurrently(node *pg.Node) (string, bool) {
	for _, cmd := range node.GetAlterTableStmt().GetCmds() {
		c := cmd.GetAlterTableCmd()
		if c.GetSubtype() == pg.AlterTableType_AT_DetachPartitionFinalize || c.GetDef().GetPartitionCmd().GetConcurrent() {
			return "DETACH PARTITION … CONCURRENTLY or FINALIZE: detach under lock_timeout", true
		}
	}
	return "", false
}

// sessionState: it strands behind a pooler, and other nodes do not have it.
func sessionState(node *pg.Node) (string, bool) {
	if set := node.GetVariableSetStmt(); set != nil && !set.IsLocal {
		return fmt.Sprintf("SET %s without LOCAL: it outlives the transaction", set.Name), true
	}
	if node.GetListenStmt() != nil {
		return "LISTEN: it belongs to one connection", true
	}
	if callsAnywhere(node, "pg_advisory_lock", "pg_advisory_lock_shared", "pg_try_advisory_lock", "pg_try_advisory_lock_shared", "pg_advisory_unlock") {
		return "a lock of the session: take the transaction's, pg_advisory_xact_lock, or a lease in a row", true
	}
	return "", false
}

// genericPlan: Citus plans a distributed query by its values.
func genericPlan(node *pg.Node) (string, bool) {
	set := node.GetVariableSetStmt()
	return "plan_cache_mode: Citus has to see the values", set != nil && set.Name == "plan_cache_mode"
}

// sqlFunction: Citus refuses functions in SQL with parameters over distributed tables.
func sqlFunction(node *pg.Node) (string, bool) {
	create := node.GetCreateFunctionStmt()
	if create == nil {
		return "", false
	}
	language, body := "", ""
	for _, option := range create.Options {
		d := option.GetDefElem()
		switch d.GetDefname() {
		case "language":
			language = d.Arg.GetString_().GetSval()
		case "as":
			for _, item := range d.Arg.GetList().GetItems() {
				body = item.GetString_().GetSval()
			}
		}
	}
	if !strings.EqualFold(language, "sql") {
		return "", false
	}
	tree, err := pg.Parse(body)
	if err != nil {
		return "its body cannot be parsed: " + err.Error(), true
	}
	for _, raw := range tree.Stmts {
		all := queries(raw.Stmt)
		for i := range all {
			if tables := all[i].tables(); len(tables) > 0 {
				return "a function in SQL over " + tables[0].table + ": a query, or work in Go", true
			}
		}
	}
	return "", false
}

// key: what is unique over nodes has to hold what says where a row lies; it leads, so that its index serves.
func key(node *pg.Node) (string, bool) {
	create := node.GetCreateStmt()
	if index := node.GetIndexStmt(); index != nil && index.Unique {
		column := distributed()[index.Relation.Relname]
		for _, param := range index.IndexParams {
			if param.GetIndexElem().GetName() == column {
				return "", false
			}
		}
		return fmt.Sprintf("a unique index of %s without %s", index.Relation.Relname, column), column != ""
	}
	if create == nil || distributed()[create.Relation.Relname] == "" {
		return "", false
	}
	column, found := distributed()[create.Relation.Relname], false
	var text string
	walk(create, func(m proto.Message) bool {
		c, is := m.(*pg.Constraint)
		if is && (c.Contype == pg.ConstrType_CONSTR_PRIMARY || c.Contype == pg.ConstrType_CONSTR_UNIQUE) &&
			(len(c.Keys) == 0 || c.Keys[0].GetString_().GetSval() != column) {
			text, found = fmt.Sprintf("a key of %s that does not begin with %s", create.Relation.Relname, column), true
		}
		return true
	})
	return text, found
}

// foreignKey: one between a local and a distributed table cannot be kept.
func foreignKey(node *pg.Node) (text string, found bool) {
	own := node.GetCreateStmt().GetRelation().GetRelname()
	if own == "" {
		own = node.GetAlterTableStmt().GetRelation().GetRelname()
	}
	walk(node, func(m proto.Message) bool {
		c, is := m.(*pg.Constraint)
		if is && c.Contype == pg.ConstrType_CONSTR_FOREIGN && (distributed()[own] != "" || distributed()[c.Pktable.GetRelname()] != "") {
			text, found = fmt.Sprintf("a foreign key from %s to %s", own, c.Pktable.GetRelname()), true
		}
		return true
	})
	return text, found
}

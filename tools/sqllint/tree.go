package main

import (
	"slices"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// walk visits a node and all below it, but for what lies below those of which visit says false.
func walk(node proto.Message, visit func(proto.Message) bool) {
	if node == nil || !node.ProtoReflect().IsValid() || !visit(node) {
		return
	}
	node.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if field.Message() == nil || field.IsMap() {
			return true
		}
		if field.IsList() {
			for i := range value.List().Len() {
				walk(value.List().Get(i).Message().Interface(), visit)
			}
			return true
		}
		walk(value.Message().Interface(), visit)
		return true
	})
}

// within visits the nodes of one query, and none of those below it that are queries of their own.
func within(node proto.Message, visit func(proto.Message)) {
	walk(node, func(m proto.Message) bool {
		if _, below := m.(*pg.SelectStmt); below && m != node {
			return false
		}
		visit(m)
		return true
	})
}

// source is what a query reads from under a name.
type source struct {
	alias, table string // table is empty where it is no table, and of a CTE
	query        *pg.SelectStmt
	lateral      bool
	nullable     bool // the other side of an outer join
	unnest       bool // its rows are elements of arrays
}

// sources are what a FROM names, and conditions its join conditions.
func sources(from []*pg.Node, ctes map[string]bool) (list []source, conditions []*pg.Node) {
	var add func(node *pg.Node, nullable bool)
	add = func(node *pg.Node, nullable bool) {
		switch {
		case node.GetRangeVar() != nil:
			v := node.GetRangeVar()
			s := source{alias: v.Relname, nullable: nullable}
			if v.Alias != nil {
				s.alias = v.Alias.Aliasname
			}
			if !ctes[v.Relname] {
				s.table = v.Relname
			}
			list = append(list, s)
		case node.GetRangeSubselect() != nil:
			v := node.GetRangeSubselect()
			s := source{query: v.Subquery.GetSelectStmt(), lateral: v.Lateral, nullable: nullable}
			s.unnest = calls(s.query, "unnest")
			if v.Alias != nil {
				s.alias = v.Alias.Aliasname
			}
			list = append(list, s)
		case node.GetRangeFunction() != nil:
			v := node.GetRangeFunction()
			s := source{nullable: nullable, unnest: calls(v, "unnest")}
			if v.Alias != nil {
				s.alias = v.Alias.Aliasname
			}
			list = append(list, s)
		case node.GetJoinExpr() != nil:
			v := node.GetJoinExpr()
			add(v.Larg, nullable || v.Jointype == pg.JoinType_JOIN_RIGHT || v.Jointype == pg.JoinType_JOIN_FULL)
			add(v.Rarg, nullable || v.Jointype == pg.JoinType_JOIN_LEFT || v.Jointype == pg.JoinType_JOIN_FULL)
			if v.Quals != nil {
				conditions = append(conditions, v.Quals)
			}
		}
	}
	for _, node := range from {
		add(node, false)
	}
	return list, conditions
}

// column is a column that a query names, with the alias that it says, if any.
type column struct{ alias, name string }

func columnOf(node *pg.Node) (c column, found bool) {
	if node.GetTypeCast() != nil {
		return columnOf(node.GetTypeCast().Arg)
	}
	ref := node.GetColumnRef()
	if ref == nil {
		return c, false
	}
	var names []string
	for _, field := range ref.Fields {
		if field.GetString_() == nil {
			return c, false
		}
		names = append(names, field.GetString_().Sval)
	}
	switch len(names) {
	case 1:
		return column{"", names[0]}, true
	case 2:
		return column{names[0], names[1]}, true
	default:
		return c, false
	}
}

// equality is that a column is something, or one of something where any is true.
type equality struct {
	left  column
	right *pg.Node
	any   bool
}

// equalities are those that have to hold for a row: parts of the conditions, joined by AND.
func equalities(conditions ...*pg.Node) (list []equality) {
	for _, node := range conditions {
		switch {
		case node == nil:
		case node.GetBoolExpr() != nil && node.GetBoolExpr().Boolop == pg.BoolExprType_AND_EXPR:
			list = append(list, equalities(node.GetBoolExpr().Args...)...)
		case node.GetAExpr() != nil:
			e := node.GetAExpr()
			anyOf := e.Kind == pg.A_Expr_Kind_AEXPR_OP_ANY || e.Kind == pg.A_Expr_Kind_AEXPR_IN
			if nameOf(e.Name) != "=" || !anyOf && e.Kind != pg.A_Expr_Kind_AEXPR_OP {
				continue
			}
			if c, found := columnOf(e.Lexpr); found {
				list = append(list, equality{c, e.Rexpr, anyOf})
			}
			if c, found := columnOf(e.Rexpr); found && !anyOf {
				list = append(list, equality{c, e.Lexpr, false})
			}
		case node.GetSubLink() != nil && node.GetSubLink().SubLinkType == pg.SubLinkType_ANY_SUBLINK:
			if c, found := columnOf(node.GetSubLink().Testexpr); found {
				list = append(list, equality{c, node.GetSubLink().Subselect, true})
			}
		}
	}
	return list
}

// nameOf joins a name of several parts.
func nameOf(parts []*pg.Node) string {
	names := make([]string, 0, len(parts))
	for _, part := range parts {
		names = append(names, part.GetString_().GetSval())
	}
	return strings.Join(names, ".")
}

// calls reports whether a query calls one of some functions; the queries below it do not count.
func calls(query proto.Message, names ...string) (found bool) {
	within(query, func(m proto.Message) { found = found || isCall(m, names) })
	return found
}

// callsAnywhere is calls with the queries below.
func callsAnywhere(statement proto.Message, names ...string) (found bool) {
	walk(statement, func(m proto.Message) bool {
		found = found || isCall(m, names)
		return true
	})
	return found
}

func isCall(m proto.Message, names []string) bool {
	call, is := m.(*pg.FuncCall)
	return is && slices.Contains(names, strings.TrimPrefix(nameOf(call.Funcname), "pg_catalog."))
}

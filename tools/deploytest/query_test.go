package deploytest_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"
)

// TestQueries holds what dashboard and alerts ask to what a serving Readmark exposes.
func TestQueries(t *testing.T) {
	t.Parallel()
	found := exposed(t)
	t.Run("dashboard", func(t *testing.T) {
		t.Parallel()
		for _, target := range dashboardTargets(t) {
			used, err := found.check(target.query)
			require.NoError(t, err, target.Expr)
			for _, match := range regexp.MustCompile(`{{(\w+)}}`).FindAllStringSubmatch(target.LegendFormat, -1) {
				require.Contains(t, used, match[1], "the legend of %s", target.Expr)
			}
		}
	})
	t.Run("alerts", func(t *testing.T) {
		t.Parallel()
		for _, rule := range alerts(t) {
			_, err := found.check(rule.Expr)
			require.NoError(t, err, rule.Alert)
		}
	})
	t.Run("mistakes are seen", func(t *testing.T) {
		t.Parallel()
		for query, want := range map[string]string{
			"readmark_calbacks_total":                                  "no metric readmark_calbacks_total",
			`rate(readmark_callbacks_total{outcome="failed"}[5m])`:     "no label outcome",
			`rate(readmark_callbacks_total{result="lost"}[5m])`:        "no series with result",
			`rate(readmark_callbacks_total{result=~"lost|gone"}[5m])`:  "no series with result",
			`readmark_condition{part=~"database|shema"}`:               "no series with part",
			`rate(readmark_api_requests_total{code=~"6.."}[5m])`:       "no series with code",
			`rate(readmark_api_requests_total{code!="607"}[5m])`:       "no series with code",
			`rate(readmark_api_requests_total{code!~"6.."}[5m])`:       "no series with code",
			`readmark_spool_bytes{instance=~"$instance"}`:              "no series with instance",
			"sum by (group) (rate(readmark_callbacks_total[5m]))":      "no label group",
			"rate(readmark_spool_bytes[5m])":                           "is no counter",
			"histogram_quantile(0.9, readmark_spool_bytes)":            "is no histogram's bucket",
			"sum(readmark_spool_bytes) by (instance":                   "unclosed left parenthesis",
			"process_start_time_seconds{job=\"another\"}":              "no series with job",
			"sum without (grp) (readmark_spool_bytes)":                 "no label grp",
			"readmark_spool_bytes * on (pod) readmark_spool_max_bytes": "no label pod",
		} {
			_, err := found.check(query)
			require.ErrorContains(t, err, want, query)
		}
	})
}

// check parses a query, and says what of it is not there. It gives the labels that its answer may
// have.
func (m metrics) check(query string) (used map[string]bool, err error) {
	root, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	used = map[string]bool{}
	var asked []string // labels outside of selectors
	problem := func(format string, values ...any) {
		if err == nil {
			err = fmt.Errorf(format, values...)
		}
	}
	parser.Inspect(root, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			m.checkSelector(n, used, problem)
		case *parser.AggregateExpr:
			asked = append(asked, n.Grouping...)
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				asked = append(asked, n.VectorMatching.MatchingLabels...)
				asked = append(asked, n.VectorMatching.Include...)
			}
		case *parser.Call:
			m.checkCall(n, problem)
		}
		return nil
	})
	for _, label := range asked {
		if !used[label] {
			problem("no label %s", label)
		}
	}
	return used, err
}

func (m metrics) checkSelector(n *parser.VectorSelector, used map[string]bool, problem func(string, ...any)) {
	known, there := m[n.Name]
	if !there {
		problem("no metric %s", n.Name)
		return
	}
	for label := range known.labels {
		used[label] = true
	}
	for _, matcher := range n.LabelMatchers {
		if matcher.Name == model.MetricNameLabel {
			continue
		}
		values, there := known.labels[matcher.Name]
		if !there {
			problem("no label %s of %s", matcher.Name, n.Name)
		}
		for _, pattern := range patterns(matcher) {
			if !slices.ContainsFunc(slices.Collect(maps.Keys(values)), pattern.MatchString) {
				problem("no series with %s", matcher)
			}
		}
	}
}

// patterns gives what a matcher names, be it to have it or to leave it out: for each of them there
// must be a series. Of an expression these are its alternatives.
func patterns(matcher *labels.Matcher) []*regexp.Regexp {
	named := []string{regexp.QuoteMeta(matcher.Value)}
	if matcher.Type == labels.MatchRegexp || matcher.Type == labels.MatchNotRegexp {
		named = strings.Split(matcher.Value, "|")
		if strings.Contains(matcher.Value, "(") { // whose bars are not all the expression's own
			named = []string{matcher.Value}
		}
	}
	list := make([]*regexp.Regexp, len(named))
	for i, name := range named {
		list[i] = regexp.MustCompile("^(?:" + name + ")$") // as Prometheus does
	}
	return list
}

// checkCall holds functions to the kind of metric that they are for.
func (m metrics) checkCall(n *parser.Call, problem func(string, ...any)) {
	var names []string
	parser.Inspect(n, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok && m[selector.Name].labels != nil {
			names = append(names, selector.Name)
		}
		return nil
	})
	for _, name := range names {
		kind := m[name].kind
		switch n.Func.Name {
		case "rate", "increase", "irate":
			if kind != dto.MetricType_COUNTER && kind != dto.MetricType_HISTOGRAM {
				problem("%s of %s, which is no counter", n.Func.Name, name)
			}
		case "histogram_quantile":
			if !strings.HasSuffix(name, "_bucket") {
				problem("%s of %s, which is no histogram's bucket", n.Func.Name, name)
			}
		}
	}
}

// alerts parses the alert rules as Prometheus does.
func alerts(t testing.TB) []rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.Parse([]byte(read(t, "prometheus", "alerts.yml")), false, model.LegacyValidation,
		parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	require.Empty(t, errs)
	var list []rulefmt.Rule
	for _, group := range groups.Groups {
		list = append(list, group.Rules...)
	}
	require.NotEmpty(t, list)
	return list
}

// target is a query of a panel.
type target struct {
	Expr, LegendFormat string
	query              string // with Grafana's variables replaced
}

type panel struct {
	ID          int
	Type, Title string
	GridPos     struct{ H, W, X, Y int }
	Targets     []target
}

// dashboardTargets gives the queries of all panels, and of the variables.
func dashboardTargets(t testing.TB) []target {
	t.Helper()
	var dashboard struct {
		UID, Title string
		Templating struct {
			List []struct{ Name, Type, Definition string }
		}
		Panels []panel
	}
	require.NoError(t, json.Unmarshal([]byte(read(t, "grafana", "readmark.json")), &dashboard))
	require.Equal(t, "readmark", dashboard.UID)
	replacer := strings.NewReplacer("$__rate_interval", "5m", "$__range", "3h")
	var targets []target
	for _, variable := range dashboard.Templating.List {
		if variable.Type == "query" {
			replacer = strings.NewReplacer("$__rate_interval", "5m", "$__range", "3h", "$job", ".+", "$instance", ".+")
			selector, label, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(variable.Definition, "label_values("), ")"), ", ")
			targets = append(targets, target{Expr: variable.Definition, LegendFormat: "{{" + label + "}}", query: replacer.Replace(selector)})
		}
	}
	ids, cells := map[int]bool{}, map[[2]int]string{}
	for _, p := range dashboard.Panels {
		require.False(t, ids[p.ID], "two panels of ID %d", p.ID)
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				require.Empty(t, cells[[2]int{x, y}], "%s lies on another panel", p.Title)
				cells[[2]int{x, y}] = p.Title
				require.Less(t, x, 24, "Grafana has 24 columns")
			}
		}
		require.NotEmpty(t, p.Title)
		require.Equal(t, p.Type == "row", len(p.Targets) == 0, p.Title)
		for _, one := range p.Targets {
			one.query = replacer.Replace(one.Expr)
			require.NotContains(t, one.query, "$", "a variable that the dashboard does not have")
			require.Contains(t, one.Expr, `job=~"$job",instance=~"$instance"`, p.Title)
			targets = append(targets, one)
		}
	}
	require.Greater(t, len(targets), 40)
	return targets
}

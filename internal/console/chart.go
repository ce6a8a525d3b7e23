package console

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-analyze/charts"
)

// Charts are drawn in these units; the browser scales them.
const (
	halfWidth   = 600 // beside another one
	fullWidth   = 1180
	chartHeight = 230
	chartFont   = 10.0 // points
	labelRoom   = 85   // for one label of the time
	gridLines   = 5    // at most, above zero
	// stepWidth is how often each value of a step chart is drawn, so that steps are steep.
	stepWidth = 6
)

// series are the bars of one kind.
type series struct {
	Name   string
	Values []float64
}

// chart is a picture and what it shows in words.
type chart struct {
	SVG     template.HTML
	Legend  []string // names in the order of their colours; none where there is one line
	Summary string
	Bars    bool
}

// theme has a colour of its own for each part, which [restyle] turns into a class: the stylesheet knows
// whether it is light or dark.
func theme() charts.ColorPalette {
	lines := make([]charts.Color, maxSeries)
	for i := range lines {
		lines[i] = charts.ColorRGB(seriesMark+uint8(i), 0, 0)
	}
	return charts.MakeTheme(charts.ThemeOption{
		AxisStrokeColor: charts.ColorRGB(axisMark, axisMark, axisMark), AxisSplitLineColor: charts.ColorRGB(gridMark, gridMark, gridMark),
		TextColor: charts.ColorRGB(textMark, textMark, textMark), BackgroundColor: charts.ColorTransparent, SeriesColors: lines,
	})
}

func newPainter(width int) *charts.Painter {
	return charts.NewPainter(charts.PainterOptions{OutputFormat: charts.ChartOutputSVG, Width: width, Height: chartHeight, Theme: theme()})
}

// font is that of all labels. The stylesheet chooses its family.
func font() charts.FontStyle {
	return charts.FontStyle{FontSize: chartFont, FontColor: charts.ColorRGB(textMark, textMark, textMark)}
}

// valueAxis has whole numbers from zero on, with lines at round ones.
func valueAxis(largest float64) charts.YAxisOption {
	step := roundStep(largest)
	lines := max(1, math.Ceil(largest/step))
	return charts.YAxisOption{
		Min: charts.Ptr(0.0), Max: charts.Ptr(step * lines), Unit: step, LabelCount: int(lines) + 1, RangeValuePaddingScale: charts.Ptr(0.0),
		LabelFontStyle: font(), PreferNiceIntervals: charts.Ptr(false),
		ValueFormatter: func(v float64) string { return number(int64(math.Round(v))) },
	}
}

// roundStep gives 1, 2 or 5, or ten, a hundred … times that, so that a few of them reach the largest value.
func roundStep(largest float64) float64 {
	step := 1.0
	for {
		for _, times := range []float64{1, 2, 5} {
			if largest <= step*times*gridLines {
				return step * times
			}
		}
		step *= 10
	}
}

// maxSeries is how many lines a chart may have.
const maxSeries = 6

// padding is around a chart.
func padding() charts.Box { return charts.Box{Top: 12, Left: 4, Right: 18, Bottom: 4} }

// lineChart draws a line.
func lineChart(width int, summary string, labels []string, values []float64) (chart, error) {
	largest := 0.0
	for _, v := range values {
		if v != charts.GetNullValue() {
			largest = max(largest, v)
		}
	}
	option := charts.NewLineChartOptionWithData([][]float64{values})
	option.Theme = theme()
	option.Padding = padding()
	option.Symbol = charts.Symbol{Shape: charts.SymbolNone}
	option.LineStrokeWidth = 2
	option.FillArea, option.FillOpacity = charts.Ptr(true), 40
	option.Legend.Show = charts.Ptr(false)
	option.XAxis = charts.XAxisOption{Labels: labels, LabelCount: width / labelRoom, LabelFontStyle: font(), BoundaryGap: charts.Ptr(false)}
	option.YAxis = []charts.YAxisOption{valueAxis(largest)}
	painter := newPainter(width)
	if err := painter.LineChart(option); err != nil {
		return chart{}, fmt.Errorf("draw a line chart: %w", err)
	}
	return chart{Summary: summary}.drawn(painter)
}

// barChart draws a bar for each label, of which at most so many are written; several series stand upon each other.
func barChart(summary string, labels []string, written int, lines ...series) (chart, error) {
	c := chart{Summary: summary, Bars: true}
	values, sums := make([][]float64, len(lines)), make([]float64, len(labels))
	for i, line := range lines {
		values[i] = line.Values
		for at, v := range line.Values {
			sums[at] += v
		}
		if len(lines) > 1 {
			c.Legend = append(c.Legend, line.Name)
		}
	}
	option := charts.NewBarChartOptionWithData(values)
	option.Theme = theme()
	option.Padding = padding()
	option.Legend.Show = charts.Ptr(false)
	option.StackSeries = charts.Ptr(len(lines) > 1)
	option.BarSize = 0.7
	option.CategoryAxis = charts.CategoryAxisOption{Labels: labels, LabelCount: written, LabelFontStyle: font()}
	option.ValueAxis = []charts.ValueAxisOption{valueAxis(slices.Max(sums))}
	painter := newPainter(halfWidth)
	if err := painter.BarChart(option); err != nil {
		return c, fmt.Errorf("draw a bar chart: %w", err)
	}
	return c.drawn(painter)
}

func (c chart) drawn(painter *charts.Painter) (chart, error) {
	text, err := painter.Bytes()
	if err != nil {
		return c, fmt.Errorf("draw a chart: %w", err)
	}
	restyled, err := restyle(text, c.Summary)
	if err != nil {
		return c, fmt.Errorf("restyle a chart: %w", err)
	}
	c.SVG = template.HTML(restyled) //nolint:gosec // made of an allowed list of elements, all texts escaped
	return c, nil
}

// stepChart draws a number over time: what was not known is left out.
func stepChart(width int, what string, moments []time.Time, numbers []Number) (chart, error) {
	var values []float64
	var labels []string
	known, least, most, last := 0, int64(math.MaxInt64), int64(0), int64(0)
	names := timeLabels(moments)
	for i, n := range numbers {
		value := charts.GetNullValue()
		if n.Known {
			value = float64(n.Value)
			known, least, most, last = known+1, min(least, n.Value), max(most, n.Value), n.Value
		}
		for range stepWidth {
			values, labels = append(values, value), append(labels, names[i])
		}
	}
	if known == 0 {
		return chart{}, nil
	}
	summary := what + ": between " + number(least) + " and " + number(most) + ", now " + number(last)
	return lineChart(width, summary, labels, values)
}

// timeLabels writes moments as short as they can be told apart.
func timeLabels(moments []time.Time) []string {
	layout := "15:04"
	if len(moments) > 1 {
		switch span := moments[len(moments)-1].Sub(moments[0]); {
		case span > 3*24*time.Hour:
			layout = "Jan 2"
		case span > 24*time.Hour:
			layout = "Jan 2 15:04"
		}
	}
	labels := make([]string, len(moments))
	for i, at := range moments {
		labels[i] = at.UTC().Format(layout)
	}
	return labels
}

// spread gives moments at equal distances up to and including until.
func spread(until time.Time, span time.Duration, n int) []time.Time {
	moments := make([]time.Time, n)
	for i := range moments {
		moments[i] = until.Add(-span * time.Duration(n-1-i) / time.Duration(n-1))
	}
	return moments
}

// span is how much time a chart shows.
type span struct {
	Name, Title, Address string
	Current              bool
	duration             time.Duration
}

// spans gives the choices for a page, of which one is chosen.
func (r *request) spans(page string, parameters ...string) (list []span, chosen time.Duration) {
	asked := r.query.Get("span")
	list = []span{
		{Name: "1h", Title: "hour", duration: time.Hour},
		{Name: "24h", Title: "day", duration: 24 * time.Hour},
		{Name: "7d", Title: "week", duration: 7 * 24 * time.Hour},
		{Name: "30d", Title: "month", duration: 30 * 24 * time.Hour},
	}
	current := 1
	for i := range list {
		if list[i].Name == asked {
			current = i
		}
		list[i].Address = address(page, append(append([]string{}, parameters...), "span", list[i].Name)...)
	}
	list[current].Current = true
	return list, list[current].duration
}

// buckets are the ranges that a histogram counts in.
func buckets(counts []int64) (labels []string, values []float64) {
	bounds := []int64{0, 1, 5, 10, 20, 50, 100, 500, 1000, math.MaxInt64}
	used := 0
	values = make([]float64, len(bounds))
	for _, count := range counts {
		for i := len(bounds) - 1; i >= 0; i-- {
			if count >= lower(bounds, i) {
				values[i]++
				used = max(used, i)
				break
			}
		}
	}
	for i := range used + 1 {
		labels = append(labels, bucketLabel(bounds, i))
	}
	return labels, values[:used+1]
}

// lower is the least count of a bucket: bounds are the largest ones.
func lower(bounds []int64, i int) int64 {
	if i == 0 {
		return 0
	}
	return bounds[i-1] + 1
}

func bucketLabel(bounds []int64, i int) string {
	from := lower(bounds, i)
	switch {
	case from == bounds[i]:
		return strconv.FormatInt(from, 10)
	case bounds[i] == math.MaxInt64:
		return "over " + number(bounds[i-1])
	default:
		return strings.Join([]string{number(from), number(bounds[i])}, "–")
	}
}

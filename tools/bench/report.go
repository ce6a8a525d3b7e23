package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// report is what a run found; marshalled it holds every figure.
type report struct {
	Seed         uint64        `json:"seed"`
	States       int64         `json:"states"`
	Rounds       int           `json:"rounds"`
	Seconds      float64       `json:"secondsEach"`
	Generator    string        `json:"generator"`
	About        []string      `json:"about"`
	Contestants  [][2]string   `json:"contestants"`
	Table        []measurement `json:"table"`
	Messages     []message     `json:"messages"`
	Growth       []measurement `json:"growth"`
	Reads        []read        `json:"reads"`
	Alone        []read        `json:"readsAlone"`
	Mixed        []mixed       `json:"mixed"`
	Told         []told        `json:"told"`
	Subscribed   []subscribed  `json:"subscribed"`
	Sizes        []string      `json:"sizes"`
	PeakMemoryMB float64       `json:"readmarkPeakMemoryMB"`
	Warnings     []string      `json:"readmarkWarnings"`
}

// String is the report for people.
func (r *report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nmedians of %d round(s) of %gs each, interleaved, %d states\n\n", r.Rounds, r.Seconds, r.States)
	if len(r.Table) > 0 {
		b.WriteString(align(r.tableRows()))
		b.WriteString("\ngoals\n\n")
		b.WriteString(align(r.goalRows()))
		b.WriteString("\ncallbacks of messages, 64 connections\n\n")
		b.WriteString(align(r.messageRows()))
	}
	if len(r.Reads) > 0 {
		b.WriteString("\nreads beside a constant answer of the same size, 64 connections\n\n")
		b.WriteString(align(r.readRows()))
		b.WriteString("\nreads alone\n\n")
		b.WriteString(align(r.aloneRows()))
		b.WriteString("\ncallbacks at full speed\n\n")
		b.WriteString(align(r.mixedRows()))
		b.WriteString("\n" + strings.Join(r.Sizes, "\n") + "\n")
	}
	if len(r.Told) > 0 {
		b.WriteString("\nfrom a callback's answer to a subscriber\n\n")
		b.WriteString(align(r.toldRows()))
		fmt.Fprintf(&b, "\ncallbacks at full speed, 64 connections, beside %d subscribers of a user each\n\n", feedSubscribers)
		b.WriteString(align(r.subscribedRows()))
	}
	if len(r.Growth) > 0 {
		b.WriteString("\nReadmark as it grows\n\n")
		b.WriteString(align(r.growthRows()))
	}
	memory := "unknown"
	if r.PeakMemoryMB > 0 {
		memory = fmt.Sprintf("%.0f MB", r.PeakMemoryMB)
	}
	fmt.Fprintf(&b, "\npeak memory of Readmark: %s\nwarnings of Readmark: %s\nseed: %d (-seed repeats this load)\n",
		memory, strings.Join(append(r.Warnings, strconv.Itoa(len(r.Warnings))+" in all"), "; "), r.Seed)
	for _, line := range r.About {
		b.WriteString(line + "\n")
	}
	return b.String()
}

// align makes a table of rows.
func align(rows [][]string) string {
	var b strings.Builder
	for _, row := range rows {
		b.WriteString(strings.Join(row, "\t") + "\t\n")
	}
	var aligned strings.Builder
	w := tabwriter.NewWriter(&aligned, 0, 0, 2, ' ', 0)
	// A strings.Builder takes everything.
	_, _ = w.Write([]byte(b.String()))
	_ = w.Flush()
	return aligned.String()
}

// typical gives the medians over the rounds; false when there are no figures.
func typical(all []measurement, contestant string, states int64, connections int) (measurement, bool) {
	var rates, p50s, p99s, wal, program, postgres, generator []float64
	for _, m := range all {
		if m.Contestant == contestant && m.Connections == connections && m.States == states {
			rates, p50s, p99s = append(rates, m.Rate), append(p50s, m.P50), append(p99s, m.P99)
			wal = append(wal, m.WALBytes)
			program, postgres, generator = append(program, m.ProgramCPU), append(postgres, m.PostgresCPU), append(generator, m.GeneratorCPU)
		}
	}
	if len(rates) == 0 {
		return measurement{}, false
	}
	return measurement{
		figures: figures{
			Rate: median(rates), P50: median(p50s), P99: median(p99s),
			ProgramCPU: median(program), PostgresCPU: median(postgres), GeneratorCPU: median(generator),
		}, WALBytes: median(wal),
	}, true
}

// median of at least one value.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

func (r *report) tableRows() [][]string {
	rows := [][]string{{"connections", "contestant", "callbacks/s", "p50 ms", "p99 ms", "×(a)", "×(b)", "×(c)", "CPU µs", "PostgreSQL", "generator"}}
	for _, connections := range []int{2, 64, 256} {
		for _, c := range r.Contestants {
			f, _ := typical(r.Table, c[0], r.States, connections)
			row := []string{
				strconv.Itoa(connections), "(" + c[0] + ") " + c[1],
				fmt.Sprintf("%.0f", f.Rate), fmt.Sprintf("%.2f", f.P50), fmt.Sprintf("%.2f", f.P99),
			}
			for _, other := range []string{"a", "b", "c"} {
				o, found := typical(r.Table, other, r.States, connections)
				row = append(row, ratio(f.Rate, o.Rate, found))
			}
			row = append(row, f.cpu()...)
			rows = append(rows, row)
		}
	}
	return rows
}

func ratio(a, b float64, found bool) string {
	if !found || b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", a/b)
}

// goal is a bound on a figure.
type goal struct {
	text    string
	value   float64
	bound   float64
	atMost  bool
	unknown bool
	unit    string
}

func (g goal) row() []string {
	sign, verdict := "≥", "missed"
	met := g.value >= g.bound
	if g.atMost {
		sign, met = "≤", g.value <= g.bound
	}
	if met {
		verdict = "met"
	}
	measured := fmt.Sprintf("%.2f%s", g.value, g.unit)
	if g.unknown {
		verdict, measured = "unknown", "-"
	}
	return []string{verdict, g.text, measured, fmt.Sprintf("%s %g%s", sign, g.bound, g.unit)}
}

func (r *report) goalRows() [][]string {
	goals := []goal{
		r.against("a", 256, 0.48), r.against("c", 64, 1.5),
	}
	d2, _ := typical(r.Table, "d", r.States, 2)
	b2, found := typical(r.Table, "b", r.States, 2)
	d256, measured := typical(r.Table, "d", r.States, 256)
	goals = append(goals,
		goal{text: "p50 at 2 connections, × (b)", value: d2.P50 / b2.P50, bound: 1.35, atMost: true, unknown: !found},
		goal{text: "p99 at 256 connections", value: d256.P99, bound: 25, atMost: true, unit: " ms", unknown: !measured},
		goal{text: "peak memory", value: r.PeakMemoryMB, bound: 600, atMost: true, unit: " MB", unknown: r.PeakMemoryMB == 0})
	if sizes := r.sizes(); len(sizes) == 2 {
		for _, connections := range []int{64, 256} {
			small, _ := typical(r.Growth, "d", sizes[0], connections)
			large, _ := typical(r.Growth, "d", sizes[1], connections)
			goals = append(goals, goal{
				text:  fmt.Sprintf("rate with %d states at %d connections, × that with %d", sizes[1], connections, sizes[0]),
				value: large.Rate / small.Rate, bound: 0.83,
			})
		}
	}
	rows := make([][]string, len(goals))
	for i, g := range goals {
		rows[i] = g.row()
	}
	return rows
}

// against compares Readmark's rate with another's.
func (r *report) against(other string, connections int, bound float64) goal {
	d, _ := typical(r.Table, "d", r.States, connections)
	o, found := typical(r.Table, other, r.States, connections)
	return goal{
		text:  fmt.Sprintf("rate at %d connections, × (%s)", connections, other),
		value: d.Rate / o.Rate, bound: bound, unknown: !found || o.Rate == 0,
	}
}

// messageRows is the table of message callbacks beside receipts.
func (r *report) messageRows() [][]string {
	rows := [][]string{{"callbacks", "per second", "× receipts", "goal", "p50 ms", "p99 ms", "CPU µs", "PostgreSQL", "generator"}}
	of := func(kind string) (f figures) {
		var all [6][]float64
		for _, m := range r.Messages {
			if m.Kind == kind {
				for i, v := range []float64{m.Rate, m.P50, m.P99, m.ProgramCPU, m.PostgresCPU, m.GeneratorCPU} {
					all[i] = append(all[i], v)
				}
			}
		}
		if len(all[0]) > 0 {
			f = figures{
				Rate: median(all[0]), P50: median(all[1]), P99: median(all[2]),
				ProgramCPU: median(all[3]), PostgresCPU: median(all[4]), GeneratorCPU: median(all[5]),
			}
		}
		return f
	}
	receipts := of("")
	for _, one := range []struct{ kind, name, goal string }{{"", "receipts", ""}, {kindAnnounced, kindAnnounced, "≥ 0.7"}, {kindStored, kindStored, "≥ 0.7"}} {
		f := of(one.kind)
		row := []string{one.name, fmt.Sprintf("%.0f", f.Rate), ratio(f.Rate, receipts.Rate, true), one.goal, fmt.Sprintf("%.2f", f.P50), fmt.Sprintf("%.2f", f.P99)}
		rows = append(rows, append(row, f.cpu()...))
	}
	return rows
}

// sizes are the numbers of states of the growth, in order.
func (r *report) sizes() []int64 {
	var sizes []int64
	for _, m := range r.Growth {
		sizes = append(sizes, m.States)
	}
	slices.Sort(sizes)
	return slices.Compact(sizes)
}

func (r *report) growthRows() [][]string {
	rows := [][]string{{"states", "connections", "callbacks/s", "p50 ms", "p99 ms", "WAL bytes/callback"}}
	for _, states := range r.sizes() {
		for _, connections := range []int{64, 256} {
			f, _ := typical(r.Growth, "d", states, connections)
			rows = append(rows, []string{
				strconv.FormatInt(states, 10), strconv.Itoa(connections),
				fmt.Sprintf("%.0f", f.Rate), fmt.Sprintf("%.2f", f.P50), fmt.Sprintf("%.2f", f.P99), fmt.Sprintf("%.0f", f.WALBytes),
			})
		}
	}
	return rows
}

// machine describes where the run took place.
func machine() string {
	text := fmt.Sprintf("%d CPUs, %s/%s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, after, found := strings.Cut(string(info), "model name"); found {
			model, _, _ := strings.Cut(after, "\n")
			text += ", " + strings.TrimLeft(model, "\t: ")
		}
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		text += ", kernel " + strings.TrimSpace(string(release))
	}
	return text
}

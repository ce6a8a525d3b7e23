package main

import (
	"fmt"
	"strconv"
)

// readGoal is how many of a constant answer's requests a kind of read is to reach, fresh and with
// 5 ms of staleness.
type readGoal struct {
	kind         string
	fresh, stale float64
}

func readGoals() []readGoal {
	return []readGoal{{"pair", 0.55, 0.65}, {"304", 0.65, 0.8}, {"badge", 0.55, 0.65}}
}

// readRows is the table of reads beside constant answers, medians over the rounds.
func (r *report) readRows() [][]string {
	rows := [][]string{{"read", "bytes", "constant/s", "per second", "ratio", "goal", "p50 ms", "p99 ms", "CPU µs", "PostgreSQL", "generator", "constant's CPU µs"}}
	for _, one := range readGoals() {
		for _, stale := range []bool{false, true} {
			rows = append(rows, r.readRow(one, stale))
		}
	}
	return rows
}

func (r *report) readRow(one readGoal, stale bool) []string {
	var constant, rate, ratio, p50, p99, program, postgres, generator, beside []float64
	size, name, bound := 0, one.kind, one.fresh
	if stale {
		name, bound = one.kind+", 5 ms", one.stale
	}
	for _, m := range r.Reads {
		if m.Kind != one.kind {
			continue
		}
		f := m.Readmark
		if stale {
			f = m.Stale
		}
		constant, rate, ratio = append(constant, m.Constant.Rate), append(rate, f.Rate), append(ratio, f.Rate/m.Constant.Rate)
		p50, p99, size = append(p50, f.P50), append(p99, f.P99), m.Bytes
		program, postgres, generator = append(program, f.ProgramCPU), append(postgres, f.PostgresCPU), append(generator, f.GeneratorCPU)
		beside = append(beside, m.Constant.ProgramCPU)
	}
	return []string{
		name, strconv.Itoa(size), fmt.Sprintf("%.0f", median(constant)), fmt.Sprintf("%.0f", median(rate)),
		fmt.Sprintf("%.2f", median(ratio)), fmt.Sprintf("≥ %g", bound), fmt.Sprintf("%.2f", median(p50)), fmt.Sprintf("%.2f", median(p99)),
		fmt.Sprintf("%.0f", median(program)), fmt.Sprintf("%.0f", median(postgres)), fmt.Sprintf("%.0f", median(generator)),
		fmt.Sprintf("%.0f", median(beside)),
	}
}

// aloneGoals bound the medians of what is measured alone, in milliseconds.
func aloneGoals() map[string]string { return map[string]string{"batch": "≤ 5", "group sum": "≤ 1"} }

// aloneRows is the table of reads at each number of states.
func (r *report) aloneRows() [][]string {
	rows := [][]string{{"read", "states", "connections", "per second", "p50 ms", "goal", "p99 ms", "CPU µs", "PostgreSQL", "generator"}}
	type key struct {
		kind   string
		states int64
	}
	seen := map[key]bool{}
	for _, first := range r.Alone {
		at := key{first.Kind, first.States}
		if seen[at] {
			continue
		}
		seen[at] = true
		var rate, p50, p99, program, postgres, generator []float64
		for _, m := range r.Alone {
			if f := m.Readmark; m.Kind == first.Kind && m.States == first.States {
				rate, p50, p99 = append(rate, f.Rate), append(p50, f.P50), append(p99, f.P99)
				program, postgres, generator = append(program, f.ProgramCPU), append(postgres, f.PostgresCPU), append(generator, f.GeneratorCPU)
			}
		}
		rows = append(rows, []string{
			first.Kind, strconv.FormatInt(first.States, 10), strconv.Itoa(first.Connections), fmt.Sprintf("%.0f", median(rate)),
			fmt.Sprintf("%.2f", median(p50)), aloneGoals()[first.Kind], fmt.Sprintf("%.2f", median(p99)),
			fmt.Sprintf("%.0f", median(program)), fmt.Sprintf("%.0f", median(postgres)), fmt.Sprintf("%.0f", median(generator)),
		})
	}
	return rows
}

// mixedRows is callbacks at full speed beside reads.
func (r *report) mixedRows() [][]string {
	rows := [][]string{{"round", "callbacks/s alone", "beside reads", "ratio (≥ 0.8)", "reads/s", "reads p99 ms (≤ 25)"}}
	for _, m := range r.Mixed {
		rows = append(rows, []string{
			strconv.Itoa(m.Round), fmt.Sprintf("%.0f", m.Without.Rate), fmt.Sprintf("%.0f", m.Callbacks.Rate),
			fmt.Sprintf("%.2f", m.Callbacks.Rate/m.Without.Rate), fmt.Sprintf("%.0f", m.Reads.Rate), fmt.Sprintf("%.1f", m.Reads.P99),
		})
	}
	return rows
}

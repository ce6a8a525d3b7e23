package main

import (
	"fmt"
	"strconv"
)

// readRows is the table of reads beside constant answers, medians over the rounds.
func (r *report) readRows() [][]string {
	rows := [][]string{{"read", "bytes", "constant/s", "Readmark/s", "ratio", "goal", "p50 ms", "p99 ms"}}
	for _, one := range []struct{ kind, goal string }{{"pair", "0.5"}, {"304", "0.6"}, {"badge", "0.25"}} {
		var constant, rate, ratio, p50, p99 []float64
		size := 0
		for _, m := range r.Reads {
			if m.Kind == one.kind {
				constant, rate = append(constant, m.Constant.Rate), append(rate, m.Readmark.Rate)
				ratio = append(ratio, m.Readmark.Rate/m.Constant.Rate)
				p50, p99, size = append(p50, m.Readmark.P50), append(p99, m.Readmark.P99), m.Bytes
			}
		}
		rows = append(rows, []string{
			one.kind, strconv.Itoa(size), fmt.Sprintf("%.0f", median(constant)), fmt.Sprintf("%.0f", median(rate)),
			fmt.Sprintf("%.2f", median(ratio)), "≥ " + one.goal, fmt.Sprintf("%.2f", median(p50)), fmt.Sprintf("%.2f", median(p99)),
		})
	}
	return rows
}

// aloneRows is the table of reads at each number of states.
func (r *report) aloneRows() [][]string {
	rows := [][]string{{"read", "states", "connections", "per second", "p50 ms", "p99 ms"}}
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
		var rate, p50, p99 []float64
		for _, m := range r.Alone {
			if m.Kind == first.Kind && m.States == first.States {
				rate, p50, p99 = append(rate, m.Readmark.Rate), append(p50, m.Readmark.P50), append(p99, m.Readmark.P99)
			}
		}
		rows = append(rows, []string{
			first.Kind, strconv.FormatInt(first.States, 10), strconv.Itoa(first.Connections), fmt.Sprintf("%.0f", median(rate)),
			fmt.Sprintf("%.2f", median(p50)), fmt.Sprintf("%.2f", median(p99)),
		})
	}
	return rows
}

// mixedRows is callbacks at full speed beside reads.
func (r *report) mixedRows() [][]string {
	rows := [][]string{{"round", "callbacks/s alone", "beside reads", "ratio (≥ 0.7)", "reads/s", "reads p99 ms (< 20)"}}
	for _, m := range r.Mixed {
		rows = append(rows, []string{
			strconv.Itoa(m.Round), fmt.Sprintf("%.0f", m.Without.Rate), fmt.Sprintf("%.0f", m.Callbacks.Rate),
			fmt.Sprintf("%.2f", m.Callbacks.Rate/m.Without.Rate), fmt.Sprintf("%.0f", m.Reads.Rate), fmt.Sprintf("%.1f", m.Reads.P99),
		})
	}
	return rows
}

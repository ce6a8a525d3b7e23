package cli

import (
	"fmt"
	"slices"
	"strconv"
	"text/tabwriter"

	"readmark/internal/api"
	"readmark/internal/readstate"
)

// explain says why a count is off, and what to do.
func (r *reconciling) explain(reason readstate.OffReason) string {
	if r.check {
		return reason.Why() + " Nothing was changed: readmark reconcile without --check repairs what can be repaired."
	}
	return reason.Explain()
}

// report prints what was found, and the pairs that stay off, in the order of their keys.
func (p *program) report(r *reconciling, report *reconciled) error {
	slices.SortFunc(report.Left, func(a, b readstate.Off) int { return a.Compare(b.Pair) })
	if r.json {
		return p.reportJSON(r, report)
	}
	table := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "users\tpairs\toff\trepaired\tlargest difference")
	_, _ = fmt.Fprintf(table, "%d\t%d\t%d\t%d\t%d\n", report.Users, report.Pairs, report.Off, report.Repaired, report.Largest)
	if len(report.Left) == 0 {
		return table.Flush()
	}
	_, _ = fmt.Fprintln(table, "\nuser\tgroup\tcount\tat openim\twhy")
	reasons := map[readstate.OffReason]bool{}
	for i := range report.Left {
		off, count := &report.Left[i], "unknown"
		if off.Known {
			count = strconv.FormatInt(off.UnreadCount, 10)
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\n", off.UserID, off.GroupID, count, off.Want, off.Reason)
		reasons[off.Reason] = true
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if more := report.Stays() - int64(len(report.Left)); more > 0 {
		_, _ = fmt.Fprintf(p.Stdout, "and %d more\n", more)
	}
	_, _ = fmt.Fprintln(p.Stdout)
	for _, reason := range readstate.OffReasons() {
		if reasons[reason] {
			_, _ = fmt.Fprintf(p.Stdout, "%s: %s\n", reason, r.explain(reason))
		}
	}
	return nil
}

func (p *program) reportJSON(r *reconciling, report *reconciled) error {
	items := make([]api.Off, len(report.Left)) // as in the answer of GET /v1/drift
	for i := range report.Left {
		items[i] = api.NewOff(&report.Left[i], r.explain(report.Left[i].Reason))
	}
	return p.writeJSON(map[string]any{
		"users": report.Users, "pairs": report.Pairs, "pairsOff": report.Off, "repaired": report.Repaired,
		"staysOff": report.Stays(), "largestDifference": report.Largest, "items": items,
	})
}

// tellDrift says what the newest comparisons could not repair, and for each reason what to do.
func (d *doctor) tellDrift(drift *readstate.Drift, reasons map[readstate.OffReason]int64) {
	var total int64
	say := d.note // what passes by itself is no illness
	for reason, pairs := range reasons {
		total += pairs
		if !reason.Passes() {
			say = d.ill
		}
	}
	if total == 0 {
		d.well("drift", "%d counts of %d users compared with OpenIM; %d differed, and none stays off", drift.Pairs, drift.UsersChecked, drift.Off)
		return
	}
	say("drift", "%d of %d counts differ from OpenIM's and could not be repaired, by up to %d: GET /v1/drift lists them", total, drift.Pairs, drift.Largest)
	for _, reason := range readstate.OffReasons() {
		if pairs := reasons[reason]; pairs > 0 {
			d.note("drift", "%s, %d: %s", reason, pairs, reason.Explain())
		}
	}
}

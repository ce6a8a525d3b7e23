package console

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"readmark/internal/api"
	"readmark/internal/auth"
)

// overview is what the page of the same name shows. A part that the key does not open, or the server
// cannot tell, has a sentence instead.
type overview struct {
	Now           time.Time
	Conditions    []api.Condition
	Hidden        string // why the conditions are not shown
	Stats         *api.Stats
	StatsMissing  string
	Arriving      float64 // callbacks per second
	Total         int64
	Refused       int64 // in the last hour
	Hour, Day     chart
	Rejections    []api.Rejection
	Commands      []commandRow
	RejectMissing string
	Drift         *api.Drift
	DriftMissing  string
}

// overview answers: is anything arriving, and is all well?
func (r *request) overview() {
	page := overview{Now: r.source.Now()}
	if err := r.grant.Check(auth.Access{Scope: auth.ScopeRead}); err != nil {
		page.Hidden = sentence(err.Error())
	} else {
		page.Conditions = r.source.Conditions()
	}
	var got api.Stats
	if err := r.get("/stats", nil, &got); err != nil {
		if page.StatsMissing = r.missing(err); page.StatsMissing == "" {
			return
		}
	} else {
		page.Stats = &got
		if err := page.draw(); err != nil {
			r.fail(err)
			return
		}
	}
	var refused api.RejectionList
	if err := r.get("/rejections", url.Values{"limit": {strconv.Itoa(shownRejections)}}, &refused); err != nil {
		if page.RejectMissing = r.missing(err); page.RejectMissing == "" {
			return
		}
	}
	page.Rejections = refused.Items
	var drift api.Drift
	if err := r.get("/drift", nil, &drift); err != nil {
		if page.DriftMissing = r.missing(err); page.DriftMissing == "" {
			return
		}
	} else {
		page.Drift = &drift
	}
	r.render(http.StatusOK, "overview", "Overview", &page)
}

// shownRejections is how many rejected callbacks the overview has.
const shownRejections = 10

// missing gives the sentence that stands instead of a part of a page; "" where the whole page is
// answered with the error.
func (r *request) missing(err error) string {
	switch status(err) {
	case http.StatusForbidden, http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return sentence(err.Error())
	}
	r.fail(err)
	return ""
}

// commandRow is a row of the table of callbacks by command and result.
type commandRow struct {
	*api.CallbackStats

	Hour int64 // in the last hour
}

// draw sums up what the stats say.
func (o *overview) draw() error {
	byResult := func(pick func(*api.CallbackStats) []int64, n int) []series {
		sums := map[string][]float64{}
		for i := range o.Stats.Callbacks {
			c := &o.Stats.Callbacks[i]
			sum := sums[c.Result]
			if sum == nil {
				sum = make([]float64, n)
				sums[c.Result] = sum
			}
			for at, v := range pick(c)[max(0, len(pick(c))-n):] {
				sum[at] += float64(v)
			}
		}
		var lines []series
		for result, sum := range sums {
			if slices.Max(sum) > 0 || result == "accepted" {
				lines = append(lines, series{result, sum})
			}
		}
		slices.SortFunc(lines, func(a, b series) int { // "accepted" first
			return strings.Compare(strings.Replace(a.Name, "accepted", "", 1), strings.Replace(b.Name, "accepted", "", 1))
		})
		return lines[:min(len(lines), maxSeries)]
	}
	for i := range o.Stats.Callbacks {
		c := &o.Stats.Callbacks[i]
		o.Total += c.Total
		o.Arriving += c.PerSecond
		row := commandRow{CallbackStats: c}
		for _, n := range c.LastHour {
			row.Hour += n
		}
		if c.Result != "accepted" && c.Result != "acknowledged" { // acknowledged: Readmark has no use for it, which is no fault
			o.Refused += row.Hour
		}
		o.Commands = append(o.Commands, row)
	}
	const minutes, quarters = 60, 96
	var err error
	if hour := byResult(func(c *api.CallbackStats) []int64 { return c.LastHour }, minutes); len(hour) > 0 {
		labels := timeLabels(spread(o.Stats.AsOf, time.Hour, minutes))
		if o.Hour, err = barChart("Callbacks per minute in the last hour", labels, halfWidth/labelRoom, hour...); err != nil {
			return err
		}
	}
	if day := byResult(func(c *api.CallbackStats) []int64 { return c.LastDay }, quarters); len(day) > 0 {
		for i := range day {
			day[i].Values = inPairs(day[i].Values) // bars of a quarter would be too thin to see
		}
		labels := timeLabels(spread(o.Stats.AsOf, 24*time.Hour, quarters/2))
		o.Day, err = barChart("Callbacks per half an hour in the last day", labels, halfWidth/labelRoom, day...)
	}
	return err
}

// inPairs adds each two of some values.
func inPairs(values []float64) []float64 {
	sums := make([]float64, len(values)/2)
	for i := range sums {
		sums[i] = values[2*i] + values[2*i+1]
	}
	return sums
}

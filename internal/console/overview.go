package console

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"readmark/internal/api"
	"readmark/internal/auth"
)

// stats is what GET /v1/stats answers.
type stats struct {
	AsOf            time.Time        `json:"asOf"`
	Since           time.Time        `json:"since"`
	Callbacks       []callbackStats  `json:"callbacks"`
	Reads           readStats        `json:"reads"`
	Conditions      []Condition      `json:"conditions"`
	NewestCallbacks []newestCallback `json:"newestCallbacks"`
}

type callbackStats struct {
	Command   string  `json:"command"`
	Result    string  `json:"result"`
	Total     int64   `json:"total"`
	PerSecond float64 `json:"perSecond"`
	LastHour  []int64 `json:"lastHour"` // by minute, the newest last
	LastDay   []int64 `json:"lastDay"`  // by quarter of an hour
}

type readStats struct {
	Total      int64   `json:"total"`
	PerSecond  float64 `json:"perSecond"`
	P50Seconds float64 `json:"p50Seconds"`
	P95Seconds float64 `json:"p95Seconds"`
	LastHour   []int64 `json:"lastHour"`
}

type newestCallback struct {
	At      time.Time `json:"at"`
	Command string    `json:"command"`
	UserID  string    `json:"userID"`
	GroupID string    `json:"groupID"`
	Result  string    `json:"result"`
}

// rejection is a callback that was refused, as GET /v1/rejections lists them.
type rejection struct {
	ID      string    `json:"id"`
	At      time.Time `json:"at"`
	Command string    `json:"command"`
	ErrCode int64     `json:"errCode"`
	Reason  string    `json:"reason"`
}

type rejectionList struct {
	Items []rejection `json:"items"`
}

// overview is what the page of the same name shows. A part that the key does not open, or the server
// cannot tell, has a sentence instead.
type overview struct {
	Now           time.Time
	Conditions    []Condition
	Hidden        string // why the conditions are not shown
	Stats         *stats
	StatsMissing  string
	Arriving      float64 // callbacks per second
	Total         int64
	Refused       int64 // in the last hour
	Hour, Day     chart
	Rejections    []rejection
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
	var got stats
	if err := r.get("/stats", nil, &got); err != nil {
		if page.StatsMissing = r.missing(err, "This version of the read API does not tell how many callbacks arrive."); page.StatsMissing == "" {
			return
		}
	} else {
		page.Stats = &got
		if page.Hidden == "" {
			page.Conditions = got.Conditions // with what to do
		}
		if err := page.draw(); err != nil {
			r.fail(err)
			return
		}
	}
	var refused rejectionList
	if err := r.get("/rejections", nil, &refused); err != nil {
		if page.RejectMissing = r.missing(err, "This version of the read API does not list rejected callbacks."); page.RejectMissing == "" {
			return
		}
	}
	page.Rejections = refused.Items[:min(len(refused.Items), shownRejections)]
	var drift api.Drift
	if err := r.get("/drift", nil, &drift); err != nil {
		if page.DriftMissing = r.missing(err, ""); page.DriftMissing == "" {
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
func (r *request) missing(err error, notThere string) string {
	switch status(err) {
	case http.StatusNotFound:
		if notThere != "" {
			return notThere
		}
	case http.StatusForbidden, http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return sentence(err.Error())
	}
	r.fail(err)
	return ""
}

// draw sums up what the stats say.
func (o *overview) draw() error {
	byResult := func(pick func(*callbackStats) []int64, n int) []series {
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
		if c.Result != "accepted" && c.Result != "acknowledged" { // which is of no use, and well
			for _, n := range c.LastHour {
				o.Refused += n
			}
		}
	}
	const minutes, quarters = 60, 96
	var err error
	if hour := byResult(func(c *callbackStats) []int64 { return c.LastHour }, minutes); len(hour) > 0 {
		labels := timeLabels(spread(o.Stats.AsOf, time.Hour, minutes))
		if o.Hour, err = barChart("Callbacks per minute in the last hour", labels, halfWidth/labelRoom, hour...); err != nil {
			return err
		}
	}
	if day := byResult(func(c *callbackStats) []int64 { return c.LastDay }, quarters); len(day) > 0 {
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

package console

import (
	"net/http"
	"net/url"
	"strconv"

	"readmark/internal/api"
	"readmark/internal/auth"
)

type groupList struct {
	Items      []api.GroupSum `json:"items"`
	NextCursor string         `json:"nextCursor"`
}

// groups lists groups, the fullest first.
func (r *request) groups() {
	prefix := r.query.Get("prefix")
	var got groupList
	err := r.get("/groups", url.Values{
		"prefix": {prefix}, "sort": {"-unreadCount"}, "limit": {strconv.Itoa(pageSize)}, "cursor": {r.query.Get("cursor")},
	}, &got)
	page := struct {
		listing
		Items []api.GroupSum
	}{r.listing(got.NextCursor, "/groups", "prefix", prefix), got.Items}
	if err != nil {
		page.Missing = r.missing(err)
		if page.Missing == "" {
			return
		}
	}
	r.render(http.StatusOK, "groups", "Groups", page)
}

// maxCounted is how many members a histogram counts.
const maxCounted = 1000

// group shows a group: its members by unread messages, how these spread, who never read, and its position.
func (r *request) group() {
	id, given := r.id("id")
	if !given {
		return
	}
	var sum api.GroupSum
	if err := r.get(path("groups", id, "unread"), nil, &sum); err != nil {
		if status(err) == http.StatusNotFound {
			r.unknown("Nothing is known of this group", id)
			return
		}
		r.fail(err)
		return
	}
	var members api.StateList
	parameters := url.Values{"sort": {"-unreadCount"}, "limit": {strconv.Itoa(pageSize)}, "cursor": {r.query.Get("cursor")}}
	if err := r.get(path("groups", id, "users"), parameters, &members); err != nil {
		r.fail(err)
		return
	}
	// By ID. Of the largest groups it is a part.
	var counted api.StateList
	if err := r.get(path("groups", id, "users"), url.Values{"limit": {strconv.Itoa(maxCounted)}}, &counted); err != nil {
		r.fail(err)
		return
	}
	page := groupPage{
		listing: r.listing(members.NextCursor, "/group", "id", id), ID: id, Sum: sum, Items: members.Items,
		Counted: int64(len(counted.Items)), Partly: counted.NextCursor != "",
	}
	counts := make([]int64, len(counted.Items))
	for i := range counted.Items {
		counts[i] = counted.Items[i].UnreadCount
		if counted.Items[i].LastReadAt == nil {
			page.NeverRead++
			if len(page.Never) < pageSize {
				page.Never = append(page.Never, counted.Items[i])
			}
		}
	}
	if err := page.histogram(counts); err != nil {
		r.fail(err)
		return
	}
	if !r.positions(&page) {
		return
	}
	r.render(http.StatusOK, "group", "Group "+id, &page)
}

type groupPage struct {
	listing
	ID        string
	Sum       api.GroupSum
	Items     []api.State
	Counted   int64
	Partly    bool
	NeverRead int64
	Never     []api.State
	Bars      []bar
	Histogram chart
	Spans     []span
	Position  chart
}

// MoreNever is how many have never read, beside those who are listed.
func (g *groupPage) MoreNever() int64 { return g.NeverRead - int64(len(g.Never)) }

// bar is a bar of a histogram in words.
type bar struct {
	Label string
	Users int64
}

func (g *groupPage) histogram(counts []int64) error {
	if len(counts) == 0 {
		return nil
	}
	labels, values := buckets(counts)
	for i, label := range labels {
		g.Bars = append(g.Bars, bar{label, int64(values[i])})
	}
	var err error
	g.Histogram, err = barChart("How many members have how many unread messages; the table says the same", labels, len(labels), series{Values: values})
	return err
}

// positions draws the group's position over time, and reports whether the page can be shown.
func (r *request) positions(page *groupPage) bool {
	admitted, done := r.admit(auth.Access{Scope: auth.ScopeRead, Reach: auth.ReachGroup, GroupID: page.ID})
	defer done()
	if !admitted {
		return false
	}
	spans, duration := r.spans("/group", "id", page.ID)
	moments := spread(page.Now, duration, sampled)
	numbers, err := r.source.Positions(r.Request.Context(), page.ID, moments)
	if err != nil {
		r.unavailable(err)
		return false
	}
	page.Spans = spans
	if page.Position, err = stepChart(halfWidth, "Number of the last message", moments, numbers); err != nil {
		r.fail(err)
		return false
	}
	return true
}

package console

import (
	"net/http"
	"net/url"
	"strconv"

	"readmark/internal/api"
)

// filters are the parameters of the feed that a reader of the live page may set.
func filters() []string { return []string{"userID", "groupID", "usersPrefix", "groupsPrefix", "types"} }

// filter gives those that are set.
func (r *request) filter() url.Values {
	set := url.Values{}
	for _, name := range filters() {
		if value := r.query.Get(name); value != "" {
			set.Set(name, value)
		}
	}
	return set
}

// live shows what changes, as it changes. Without scripts it is a list that is refreshed by hand.
func (r *request) live() {
	asked := r.filter()
	parameters := url.Values{"after": {r.query.Get("after")}, "limit": {strconv.Itoa(pageSize)}}
	for name := range asked {
		parameters.Set(name, asked.Get(name))
	}
	page := struct {
		Filter  map[string]string
		Types   []string
		Events  string // address of the stream
		Refresh string // address of the list from here on
		Items   []api.Change
		Gone    bool
		Begun   bool // the list begins at a place, and does not only end there
	}{Filter: map[string]string{}, Types: api.ChangeTypes(), Events: Path + "/events", Begun: r.query.Get("after") != ""}
	var changes api.ChangeList
	err := r.get("/changes", parameters, &changes)
	if status(err) == http.StatusGone { // the page was left open for longer than changes are kept
		page.Gone = true
		parameters.Del("after")
		err = r.get("/changes", parameters, &changes)
	}
	if err != nil {
		r.fail(err)
		return
	}
	for name := range asked {
		page.Filter[name] = asked.Get(name)
	}
	asked.Set("after", changes.NextCursor)
	page.Events += "?" + asked.Encode()                            // it goes on where the list ends
	if page.Begun && !page.Gone && len(changes.Items) < pageSize { // the list grows until it is full
		asked.Set("after", r.query.Get("after"))
	}
	page.Refresh = Path + "/live?" + asked.Encode()
	page.Items = changes.Items
	r.render(http.StatusOK, "live", "Live", page)
}

// events streams the feed to the live page, with the key of whoever looks.
func (r *request) events() {
	target, asked := "/changes", r.filter()
	if after := r.query.Get("after"); after != "" { // a stream that is resumed says so in a header, which goes before
		asked.Set("after", after)
	}
	if len(asked) > 0 {
		target += "?" + asked.Encode()
	}
	request, err := r.apiRequest(r.Request.Context(), http.MethodGet, target, nil)
	if err != nil {
		r.fail(err)
		return
	}
	request.Header.Set("Accept", "text/event-stream")
	if last := r.GetHeader("Last-Event-ID"); last != "" {
		request.Header.Set("Last-Event-ID", last)
	}
	r.api.ServeHTTP(r.Writer, request)
}

package console

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"readmark/internal/api"
	"readmark/internal/auth"
	"readmark/internal/readstate"
)

// pageSize is how many rows a list has on one page.
const pageSize = 50

// listing is one page of a list, and how to get the next one.
type listing struct {
	Now     time.Time
	Prefix  string
	Missing string // why there is no list
	Next    string // address of the next page, empty at the end
	First   string // address of the first page, empty on it
}

// listing begins a page of a list; parameters are those that the next page has, too.
func (r *request) listing(next string, page string, parameters ...string) listing {
	l := listing{Now: r.source.Now(), Prefix: r.query.Get("prefix")}
	if next != "" {
		l.Next = address(page, append(parameters, "cursor", next)...)
	}
	if r.query.Get("cursor") != "" {
		l.First = address(page, parameters...)
	}
	return l
}

type userList struct {
	Items      []api.Badge `json:"items"`
	NextCursor string      `json:"nextCursor"`
}

// users lists users by the beginning of their IDs.
func (r *request) users() {
	prefix := r.query.Get("prefix")
	var got userList
	err := r.get("/users", url.Values{"prefix": {prefix}, "limit": {strconv.Itoa(pageSize)}, "cursor": {r.query.Get("cursor")}}, &got)
	page := struct {
		listing
		Items []api.Badge
	}{r.listing(got.NextCursor, "/users", "prefix", prefix), got.Items}
	if err != nil {
		page.Missing = r.missing(err)
		if page.Missing == "" {
			return
		}
	}
	r.render(http.StatusOK, "users", "Users", page)
}

// id gives an ID that a page is about. Without one it answers, and reports that.
func (r *request) id(name string) (id string, given bool) {
	id = r.query.Get(name)
	if err := readstate.CheckID(id); err != nil {
		r.failWith(http.StatusUnprocessableEntity, "This is no ID", "The parameter "+name+" "+err.Error()+".")
		return "", false
	}
	return id, true
}

// user shows the badge of a user and the groups.
func (r *request) user() {
	id, given := r.id("id")
	if !given {
		return
	}
	var badge api.Badge
	if err := r.get(path("users", id, "unread"), nil, &badge); err != nil {
		if status(err) == http.StatusNotFound {
			r.unknown("Nothing is known of this user", id)
			return
		}
		r.fail(err)
		return
	}
	order := r.query.Get("sort")
	if order != "key" {
		order = "-unreadCount"
	}
	parameters := url.Values{"limit": {strconv.Itoa(pageSize)}, "cursor": {r.query.Get("cursor")}, "sort": {order}}
	if order == "key" {
		parameters.Del("sort")
	}
	var groups api.StateList
	if err := r.get(path("users", id, "groups"), parameters, &groups); err != nil {
		r.fail(err)
		return
	}
	r.render(http.StatusOK, "user", "User "+id, struct {
		listing
		ID    string
		Badge api.Badge
		Items []api.State
	}{r.listing(groups.NextCursor, "/user", "id", id, "sort", r.query.Get("sort")), id, badge, groups.Items})
}

// unknown answers that nothing is known, which is not zero.
func (r *request) unknown(title, id string) {
	r.render(http.StatusNotFound, "error", title, failure{
		Title: title, Text: id,
		Hint: "Unknown is not zero: no callback and no answer of OpenIM has told anything yet. Check the spelling; IDs are told apart by case.",
	})
}

// pair shows a user in a group, with the history.
func (r *request) pair() {
	user, given := r.id("user")
	if !given {
		return
	}
	group, given := r.id("group")
	if !given {
		return
	}
	var state api.StateAnswer
	if err := r.get(path("users", user, "groups", group), url.Values{}, &state); err != nil {
		if status(err) == http.StatusNotFound {
			r.unknown("Nothing is known of this user in this group", user+" in "+group)
			return
		}
		r.fail(err)
		return
	}
	var receipts api.ReceiptList
	parameters := url.Values{"limit": {strconv.Itoa(pageSize)}, "cursor": {r.query.Get("cursor")}}
	if err := r.get(path("users", user, "groups", group, "receipts"), parameters, &receipts); err != nil {
		r.fail(err)
		return
	}
	admitted, done := r.admit(auth.Access{Scope: auth.ScopeRead, Reach: auth.ReachPair, UserID: user, GroupID: group})
	defer done()
	if !admitted {
		return
	}
	spans, chosen := r.spans("/pair", "user", user, "group", group)
	moments := spread(r.source.Now(), chosen, sampled)
	counts, err := r.source.Counts(r.Request.Context(), readstate.Pair{UserID: user, GroupID: group}, moments)
	if err != nil {
		r.unavailable(err)
		return
	}
	history, err := stepChart(fullWidth, "Unread messages", moments, counts)
	if err != nil {
		r.fail(err)
		return
	}
	r.render(http.StatusOK, "pair", user+" in "+group, struct {
		listing
		UserID, GroupID string
		State           api.StateAnswer
		Spans           []span
		History         chart
		Items           []api.Receipt
	}{r.listing(receipts.NextCursor, "/pair", "user", user, "group", group), user, group, state, spans, history, receipts.Items})
}

// sampled is at how many moments a count over time is asked for.
const sampled = 97

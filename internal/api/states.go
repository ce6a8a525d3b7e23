package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"readmark/internal/readstate"
)

// stateInput names a pair.
type stateInput struct {
	Poll

	UserID  id     `path:"userID"`
	GroupID id     `path:"groupID"`
	At      moment `query:"at" doc:"the state as it was then, from the journal; exact and pending are false. 410 when what was known then has been dropped with a day of the journal"`
}

type stateOutput struct {
	Polled

	Status int
	Body   *StateAnswer
}

// Selection is what narrows, orders and divides a list of states.
type Selection struct {
	Poll

	Unread       bool   `query:"unread" doc:"only states with unread messages"`
	MinUnread    int64  `query:"minUnread" minimum:"0" doc:"only states with at least as many unread messages"`
	UpdatedSince moment `query:"updatedSince" doc:"only states whose updatedAt is not earlier, RFC 3339. Who has left a group, or was erased, is in no list; pending and exact may change without it, and so does what a replay repairs. Writes of the last moments may become visible a little later than their updatedAt: ask from some seconds before the asOf of the answer before"`
	Muted        flag   `query:"muted" doc:"only states whose user has muted the group, or only the others"`
	Sort         string `query:"sort" enum:"-unreadCount,-lastReadAt" doc:"the largest count first, or who read last; else by key. While values change, a state may move between pages of a sorted list; in key order every state that stays is on exactly one"`
	Limit        int32  `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"states on one page"`
	Positions    bool   `query:"positions" doc:"states with what their counts follow from, so that they can be counted on by /v1/changes"`
	Cursor       string `query:"cursor" maxLength:"512" doc:"nextCursor of the page before, of the same list in the same order"`
}

type userListInput struct {
	UserID id `path:"userID"`
	Selection
}

type groupListInput struct {
	GroupID id `path:"groupID"`
	Selection
}

type listOutput struct {
	Polled

	Status int
	Body   *StateList
}

func (h *handler) registerLists(api huma.API) {
	huma.Register(api, pollable(huma.Operation{
		OperationID: "list-user-groups", Method: http.MethodGet, Path: "/v1/users/{userID}/groups",
		Summary: "The groups of one user", Tags: []string{tagLists},
		Errors: []int{http.StatusServiceUnavailable},
	}), h.listUserGroups)
	huma.Register(api, pollable(huma.Operation{
		OperationID: "list-group-users", Method: http.MethodGet, Path: "/v1/groups/{groupID}/users",
		Summary: "The readers of one group", Tags: []string{tagLists},
		Errors: []int{http.StatusServiceUnavailable},
	}), h.listGroupUsers)
}

func (h *handler) getState(ctx context.Context, in *stateInput) (*stateOutput, error) {
	pair := readstate.Pair{UserID: string(in.UserID), GroupID: string(in.GroupID)}
	if in.At != "" {
		return h.stateAt(ctx, pair, in)
	}
	state, asOf, err := h.reader.State(ctx, pair)
	if err != nil {
		return nil, h.problem(ctx, err, "nothing is known of this user in this group")
	}
	return in.answer(&state, whole(asOf)), nil
}

// answer is the state, or that it has not changed.
func (in *stateInput) answer(state *readstate.State, asOf time.Time) *stateOutput {
	v := newVersion()
	v.state(state)
	out := &stateOutput{}
	if out.Status = in.status(v, &out.Polled); out.Status == http.StatusOK {
		out.Body = &StateAnswer{State: newState(state), AsOf: asOf}
	}
	return out
}

func (h *handler) listUserGroups(ctx context.Context, in *userListInput) (*listOutput, error) {
	return h.page(ctx, listOfUser, &in.Selection, func(page readstate.Page) ([]readstate.State, time.Time, error) {
		return h.reader.UserStates(ctx, string(in.UserID), page)
	})
}

func (h *handler) listGroupUsers(ctx context.Context, in *groupListInput) (*listOutput, error) {
	return h.page(ctx, listOfGroup, &in.Selection, func(page readstate.Page) ([]readstate.State, time.Time, error) {
		return h.reader.GroupStates(ctx, string(in.GroupID), page)
	})
}

// asked is the page that the parameters name, with one state more, which tells
// whether it is the last one.
func (in *Selection) asked(list string) (page readstate.Page, err error) {
	page = readstate.Page{MinUnread: in.MinUnread, UpdatedSince: in.UpdatedSince.ceil(), Muted: in.Muted.value(), Limit: in.Limit + 1}
	switch in.Sort {
	case "-unreadCount":
		page.Order = readstate.OrderUnread
	case "-lastReadAt":
		page.Order = readstate.OrderLastRead
	}
	if in.Unread {
		page.MinUnread = max(page.MinUnread, 1)
	}
	page.After, err = decodeCursor(list, page.Order, in.Cursor)
	return page, err
}

func (h *handler) page(
	ctx context.Context, list string, in *Selection, read func(readstate.Page) ([]readstate.State, time.Time, error),
) (*listOutput, error) {
	page, err := in.asked(list)
	if err != nil {
		return nil, err
	}
	states, asOf, err := read(page)
	if err != nil {
		return nil, h.problem(ctx, err, "")
	}
	next := ""
	if len(states) > int(in.Limit) {
		states = states[:in.Limit]
		last := &states[in.Limit-1]
		place := readstate.Cursor{Key: last.GroupID, UnreadCount: last.UnreadCount, LastReadAt: last.LastReadAt}
		if list == listOfGroup {
			place.Key = last.UserID
		}
		next = encodeCursor(list, page.Order, place)
	}
	v := newVersion()
	for i := range states {
		v.state(&states[i])
	}
	v.text(next)
	v.flag(in.Positions)
	out := &listOutput{}
	if out.Status = in.status(v, &out.Polled); out.Status == http.StatusOK {
		out.Body = &StateList{Items: newStates(states), NextCursor: next, AsOf: whole(asOf)}
		if in.Positions {
			for i := range states {
				out.Body.Items[i].addNumbers(&states[i].Numbers)
			}
		}
	}
	return out, nil
}

func newStates(states []readstate.State) []State {
	items := make([]State, len(states))
	for i := range states {
		items[i] = newState(&states[i])
	}
	return items
}

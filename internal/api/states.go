package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"readmark/internal/readstate"
)

type stateInput struct {
	UserID  id     `path:"userID"`
	GroupID id     `path:"groupID"`
	At      moment `query:"at" doc:"the state as it was then, from the journal; exact and pending are false"`
}

type stateOutput struct{ Body State }

type userListInput struct {
	UserID id     `path:"userID"`
	Unread bool   `query:"unread" doc:"only groups with unread messages"`
	Limit  int32  `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"states on one page"`
	Cursor string `query:"cursor" maxLength:"512" doc:"nextCursor of the page before"`
}

type groupListInput struct {
	GroupID   id     `path:"groupID"`
	MinUnread int64  `query:"minUnread" minimum:"0" doc:"only users with at least as many unread messages"`
	Limit     int32  `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"states on one page"`
	Cursor    string `query:"cursor" maxLength:"512" doc:"nextCursor of the page before"`
}

type listOutput struct{ Body StateList }

func (h *handler) registerStates(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "get-state", Method: http.MethodGet, Path: "/v1/users/{userID}/groups/{groupID}",
		Summary: "The unread count of one user in one group", Tags: []string{"states"},
		Errors: []int{http.StatusNotFound, http.StatusGone, http.StatusServiceUnavailable},
	}, h.getState)
	huma.Register(api, huma.Operation{
		OperationID: "list-user-groups", Method: http.MethodGet, Path: "/v1/users/{userID}/groups",
		Summary: "The groups of one user", Tags: []string{"states"},
		Errors: []int{http.StatusServiceUnavailable},
	}, h.listUserGroups)
	huma.Register(api, huma.Operation{
		OperationID: "list-group-users", Method: http.MethodGet, Path: "/v1/groups/{groupID}/users",
		Summary: "The readers of one group", Tags: []string{"states"},
		Errors: []int{http.StatusServiceUnavailable},
	}, h.listGroupUsers)
}

func (h *handler) getState(ctx context.Context, in *stateInput) (*stateOutput, error) {
	pair := readstate.Pair{UserID: string(in.UserID), GroupID: string(in.GroupID)}
	if in.At != "" {
		return h.stateAt(ctx, pair, in.At)
	}
	state, err := h.reader.State(ctx, pair)
	if err != nil {
		return nil, h.problem(ctx, err, "nothing is known of this user in this group")
	}
	return &stateOutput{Body: newState(state)}, nil
}

func (h *handler) listUserGroups(ctx context.Context, in *userListInput) (*listOutput, error) {
	var minUnread int64
	if in.Unread {
		minUnread = 1
	}
	return h.page(ctx, cursorOfUser, in.Cursor, in.Limit, func(after string, limit int32) ([]readstate.State, error) {
		return h.reader.UserStates(ctx, string(in.UserID), after, minUnread, limit)
	})
}

func (h *handler) listGroupUsers(ctx context.Context, in *groupListInput) (*listOutput, error) {
	return h.page(ctx, cursorOfGroup, in.Cursor, in.Limit, func(after string, limit int32) ([]readstate.State, error) {
		return h.reader.GroupStates(ctx, string(in.GroupID), after, in.MinUnread, limit)
	})
}

// page reads one page of a list, and one row more to know whether it is the
// last.
func (h *handler) page(
	ctx context.Context, mark, cursor string, limit int32,
	read func(after string, limit int32) ([]readstate.State, error),
) (*listOutput, error) {
	after, err := decodeCursor(mark, cursor)
	if err != nil {
		return nil, err
	}
	asOf := h.asOf()
	states, err := read(after, limit+1)
	if err != nil {
		return nil, h.problem(ctx, err, "")
	}
	list := StateList{AsOf: asOf}
	if len(states) > int(limit) {
		states = states[:limit]
		last := states[limit-1]
		if mark == cursorOfUser {
			list.NextCursor = encodeCursor(mark, last.GroupID)
		} else {
			list.NextCursor = encodeCursor(mark, last.UserID)
		}
	}
	list.Items = newStates(states)
	return &listOutput{Body: list}, nil
}

func newStates(states []readstate.State) []State {
	items := make([]State, len(states))
	for i, state := range states {
		items[i] = newState(state)
	}
	return items
}

package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"readmark/internal/auth"
	"readmark/internal/readstate"
)

// groupsPath lists all groups that the caller's key opens.
const groupsPath = "/v1/groups"

// listOfGroups marks the cursors of the list of groups.
const listOfGroups = "G"

type groupsInput struct {
	Poll

	Prefix prefix `query:"prefix" doc:"only groups whose IDs begin so"`
	Sort   string `query:"sort" enum:"groupID,-unreadCount" default:"groupID" doc:"by ID, or the largest count first. While counts change, a group may move between pages of the latter"`
	Limit  int32  `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"groups on one page"`
	Cursor string `query:"cursor" maxLength:"512" doc:"nextCursor of the page before, in the same order"`
}

// GroupSumList is one page of groups.
type GroupSumList struct {
	Items      []GroupSum `json:"items" nullable:"false" doc:"sums of groups, in the order asked for, each as it was at its asOf"`
	NextCursor string     `json:"nextCursor" doc:"pass it as cursor to get the next page; empty at the end"`
	AsOf       time.Time  `json:"asOf" doc:"no sum is older than this, UTC"`
}

type groupsOutput struct {
	Polled

	Status int
	Body   *GroupSumList
}

func (h *handler) registerGroups(api huma.API) {
	huma.Register(api, pollable(huma.Operation{
		OperationID: "list-groups", Method: http.MethodGet, Path: groupsPath,
		Summary: "All groups that are known, with their sums", Tags: []string{tagLists},
		Errors: []int{http.StatusServiceUnavailable},
	}), h.listGroups)
}

func (h *handler) listGroups(ctx context.Context, in *groupsInput) (*groupsOutput, error) {
	within, err := auth.GrantOf(ctx).ListableGroups(string(in.Prefix))
	if err != nil {
		return nil, forbidden(err, "query.prefix")
	}
	page := readstate.GroupPage{Prefix: within, Limit: in.Limit + 1} // one more tells whether there is a next page
	if in.Sort == "-unreadCount" {
		page.Order = readstate.OrderUnread
	}
	if page.After, err = decodeCursor(listOfGroups, page.Order, in.Cursor); err != nil {
		return nil, err
	}
	sums, asOf, err := h.database.GroupSums(ctx, page)
	if err != nil {
		return nil, h.problem(ctx, err, "")
	}
	list := GroupSumList{AsOf: whole(asOf)}
	if len(sums) > int(in.Limit) {
		sums = sums[:in.Limit]
		last := &sums[in.Limit-1]
		list.NextCursor = encodeCursor(listOfGroups, page.Order, readstate.Cursor{Key: last.GroupID, UnreadCount: last.UnreadCount})
	}
	v := newVersion()
	list.Items = make([]GroupSum, len(sums))
	for i := range sums {
		list.Items[i] = newGroupSum(&sums[i].GroupSum, whole(sums[i].AsOf))
		v.text(sums[i].GroupID)
		v.groupSum(&sums[i].GroupSum)
	}
	v.text(list.NextCursor)
	out := &groupsOutput{}
	if out.Status = in.status(v, &out.Polled); out.Status == http.StatusOK {
		out.Body = &list
	}
	return out, nil
}

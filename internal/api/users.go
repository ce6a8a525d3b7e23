package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"readmark/internal/auth"
	"readmark/internal/readstate"
)

// usersPath lists all users that the caller's key opens.
const usersPath = "/v1/users"

// listOfUsers marks the cursors of the list of users.
const listOfUsers = "U"

// userScans is how often the next users are looked for, where many have no current state.
const userScans = 4

type usersInput struct {
	Poll

	Prefix prefix `query:"prefix" doc:"only users whose IDs begin so"`
	Limit  int32  `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"users on one page"`
	Cursor string `query:"cursor" maxLength:"512" doc:"nextCursor of the page before"`
}

// BadgeList is one page of users.
type BadgeList struct {
	Items      []Badge   `json:"items" nullable:"false" doc:"badges, in the order of userID"`
	NextCursor string    `json:"nextCursor" doc:"pass it as cursor to get the next page; empty at the end"`
	AsOf       time.Time `json:"asOf" doc:"the answer is not older than this, UTC"`
}

type usersOutput struct {
	Polled

	Status int
	Body   *BadgeList
}

func (h *handler) registerUsers(api huma.API) {
	huma.Register(api, pollable(huma.Operation{
		OperationID: "list-users", Method: http.MethodGet, Path: usersPath,
		Summary: "All users that are known, with their badges", Tags: []string{tagLists},
		Errors: []int{http.StatusServiceUnavailable},
	}), h.listUsers)
}

func (h *handler) listUsers(ctx context.Context, in *usersInput) (*usersOutput, error) {
	within, err := auth.GrantOf(ctx).ListableUsers(string(in.Prefix))
	if err != nil {
		return nil, forbidden(err, "query.prefix")
	}
	place, err := decodeCursor(listOfUsers, readstate.OrderKey, in.Cursor)
	if err != nil {
		return nil, err
	}
	page := readstate.KeyPage{Prefix: within, After: place.Key, Limit: in.Limit}
	badges, next, asOf, err := h.badges(ctx, page)
	if err != nil {
		return nil, h.problem(ctx, err, "")
	}
	list := BadgeList{Items: badges, AsOf: asOf}
	if next != "" {
		list.NextCursor = encodeCursor(listOfUsers, readstate.OrderKey, readstate.Cursor{Key: next})
	}
	v := newVersion()
	for i := range badges {
		b := &badges[i]
		v.text(b.UserID)
		v.number(b.UnreadCount, b.UnreadCountUnmuted, b.UnreadGroups, b.Groups)
		v.flag(b.Exact)
		v.flag(b.Pending)
	}
	v.text(next)
	out := &usersOutput{}
	if out.Status = in.status(v, &out.Polled); out.Status == http.StatusOK {
		out.Body = &list
	}
	return out, nil
}

// badges gives a page of badges, and the user behind whom the next page begins, "" at the end. Users may have states
// of which none is current, since they have left all groups: they are left out, and a page on which there are many
// may be short.
func (h *handler) badges(ctx context.Context, page readstate.KeyPage) (badges []Badge, next string, asOf time.Time, err error) {
	badges, asOf = []Badge{}, h.asOf()
	limit := int(page.Limit)
	page.Limit++ // one more tells whether there is a next page
	for range userScans {
		userIDs, err := h.database.UserIDs(ctx, page)
		if err != nil || len(userIDs) == 0 {
			return badges, "", asOf, err
		}
		_, known, knownAsOf, err := h.reader.Snapshot(ctx, nil, userIDs)
		if err != nil {
			return nil, "", asOf, err
		}
		knownAsOf = whole(knownAsOf)
		if knownAsOf.Before(asOf) {
			asOf = knownAsOf
		}
		for _, userID := range userIDs {
			badge, found := known[userID]
			if !found {
				continue
			}
			if len(badges) == limit {
				return badges, badges[limit-1].UserID, asOf, nil
			}
			badges = append(badges, newBadge(badge, knownAsOf))
		}
		if len(userIDs) < int(page.Limit) {
			return badges, "", asOf, nil
		}
		page.After = userIDs[len(userIDs)-1]
	}
	return badges, page.After, asOf, nil
}

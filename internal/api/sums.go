package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

type userInput struct {
	UserID id `path:"userID"`
}

type groupInput struct {
	GroupID id `path:"groupID"`
}

type (
	badgeOutput    struct{ Body Badge }
	groupSumOutput struct{ Body GroupSum }
)

func (h *handler) registerSums(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "get-badge", Method: http.MethodGet, Path: "/v1/users/{userID}/unread",
		Summary: "The badge of one user: unread messages over all groups", Tags: []string{"sums"},
		Errors: []int{http.StatusNotFound, http.StatusServiceUnavailable},
	}, h.getBadge)
	huma.Register(api, huma.Operation{
		OperationID: "get-group-sum", Method: http.MethodGet, Path: "/v1/groups/{groupID}/unread",
		Summary: "Unread messages over all readers of one group", Tags: []string{"sums"},
		Errors: []int{http.StatusNotFound, http.StatusServiceUnavailable},
	}, h.getGroupSum)
}

func (h *handler) getBadge(ctx context.Context, in *userInput) (*badgeOutput, error) {
	asOf := h.asOf()
	badge, err := h.reader.Badge(ctx, string(in.UserID))
	if err != nil {
		return nil, h.problem(ctx, err, "nothing is known of this user")
	}
	return &badgeOutput{Body: newBadge(badge, asOf)}, nil
}

func (h *handler) getGroupSum(ctx context.Context, in *groupInput) (*groupSumOutput, error) {
	asOf := h.asOf()
	sum, err := h.reader.GroupSum(ctx, string(in.GroupID))
	if err != nil {
		return nil, h.problem(ctx, err, "nothing is known of this group")
	}
	return &groupSumOutput{Body: GroupSum{
		GroupID: sum.GroupID, Users: sum.Users, UsersWithUnread: sum.UsersWithUnread,
		UnreadCount: sum.UnreadCount, MaxUnread: sum.MaxUnread, LastReadAt: optionalTime(sum.LastReadAt), AsOf: asOf,
	}}, nil
}

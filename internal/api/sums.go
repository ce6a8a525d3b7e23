package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"readmark/internal/readstate"
)

type badgeInput struct {
	Poll

	UserID id     `path:"userID"`
	At     moment `query:"at" doc:"the badge as it was then, from the journal; it is asOf then, and exact and pending are false. 410 when what was known then of one of the groups has been dropped with a day of the journal: a sum without it would be wrong"`
}

type groupInput struct {
	Poll

	GroupID id `path:"groupID"`
}

type badgeOutput struct {
	Polled

	Status int
	Body   *Badge
}

type groupSumOutput struct {
	Polled

	Status int
	Body   *GroupSum
}

type driftOutput struct {
	Fresh
	Body Drift
}

func (h *handler) registerCounts(api huma.API) {
	huma.Register(api, pollable(huma.Operation{
		OperationID: "get-badge", Method: http.MethodGet, Path: "/v1/users/{userID}/unread",
		Summary: "The badge of one user: unread messages over all groups", Tags: []string{tagCounts},
		Errors: []int{http.StatusNotFound, http.StatusGone, http.StatusServiceUnavailable},
	}), h.getBadge)
	huma.Register(api, pollable(huma.Operation{
		OperationID: "get-state", Method: http.MethodGet, Path: "/v1/users/{userID}/groups/{groupID}",
		Summary: "The unread count of one user in one group", Tags: []string{tagCounts},
		Errors: []int{http.StatusNotFound, http.StatusGone, http.StatusServiceUnavailable},
	}), h.getState)
	huma.Register(api, pollable(huma.Operation{
		OperationID: "get-group-sum", Method: http.MethodGet, Path: "/v1/groups/{groupID}/unread",
		Summary: "Unread messages over all readers of one group", Tags: []string{tagCounts},
		Errors: []int{http.StatusNotFound, http.StatusServiceUnavailable},
	}), h.getGroupSum)
}

func (h *handler) registerDrift(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "get-drift", Method: http.MethodGet, Path: "/v1/drift",
		Summary: "How far counts were from OpenIM's when they were last compared, and which stay off", Tags: []string{tagOperation},
		Errors: []int{http.StatusServiceUnavailable},
	}, h.getDrift)
}

func (h *handler) getDrift(ctx context.Context, _ *struct{}) (*driftOutput, error) {
	asOf := h.asOf()
	d, err := h.database.Drift(ctx)
	if err != nil {
		return nil, h.problem(ctx, err, "")
	}
	items := make([]Off, len(d.Left))
	for i := range d.Left {
		items[i] = NewOff(&d.Left[i], d.Left[i].Reason.Explain())
	}
	return &driftOutput{Fresh: noCache(), Body: Drift{
		Users: d.Users, UsersChecked: d.UsersChecked, Pairs: d.Pairs, PairsOff: d.Off, Repaired: d.Repaired, StaysOff: d.Stays(),
		LargestDifference: d.Largest, OldestCheckAt: optionalTime(d.OldestCheckAt),
		NewestCheckAt: optionalTime(d.NewestCheckAt), Items: items, AsOf: asOf,
	}}, nil
}

func (h *handler) getBadge(ctx context.Context, in *badgeInput) (*badgeOutput, error) {
	if in.At != "" {
		return h.badgeAt(ctx, string(in.UserID), in)
	}
	badge, asOf, err := h.reader.Badge(ctx, string(in.UserID))
	if err != nil {
		return nil, h.problem(ctx, err, "nothing is known of this user")
	}
	return in.answer(&badge, whole(asOf)), nil
}

// answer is the badge, or that it has not changed.
func (in *badgeInput) answer(badge *readstate.Badge, asOf time.Time) *badgeOutput {
	v := newVersion()
	v.number(badge.UnreadCount, badge.UnreadCountUnmuted, badge.UnreadGroups, badge.Groups)
	v.flag(badge.Exact)
	v.flag(badge.Pending)
	v.moment(badge.UpdatedAt)
	out := &badgeOutput{}
	if out.Status = in.status(v, &out.Polled); out.Status == http.StatusOK {
		body := newBadge(*badge, asOf)
		out.Body = &body
	}
	return out
}

func (h *handler) getGroupSum(ctx context.Context, in *groupInput) (*groupSumOutput, error) {
	sum, asOf, err := h.reader.GroupSum(ctx, string(in.GroupID))
	if err != nil {
		return nil, h.problem(ctx, err, "nothing is known of this group")
	}
	v := newVersion()
	v.groupSum(&sum)
	out := &groupSumOutput{}
	if out.Status = in.status(v, &out.Polled); out.Status == http.StatusOK {
		body := newGroupSum(&sum, whole(asOf))
		out.Body = &body
	}
	return out, nil
}

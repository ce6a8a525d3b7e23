package client

import (
	"context"
	"iter"

	"readmark/client/internal/rest"
)

// GroupsOptions narrows and orders a list of groups.
type GroupsOptions struct {
	Prefix   string // only those whose IDs begin so
	Sort     string // ByUnreadCount, or by ID
	PageSize int32  // in one request, up to 1000; zero: 50
}

// UsersOptions narrows a list of users.
type UsersOptions struct {
	Prefix   string // only those whose IDs begin so
	PageSize int32  // in one request, up to 1000; zero: 50
}

// Users goes through the badges of all users that are known, in the order of their IDs.
func (c *Client) Users(ctx context.Context, o UsersOptions) iter.Seq2[Badge, error] {
	return pages(func(cursor string) (page[Badge], error) {
		list, err := result[rest.BadgeList](c.rest.ListUsers(ctx, &rest.ListUsersParams{
			Prefix: given(o.Prefix), Limit: given(o.PageSize), Cursor: given(cursor),
		}))
		if err != nil {
			return page[Badge]{}, err
		}
		return page[Badge]{list.Items, list.NextCursor}, nil
	})
}

// Groups goes through the sums of all groups that are known. They are kept, and each says as of when it is.
func (c *Client) Groups(ctx context.Context, o GroupsOptions) iter.Seq2[GroupSum, error] {
	return pages(func(cursor string) (page[GroupSum], error) {
		list, err := result[rest.GroupSumList](c.rest.ListGroups(ctx, &rest.ListGroupsParams{
			Prefix: given(o.Prefix), Sort: given(rest.ListGroupsParamsSort(o.Sort)), Limit: given(o.PageSize), Cursor: given(cursor),
		}))
		if err != nil {
			return page[GroupSum]{}, err
		}
		return page[GroupSum]{list.Items, list.NextCursor}, nil
	})
}

// Rejections goes through the callbacks that were refused, the newest first; pageSize is how many are asked for at
// once, up to 1000; zero: 50.
func (c *Client) Rejections(ctx context.Context, pageSize int32) iter.Seq2[Rejection, error] {
	return pages(func(cursor string) (page[Rejection], error) {
		list, err := result[rest.RejectionList](c.rest.ListRejections(ctx, &rest.ListRejectionsParams{Limit: given(pageSize), Cursor: given(cursor)}))
		if err != nil {
			return page[Rejection]{}, err
		}
		return page[Rejection]{list.Items, list.NextCursor}, nil
	})
}

// Stats tells what the last hour and day of one process were like, and what is not well in it.
func (c *Client) Stats(ctx context.Context) (*Stats, error) {
	return result[Stats](c.rest.GetStats(ctx))
}

package client

import (
	"context"
	"iter"
	"time"

	"readmark/client/internal/rest"
)

// The orders of lists; the zero value is by key.
const (
	ByUnreadCount = "-unreadCount"
	ByLastReadAt  = "-lastReadAt"
)

// ListOptions narrows and orders a list of states.
type ListOptions struct {
	Unread       bool      // only with unread messages
	MinUnread    int64     // only with at least as many
	UpdatedSince time.Time // only what was written then or later
	Sort         string    // ByUnreadCount, ByLastReadAt, or by key
	PageSize     int32     // states in one request, up to 1000; zero: 50
}

// HistoryOptions bounds a history; zero values set no bound.
type HistoryOptions struct {
	From, To time.Time // arrival, To excluded
	PageSize int32     // receipts in one request, up to 1000; zero: 50
}

// pages goes through all pages, as long as the caller goes on. The first error ends it.
func pages[T any](read func(cursor string) (items []T, next string, err error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for cursor := ""; ; {
			items, next, err := read(cursor)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, one := range items {
				if !yield(one, nil) {
					return
				}
			}
			if cursor = next; cursor == "" {
				return
			}
		}
	}
}

// UserGroups goes through the groups of a user.
func (c *Client) UserGroups(ctx context.Context, userID string, o ListOptions) iter.Seq2[State, error] {
	return pages(func(cursor string) ([]State, string, error) {
		request, err := rest.NewListUserGroupsRequest(c.base, "-", &rest.ListUserGroupsParams{
			Unread: given(o.Unread), MinUnread: given(o.MinUnread), UpdatedSince: given(o.UpdatedSince),
			Sort: given(rest.ListUserGroupsParamsSort(o.Sort)), Limit: given(o.PageSize), Cursor: given(cursor),
		})
		var list rest.StateList
		err = c.do(ctx, request, err, &list, "users", userID, "groups")
		return list.Items, list.NextCursor, err
	})
}

// GroupUsers goes through the readers of a group.
func (c *Client) GroupUsers(ctx context.Context, groupID string, o ListOptions) iter.Seq2[State, error] {
	return pages(func(cursor string) ([]State, string, error) {
		request, err := rest.NewListGroupUsersRequest(c.base, "-", &rest.ListGroupUsersParams{
			Unread: given(o.Unread), MinUnread: given(o.MinUnread), UpdatedSince: given(o.UpdatedSince),
			Sort: given(rest.ListGroupUsersParamsSort(o.Sort)), Limit: given(o.PageSize), Cursor: given(cursor),
		})
		var list rest.StateList
		err = c.do(ctx, request, err, &list, "groups", groupID, "users")
		return list.Items, list.NextCursor, err
	})
}

// Receipts goes through the history of a user in a group, the newest first.
func (c *Client) Receipts(ctx context.Context, userID, groupID string, o HistoryOptions) iter.Seq2[Receipt, error] {
	return pages(func(cursor string) ([]Receipt, string, error) {
		request, err := rest.NewListReceiptsRequest(c.base, "-", "-", &rest.ListReceiptsParams{
			From: given(o.From), To: given(o.To), Limit: given(o.PageSize), Cursor: given(cursor),
		})
		var list rest.ReceiptList
		err = c.do(ctx, request, err, &list, "users", userID, "groups", groupID, "receipts")
		return list.Items, list.NextCursor, err
	})
}

// UserReceipts goes through the history of a user, the newest first.
func (c *Client) UserReceipts(ctx context.Context, userID string, o HistoryOptions) iter.Seq2[SubjectReceipt, error] {
	return pages(func(cursor string) ([]SubjectReceipt, string, error) {
		request, err := rest.NewListUserReceiptsRequest(c.base, "-", &rest.ListUserReceiptsParams{
			From: given(o.From), To: given(o.To), Limit: given(o.PageSize), Cursor: given(cursor),
		})
		var list rest.SubjectReceiptList
		err = c.do(ctx, request, err, &list, "users", userID, "receipts")
		return list.Items, list.NextCursor, err
	})
}

// GroupReceipts goes through the history of a group, the newest first.
func (c *Client) GroupReceipts(ctx context.Context, groupID string, o HistoryOptions) iter.Seq2[SubjectReceipt, error] {
	return pages(func(cursor string) ([]SubjectReceipt, string, error) {
		request, err := rest.NewListGroupReceiptsRequest(c.base, "-", &rest.ListGroupReceiptsParams{
			From: given(o.From), To: given(o.To), Limit: given(o.PageSize), Cursor: given(cursor),
		})
		var list rest.SubjectReceiptList
		err = c.do(ctx, request, err, &list, "groups", groupID, "receipts")
		return list.Items, list.NextCursor, err
	})
}

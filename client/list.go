package client

import (
	"context"
	"iter"
	"net/http"
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
	Muted        *bool     // only muted groups, or only those that are not; nil: both
	Sort         string    // ByUnreadCount, ByLastReadAt, or by key
	PageSize     int32     // states in one request, up to 1000; zero: 50
}

// HistoryOptions bounds a history; zero values set no bound.
type HistoryOptions struct {
	From, To time.Time // arrival, To excluded
	PageSize int32     // receipts in one request, up to 1000; zero: 50
}

// page is a page of a list, of whatever.
type page[T any] struct {
	items []T
	next  string
}

// pages goes through all pages, as long as the caller goes on. The first error ends it.
func pages[T any](read func(cursor string) (page[T], error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for cursor := ""; ; {
			p, err := read(cursor)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, one := range p.items {
				if !yield(one, nil) {
					return
				}
			}
			if cursor = p.next; cursor == "" {
				return
			}
		}
	}
}

// statePage, receiptPage and subjectPage turn an answer into a page.
func statePage(answer *http.Response, err error) (page[State], error) {
	list, err := result[rest.StateList](answer, err)
	if err != nil {
		return page[State]{}, err
	}
	return page[State]{list.Items, list.NextCursor}, nil
}

func receiptPage(answer *http.Response, err error) (page[Receipt], error) {
	list, err := result[rest.ReceiptList](answer, err)
	if err != nil {
		return page[Receipt]{}, err
	}
	return page[Receipt]{list.Items, list.NextCursor}, nil
}

func subjectPage(answer *http.Response, err error) (page[SubjectReceipt], error) {
	list, err := result[rest.SubjectReceiptList](answer, err)
	if err != nil {
		return page[SubjectReceipt]{}, err
	}
	return page[SubjectReceipt]{list.Items, list.NextCursor}, nil
}

// UserGroups goes through the groups of a user.
func (c *Client) UserGroups(ctx context.Context, userID string, o ListOptions) iter.Seq2[State, error] {
	return pages(func(cursor string) (page[State], error) {
		return statePage(c.rest.ListUserGroups(ctx, userID, &rest.ListUserGroupsParams{
			Unread: given(o.Unread), MinUnread: given(o.MinUnread), UpdatedSince: given(o.UpdatedSince), Muted: o.Muted,
			Sort: given(rest.ListUserGroupsParamsSort(o.Sort)), Limit: given(o.PageSize), Cursor: given(cursor),
		}, c.path("users", userID, "groups")))
	})
}

// GroupUsers goes through the readers of a group.
func (c *Client) GroupUsers(ctx context.Context, groupID string, o ListOptions) iter.Seq2[State, error] {
	return pages(func(cursor string) (page[State], error) {
		return statePage(c.rest.ListGroupUsers(ctx, groupID, &rest.ListGroupUsersParams{
			Unread: given(o.Unread), MinUnread: given(o.MinUnread), UpdatedSince: given(o.UpdatedSince), Muted: o.Muted,
			Sort: given(rest.ListGroupUsersParamsSort(o.Sort)), Limit: given(o.PageSize), Cursor: given(cursor),
		}, c.path("groups", groupID, "users")))
	})
}

// Receipts goes through the history of a user in a group, the newest first.
func (c *Client) Receipts(ctx context.Context, userID, groupID string, o HistoryOptions) iter.Seq2[Receipt, error] {
	return pages(func(cursor string) (page[Receipt], error) {
		return receiptPage(c.rest.ListReceipts(ctx, userID, groupID, &rest.ListReceiptsParams{
			From: given(o.From), To: given(o.To), Limit: given(o.PageSize), Cursor: given(cursor),
		}, c.path("users", userID, "groups", groupID, "receipts")))
	})
}

// UserReceipts goes through the history of a user, the newest first.
func (c *Client) UserReceipts(ctx context.Context, userID string, o HistoryOptions) iter.Seq2[SubjectReceipt, error] {
	return pages(func(cursor string) (page[SubjectReceipt], error) {
		return subjectPage(c.rest.ListUserReceipts(ctx, userID, &rest.ListUserReceiptsParams{
			From: given(o.From), To: given(o.To), Limit: given(o.PageSize), Cursor: given(cursor),
		}, c.path("users", userID, "receipts")))
	})
}

// GroupReceipts goes through the history of a group, the newest first.
func (c *Client) GroupReceipts(ctx context.Context, groupID string, o HistoryOptions) iter.Seq2[SubjectReceipt, error] {
	return pages(func(cursor string) (page[SubjectReceipt], error) {
		return subjectPage(c.rest.ListGroupReceipts(ctx, groupID, &rest.ListGroupReceiptsParams{
			From: given(o.From), To: given(o.To), Limit: given(o.PageSize), Cursor: given(cursor),
		}, c.path("groups", groupID, "receipts")))
	})
}

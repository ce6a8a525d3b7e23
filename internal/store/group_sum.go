package store

import (
	"context"
	"fmt"
	"time"

	"readmark/db"
	"readmark/internal/readstate"
)

// GroupSums lists sums of groups that are kept, and a moment: what was acknowledged before is in all of them. While
// they are made for the first time it fails with a [readstate.UnavailableError].
func (r *Reader) GroupSums(ctx context.Context, page readstate.GroupPage) (list []readstate.KeptGroupSum, asOf time.Time, err error) {
	var until *time.Time
	err = r.read(ctx, func(ctx context.Context, reads *pool) error {
		// First: sums that are written meanwhile are of later.
		if until, err = r.queries.GetGroupSumsRightUntil(ctx, reads); err != nil || until == nil {
			return err
		}
		rows, err := r.listGroupSums(ctx, reads, &page)
		list = make([]readstate.KeptGroupSum, len(rows))
		for i := range rows {
			row := &rows[i]
			list[i] = readstate.KeptGroupSum{AsOf: row.SummedAt.UTC(), GroupSum: readstate.GroupSum{
				GroupID: row.GroupID, Users: row.Users, UsersWithUnread: row.UsersWithUnread, UnreadCount: row.UnreadCount, MaxUnread: row.MaxUnread,
				Exact: row.Exact, LastReadAt: moment(row.LastReadAt),
			}}
		}
		return err
	})
	if err == nil && until == nil {
		err = &readstate.UnavailableError{Text: "the groups are being summed for the first time: ask again"}
	}
	if err != nil {
		return nil, asOf, fmt.Errorf("list sums of groups: %w", translate(err))
	}
	return list, until.UTC(), nil
}

func (r *Reader) listGroupSums(ctx context.Context, reads *pool, page *readstate.GroupPage) ([]db.GroupSum, error) {
	unread, _ := begin(page.After)
	switch {
	case page.Order != readstate.OrderUnread:
		return r.queries.ListGroupSums(ctx, reads, db.ListGroupSumsParams{
			AfterGroupID: page.After.Key, FromGroupID: page.Prefix, ToGroupID: endOf(page.Prefix), MaxRows: page.Limit,
		})
	case page.Prefix == "": // a plan for any prefix could read all groups
		return r.queries.ListGroupSumsOrderedByUnread(ctx, reads, db.ListGroupSumsOrderedByUnreadParams{
			AfterUnreadCount: unread, AfterGroupID: page.After.Key, MaxRows: page.Limit,
		})
	default:
		return r.queries.ListSomeGroupSumsOrderedByUnread(ctx, reads, db.ListSomeGroupSumsOrderedByUnreadParams{
			AfterUnreadCount: unread, AfterGroupID: page.After.Key, FromGroupID: page.Prefix, ToGroupID: endOf(page.Prefix), MaxRows: page.Limit,
		})
	}
}

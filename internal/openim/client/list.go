package client

import "context"

const (
	// pageSize is how many members or groups OpenIM gives in one answer, at most. A longer
	// list is read in several, and may change meanwhile.
	pageSize = 100
	// fewMembers is up to how many members SomeMembers lists all.
	fewMembers = 1000
	// roleOwner is OpenIM's roleLevel of a group's owner.
	roleOwner = 100
)

// pagination names a page of a list in a request. Pages are numbered from 1.
type pagination struct {
	PageNumber int `json:"pageNumber"`
	ShowNumber int `json:"showNumber"`
}

// Member is one member of a group.
type Member struct {
	UserID string
	Owner  bool
}

// MemberList is what OpenIM lists of a group's members.
type MemberList struct {
	// Members are in OpenIM's order, without repeats. There are none in a dismissed group.
	Members []Member
	// Complete reports whether OpenIM listed as many members as it says there are. It leaves
	// members out at times: nothing follows from who is missing in a list that is not
	// complete. A complete list may lack a member, too, when others came and went while its
	// pages were read.
	Complete bool
}

// Members lists a group's members. It fails with [ErrUnavailable] or with an [Error].
func (c *Client) Members(ctx context.Context, groupID string) (MemberList, error) {
	read := func(page pagination) ([]Member, int, error) { return c.memberPage(ctx, groupID, page) }
	all, complete, err := pages(read, func(m Member) string { return m.UserID })
	return MemberList{Members: all, Complete: complete}, err
}

func (c *Client) memberPage(ctx context.Context, groupID string, page pagination) (list []Member, total int, err error) {
	var data struct {
		Total   int `json:"total"`
		Members []struct {
			UserID    string `json:"userID"`
			RoleLevel int    `json:"roleLevel"`
		} `json:"members"`
	}
	err = c.call(ctx, pathMembers, map[string]any{
		"groupID": groupID, "filter": 0, "keyword": "", "pagination": page,
	}, &data)
	list = make([]Member, len(data.Members))
	for i, m := range data.Members {
		list[i] = Member{UserID: m.UserID, Owner: m.RoleLevel == roleOwner}
	}
	return list, data.Total, err
}

// SomeMembers lists a group's members if there are few, and the first hundred if there are
// more than a thousand. It fails as Members does.
func (c *Client) SomeMembers(ctx context.Context, groupID string) (MemberList, error) {
	read := func(page pagination) ([]Member, int, error) {
		list, total, err := c.memberPage(ctx, groupID, page)
		if total > fewMembers {
			total = 1 // that is the last page
		}
		return list, total, err
	}
	all, complete, err := pages(read, func(m Member) string { return m.UserID })
	return MemberList{Members: all, Complete: complete}, err
}

// JoinedGroups lists the IDs of the groups that a user is in, without repeats; complete is
// as in a [MemberList]. It fails as Members does.
func (c *Client) JoinedGroups(ctx context.Context, userID string) (groupIDs []string, complete bool, err error) {
	read := func(page pagination) ([]string, int, error) {
		var data struct {
			Total  int `json:"total"`
			Groups []struct {
				GroupID string `json:"groupID"`
			} `json:"groups"`
		}
		err := c.call(ctx, pathJoined, map[string]any{"fromUserID": userID, "pagination": page}, &data)
		list := make([]string, len(data.Groups))
		for i := range data.Groups {
			list[i] = data.Groups[i].GroupID
		}
		return list, data.Total, err
	}
	return pages(read, func(id string) string { return id })
}

// pages reads page after page until the pages cover the total, or one brings nothing new.
// The total is zero where the server gives none. A page that is not full does not end the
// list: OpenIM cuts it into pages first, and then drops IDs of which it finds no row.
func pages[T any](read func(pagination) (list []T, total int, err error), id func(T) string) (all []T, complete bool, err error) {
	seen := map[string]bool{}
	first, steady := 0, true     // the first page's total, and whether the others have the same
	short, holes := false, false // the last page was not full; one before the end was not
	for number := 1; ; number++ {
		list, total, err := read(pagination{PageNumber: number, ShowNumber: pageSize})
		if err != nil {
			return nil, false, err
		}
		if number == 1 {
			first = total
		}
		steady = steady && total == first
		holes = holes || short && len(list) > 0
		short = len(list) < pageSize
		before := len(all)
		for _, item := range list {
			if key := id(item); key != "" && !seen[key] {
				seen[key] = true
				all = append(all, item)
			}
		}
		switch {
		case total > 0 && number*pageSize >= total:
			return all, steady && len(all) == total, nil
		case len(all) == before: // also a server that gives the same page for ever
			return all, steady && first == 0 && len(list) == 0 && !holes, nil
		}
	}
}

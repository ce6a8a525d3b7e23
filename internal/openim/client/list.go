package client

import "context"

// PageSize is how many members or groups OpenIM gives in one answer. A longer list is
// read in several, and may change meanwhile.
const PageSize = 100

// pagination names a page of a list in a request. Pages are numbered from 1.
type pagination struct {
	PageNumber int `json:"pageNumber"`
	ShowNumber int `json:"showNumber"`
}

// Members lists the user IDs of a group's members, without repeats. The list is empty for
// a dismissed group. It fails with [ErrUnavailable] or with an [Error].
func (c *Client) Members(ctx context.Context, groupID string) ([]string, error) {
	return pages(func(page pagination) ([]string, int, error) {
		var data struct {
			Total   int `json:"total"`
			Members []struct {
				UserID string `json:"userID"`
			} `json:"members"`
		}
		err := c.call(ctx, "/group/get_group_member_list", map[string]any{
			"groupID": groupID, "filter": 0, "keyword": "", "pagination": page,
		}, &data)
		list := make([]string, len(data.Members))
		for i := range data.Members {
			list[i] = data.Members[i].UserID
		}
		return list, data.Total, err
	})
}

// JoinedGroups lists the IDs of the groups that a user is in, without repeats. It fails as
// Members does.
func (c *Client) JoinedGroups(ctx context.Context, userID string) ([]string, error) {
	return pages(func(page pagination) ([]string, int, error) {
		var data struct {
			Total  int `json:"total"`
			Groups []struct {
				GroupID string `json:"groupID"`
			} `json:"groups"`
		}
		err := c.call(ctx, "/group/get_joined_group_list", map[string]any{"fromUserID": userID, "pagination": page}, &data)
		list := make([]string, len(data.Groups))
		for i := range data.Groups {
			list[i] = data.Groups[i].GroupID
		}
		return list, data.Total, err
	})
}

// pages reads page after page until one is not full, brings nothing new, or reaches the
// total. The total is zero where the server gives none.
func pages(read func(pagination) (list []string, total int, err error)) (all []string, err error) {
	seen := map[string]bool{}
	for number := 1; ; number++ {
		list, total, err := read(pagination{PageNumber: number, ShowNumber: PageSize})
		if err != nil {
			return nil, err
		}
		before := len(all)
		for _, id := range list {
			if id != "" && !seen[id] {
				seen[id] = true
				all = append(all, id)
			}
		}
		if len(list) < PageSize || len(all) == before || total > 0 && number*PageSize >= total {
			return all, nil
		}
	}
}

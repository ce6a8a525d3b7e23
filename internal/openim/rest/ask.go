package rest

import (
	"context"
	"fmt"
)

// pageSize is how many members or groups one call gives.
const pageSize = 100

// Seqs is what OpenIM knows of a user in a conversation: the highest seq that the
// user can see, and the one up to which the user has read, which may be higher.
type Seqs struct {
	MaxSeq     int64 `json:"maxSeq"`
	HasReadSeq int64 `json:"hasReadSeq"`
}

// Conversations asks for the seqs of a user's conversations, all of them when no ID
// is given. The keys are conversation IDs.
func (c *Client) Conversations(ctx context.Context, userID string, ids ...string) (map[string]Seqs, error) {
	const path = "/msg/get_conversations_has_read_and_max_seq"
	if ids == nil {
		ids = []string{} // not null
	}
	var data struct {
		Seqs map[string]Seqs `json:"seqs"`
	}
	if err := c.call(ctx, path, map[string]any{"userID": userID, "conversationIDs": ids}, &data); err != nil {
		return nil, err
	}
	for _, seqs := range data.Seqs {
		if seqs.MaxSeq < 0 || seqs.HasReadSeq < 0 {
			return nil, fmt.Errorf("%w: %s: a seq is negative", ErrUnavailable, path)
		}
	}
	if data.Seqs == nil { // null
		data.Seqs = map[string]Seqs{}
	}
	return data.Seqs, nil
}

// pagination is how OpenIM's lists are asked for.
type pagination struct {
	PageNumber int `json:"pageNumber"`
	ShowNumber int `json:"showNumber"`
}

// Members lists the user IDs of a group's members, without repeats.
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

// JoinedGroups lists the IDs of the groups that a user is in, without repeats.
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

// pages asks for page after page until one is not full, brings nothing new, or the
// total is reached, which is zero where the server gives none.
func pages(ask func(pagination) (list []string, total int, err error)) (all []string, err error) {
	seen := map[string]bool{}
	for number := 1; ; number++ {
		list, total, err := ask(pagination{PageNumber: number, ShowNumber: pageSize})
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
		if len(list) < pageSize || len(all) == before || total > 0 && number*pageSize >= total {
			return all, nil
		}
	}
}

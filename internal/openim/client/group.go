package client

import (
	"context"
	"slices"
)

// GroupStatus is what OpenIM says of a group.
type GroupStatus int

const (
	// GroupUnknown is a group of which OpenIM has no row.
	GroupUnknown GroupStatus = iota
	// GroupAlive is a group that was not dismissed; it may be muted or banned.
	GroupAlive
	// GroupDismissed is a group that is gone. OpenIM keeps its row, and goes on answering its
	// conversations.
	GroupDismissed
)

const (
	// statusDismissed is OpenIM's number of a dismissed group.
	statusDismissed = 2
	// maxUsers is of how many users one request asks.
	maxUsers = 100
)

// GroupStatus asks whether a group is still there. It fails with [ErrUnavailable] or with an
// [Error]; that OpenIM does not know the group is an answer.
func (c *Client) GroupStatus(ctx context.Context, groupID string) (GroupStatus, error) {
	var data struct {
		GroupInfos []struct {
			GroupID string `json:"groupID"`
			Status  int    `json:"status"`
		} `json:"groupInfos"`
	}
	err := c.call(ctx, pathGroups, map[string]any{"groupIDs": []string{groupID}}, &data)
	if err != nil && !IsUnknown(err) {
		return GroupUnknown, err
	}
	for _, info := range data.GroupInfos {
		switch {
		case info.GroupID != groupID:
		case info.Status == statusDismissed:
			return GroupDismissed, nil
		default:
			return GroupAlive, nil
		}
	}
	return GroupUnknown, nil
}

// AreMembers asks which of some users are members of a group: these are true in the map,
// which is the caller's. It reads the members' own rows and no list, so that nobody slips
// between two pages. It fails as GroupStatus does.
func (c *Client) AreMembers(ctx context.Context, groupID string, userIDs ...string) (map[string]bool, error) {
	are := make(map[string]bool, len(userIDs))
	for part := range slices.Chunk(userIDs, maxUsers) {
		if err := c.areMembers(ctx, groupID, part, are); err != nil {
			return nil, err
		}
	}
	return are, nil
}

func (c *Client) areMembers(ctx context.Context, groupID string, userIDs []string, are map[string]bool) error {
	var data struct {
		Members []struct {
			UserID string `json:"userID"`
		} `json:"members"`
	}
	err := c.call(ctx, pathMembersInfo, map[string]any{"groupID": groupID, "userIDs": userIDs}, &data)
	switch {
	case IsUnknown(err) && len(userIDs) == 1:
		return nil
	case IsUnknown(err): // of all, or of one: a refusal does not say, so they are asked for in halves
		half := len(userIDs) / 2
		if err := c.areMembers(ctx, groupID, userIDs[:half], are); err != nil {
			return err
		}
		return c.areMembers(ctx, groupID, userIDs[half:], are)
	case err != nil:
		return err
	}
	for _, m := range data.Members {
		if slices.Contains(userIDs, m.UserID) {
			are[m.UserID] = true
		}
	}
	return nil
}

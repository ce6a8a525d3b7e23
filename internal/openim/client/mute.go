package client

import "context"

// MutedConversations lists the IDs of the conversations that a user has muted, also of
// groups that the user has left: those with recvMsgOpt 2, which OpenIM's own clients leave out
// of their total. There are none of a user whom OpenIM does not know. Servers before v3.8.2
// do not have the path. It fails with [ErrUnavailable] or with an [Error].
func (c *Client) MutedConversations(ctx context.Context, userID string) ([]string, error) {
	var data struct {
		ConversationIDs []string `json:"conversationIDs"`
	}
	err := c.call(ctx, pathMuted, map[string]any{"userID": userID}, &data)
	if err != nil && !IsUnknown(err) {
		return nil, err
	}
	return data.ConversationIDs, nil
}

// MutesEverything reports whether a user has muted all conversations at once: the
// globalRecvMsgOpt is not 0. It fails as MutedConversations does.
func (c *Client) MutesEverything(ctx context.Context, userID string) (bool, error) {
	var data struct {
		Users []struct {
			UserID string `json:"userID"`
			Option int    `json:"globalRecvMsgOpt"`
		} `json:"usersInfo"`
	}
	err := c.call(ctx, pathUsers, map[string]any{"userIDs": []string{userID}}, &data)
	if err != nil && !IsUnknown(err) {
		return false, err
	}
	for _, user := range data.Users {
		if user.UserID == userID {
			return user.Option != 0, nil
		}
	}
	return false, nil
}

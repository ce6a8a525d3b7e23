package client

import (
	"context"
	"fmt"
)

// Seqs is what OpenIM says of a user in a conversation. Neither seq is negative.
type Seqs struct {
	// MaxSeq is the highest seq that the user can see.
	MaxSeq int64 `json:"maxSeq"`
	// HasReadSeq is the seq up to which the user has read. It may lie above MaxSeq.
	HasReadSeq int64 `json:"hasReadSeq"`
}

// Conversations gives the seqs of a user's conversations by conversation ID: of those
// with the given IDs, or of all when none is given. The map is the caller's and never nil
// without an error. It fails with [ErrUnavailable] or with an [Error].
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

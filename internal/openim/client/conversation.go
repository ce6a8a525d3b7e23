package client

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
)

// latestTime is the last millisecond of the year 9999.
const latestTime = 253402300799999

// Seqs is what OpenIM says of a user in a conversation. Neither seq is negative.
type Seqs struct {
	// MaxSeq is the highest seq that the user can see.
	MaxSeq int64 `json:"maxSeq"`
	// HasReadSeq is the seq up to which the user has read. It may lie above MaxSeq.
	HasReadSeq int64 `json:"hasReadSeq"`
	// MaxSeqTime is when the conversation's highest seq was given out, in milliseconds since
	// 1970 by OpenIM's clock: also where MaxSeq is the user's own. 0 when OpenIM does not say,
	// as before v3.8.1.
	MaxSeqTime int64 `json:"-"`
}

// Conversations gives the seqs of a user's conversations by conversation ID: of those
// with the given IDs, or of all when none is given. A conversation whose seqs cannot be
// used is left out and counted: it spoils no other. The map is the caller's and never nil
// without an error. It fails with [ErrUnavailable] or with an [Error]. A user for whom
// OpenIM takes longer than the timeout is given twice as long the next time, up to a
// minute: the answer grows with the user's conversations.
func (c *Client) Conversations(ctx context.Context, userID string, ids ...string) (map[string]Seqs, error) {
	if ids == nil {
		ids = []string{} // not null
	}
	var data struct {
		Seqs map[string]json.RawMessage `json:"seqs"`
	}
	timeout := c.options.Timeout
	if longer, found := c.timeouts.Get(userID); found {
		timeout = longer
	}
	err := c.callWithin(ctx, timeout, pathConversations, map[string]any{"userID": userID, "conversationIDs": ids}, &data)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		c.timeouts.Add(userID, max(timeout, min(2*timeout, maxTimeout)))
	}
	if err != nil {
		return nil, err
	}
	all := make(map[string]Seqs, len(data.Seqs))
	for id, text := range data.Seqs {
		var seqs struct {
			Seqs
			MaxSeqTime json.RawMessage `json:"maxSeqTime"` // one that is no time spoils no seq
		}
		if err := json.Unmarshal(text, &seqs); err != nil || seqs.MaxSeq < 0 || seqs.HasReadSeq < 0 {
			c.metrics.unusable.Inc()
			continue
		}
		if at, err := strconv.ParseInt(string(seqs.MaxSeqTime), 10, 64); err == nil && at > 0 && at <= latestTime {
			seqs.Seqs.MaxSeqTime = at
		}
		all[id] = seqs.Seqs
	}
	return all, nil
}

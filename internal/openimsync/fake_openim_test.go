package openimsync_test

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"readmark/internal/openim/client"
)

// call is one call of the fake OpenIM.
type call struct {
	id  string // a user, or "members of " a group
	ids []string
	at  time.Time
}

// fakeOpenIM answers from memory. hook, when set, runs in each call before the answer is
// made; its error is the answer.
type fakeOpenIM struct {
	mu            sync.Mutex
	conversations map[string]map[string]client.Seqs
	members       map[string][]string
	calls         []call
	running, most int
	hook          func(ctx context.Context, id string, n int) error
}

func (o *fakeOpenIM) begin(ctx context.Context, id string, ids ...string) error {
	o.mu.Lock()
	o.calls = append(o.calls, call{id, ids, time.Now()})
	n := len(o.calls)
	o.running++
	o.most = max(o.most, o.running)
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		o.running--
		o.mu.Unlock()
	}()
	if o.hook != nil {
		return o.hook(ctx, id, n)
	}
	return nil
}

func (o *fakeOpenIM) Conversations(ctx context.Context, userID string, ids ...string) (map[string]client.Seqs, error) {
	if err := o.begin(ctx, userID, ids...); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.conversations[userID]), nil
}

func (o *fakeOpenIM) Members(ctx context.Context, groupID string) ([]string, error) {
	if err := o.begin(ctx, "members of "+groupID); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.members[groupID]), nil
}

// set changes what OpenIM says of a user in a group.
func (o *fakeOpenIM) set(userID, groupID string, maxSeq, readSeq int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conversations == nil {
		o.conversations = map[string]map[string]client.Seqs{}
	}
	if o.conversations[userID] == nil {
		o.conversations[userID] = map[string]client.Seqs{}
	}
	o.conversations[userID]["sg_"+groupID] = client.Seqs{MaxSeq: maxSeq, HasReadSeq: readSeq}
}

// load gives how many calls run, and how many ran at once at most.
func (o *fakeOpenIM) load() (running, most int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.running, o.most
}

func (o *fakeOpenIM) called() []call {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.calls)
}

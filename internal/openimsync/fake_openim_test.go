package openimsync_test

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"readmark/internal/openim/client"
)

// call is one call of the fake OpenIM.
type call struct {
	id  string // a user; or "members of ", "status of " or "who of " a group
	ids []string
	at  time.Time
	// background is set where readers come first.
	background bool
}

// fakeOpenIM answers from memory. hook, when set, runs in each call before the answer is
// made; its error is the answer.
type fakeOpenIM struct {
	mu            sync.Mutex
	conversations map[string]map[string]client.Seqs
	members       map[string][]string           // nil: all who have a conversation are members
	incomplete    map[string]bool               // the lists of these groups lack somebody
	unlisted      map[string][]string           // members whom the list lacks
	status        map[string]client.GroupStatus // alive, where nothing is said
	noPath        map[string]bool               // calls that the server does not know
	muted         map[string][]string           // groups that users have muted
	mutesAll      map[string]bool               // users who have muted everything
	muteCalls     []call                        // what is asked about these, beside calls
	muteHook      func(ctx context.Context, id string, n int) error
	calls         []call
	running, most int
	hook          func(ctx context.Context, id string, n int) error
}

func (o *fakeOpenIM) begin(ctx context.Context, id string, ids ...string) error {
	o.mu.Lock()
	o.calls = append(o.calls, call{id, ids, time.Now(), client.IsBackground(ctx)})
	n := len(o.calls)
	o.running++
	o.most = max(o.most, o.running)
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		o.running--
		o.mu.Unlock()
	}()
	if o.noPath[id] {
		return &client.Error{Code: http.StatusNotFound}
	}
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

func (o *fakeOpenIM) Members(ctx context.Context, groupID string) (list client.MemberList, err error) {
	if err := o.begin(ctx, "members of "+groupID); err != nil {
		return list, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, userID := range o.members[groupID] {
		list.Members = append(list.Members, client.Member{UserID: userID, Owner: userID == "owner"})
	}
	list.Complete = !o.incomplete[groupID]
	return list, nil
}

func (o *fakeOpenIM) SomeMembers(ctx context.Context, groupID string) (client.MemberList, error) {
	return o.Members(ctx, groupID)
}

func (o *fakeOpenIM) JoinedGroups(ctx context.Context, userID string) (groupIDs []string, complete bool, err error) {
	if err := o.begin(ctx, "groups of "+userID); err != nil {
		return nil, false, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.members == nil {
		for id := range o.conversations[userID] {
			groupIDs = append(groupIDs, strings.TrimPrefix(id, "sg_"))
		}
	}
	for groupID, users := range o.members {
		if slices.Contains(users, userID) {
			groupIDs = append(groupIDs, groupID)
		}
	}
	return groupIDs, true, nil
}

func (o *fakeOpenIM) GroupStatus(ctx context.Context, groupID string) (client.GroupStatus, error) {
	if err := o.begin(ctx, "status of "+groupID); client.IsUnknown(err) {
		return client.GroupUnknown, nil
	} else if err != nil {
		return 0, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if status, found := o.status[groupID]; found {
		return status, nil
	}
	return client.GroupAlive, nil
}

func (o *fakeOpenIM) AreMembers(ctx context.Context, groupID string, userIDs ...string) (map[string]bool, error) {
	if err := o.begin(ctx, "who of "+groupID, userIDs...); client.IsUnknown(err) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	are := map[string]bool{}
	for _, userID := range userIDs {
		_, talks := o.conversations[userID]["sg_"+groupID]
		if o.members == nil && talks || slices.Contains(o.members[groupID], userID) || slices.Contains(o.unlisted[groupID], userID) {
			are[userID] = true
		}
	}
	return are, nil
}

func (o *fakeOpenIM) askMutes(ctx context.Context, path, userID string) error {
	id := path + " of " + userID
	o.mu.Lock()
	o.muteCalls = append(o.muteCalls, call{id: id, at: time.Now()})
	n := len(o.muteCalls)
	lacking := o.noPath[path]
	o.mu.Unlock()
	if lacking {
		return &client.Error{Code: http.StatusNotFound}
	}
	if o.muteHook != nil {
		return o.muteHook(ctx, id, n)
	}
	return nil
}

func (o *fakeOpenIM) MutedConversations(ctx context.Context, userID string) (ids []string, err error) {
	if err := o.askMutes(ctx, "mutes", userID); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, groupID := range o.muted[userID] {
		ids = append(ids, "sg_"+groupID)
	}
	return ids, nil
}

func (o *fakeOpenIM) MutesEverything(ctx context.Context, userID string) (bool, error) {
	if err := o.askMutes(ctx, "user", userID); err != nil {
		return false, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.mutesAll[userID], nil
}

// askedMutes gives how often it was asked what users have muted.
func (o *fakeOpenIM) askedMutes() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.muteCalls)
}

// change has something change at OpenIM.
func (o *fakeOpenIM) change(what func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	what()
}

// asked gives how many calls had an ID.
func (o *fakeOpenIM) asked(id string) (n int) {
	for _, c := range o.called() {
		if c.id == id {
			n++
		}
	}
	return n
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

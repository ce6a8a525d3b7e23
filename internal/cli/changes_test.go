package cli_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/api"
	"readmark/internal/pgtest"
	"readmark/internal/readstate"
)

// replicas are processes that come and go.
type replicas struct {
	mu   sync.Mutex
	list []*process
}

func (r *replicas) url(i int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.list[i].URL
}

// chatters are who writes and reads. Those with v neither join nor leave a group.
func chatters() []string { return []string{"u0", "u1", "u2", "u3", "v0", "v1", "v2", "v3"} }

// chatter sends random callbacks of all kinds to random replicas, whatever becomes of them.
func chatter(ctx context.Context, random *rand.Rand, target func() string, sent *atomic.Int64) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	seqs := map[string]int{}
	for n := 0; ctx.Err() == nil; n++ {
		user, group := chatters()[random.IntN(8)], fmt.Sprint("g", random.IntN(4))
		message := func(seq int) string {
			return fmt.Sprintf(`{"sendID":%q,"serverMsgID":"s%d","clientMsgID":"c%d","sessionType":3,"msgFrom":200,"contentType":101,"sendTime":%d,"seq":%d,"groupID":%q}`,
				user, n, n, time.Now().UnixMilli(), seq, group)
		}
		command, body := "callbackAfterGroupMsgReadCommand", fmt.Sprintf(`{"sendID":%q,"receiveID":%q,"unreadMsgNum":%d,"contentType":101}`, user, group, random.IntN(20))
		switch random.IntN(20) {
		case 0, 1, 2, 3, 4, 5:
			command, body = "callbackAfterSendGroupMsgCommand", message(0)
		case 6, 7, 8:
			seqs[group]++
			command, body = "callbackAfterMsgSaveDBCommand", message(seqs[group])
		case 9:
			command, body = "callbackAfterQuitGroupCommand", fmt.Sprintf(`{"groupID":%q,"userID":"u%d"}`, group, random.IntN(4))
		case 10, 11:
			command, body = "callbackAfterJoinGroupCommand", fmt.Sprintf(`{"groupID":%q,"inviterUserID":"u%d"}`, group, random.IntN(4))
		case 12:
			if random.IntN(10) == 0 {
				command, body = "callbackAfterDisMissGroupCommand", fmt.Sprintf(`{"groupID":%q,"ownerID":%q,"membersID":[]}`, group, user)
			}
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, target()+"/"+command, strings.NewReader(body))
		if err != nil {
			continue
		}
		if response, err := client.Do(request); err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			response.Body.Close()
			sent.Add(1)
		}
	}
}

// follower puts together what the feed tells, from one replica after the other, whose connections it
// breaks.
type follower struct {
	name   string
	query  string
	stream bool
	target func() string
	random *rand.Rand

	mu        sync.Mutex
	cursor    string
	asOf      time.Time
	states    map[readstate.Pair]api.Change
	positions map[string]int64
	// reminders has when those who were reminded had read last. With again they may be told twice.
	reminders map[readstate.Pair]map[time.Time]bool
	again     bool
	wrong     []string
	resyncs   int
	applied   int
}

func newFollower(name, query string) *follower {
	return &follower{
		name: name, query: query, states: map[readstate.Pair]api.Change{}, positions: map[string]int64{},
		reminders: map[readstate.Pair]map[time.Time]bool{},
	}
}

func (f *follower) run(ctx context.Context) {
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for ctx.Err() == nil {
		broken, cancel := context.WithTimeout(ctx, time.Duration(50+f.random.IntN(1500))*time.Millisecond)
		err := f.read(broken, client)
		cancel()
		if err != nil {
			f.fail(err.Error())
		}
	}
}

func (f *follower) fail(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wrong = append(f.wrong, text)
}

// read asks once, until the connection breaks.
func (f *follower) read(ctx context.Context, client *http.Client) error {
	f.mu.Lock()
	address := f.target() + "/v1/changes?wait=1s&limit=7" + f.query
	if f.cursor != "" {
		address += "&after=" + url.QueryEscape(f.cursor)
	}
	f.mu.Unlock()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	if f.stream {
		request.Header.Set("Accept", "text/event-stream")
	}
	response, err := client.Do(request)
	if err != nil {
		return nil // the process is away
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode == http.StatusServiceUnavailable:
		return nil
	case response.StatusCode != http.StatusOK:
		text, _ := io.ReadAll(response.Body)
		return fmt.Errorf("%s: %d %s", address, response.StatusCode, text)
	case f.stream:
		return f.events(response.Body)
	}
	var list api.ChangeList
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
		return nil // it broke off
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range list.Items {
		f.apply(&list.Items[i])
	}
	f.cursor, f.asOf = list.NextCursor, list.AsOf
	return nil
}

// events reads a stream.
func (f *follower) events(body io.Reader) error {
	var id, data string
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "id":
			id = value
		case "data":
			data = value
		case "":
			f.mu.Lock()
			if data != "" {
				var change api.Change
				if err := json.Unmarshal([]byte(data), &change); err != nil {
					f.mu.Unlock()
					return err
				}
				f.apply(&change)
			}
			if id != "" {
				f.cursor = id
			}
			f.mu.Unlock()
			data = ""
		}
	}
	return nil
}

func (f *follower) apply(change *api.Change) {
	f.applied++
	f.asOf = change.At
	switch change.Type {
	case "state.changed":
		pair := readstate.Pair{UserID: change.UserID, GroupID: change.GroupID}
		if before, known := f.states[pair]; known && change.State.UpdatedAt.Before(before.State.UpdatedAt) {
			f.wrong = append(f.wrong, fmt.Sprintf("%v goes back from %v to %v", pair, before.State, change.State))
		}
		f.states[pair], f.positions[change.GroupID] = *change, *change.Position
	case "state.removed":
		for pair := range f.states {
			if (change.UserID == "" || change.UserID == pair.UserID) && (change.GroupID == "" || change.GroupID == pair.GroupID) {
				delete(f.states, pair)
			}
		}
	case "group.advanced":
		f.positions[change.GroupID] = *change.Position
	case "reminder.due":
		f.remind(change)
	default:
		f.resyncs++
	}
}

// remind takes a reminder: there is one for each stretch of unread messages, which a read ends.
func (f *follower) remind(change *api.Change) {
	pair := readstate.Pair{UserID: change.UserID, GroupID: change.GroupID}
	if f.reminders[pair] == nil {
		f.reminders[pair] = map[time.Time]bool{}
	}
	readAt := lastRead(change.State)
	if f.reminders[pair][readAt] && !f.again {
		f.wrong = append(f.wrong, fmt.Sprintf("%v is reminded again: %+v", pair, change.State))
	}
	f.reminders[pair][readAt] = true
}

func lastRead(state *api.State) (at time.Time) {
	if state.LastReadAt != nil {
		at = state.LastReadAt.UTC()
	}
	return at
}

// unreminded says of whom a reminder is missing, since messages stay unread.
func (f *follower) unreminded(state *api.State) string {
	pair := readstate.Pair{UserID: state.UserID, GroupID: state.GroupID}
	if !strings.HasPrefix(pair.UserID, "v") || state.UnreadCount == 0 || f.reminders[pair][lastRead(state)] {
		return ""
	}
	return fmt.Sprintf("%s has no reminder of %+v", f.name, state)
}

// difference compares what was put together with what a replica answers.
func (f *follower) difference(s *service, wants func(readstate.Pair) bool) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var pairs []string
	for _, userID := range chatters() {
		for g := range 4 {
			if pair := (readstate.Pair{UserID: userID, GroupID: fmt.Sprint("g", g)}); wants(pair) {
				pairs = append(pairs, fmt.Sprintf(`{"userID":%q,"groupID":%q}`, pair.UserID, pair.GroupID))
			}
		}
	}
	status, body := s.do(http.MethodPost, s.URL+"/v1/unread/query", `{"pairs":[`+strings.Join(pairs, ",")+`]}`)
	var answer api.QueryOutputBody
	if err := json.Unmarshal([]byte(body), &answer); status != http.StatusOK || err != nil {
		return body
	}
	for i := range answer.Pairs {
		p := &answer.Pairs[i]
		change, known := f.states[readstate.Pair{UserID: p.UserID, GroupID: p.GroupID}]
		if known != (p.Status == "known") {
			return fmt.Sprintf("%s: %+v, and what was told last is %+v", f.name, p, change)
		}
		if !known {
			continue
		}
		position := f.positions[p.GroupID]
		if change.PositionCap != nil {
			position = min(position, *change.PositionCap)
		}
		if count := max(0, position-*change.ReadPosition); count != p.State.UnreadCount {
			return fmt.Sprintf("%s counts %d: %+v, position %d; %+v", f.name, count, p.State, position, change)
		}
		if difference := f.unreminded(p.State); difference != "" {
			return difference
		}
	}
	return ""
}

// Two replicas whose clients, receivers and processes fail at random, and whose database goes away: whoever follows
// the feed, or gets it by a webhook, has put together what the read API says, loses nothing, is never sent back, and
// is told of what stays unread, once.
func TestFaultChanges(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(rand.Uint64(), 1))
	binary, database := built(t), pgtest.Empty(t)
	proxy, through := proxied(t, database)
	dirs := []string{t.TempDir(), t.TempDir()}
	run := func(i int) *process {
		return start(t, binary, "READMARK_DATABASE_URL="+through, "READMARK_DATA_DIR="+dirs[i], "READMARK_COMMIT_BUDGET=500ms",
			"READMARK_WEBHOOK_ALLOW_PRIVATE=127.0.0.0/8,::1/128")
	}
	all := &replicas{list: []*process{run(0), run(1)}}
	for _, p := range all.list {
		p.settled()
	}
	followers := []*follower{
		newFollower("long poll", ""), newFollower("stream", ""), newFollower("user", "&userID=u1"), newFollower("stream of a user", "&userID=v2"),
		newFollower("stream of a group", "&groupID=g1"),
	}
	wants := []func(readstate.Pair) bool{
		func(readstate.Pair) bool { return true }, func(readstate.Pair) bool { return true },
		func(p readstate.Pair) bool { return p.UserID == "u1" }, func(p readstate.Pair) bool { return p.UserID == "v2" },
		func(p readstate.Pair) bool { return p.GroupID == "g1" },
	}
	rule := `{"name":"stale","after":"1s","usersPrefix":"v"}`
	status, text := all.list[0].do(http.MethodPost, all.url(0)+"/v1/reminders", rule)
	require.Equal(t, http.StatusCreated, status, text)
	receiver := receive(t, all.list[1].service, random.Uint64())
	following, stop := context.WithCancel(t.Context())
	var under sync.WaitGroup
	for _, f := range followers {
		f.random = rand.New(rand.NewPCG(random.Uint64(), 2))
		f.target = func() string { return all.url(f.random.IntN(2)) }
		require.NoError(t, f.read(t.Context(), http.DefaultClient)) // from now on
		f.stream = strings.HasPrefix(f.name, "stream")
		under.Go(func() { f.run(following) })
	}
	followers, wants = append(followers, receiver.follower), append(wants, wants[0])
	defer under.Wait()
	defer stop()
	var sent atomic.Int64
	for round := range 6 {
		sending, quiet := context.WithCancel(t.Context())
		var senders sync.WaitGroup
		for range 3 {
			r := rand.New(rand.NewPCG(random.Uint64(), 3))
			senders.Go(func() { chatter(sending, r, func() string { return all.url(r.IntN(2)) }, &sent) })
		}
		more := func(n int64) {
			until := sent.Load() + n
			require.Eventually(t, func() bool { return sent.Load() >= until }, 2*time.Minute, time.Millisecond)
		}
		more(100)
		switch round % 3 {
		case 0:
			i := random.IntN(2)
			require.NoError(t, all.list[i].command.Process.Kill())
			require.Error(t, all.list[i].wait())
			more(50)
			again := run(i)
			all.mu.Lock()
			all.list[i] = again
			all.mu.Unlock()
		case 1:
			proxy.Stop()
			more(50)
			pgtest.ListenAgain(t, proxy.Start)
		}
		more(100)
		quiet()
		senders.Wait()
		for _, p := range all.list {
			p.settled()
		}
		for i, f := range followers {
			difference := ""
			if !assertEventually(t, func() bool {
				difference = f.difference(all.list[i%2].service, wants[i])
				return difference == ""
			}) {
				t.Fatalf("round %d: %s", round, difference)
			}
			require.Empty(t, f.wrong)
		}
	}
	for _, p := range all.list { // streams end with their process
		require.NoError(t, p.command.Process.Signal(syscall.SIGTERM))
		require.NoError(t, p.wait(), p.log)
	}
	stop()
	under.Wait()
	for _, f := range followers {
		require.Zero(t, f.resyncs, f.name)
		require.Positive(t, f.applied, f.name)
	}
	require.Positive(t, receiver.refused)
	require.Positive(t, receiver.cut)
}

func assertEventually(t *testing.T, condition func() bool) bool {
	t.Helper()
	deadline := time.After(3 * time.Minute) // a lease of a process that was killed lasts 30 s
	for !condition() {
		select {
		case <-deadline:
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
	return true
}

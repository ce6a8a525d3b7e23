package cli_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

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

// chat has three chatters send. more waits until that many requests more are answered, and quiet until
// the chatters have ended.
func chat(t *testing.T, random *rand.Rand, to *replicas) (more func(n int64), quiet func()) {
	t.Helper()
	var sent atomic.Int64
	sending, end := context.WithCancel(t.Context())
	var senders sync.WaitGroup
	for range 3 {
		r := rand.New(rand.NewPCG(random.Uint64(), 3))
		senders.Go(func() { chatter(sending, r, func() string { return to.url(r.IntN(2)) }, &sent) })
	}
	more = func(n int64) {
		until := sent.Load() + n
		require.Eventually(t, func() bool { return sent.Load() >= until }, 2*time.Minute, time.Millisecond)
	}
	return more, func() { end(); senders.Wait() }
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
	for round := range 6 {
		compare := func() {
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
		more, quiet := chat(t, random, all)
		for range 1 + random.IntN(2) { // at random moments nobody writes, so that there is one answer
			more(1 + random.Int64N(100))
			quiet()
			compare()
			more, quiet = chat(t, random, all)
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
		compare()
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

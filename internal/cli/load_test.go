package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"readmark/internal/pgtest"
)

// load sends callbacks from several clients, each with pairs of its own and
// with numbers that only grow, and remembers what was acknowledged.
type load struct {
	t      testing.TB
	target func() string // the URL to send the next callback to
	acked  atomic.Int64
	failed atomic.Int64
	done   sync.WaitGroup
	stop   context.CancelFunc

	mu        sync.Mutex
	receipts  []ackedReceipt
	slowest   time.Duration
	milestone map[int64]chan struct{} // closed when so many are acknowledged
}

type ackedReceipt struct {
	user   string
	unread int64
}

const loadGroup = "g"

// startLoad begins to send with so many clients, until the number of
// callbacks, over all clients, is reached or end is called. name must differ
// between the loads of one database.
func startLoad(t testing.TB, name string, clients int, callbacks int64, target func() string) *load {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	l := &load{t: t, target: target, stop: stop, milestone: map[int64]chan struct{}{}}
	var sent atomic.Int64
	for c := range clients {
		l.done.Go(func() {
			transport := &http.Transport{MaxIdleConnsPerHost: 2}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
			for n := int64(0); ctx.Err() == nil && sent.Add(1) <= callbacks; n++ {
				l.send(client, fmt.Sprintf("%s-%d-%d", name, c, n%5), n)
			}
		})
	}
	t.Cleanup(l.end)
	return l
}

// send posts once, as OpenIM does.
func (l *load) send(client *http.Client, user string, unread int64) {
	body := fmt.Sprintf(`{"callbackCommand":"callbackGroupMsgReadCommand","sendID":%q,"receiveID":%q,"unreadMsgNum":%d,"contentType":101}`,
		user, loadGroup, unread)
	started := time.Now()
	// A client of its own context: net/http must not send again by itself.
	request, err := http.NewRequest(http.MethodPost, l.target()+"/callbackAfterGroupMsgReadCommand", io.NopCloser(strings.NewReader(body)))
	if err != nil {
		l.t.Error(err)
		return
	}
	request.ContentLength = int64(len(body))
	response, err := client.Do(request)
	if err != nil {
		l.failed.Add(1)
		return
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || !bytes.Contains(answer, []byte(`"actionCode":0`)) {
		l.failed.Add(1)
		return
	}
	took := time.Since(started)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.receipts = append(l.receipts, ackedReceipt{user, unread})
	l.slowest = max(l.slowest, took)
	n := l.acked.Add(1)
	for at, reached := range l.milestone {
		if n >= at {
			close(reached)
			delete(l.milestone, at)
		}
	}
}

// await waits until n more callbacks are acknowledged.
func (l *load) await(n int64) {
	l.t.Helper()
	l.mu.Lock()
	reached := make(chan struct{})
	at := l.acked.Load() + n
	for l.milestone[at] != nil {
		at++
	}
	l.milestone[at] = reached
	l.mu.Unlock()
	select {
	case <-reached:
	case <-time.After(2 * time.Minute):
		l.t.Fatalf("only %d acknowledged, %d failed", l.acked.Load(), l.failed.Load())
	}
}

// end stops sending and waits for the callbacks under way.
func (l *load) end() {
	l.stop()
	l.done.Wait()
}

// finish waits until all callbacks are sent.
func (l *load) finish() { l.done.Wait() }

// verify checks the database against what was acknowledged: each acknowledged
// receipt is in the journal exactly once, nothing is there twice, and the
// state of each pair is its last receipt.
func verify(t testing.TB, databaseURL string, loads ...*load) {
	t.Helper()
	conn := pgtest.Connect(t, databaseURL)
	journal := map[ackedReceipt]int{}
	var user string
	var unread int64
	rows, err := conn.Query(t.Context(), "SELECT user_id, unread_count FROM journal")
	require.NoError(t, err)
	_, err = pgx.ForEachRow(rows, []any{&user, &unread}, func() error {
		journal[ackedReceipt{user, unread}]++
		return nil
	})
	require.NoError(t, err)
	total, lost, twice := 0, 0, 0
	for _, l := range loads {
		l.mu.Lock()
		for _, r := range l.receipts {
			total++
			if journal[r] == 0 {
				lost++
			}
		}
		l.mu.Unlock()
	}
	for _, n := range journal {
		if n > 1 {
			twice++
		}
	}
	t.Logf("acknowledged %d, lost %d, journaled twice %d, journaled without acknowledgement %d",
		total, lost, twice, len(journal)-total+lost)
	require.Zero(t, lost, "acknowledged and not in the journal")
	require.Zero(t, twice, "in the journal more than once")
	require.Positive(t, total)
	var pairs, wrong int
	require.NoError(t, conn.QueryRow(t.Context(), `
		SELECT count(*), count(*) FILTER (WHERE s.estimate_id IS DISTINCT FROM j.id
			OR -s.estimate_read IS DISTINCT FROM j.unread_count OR s.estimate_at IS DISTINCT FROM j.received_at)
		FROM (SELECT DISTINCT ON (user_id, group_id) * FROM journal WHERE kind = 'receipt'
			ORDER BY user_id, group_id, received_at DESC, id DESC) AS j
		FULL JOIN states AS s USING (user_id, group_id)`).Scan(&pairs, &wrong))
	require.Zero(t, wrong, "states that are not their last receipt")
	require.Positive(t, pairs)
}

// settled waits until nothing is spooled any more.
func (s *service) settled() {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		status, body := s.do(http.MethodGet, s.Ops+"/readyz", "")
		return status == 200 && strings.HasPrefix(body, "ready\n")
	}, 2*time.Minute, 20*time.Millisecond, "never ready")
}

// ready gives the word of /readyz.
func (s *service) ready() string {
	s.t.Helper()
	_, body := s.do(http.MethodGet, s.Ops+"/readyz", "")
	word, _, _ := strings.Cut(body, "\n")
	return word
}

// attempt posts one callback and reports the status and OpenIM's actionCode.
func (s *service) attempt(user string, unread int) (status int, actionCode any) {
	s.t.Helper()
	status, answer := s.do(http.MethodPost, s.URL+"/callbackAfterGroupMsgReadCommand", fmt.Sprintf(
		`{"sendID":%q,"receiveID":%q,"unreadMsgNum":%d,"contentType":101}`, user, loadGroup, unread))
	var decoded map[string]any
	require.NoError(s.t, json.Unmarshal([]byte(answer), &decoded), answer)
	return status, decoded["actionCode"]
}

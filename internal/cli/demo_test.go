package cli_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/cli"
	"readmark/internal/openimsim"
)

// demonstration is a running `readmark demo`.
type demonstration struct {
	*service
	said   sync.WaitGroup
	mu     sync.Mutex
	output strings.Builder
}

// launchDemo runs the command on free ports, in an environment that names a database and an OpenIM
// that must not be touched.
func launchDemo(t *testing.T, args ...string) *demonstration {
	t.Helper()
	environment := map[string]string{
		"READMARK_ADDR": "127.0.0.1:0", "READMARK_OPS_ADDR": "127.0.0.1:0", "READMARK_LOG_FORMAT": "json", "READMARK_COMMIT_BUDGET": "10s",
		"READMARK_DATABASE_URL": "postgres://u:p@192.0.2.1/real", "READMARK_OPENIM_API_URL": "http://192.0.2.1:10002",
		"READMARK_OPENIM_SECRET": "real", "READMARK_DATA_DIR": filepath.Join(t.TempDir(), "real"),
	}
	ctx, stop := context.WithCancel(context.Background())
	log, logged := io.Pipe()
	out, written := io.Pipe()
	d := &demonstration{service: &service{t: t, log: newLogWatch(), stop: stop, exitStatus: make(chan int, 1), client: newClient(t)}}
	go d.log.follow(log)
	d.said.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			d.mu.Lock()
			d.output.WriteString(lines.Text() + "\n")
			d.mu.Unlock()
		}
	})
	go func() {
		status := cli.Run(ctx, append([]string{"demo"}, args...), cli.Environment{Lookup: lookup(environment), Stdout: written, Stderr: logged})
		_, _ = logged.Close(), written.Close()
		d.exitStatus <- status
	}()
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Log(d.log, d.text())
		}
	})
	d.await()
	return d
}

func (d *demonstration) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.output.String()
}

// demoPatience is how long tests wait for a demo, which has a database and a load of its own.
const demoPatience = 5 * time.Minute

// says waits until the demo has printed something.
func (d *demonstration) says(text string) {
	d.t.Helper()
	require.Eventually(d.t, func() bool { return strings.Contains(d.text(), text) }, demoPatience, 10*time.Millisecond)
}

// dir is where the demo keeps its database.
func (d *demonstration) dir() string {
	d.t.Helper()
	found := regexp.MustCompile(`"data_dir":"([^"]+)/data"`).FindStringSubmatch(d.log.String())
	require.NotNil(d.t, found)
	return found[1]
}

// ended checks that nothing is left behind.
func (d *demonstration) ended() {
	d.t.Helper()
	dir := d.dir()
	require.DirExists(d.t, dir)
	d.end()
	require.NoDirExists(d.t, dir)
}

// counts asks the simulated OpenIM for what it shows of a user's groups, as OpenIM's own clients do.
func (d *demonstration) counts(userID string) map[string]int64 {
	d.t.Helper()
	address := regexp.MustCompile(`openim +(http://\S+)`).FindStringSubmatch(d.text())
	require.NotNil(d.t, address)
	token := ""
	call := func(path, body string, data any) {
		request, err := http.NewRequestWithContext(d.t.Context(), http.MethodPost, address[1]+path, strings.NewReader(body))
		require.NoError(d.t, err)
		request.Header.Set("operationID", "test")
		request.Header.Set("token", token)
		response, err := http.DefaultClient.Do(request)
		require.NoError(d.t, err)
		defer response.Body.Close()
		require.NoError(d.t, json.NewDecoder(response.Body).Decode(&struct{ Data any }{data}))
	}
	var login struct{ Token string }
	call("/auth/get_admin_token", `{"secret":"`+openimsim.Secret+`","userID":"imAdmin"}`, &login)
	token = login.Token
	var conversations struct {
		Seqs map[string]struct{ MaxSeq, HasReadSeq int64 }
	}
	call("/msg/get_conversations_has_read_and_max_seq", `{"userID":"`+userID+`","conversationIDs":[]}`, &conversations)
	var joined struct{ Groups []struct{ GroupID string } }
	call("/group/get_joined_group_list", `{"fromUserID":"`+userID+`","pagination":{"pageNumber":1,"showNumber":100}}`, &joined)
	counts := map[string]int64{}
	for _, g := range joined.Groups {
		seqs := conversations.Seqs["sg_"+g.GroupID]
		counts[g.GroupID] = max(0, seqs.MaxSeq-seqs.HasReadSeq)
	}
	return counts
}

// A demo answers what its OpenIM shows, of every user in every group, once nobody writes any more.
func TestDemoCounts(t *testing.T) {
	t.Parallel()
	d := launchDemo(t, "--write-for", "2s", "--outage-every", "0")
	d.says("have stopped writing")
	want, pairs := map[string]map[string]int64{}, 0
	for n := range 200 {
		user := fmt.Sprintf("user-%03d", n+1)
		want[user] = d.counts(user)
		pairs += len(want[user])
	}
	require.Greater(t, pairs, 200)
	for user, groups := range want {
		var got map[string]int64
		require.Eventually(t, func() bool {
			status, list := d.get("/v1/users/" + user + "/groups?limit=1000")
			if status != http.StatusOK {
				return false
			}
			got = map[string]int64{}
			for _, item := range list["items"].([]any) {
				state := item.(map[string]any)
				got[state["groupID"].(string)] = int64(state["unreadCount"].(float64))
			}
			return fmt.Sprint(got) == fmt.Sprint(groups)
		}, demoPatience, 50*time.Millisecond, "%s: got %v, OpenIM shows %v", user, &got, groups)
	}
	require.NotContains(t, d.log.String(), "192.0.2.1")
	require.NotContains(t, d.log.String(), openimsim.Secret)
	d.ended()
}

// There is something to see; two demos run beside each other; an outage of OpenIM shows.
func TestTwoDemos(t *testing.T) {
	t.Parallel()
	a, b := launchDemo(t, "--outage-every", "3s"), launchDemo(t, "--outage-every", "0")
	require.NotEqual(t, a.dir(), b.dir())
	for _, d := range []*demonstration{a, b} {
		require.Eventually(t, func() bool {
			status, sums := d.get("/v1/groups/announcements/unread")
			return status == http.StatusOK && sums["unreadCount"].(float64) > 0
		}, demoPatience, 20*time.Millisecond)
		d.says("Simulated: an OpenIM with 20 groups and 200 users")
		for _, url := range []string{d.URL + "/console", d.URL + "/docs", d.URL + "/v1/users/user-001/unread", d.Ops + "/metrics"} {
			require.Contains(t, d.text(), url+"\n")
		}
	}
	require.Eventually(t, func() bool { // the log keeps it, while /readyz has it for a second
		return strings.Contains(a.log.String(), `"msg":"not well","part":"openim","reason":"refused"`)
	}, demoPatience, 20*time.Millisecond)
	_, readiness := b.do(http.MethodGet, b.Ops+"/readyz", "")
	require.Equal(t, "ready\n", readiness)
	b.ended()
	a.ended()
}

// A demo that cannot start says why.
func TestDemoCannotStart(t *testing.T) {
	t.Parallel()
	d := launchDemo(t, "--write-for", "1s")
	status, _, errs := run(t, nil, "demo", "--addr", strings.TrimPrefix(d.URL, "http://"), "--ops-addr", "127.0.0.1:0")
	require.Equal(t, 1, status)
	require.Contains(t, errs, "READMARK_ADDR: cannot listen on ")
	for flag, wrong := range map[string]string{"--write-for": "-1s", "--outage-every": "-1s"} {
		status, _, errs = run(t, nil, "demo", flag, wrong)
		require.Equal(t, 2, status)
		require.Contains(t, errs, "take a duration of zero or more")
	}
	d.ended()
}

// What others can reach asks for keys, and the demo says how to make one.
func TestDemoWithKeys(t *testing.T) {
	t.Parallel()
	d := launchDemo(t, "--addr", "0.0.0.0:0", "--outage-every", "0")
	d.says("readmark key create --name demo --data-dir " + d.dir())
	d.ended()
}

package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/cli"
	"readmark/internal/pgtest"
)

// asProgram makes the test binary act as readmark, for tests that kill it.
const asProgram = "READMARK_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(cli.Run(context.Background(), os.Args[1:], cli.OS()))
	}
	// Where somebody has started the tests by nohup: what is ignored, the programs that they start
	// would ignore, too, and what is handled is not.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	pgtest.Main(m, removeBuilt)
}

// service is a running readmark.
type service struct {
	t          testing.TB
	URL, Ops   string
	log        *logWatch
	client     *http.Client
	stop       context.CancelFunc
	exitStatus chan int
}

// logWatch keeps the log and finds the addresses in it.
type logWatch struct {
	mu    sync.Mutex
	text  bytes.Buffer
	addrs map[string]string
	ready chan struct{} // closed when both listeners are known
}

func newLogWatch() *logWatch {
	return &logWatch{addrs: map[string]string{}, ready: make(chan struct{})}
}

func (l *logWatch) follow(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		l.mu.Lock()
		l.text.WriteString(lines.Text() + "\n")
		var line struct{ Msg, Name, Addr string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
			l.addrs[line.Name] = "http://" + line.Addr
			if len(l.addrs) == 2 {
				close(l.ready)
			}
		}
		l.mu.Unlock()
	}
}

func (l *logWatch) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// between gives the time between the first lines with two messages.
func (l *logWatch) between(t testing.TB, from, to string) time.Duration {
	t.Helper()
	at := map[string]time.Time{}
	for text := range strings.Lines(l.String()) {
		var line struct {
			Msg  string
			Time time.Time
		}
		if json.Unmarshal([]byte(text), &line) == nil && at[line.Msg].IsZero() {
			at[line.Msg] = line.Time
		}
	}
	require.Contains(t, at, from)
	require.Contains(t, at, to)
	return at[to].Sub(at[from])
}

func lookup(environment map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, found := environment[name]
		return value, found
	}
}

// serve runs the real command on free ports until the test ends, and waits until its
// database is prepared and its spool is empty.
func serve(t testing.TB, environment map[string]string) *service {
	t.Helper()
	s := launch(t, environment)
	s.settled()
	return s
}

// launch does not wait for the database.
func launch(t testing.TB, environment map[string]string) *service {
	t.Helper()
	return launchArgs(t, environment, "serve")
}

// launchArgs is launch with flags.
func launchArgs(t testing.TB, environment map[string]string, args ...string) *service {
	t.Helper()
	merged := map[string]string{
		"READMARK_ADDR": "127.0.0.1:0", "READMARK_OPS_ADDR": "127.0.0.1:0", "READMARK_LOG_LEVEL": "debug",
		// A slow machine must not look like a database that is away.
		"READMARK_COMMIT_BUDGET": "10s",
	}
	if environment["READMARK_DATA_DIR"] == "" {
		merged["READMARK_DATA_DIR"] = t.TempDir()
	}
	for name, value := range environment {
		merged[name] = value
	}
	ctx, stop := context.WithCancel(context.Background())
	reader, writer := io.Pipe()
	s := &service{t: t, log: newLogWatch(), stop: stop, exitStatus: make(chan int, 1), client: newClient(t)}
	go s.log.follow(reader)
	go func() {
		s.exitStatus <- cli.Run(ctx, args, cli.Environment{Lookup: lookup(merged), Stdout: io.Discard, Stderr: writer})
		_ = writer.Close()
	}()
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Log(s.log)
		}
	})
	s.await()
	return s
}

func newClient(t testing.TB) *http.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: &contractTransport{t, transport}, Timeout: 30 * time.Second}
}

func (s *service) await() {
	s.t.Helper()
	select {
	case <-s.log.ready:
		s.URL, s.Ops = s.log.addrs["public"], s.log.addrs["ops"]
	case status := <-s.exitStatus:
		s.t.Fatalf("serve ended with %d:\n%s", status, s.log)
	case <-time.After(2 * time.Minute):
		s.t.Fatalf("serve does not listen:\n%s", s.log)
	}
}

// end stops the service gracefully and checks its exit status.
func (s *service) end() {
	s.t.Helper()
	s.stop()
	require.Equal(s.t, 0, <-s.exitStatus, s.log)
}

func (s *service) do(method, url, body string) (int, string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, url, strings.NewReader(body))
	require.NoError(s.t, err)
	request.Header.Set("Content-Type", "application/json")
	response, err := s.client.Do(request)
	require.NoError(s.t, err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	return response.StatusCode, string(answer)
}

// get asks the read API and decodes the answer.
func (s *service) get(path string) (int, map[string]any) {
	s.t.Helper()
	status, body := s.do(http.MethodGet, s.URL+path, "")
	var answer map[string]any
	require.NoError(s.t, json.Unmarshal([]byte(body), &answer), body)
	return status, answer
}

func (s *service) post(path, body string) (int, map[string]any) {
	s.t.Helper()
	status, answer := s.do(http.MethodPost, s.URL+path, body)
	var decoded map[string]any
	require.NoError(s.t, json.Unmarshal([]byte(answer), &decoded), answer)
	return status, decoded
}

// read sends the documented callback.
func (s *service) read(user, group string, unread int64) {
	s.t.Helper()
	body, err := json.Marshal(map[string]any{
		"callbackCommand": "callbackGroupMsgReadCommand", "sendID": user, "receiveID": group,
		"unreadMsgNum": unread, "contentType": 101,
	})
	require.NoError(s.t, err)
	status, answer := s.do(http.MethodPost, s.URL+"/callbackAfterGroupMsgReadCommand?contenttype=json", string(body))
	require.Equal(s.t, 200, status)
	require.Equal(s.t, `{"actionCode":0,"errCode":0,"errMsg":"","errDlt":"","nextCode":0}`, answer)
}

// run executes a command to its end.
func run(t testing.TB, environment map[string]string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	return runWith(t, environment, nil, args...)
}

// runWith is run with a list of all variables, as it is looked through for misspelt ones.
func runWith(t testing.TB, environment map[string]string, environ []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = cli.Run(t.Context(), args, cli.Environment{
		Lookup: lookup(environment), Environ: environ, Stdout: &out, Stderr: &errs, MissingFor: 50 * time.Millisecond,
	})
	return status, out.String(), errs.String()
}

// captures gives the captured requests as raw bytes.
func captures(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("../openim/testdata/captures/*.req")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	raw := map[string][]byte{}
	for _, file := range files {
		raw[filepath.Base(file)], err = os.ReadFile(file)
		require.NoError(t, err)
	}
	return raw
}

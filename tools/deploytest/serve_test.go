package deploytest_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"readmark/internal/openimsim"
	"readmark/internal/pgtest"
)

// metrics are what a serving Readmark exposes, by name.
type metrics map[string]metric

type metric struct {
	kind dto.MetricType
	// labels has the values of each label.
	labels map[string]map[string]bool
}

// serving is readmark serve as a process of its own.
type serving struct {
	t           testing.TB
	public, ops string
}

// build makes the program.
func build(t testing.TB) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "readmark")
	output, err := exec.CommandContext(t.Context(), "go", "build", "-C", filepath.Join("..", ".."), "-o", binary, "./cmd/readmark").CombinedOutput()
	require.NoError(t, err, "%s", output)
	return binary
}

// serve starts the program on free ports of this machine and waits until it listens.
func serve(t testing.TB, binary string, environment ...string) *serving {
	t.Helper()
	command := exec.Command(binary, "serve") // stopped below, when the test's context has ended
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "READMARK_") && !strings.HasPrefix(variable, "DATABASE_URL=") {
			command.Env = append(command.Env, variable)
		}
	}
	command.Env = append(command.Env, "READMARK_ADDR=127.0.0.1:0", "READMARK_OPS_ADDR=127.0.0.1:0", "READMARK_LOG_FORMAT=json",
		"READMARK_DATA_DIR="+t.TempDir())
	command.Env = append(command.Env, environment...)
	stderr, err := command.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	var log bytes.Buffer
	var following sync.WaitGroup
	addresses := make(chan map[string]string, 1)
	following.Go(func() { follow(stderr, &log, addresses) })
	t.Cleanup(func() {
		require.NoError(t, command.Process.Signal(syscall.SIGTERM))
		following.Wait()
		require.NoError(t, command.Wait(), "%s", &log)
	})
	found, ok := <-addresses
	require.True(t, ok, "serve has ended")
	return &serving{t: t, public: "http://" + found["public"], ops: "http://" + found["ops"]}
}

// follow keeps the log and tells the addresses, once both are known.
func follow(r io.Reader, log io.Writer, addresses chan<- map[string]string) {
	defer close(addresses)
	found := map[string]string{}
	for lines := bufio.NewScanner(r); lines.Scan(); {
		_, _ = fmt.Fprintln(log, lines.Text())
		var line struct{ Msg, Name, Addr string }
		if json.Unmarshal(lines.Bytes(), &line) != nil || line.Msg != "listening" {
			continue
		}
		if found[line.Name] = line.Addr; len(found) == 2 {
			addresses <- found
		}
	}
}

func (s *serving) do(method, url, body string) (status int, answer string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, url, strings.NewReader(body))
	require.NoError(s.t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(s.t, err)
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	return response.StatusCode, string(content)
}

// scrape adds to m what /metrics answers.
func (s *serving) scrape(m metrics) {
	s.t.Helper()
	status, text := s.do(http.MethodGet, s.ops+"/metrics", "")
	require.Equal(s.t, http.StatusOK, status)
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	require.NoError(s.t, err)
	for name, family := range families {
		names := []string{name}
		if family.GetType() == dto.MetricType_HISTOGRAM {
			names = []string{name + "_bucket", name + "_sum", name + "_count"}
		}
		for _, name := range names {
			if m[name].labels == nil {
				m[name] = metric{kind: family.GetType(), labels: map[string]map[string]bool{}}
			}
			for _, series := range family.GetMetric() {
				m[name].note(series, strings.HasSuffix(name, "_bucket"))
			}
		}
	}
}

func (m metric) note(series *dto.Metric, bucket bool) {
	note := func(label, value string) {
		if m.labels[label] == nil {
			m.labels[label] = map[string]bool{}
		}
		m.labels[label][value] = true
	}
	for _, label := range series.GetLabel() {
		note(label.GetName(), label.GetValue())
	}
	if bucket {
		for _, b := range series.GetHistogram().GetBucket() {
			note("le", strconv.FormatFloat(b.GetUpperBound(), 'g', -1, 64))
		}
		note("le", "+Inf")
	}
}

// exposed gives what the real program exposes after some traffic, with everything switched on.
// Prometheus adds up, and to all series job and instance.
func exposed(t testing.TB) metrics {
	t.Helper()
	binary := build(t)
	im := openimsim.New(openimsim.Options{})
	im.CreateGroup("g", "u")
	api := httptest.NewServer(im)
	t.Cleanup(api.Close)
	url := pgtest.New(t)
	main := serve(t, binary, "READMARK_DATABASE_URL="+url, "READMARK_CALLBACK_TOKEN=token",
		"READMARK_OPENIM_API_URL="+api.URL, "READMARK_OPENIM_SECRET="+openimsim.Secret)
	const command = "/callbackAfterGroupMsgReadCommand"
	for _, callback := range []struct {
		path, body string
		status     int
	}{
		{"/token" + command, `{"sendID":"u","receiveID":"g","unreadMsgNum":3,"contentType":101}`, http.StatusOK},
		{"/token" + command, `{"sendID":"u","receiveID":"u","unreadMsgNum":1,"contentType":3}`, http.StatusOK},
		{"/token" + command, `{"sendID":"u"}`, http.StatusBadRequest},
		{"/token/nothing", "", http.StatusNotFound},
		{"/wrong" + command, "", http.StatusUnauthorized},
	} {
		status, answer := main.do(http.MethodPost, main.public+callback.path, callback.body)
		require.Equal(t, callback.status, status, answer)
	}
	for range 2 { // the second from memory
		status, answer := main.do(http.MethodGet, main.public+"/v1/users/u/unread", "")
		require.Equal(t, http.StatusOK, status, answer)
	}
	found := metrics{}
	require.Eventually(t, func() bool { // OpenIM is asked behind the answers
		main.scrape(found)
		return found["readmark_openim_calls_total"].labels["result"]["answered"]
	}, time.Minute, 20*time.Millisecond)
	// Another one reads from a replica. That this is the database itself does not matter here.
	serve(t, binary, "READMARK_DATABASE_URL="+url, "READMARK_REPLICA_URL="+url).scrape(found)

	found["up"] = metric{kind: dto.MetricType_GAUGE, labels: map[string]map[string]bool{}}
	for _, m := range found {
		m.labels["job"], m.labels["instance"] = map[string]bool{"readmark": true}, map[string]bool{"127.0.0.1:8081": true}
	}
	return found
}

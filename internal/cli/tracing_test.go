package cli_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"readmark/internal/pgtest"
)

// otlpReceiver is a collector of traces.
type otlpReceiver struct {
	*httptest.Server

	mu       sync.Mutex
	raw      bytes.Buffer
	spans    []*tracepb.Span
	services []string
}

func newReceiver(t *testing.T) *otlpReceiver {
	t.Helper()
	r := &otlpReceiver{}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

// ServeHTTP takes spans.
func (r *otlpReceiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	var export collector.ExportTraceServiceRequest
	if err != nil || proto.Unmarshal(body, &export) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.raw.Write(body)
	for _, of := range export.GetResourceSpans() {
		for _, attribute := range of.GetResource().GetAttributes() {
			r.services = append(r.services, attribute.GetKey()+"="+attribute.GetValue().GetStringValue())
		}
		for _, scope := range of.GetScopeSpans() {
			r.spans = append(r.spans, scope.GetSpans()...)
		}
	}
}

func (r *otlpReceiver) all() []*tracepb.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.spans
}

// below gives the names of a span's descendants as paths, for example "commit/group commit".
func below(spans []*tracepb.Span, parent *tracepb.Span) (paths []string) {
	for _, span := range spans {
		if bytes.Equal(span.GetParentSpanId(), parent.GetSpanId()) {
			paths = append(paths, span.GetName())
			for _, path := range below(spans, span) {
				paths = append(paths, span.GetName()+"/"+path)
			}
		}
	}
	return paths
}

// requests gives the spans of requests with a name.
func requests(spans []*tracepb.Span, name string) (list []*tracepb.Span) {
	for _, span := range spans {
		if span.GetName() == name && span.GetKind() == tracepb.Span_SPAN_KIND_SERVER {
			list = append(list, span)
		}
	}
	return list
}

// startTraced runs readmark as a process, since OpenTelemetry's variables are the process's.
func startTraced(t *testing.T, environment ...string) *process {
	t.Helper()
	p := start(t, built(t), append([]string{
		"READMARK_COMMIT_BUDGET=10s", "READMARK_LOG_LEVEL=debug", "READMARK_DATABASE_URL=" + pgtest.New(t),
	}, environment...)...)
	p.settled()
	return p
}

// stopTraced ends it gracefully: what it had not sent yet is sent.
func (p *process) stopTraced() {
	p.t.Helper()
	require.NoError(p.t, p.command.Process.Signal(syscall.SIGTERM))
	require.NoError(p.t, p.wait(), p.log)
}

const (
	parentTrace = "0af7651916cd43dd8448eb211c80319c"
	parentSpan  = "b7ad6b7169203331"
)

// traceparent sends a request that belongs to a trace.
func (s *service) traceparent(method, path, body string) int {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.URL+path, strings.NewReader(body))
	require.NoError(s.t, err)
	request.Header.Set("Traceparent", "00-"+parentTrace+"-"+parentSpan+"-01")
	request.Header.Set("User-Agent", "agent-of-user-7331")
	request.SetBasicAuth("someone", "s3cret-token")
	answer, err := s.client.Do(request)
	require.NoError(s.t, err)
	require.NoError(s.t, answer.Body.Close())
	return answer.StatusCode
}

// A callback's trace has its commit with the statements, a read's what it was answered by; both
// continue the caller's trace; log and metrics name it; nothing else leaves the process.
func TestTraces(t *testing.T) {
	t.Parallel()
	receiver := newReceiver(t)
	p := startTraced(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+receiver.URL, "READMARK_CALLBACK_TOKEN=s3cret-token",
		"OTEL_EXPORTER_OTLP_HEADERS=authorization=s3cret-header")
	const user, group = "user-7331", "group-4242"
	body := fmt.Sprintf(`{"sendID":%q,"receiveID":%q,"unreadMsgNum":5}`, user, group)
	require.Equal(t, 200, p.traceparent(http.MethodPost, "/callbackAfterGroupMsgReadCommand?key="+user, body))
	require.Equal(t, 200, p.traceparent(http.MethodPost, "/s3cret-token/callbackAfterGroupMsgReadCommand", body))
	require.Equal(t, 400, p.traceparent(http.MethodPost, "/callbackAfterGroupMsgReadCommand", `{"sendID":"user-7331"}`))
	require.Equal(t, 404, p.traceparent(http.MethodPost, "/"+user+"/x/y", body))
	for _, path := range []string{"/groups/" + group, "/unread", "/groups", "/groups/" + group + "/receipts", "/groups/none", "/groups?limit=x"} {
		p.traceparent(http.MethodGet, "/v1/users/"+user+path, "")
	}
	p.traceparent(http.MethodGet, "/v1/"+user, "")

	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.Ops+"/metrics", http.NoBody)
	require.NoError(t, err)
	request.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	answer, err := p.client.Do(request)
	require.NoError(t, err)
	metrics, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	for _, name := range []string{"readmark_callback_duration_seconds", "readmark_api_request_duration_seconds", "readmark_commit_duration_seconds"} {
		require.Regexp(t, name+`_bucket\{[^}]*\} \d+ # \{[^}]*trace_id="`+parentTrace+`"`, string(metrics))
	}
	_, plain := p.do(http.MethodGet, p.Ops+"/metrics", "")
	require.NotContains(t, plain, parentTrace, "exemplars are OpenMetrics'")
	p.stopTraced()

	spans := receiver.all()
	require.Contains(t, receiver.services, "service.name=readmark")
	callbacks := requests(spans, "POST callbackAfterGroupMsgReadCommand")
	require.Len(t, callbacks, 3)
	for _, callback := range callbacks {
		require.Equal(t, parentTrace, hex.EncodeToString(callback.GetTraceId()))
		require.Equal(t, parentSpan, hex.EncodeToString(callback.GetParentSpanId()))
		require.Subset(t, below(spans, callback), []string{"commit", "commit/group commit", "commit/group commit/batch start"})
	}
	require.Contains(t, below(spans, callbacks[0]), "commit/group commit/batch start/UpsertState")
	for name, want := range map[string]string{
		"GET /v1/users/{userID}/groups/{groupID}":          "read/poll",
		"GET /v1/users/{userID}/unread":                    "read/poll/batch start/PollChanges",
		"GET /v1/users/{userID}/groups/{groupID}/receipts": "", // a query of its own
	} {
		reads := requests(spans, name)
		require.NotEmpty(t, reads, name)
		paths := below(spans, reads[0])
		require.Contains(t, strings.Join(paths, "\n")+"\n", want, name)
		require.NotEmpty(t, paths, name)
	}
	require.Len(t, requests(spans, "POST other"), 1)
	require.Len(t, requests(spans, "other"), 1)

	logged := p.log.String()
	for text := range strings.Lines(logged) {
		var line struct {
			Msg     string
			TraceID string `json:"trace_id"`
			SpanID  string `json:"span_id"`
		}
		require.NoError(t, json.Unmarshal([]byte(text), &line))
		if line.Msg == "request served" || line.Msg == "callback rejected" {
			require.Equal(t, parentTrace, line.TraceID, text)
			require.Len(t, line.SpanID, 16)
		}
	}
	require.Contains(t, logged, `"callback rejected"`)
	receiver.mu.Lock()
	defer receiver.mu.Unlock()
	for _, text := range []string{"7331", "4242", "s3cret", "agent-of"} {
		require.NotContains(t, receiver.raw.String(), text)
	}
	require.NotContains(t, logged, "s3cret-header")
}

// Callbacks that share a transaction are linked with it and it with them.
func TestTracesOfSharedWork(t *testing.T) {
	t.Parallel()
	receiver := newReceiver(t)
	p := startTraced(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+receiver.URL, "READMARK_LOG_LEVEL=info")
	const callers = 64
	var sending sync.WaitGroup
	for i := range callers {
		sending.Go(func() {
			for n := range 4 {
				if status, _ := p.attempt(fmt.Sprint("u", i), n); status != http.StatusOK {
					t.Error(status)
				}
			}
		})
	}
	sending.Wait()
	p.stopTraced()
	spans := receiver.all()
	byID, shared := map[string]*tracepb.Span{}, 0
	for _, span := range spans {
		byID[string(span.GetSpanId())] = span
	}
	commits, linked := 0, 0
	for _, span := range spans {
		switch span.GetName() {
		case "commit":
			commits++
			require.Equal(t, "POST callbackAfterGroupMsgReadCommand", byID[string(span.GetParentSpanId())].GetName())
			for _, link := range span.GetLinks() {
				require.Equal(t, "group commit", byID[string(link.GetSpanId())].GetName())
				linked++
			}
		case "group commit":
			shared++
			require.Equal(t, "commit", byID[string(span.GetParentSpanId())].GetName())
			linked -= len(span.GetLinks())
			for _, link := range span.GetLinks() {
				require.Equal(t, "commit", byID[string(link.GetSpanId())].GetName())
			}
		}
	}
	require.Equal(t, 4*callers, commits)
	require.Less(t, shared, commits, "some were shared")
	require.Zero(t, linked, "as many links to as from")
}

// Nothing is traced unless asked for, or when switched off.
func TestTracesOff(t *testing.T) {
	t.Parallel()
	for name, extra := range map[string]string{"disabled": "OTEL_SDK_DISABLED=true", "none": "OTEL_TRACES_EXPORTER=none"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			receiver := newReceiver(t)
			p := startTraced(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+receiver.URL, extra)
			require.Equal(t, 200, p.traceparent(http.MethodPost, "/callbackAfterGroupMsgReadCommand", `{"sendID":"u","receiveID":"g","unreadMsgNum":5}`))
			p.stopTraced()
			require.Empty(t, receiver.all())
			require.NotContains(t, p.log.String(), "trace_id")
		})
	}
}

// A collector that is away, or hangs, costs no receipt and keeps nobody from stopping.
func TestTracesWithoutCollector(t *testing.T) {
	t.Parallel()
	hanging := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hanging }))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(hanging) })
	p := startTraced(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+server.URL, "OTEL_BSP_SCHEDULE_DELAY=50")
	p.read("u", "g", 5)
	stopping := time.Now()
	p.stopTraced()
	require.Less(t, time.Since(stopping), 15*time.Second)
}

// A protocol that does not exist is an error of the settings.
func TestTracesMisconfigured(t *testing.T) {
	t.Parallel()
	status, errs := runProcess(t, built(t), "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL=carrier-pigeon")
	require.Equal(t, 1, status)
	require.Contains(t, errs, "OTEL_")
}

// runProcess runs serve as a process until it ends by itself.
func runProcess(t *testing.T, binary string, environment ...string) (status int, stderr string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), binary, "serve")
	command.Env = append(os.Environ(), append([]string{"READMARK_DATA_DIR=" + t.TempDir()}, environment...)...)
	var text bytes.Buffer
	command.Stderr = &text
	_ = command.Run()
	return command.ProcessState.ExitCode(), text.String()
}

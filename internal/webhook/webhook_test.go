package webhook

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"readmark/internal/body"
	"readmark/internal/openim"
	"readmark/internal/readstate"
)

// sink remembers what it was given, and answers with err.
type sink struct {
	mu    sync.Mutex
	err   error
	taken readstate.Batch
}

func (s *sink) Submit(_ context.Context, events []readstate.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken.Events = append(s.taken.Events, events...)
	return s.err
}

func (s *sink) Reject(_ context.Context, r readstate.Rejection) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken.Rejections = append(s.taken.Rejections, r)
	return nil
}

type fixture struct {
	sink    *sink
	handler *Handler
	engine  *gin.Engine
}

func newFixture(token string) *fixture {
	f := &fixture{sink: &sink{}, engine: gin.New()}
	f.handler = New(&Options{Sink: f.sink, Token: token, Room: body.NewRoom(body.Bounds{}), Registry: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)})
	f.handler.Register(f.engine)
	return f
}

func (f *fixture) post(target, body string) int {
	recorder := httptest.NewRecorder()
	f.engine.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, target, strings.NewReader(body)))
	return recorder.Code
}

// used is one body of each kind of callback that is used.
var used = []struct {
	command, body, dialect string
	want                   []readstate.Event
}{
	{
		openim.CommandAfterGroupMsgRead, `{"sendID":"u","receiveID":"g","unreadMsgNum":5}`, "documented",
		[]readstate.Event{{Kind: readstate.EventReceipt, UserID: "u", GroupID: "g", UnreadCount: 5}},
	},
	{
		openim.CommandAfterGroupMsgRead, `{"sendID":"u","receiveID":"u","unreadMsgNum":5,"contentType":3}`, "server",
		[]readstate.Event{{Kind: readstate.EventServerReceipt, UserID: "u", ReadSeq: 5, ContentType: 3}},
	},
	{
		openim.CommandAfterSingleMsgRead, `{"conversationID":"sg_g","userID":"u","Seqs":[7],"contentType":3}`, "conversation",
		[]readstate.Event{{Kind: readstate.EventGroupRead, UserID: "u", GroupID: "g", ReadSeq: 7, ContentType: 3}},
	},
	{
		openim.CommandAfterMsgSaveDB, `{"sendID":"u","groupID":"g","serverMsgID":"m","seq":7}`, "none",
		[]readstate.Event{{Kind: readstate.EventMessage, UserID: "u", GroupID: "g", MessageID: "m", ReadSeq: 7}},
	},
	{
		openim.CommandQuitGroup, `{"groupID":"g","userID":"u"}`, "none",
		[]readstate.Event{{Kind: readstate.EventLeft, GroupID: "g", UserID: "u"}},
	},
	{
		openim.CommandKillGroup, `{"groupID":"g","kickedUserIDs":["u","v"]}`, "none",
		[]readstate.Event{{Kind: readstate.EventLeft, GroupID: "g", UserID: "u"}, {Kind: readstate.EventLeft, GroupID: "g", UserID: "v"}},
	},
}

// newest gives the newest spelling of a command.
func newest(spelling string) string {
	for _, command := range openim.Commands() {
		if slices.Contains(command.Spellings, spelling) {
			return command.Name
		}
	}
	return "other"
}

// What a callback tells goes to the sink, all at once, under its own labels.
func TestUsedCallbacks(t *testing.T) {
	t.Parallel()
	for _, test := range used {
		t.Run(test.command+" "+test.dialect, func(t *testing.T) {
			t.Parallel()
			f := newFixture("")
			require.Equal(t, http.StatusOK, f.post("/"+test.command+"?key=x", test.body))
			require.Equal(t, readstate.Batch{Events: test.want}, f.sink.taken)
			callbacks := f.handler.metrics.callbacks
			require.InDelta(t, 1, testutil.ToFloat64(callbacks.WithLabelValues(newest(test.command), test.dialect, "accepted")), 0)
			unattributed := 0
			if test.dialect == "server" {
				unattributed = 1
			}
			require.InDelta(t, unattributed, testutil.ToFloat64(f.handler.metrics.unattributed), 0)

			f.sink.err = errors.New("disk on fire")
			require.Equal(t, http.StatusServiceUnavailable, f.post("/"+test.command, test.body))
			require.InDelta(t, 1, testutil.ToFloat64(callbacks.WithLabelValues(newest(test.command), test.dialect, "failed")), 0)

			f.sink.err = &readstate.InputError{Code: readstate.CodeRefused, Field: "body", Message: "refused"}
			require.Equal(t, http.StatusBadRequest, f.post("/"+test.command, test.body))
			require.InDelta(t, 1, testutil.ToFloat64(callbacks.WithLabelValues(newest(test.command), test.dialect, "rejected")), 0)
			require.Empty(t, f.sink.taken.Rejections, "the sink has recorded it")
			require.InDelta(t, unattributed, testutil.ToFloat64(f.handler.metrics.unattributed), 0)
			require.Len(t, f.handler.TakeStats(), 1)

			f.sink.taken = readstate.Batch{}
			require.Equal(t, http.StatusBadRequest, f.post("/"+test.command, `{"groupID":7`))
			require.Len(t, f.sink.taken.Rejections, 1)
			require.Equal(t, 1, f.sink.taken.Len())
			require.Equal(t, test.command, f.sink.taken.Rejections[0].Command)
			require.Empty(t, f.handler.TakeStats())
		})
	}
}

// A callback that tells nothing is acknowledged, like one that is not read.
func TestTellsNothing(t *testing.T) {
	t.Parallel()
	f := newFixture("")
	require.Equal(t, http.StatusOK, f.post("/"+openim.CommandAfterMsgSaveDB, `{"sessionType":1,"sendID":"u","recvID":"v","groupID":""}`))
	require.Equal(t, http.StatusOK, f.post("/callbackBeforeAfterMsgCommand", `{"conversationID":"sg_g","seq":5,"userID":"u"}`))
	require.Zero(t, f.sink.taken.Len())
	for _, command := range []string{openim.CommandAfterMsgSaveDB, "callbackBeforeAfterMsgCommand"} {
		require.InDelta(t, 1, testutil.ToFloat64(f.handler.metrics.callbacks.WithLabelValues(command, "none", "acknowledged")), 0)
	}
}

// TakeStats takes out what was answered with success, and nothing else.
func TestStats(t *testing.T) {
	t.Parallel()
	f := newFixture("s3cret")
	started := time.Now()
	for range 3 {
		for _, test := range used {
			require.Equal(t, http.StatusOK, f.post("/s3cret/"+test.command, test.body))
		}
	}
	require.Equal(t, http.StatusOK, f.post("/s3cret/callbackMadeUpCommand", ""))
	require.Equal(t, http.StatusOK, f.post("/s3cret/callbackAlsoMadeUpCommand", ""))
	require.Equal(t, http.StatusOK, f.post("/s3cret/"+openim.CommandAfterKickGroup, `{"groupID":"g"}`))
	require.Equal(t, http.StatusOK, f.post("/s3cret/"+openim.CommandAfterGroupMsgRead,
		`{"sendID":"`+ProbeUserID+`","receiveID":"g","unreadMsgNum":0}`))
	require.Equal(t, http.StatusUnauthorized, f.post("/"+openim.CommandAfterJoinGroup, `{"groupID":"g","inviterUserID":"u"}`))
	require.Equal(t, http.StatusBadRequest, f.post("/s3cret/"+openim.CommandAfterJoinGroup, `{}`))
	require.Equal(t, http.StatusNotFound, f.post("/s3cret/hello", ""))

	want := map[CallbackStat]bool{
		{Command: "other", Dialect: "none", Count: 2}:                      true,
		{Command: openim.CommandAfterKickGroup, Dialect: "none", Count: 1}: true,
	}
	for _, test := range used {
		want[CallbackStat{Command: test.command, Dialect: test.dialect, Count: 3}] = true
	}
	got := map[CallbackStat]bool{}
	for _, stat := range f.handler.TakeStats() {
		require.False(t, stat.FirstAt.Before(started) || stat.LastAt.Before(stat.FirstAt) || time.Now().Before(stat.LastAt))
		stat.FirstAt, stat.LastAt = time.Time{}, time.Time{}
		got[stat] = true
	}
	require.Equal(t, want, got)
	require.Empty(t, f.handler.TakeStats())
}

// Totals are by command and result, whatever the dialect or the spelling, and stay. What is not known is "other".
func TestTotals(t *testing.T) {
	t.Parallel()
	f := newFixture("s3cret")
	seen := map[string]bool{}
	for _, total := range f.handler.Totals() {
		require.Zero(t, total.Count)
		require.False(t, seen[total.Command+" "+total.Result], "once each")
		seen[total.Command+" "+total.Result] = true
	}
	for _, body := range []string{
		`{"sendID":"u","receiveID":"g","unreadMsgNum":1}`, `{"sendID":"u","receiveID":"u","unreadMsgNum":1,"contentType":3}`, `{}`,
	} {
		f.post("/s3cret/"+openim.CommandGroupMsgRead, body)
		f.post("/s3cret/"+openim.CommandAfterGroupMsgRead, body)
	}
	f.post("/s3cret/callbackMadeUpCommand", "")
	f.post("/callbackMadeUpCommand", "")
	f.post("/s3cret/hello", "")
	got := map[string]int64{}
	for range 2 {
		for _, total := range f.handler.Totals() {
			if total.Count > 0 {
				got[total.Command+" "+total.Result] = total.Count
			}
		}
		require.Equal(t, map[string]int64{
			openim.CommandAfterGroupMsgRead + " accepted": 4, openim.CommandAfterGroupMsgRead + " rejected": 2,
			"other acknowledged": 1, "other unauthorized": 1, "other unknown_path": 1,
		}, got)
	}
}

// Counting costs the hot path no memory.
//
//nolint:paralleltest // AllocsPerRun counts everybody's
func TestStatsAllocatesNothing(t *testing.T) {
	var h Handler
	at := time.Now()
	h.stats.count(openim.CommandAfterMsgSaveDB, noDialect, at)
	require.Zero(t, testing.AllocsPerRun(100, func() { h.stats.count(openim.CommandAfterMsgSaveDB, noDialect, at) }))
}

// Callbacks that come while others are taken out are not lost, nor their order.
func TestStatsConcurrently(t *testing.T) {
	t.Parallel()
	var h Handler
	var wait sync.WaitGroup
	var count atomic.Int64
	for range 4 {
		wait.Go(func() {
			for i := range 1000 {
				h.stats.count(openim.CommandAfterMsgSaveDB, noDialect, time.Now())
				if i%100 == 0 {
					count.Add(total(t, &h))
				}
			}
		})
	}
	wait.Wait()
	require.EqualValues(t, 4000, count.Load()+total(t, &h))
}

func total(t *testing.T, h *Handler) (count int64) {
	t.Helper()
	for _, stat := range h.TakeStats() {
		assert.False(t, stat.LastAt.Before(stat.FirstAt))
		count += stat.Count
	}
	return count
}

// An encoded callback is decoded; one in an encoding that cannot be read is refused by
// name.
func TestEncodedCallbacks(t *testing.T) {
	t.Parallel()
	const plain = `{"sendID":"u","receiveID":"g","unreadMsgNum":5}`
	var sent bytes.Buffer
	encoder := gzip.NewWriter(&sent)
	_, err := encoder.Write([]byte(plain))
	require.NoError(t, err)
	require.NoError(t, encoder.Close())
	f := newFixture("")
	post := func(encoding string) *httptest.ResponseRecorder {
		recorder := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/"+openim.CommandAfterGroupMsgRead, bytes.NewReader(sent.Bytes()))
		r.Header.Set("Content-Encoding", encoding)
		f.engine.ServeHTTP(recorder, r)
		return recorder
	}
	require.Equal(t, http.StatusOK, post("gzip").Code)
	require.Equal(t, []readstate.Event{{Kind: readstate.EventReceipt, UserID: "u", GroupID: "g", UnreadCount: 5}}, f.sink.taken.Events)
	refused := post("br")
	require.Equal(t, http.StatusUnsupportedMediaType, refused.Code)
	require.JSONEq(t, `{"actionCode":1,"errCode":41501,"errMsg":"Content-Encoding cannot be read",
		"errDlt":"expected gzip, deflate or none","nextCode":0}`, refused.Body.String())
	require.Equal(t, "Content-Encoding", f.sink.taken.Rejections[0].Field)
}

// A "before" callback is answered with what leaves its subject unchanged, whatever its
// body, and is named in the log once.
func TestBeforeCallbacks(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	f := &fixture{sink: &sink{}, engine: gin.New()}
	f.handler = New(&Options{Sink: f.sink, Token: "", Room: body.NewRoom(body.Bounds{}), Registry: prometheus.NewRegistry(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	f.handler.Register(f.engine)
	answer := func(command, asked string) string {
		recorder := httptest.NewRecorder()
		f.engine.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, "/"+command, strings.NewReader(asked)))
		require.Equal(t, http.StatusOK, recorder.Code)
		require.Equal(t, "application/json; charset=utf-8", recorder.Header().Get("Content-Type"))
		return recorder.Body.String()
	}
	const success = `{"actionCode":0,"errCode":0,"errMsg":"","errDlt":"","nextCode":0}`
	require.JSONEq(t, `{"actionCode":0,"errCode":0,"errMsg":"","errDlt":"","nextCode":0,
		"groupID":"7","groupName":"new","introduction":"i","faceURL":""}`,
		answer("callbackBeforeSetGroupInfoCommand",
			`{"groupID":"7","groupName":"new","notification":"x","introduction":"i","faceURL":"","ex":"","needVerification":0}`))
	require.JSONEq(t, success, answer("callbackBeforeSetGroupInfoCommand", "no JSON"))
	require.JSONEq(t, success, answer("callbackBeforeSendGroupMsgCommand", `{"groupID":"7"}`))
	require.JSONEq(t, success, answer(openim.CommandRevoked, `{"conversationID":"sg_7","seq":7,"userID":"u"}`))
	require.Empty(t, f.sink.taken)
	require.Equal(t, 1, strings.Count(log.String(), "level=WARN"), log.String())
}

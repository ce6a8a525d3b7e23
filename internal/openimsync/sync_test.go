package openimsync_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"readmark/internal/logtest"
	"readmark/internal/openim/client"
	"readmark/internal/openimsync"
	"readmark/internal/readstate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errFault   = errors.New("fault")
	errUnknown = &client.Error{Path: "/", Code: 1004, Message: "RecordNotFoundError"}
)

// newSync gives a Sync over the fakes with a registry of its metrics and its log.
func newSync(s *fakeStore, o *fakeOpenIM, change ...func(*openimsync.Options)) (*openimsync.Sync, *prometheus.Registry, *logtest.Log) {
	log, registry := &logtest.Log{}, prometheus.NewRegistry()
	options := openimsync.Options{
		Store: s, OpenIM: o, Interval: time.Hour, Now: time.Now,
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, c := range change {
		c(&options)
	}
	sync := openimsync.New(options)
	sync.Register(registry)
	return sync, registry, log
}

func checkOnly(o *openimsync.Options) { o.CheckOnly = true }

// start runs a loop until the returned function is called, which waits for its end.
func start(t *testing.T, loop func(context.Context)) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); loop(ctx) }()
	return func() { cancel(); <-done }
}

// value gives a metric's value, of a histogram its count.
func value(t *testing.T, registry *prometheus.Registry, name string) int {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if m := family.GetMetric()[0]; family.GetName() == name {
			return int(m.GetCounter().GetValue()+m.GetGauge().GetValue()) + int(m.GetHistogram().GetSampleCount())
		}
	}
	require.Fail(t, "no such metric", name)
	return 0
}

func pairOf(userID, groupID string) readstate.Pair {
	return readstate.Pair{UserID: userID, GroupID: groupID}
}

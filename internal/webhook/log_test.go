package webhook

import (
	"context"
	"log/slog"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"readmark/internal/body"
	"readmark/internal/logtest"
	"readmark/internal/readstate"
)

// lostSink makes nothing durable.
type lostSink struct{}

func (lostSink) Submit(context.Context, []readstate.Event) error { return readstate.ErrUnavailable }

func (lostSink) Reject(context.Context, readstate.Rejection) error { return readstate.ErrUnavailable }

// An outage is told once, not with each callback that is lost in it.
func TestLostCallbacksAreToldOnce(t *testing.T) {
	t.Parallel()
	var log logtest.Log
	f := &fixture{engine: gin.New()}
	f.handler = New(&Options{
		Sink: lostSink{}, Room: body.NewRoom(body.Bounds{}), Registry: prometheus.NewRegistry(), Logger: slog.New(slog.NewJSONHandler(&log, nil)),
	})
	f.handler.Register(f.engine)
	for range 20 {
		f.post("/"+used[0].command, used[0].body)
		f.post("/"+used[0].command, "not json")
	}
	require.Len(t, log.Lines("callback not durable"), 1)
	require.Equal(t, used[0].command, log.Lines("callback not durable")[0]["command"])
	require.Len(t, log.Lines("rejected callback not recorded"), 1)
}

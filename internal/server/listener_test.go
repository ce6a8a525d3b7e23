package server_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"readmark/internal/server"
)

// Shutdown finishes what is under way and takes nothing new.
func TestShutdownFinishesRequests(t *testing.T) {
	t.Parallel()
	f := newFixture("", false)
	f.sink.hold, f.sink.entered = make(chan struct{}), make(chan struct{})
	opened, err := server.Open(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	listener := server.NewListener("test", opened, f.handler, slog.New(slog.DiscardHandler))
	listener.Serve(func(err error) { t.Error(err) })
	addr := listener.Addr()

	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "POST /callbackGroupMsgReadCommand HTTP/1.1\r\nHost: x\r\nContent-Length: "+
		strconv.Itoa(len(documentedBody))+"\r\n\r\n"+documentedBody)
	require.NoError(t, err)
	answered := make(chan string)
	go func() {
		all, _ := io.ReadAll(conn)
		answered <- string(all)
	}()
	<-f.sink.entered
	stopped := make(chan error)
	go func() { stopped <- listener.Shutdown(context.Background()) }()
	require.Eventually(t, func() bool {
		probe, err := net.Dial("tcp", addr)
		if err == nil {
			probe.Close()
		}
		return err != nil
	}, 10*time.Second, 5*time.Millisecond, "still accepting")
	close(f.sink.hold)
	require.Contains(t, <-answered, "200 OK")
	require.NoError(t, <-stopped)
}

package webhook

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"readmark/internal/body"
	"readmark/internal/openim"
)

// listen serves callbacks on a real socket until the test ends.
func listen(t *testing.T, bounds body.Bounds) (f *fixture, addr string) {
	t.Helper()
	f = &fixture{sink: &sink{}, engine: gin.New()}
	f.handler = New(&Options{Sink: f.sink, Token: "", Room: body.NewRoom(bounds), Registry: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)})
	f.handler.Register(f.engine)
	s := httptest.NewServer(f.engine)
	t.Cleanup(s.Close)
	return f, s.Listener.Addr().String()
}

// dial opens a connection and sends the text, as far as the other side takes it.
func dial(t *testing.T, addr string, texts ...string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	go func() {
		for _, text := range texts {
			if _, err := io.WriteString(conn, text); err != nil {
				return // it was cut off
			}
		}
	}()
	return conn
}

// answer reads the next answer of a connection.
func answer(t *testing.T, conn net.Conn) (status int, text string) {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(content)
}

func head(command string, length int) string {
	return fmt.Sprintf("POST /%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", command, length)
}

const small = `{"sendID":"u","receiveID":"g","unreadMsgNum":5}`

// large is the body of a callback with so many bytes.
func large(size int) string {
	return small[:len(small)-1] + strings.Repeat(" ", size-len(small)) + "}"
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

// TestStalledBodies: many connections that send all but the last byte of a large body
// take no more memory than there is room. Small callbacks are answered meanwhile, and
// large ones as soon as the room is free again.
//
//nolint:paralleltest // it measures what the process holds
func TestStalledBodies(t *testing.T) {
	const count, size, room = 200, 1_000_000, 64 << 20
	f, addr := listen(t, body.Bounds{})
	before := heap()
	text := large(size)
	stalled := make([]net.Conn, count)
	for i := range stalled {
		stalled[i] = dial(t, addr, head(openim.CommandGroupMsgRead, size), text[:size-1])
	}
	require.Eventually(t, func() bool { return f.handler.room.Held() == room/size*size }, 20*time.Second, time.Millisecond)
	conn := dial(t, addr)
	for range 200 {
		_, err := io.WriteString(conn, head(openim.CommandGroupMsgRead, len(small))+small)
		require.NoError(t, err)
		status, _ := answer(t, conn)
		require.Equal(t, http.StatusOK, status)
	}
	grown := heap() - before
	t.Logf("%d stalled bodies of %d bytes: %.1f MB", count, size, float64(grown)/1e6)
	require.Less(t, grown, int64(room+16<<20))

	kick := `{"groupID":"g","kickedUserIDs":["u"],"reason":"` + strings.Repeat("x", 16<<20-49) + `"}`
	require.Len(t, kick, 16<<20)
	kicking := dial(t, addr, head(openim.CommandAfterKickGroup, len(kick)), kick)
	for _, conn := range stalled {
		require.NoError(t, conn.Close())
	}
	status, reason := answer(t, kicking)
	require.Equal(t, http.StatusOK, status, reason)
	require.Eventually(t, func() bool { return f.handler.room.Held() == 0 }, 20*time.Second, time.Millisecond)
}

// TestLateBody: who does not send a body in time is told so and cut off. Those who
// waited meanwhile have as much time as if they had not.
func TestLateBody(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	f, addr := listen(t, body.Bounds{Room: size, Arrival: 2 * time.Second})
	text := large(size)
	first := dial(t, addr, head(openim.CommandGroupMsgRead, size), text[:size-1])
	require.Eventually(t, func() bool { return f.handler.room.Held() == size }, 10*time.Second, time.Millisecond)
	second := dial(t, addr, head(openim.CommandGroupMsgRead, size), text[:size-1])
	tiny := dial(t, addr, head(openim.CommandGroupMsgRead, len(small)), small[:10])
	whole := dial(t, addr, head(openim.CommandGroupMsgRead, size), text)
	for _, late := range []net.Conn{first, second, tiny} {
		status, reason := answer(t, late)
		require.Equal(t, http.StatusRequestTimeout, status)
		require.JSONEq(t, `{"actionCode":1,"errCode":40801,"errMsg":"body did not arrive in time",`+
			`"errDlt":"the whole body has to be sent at once","nextCode":0}`, reason)
		rest, _ := io.ReadAll(late)
		require.Empty(t, rest, "the connection is closed")
	}
	status, reason := answer(t, whole)
	require.Equal(t, http.StatusOK, status, reason)
}

// TestNoRoomForBody: a large body that finds no room for long is refused with a reason.
func TestNoRoomForBody(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	f, addr := listen(t, body.Bounds{Room: size, Wait: 5 * time.Millisecond})
	text := large(size)
	stalled := dial(t, addr, head(openim.CommandGroupMsgRead, size), text[:size-1])
	require.Eventually(t, func() bool { return f.handler.room.Held() == size }, 10*time.Second, time.Millisecond)
	status, reason := answer(t, dial(t, addr, head(openim.CommandGroupMsgRead, size), text))
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, reason, `"errCode":50302`)
	status, _ = answer(t, dial(t, addr, head(openim.CommandGroupMsgRead, len(small)), small))
	require.Equal(t, http.StatusOK, status)
	_, err := io.WriteString(stalled, "}")
	require.NoError(t, err)
	status, _ = answer(t, stalled)
	require.Equal(t, http.StatusOK, status, "who holds the room is not disturbed")
}

// TestLargeKicks: kicks as large as they may be wait for each other and are all taken;
// larger ones are refused.
func TestLargeKicks(t *testing.T) {
	t.Parallel()
	const limit, users, kicks = 16 << 20, 100_000, 4
	var list strings.Builder
	list.WriteString(`{"groupID":"g","kickedUserIDs":["u"`)
	for i := 1; i < users; i++ {
		fmt.Fprintf(&list, `,"u%d"`, i)
	}
	kick := list.String() + `]` + strings.Repeat(" ", limit-list.Len()-2) + `}`
	require.Len(t, kick, limit)
	f, addr := listen(t, body.Bounds{Room: limit})
	conns := make([]net.Conn, 0, kicks)
	for range kicks - 1 {
		conns = append(conns, dial(t, addr, head(openim.CommandAfterKickGroup, limit), kick))
	}
	chunked := "POST /" + openim.CommandKillGroup + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
	conns = append(conns, dial(t, addr, chunked, fmt.Sprintf("%x\r\n", limit), kick, "\r\n0\r\n\r\n"))
	for _, conn := range conns {
		status, reason := answer(t, conn)
		require.Equal(t, http.StatusOK, status, reason)
	}
	require.Len(t, f.sink.taken.Events, kicks*users)
	status, reason := answer(t, dial(t, addr, head(openim.CommandAfterKickGroup, limit+1)))
	require.Equal(t, http.StatusRequestEntityTooLarge, status)
	require.Contains(t, reason, "expected at most 16777216 bytes")
}

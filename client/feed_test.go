package client_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"readmark/client"
)

// No iterator, however its loop ends, leaves a goroutine.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const changesAt = "2026-11-24T15:20:18.752963Z"

// change is the nth change of a feed, of varying length. Its cursor is c<n>.
func change(n int) string {
	return fmt.Sprintf(`{"cursor":"c%d","type":"group.advanced","at":%q,"groupID":%q,"position":%d,"positionExact":true}`,
		n, changesAt, strings.Repeat("g", 1+n*37%200), n)
}

// event is a change as a stream has it.
func event(n int) string {
	return fmt.Sprintf("id: c%d\nevent: group.advanced\ndata: %s\n\n", n, change(n))
}

// place is the number in a cursor.
func place(t testing.TB, cursor string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimPrefix(cursor, "c"))
	require.NoError(t, err)
	return n
}

// feed serves changes as Readmark does, but has clients come again after 1 ms.
type feed struct {
	t     testing.TB
	ended chan struct{} // has an element for each stream that has ended, as far as it holds them

	mu   sync.Mutex
	last int
	more chan struct{} // closed when there are more
}

func newFeed(t testing.TB) *feed {
	t.Helper()
	return &feed{t: t, ended: make(chan struct{}, 100), more: make(chan struct{})}
}

// grow adds changes.
func (f *feed) grow(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last += n
	close(f.more)
	f.more = make(chan struct{})
}

func (f *feed) look() (last int, more <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last, f.more
}

func (f *feed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at, _ := f.look()
	if r.Header.Get("Accept") != "text/event-stream" {
		_, _ = fmt.Fprintf(w, `{"items":[],"nextCursor":"c%d","asOf":%q}`, at, changesAt)
		return
	}
	if after := r.URL.Query().Get("after"); after != "" {
		at = place(f.t, after)
	}
	w.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(w)
	_, _ = fmt.Fprintf(w, "retry: 1\n: beat\nid: c%d\n\n", at)
	_ = control.Flush()
	for {
		last, more := f.look()
		for at < last {
			at++
			_, _ = io.WriteString(w, event(at))
		}
		_ = control.Flush()
		select {
		case <-more:
		case <-r.Context().Done():
			select {
			case f.ended <- struct{}{}:
			default:
			}
			return
		}
	}
}

// dialed is a client whose connections go where dial says.
func dialed(t testing.TB, dial func(ctx context.Context) (net.Conn, error)) *client.Client {
	t.Helper()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}
	t.Cleanup(transport.CloseIdleConnections)
	c, err := client.New("http://readmark.test", client.Options{Key: "rmk_x", HTTPClient: &http.Client{Transport: transport}})
	require.NoError(t, err)
	return c
}

// breaking is a connection that breaks after some bytes were read.
type breaking struct {
	net.Conn
	left int
}

func (b *breaking) Read(p []byte) (int, error) {
	if b.left <= 0 {
		_ = b.Close()
		return 0, net.ErrClosed
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// dialBreaking connects to an address, for some random bytes.
func dialBreaking(ctx context.Context, address string, bytes int) (net.Conn, error) {
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &breaking{connection, rand.N(bytes)}, nil
}

// scripted is a client whose requests are answered by a function, without a network, so
// that synctest's time goes on. It gets the number of the request, from 1 on. All bodies
// must have been closed in the end.
func scripted(t testing.TB, options client.Options, answer func(n int, r *http.Request) *http.Response) *client.Client {
	t.Helper()
	n, open := 0, 0
	t.Cleanup(func() { assert.Zero(t, open, "bodies left open") })
	if options.HTTPClient == nil {
		options.HTTPClient = &http.Client{}
	}
	options.HTTPClient.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		n++
		if got := answer(n, r); got != nil {
			open++
			got.Body = counted{got.Body, &open}
			return got, nil
		}
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	c, err := client.New("http://readmark.test", options)
	require.NoError(t, err)
	return c
}

// counted is a body that is counted while it is open, and closed once.
type counted struct {
	io.Reader

	open *int
}

func (c counted) Close() error {
	*c.open--
	return nil
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func status(code int, header ...string) *http.Response {
	answer := &http.Response{StatusCode: code, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"title":"T","detail":"why"}`))}
	for i := 0; i < len(header); i += 2 {
		answer.Header.Set(header[i], header[i+1])
	}
	return answer
}

func document(body string) *http.Response {
	answer := status(http.StatusOK)
	answer.Body = io.NopCloser(strings.NewReader(body))
	return answer
}

func stream(body ...io.Reader) *http.Response {
	answer := status(http.StatusOK, "Content-Type", "text/event-stream")
	answer.Body = io.NopCloser(io.MultiReader(body...))
	return answer
}

// silent is a body on which nothing comes.
type silent struct{ r *http.Request }

func (s silent) Read([]byte) (int, error) {
	<-s.r.Context().Done()
	return 0, s.r.Context().Err()
}

// beating is a body on which a heartbeat comes every 15 s, with the cursor c<1000 + number>.
type beating struct {
	r    *http.Request
	left int
	sent int
}

func (b *beating) Read(p []byte) (int, error) {
	if b.sent == b.left {
		return 0, io.EOF
	}
	select {
	case <-time.After(15 * time.Second):
		b.sent++
		return copy(p, fmt.Sprintf(": beat\nid: c%d\n\n", 1000+b.sent)), nil
	case <-b.r.Context().Done():
		return 0, b.r.Context().Err()
	}
}

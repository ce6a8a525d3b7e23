package webhook

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"readmark/internal/readstate"
)

// What the documented receipt costs from its route to the sink and back.
func BenchmarkCallback(b *testing.B) {
	const text = `{"callbackCommand":"callbackGroupMsgReadCommand","sendID":"user123","receiveID":"group789","unreadMsgNum":5,"contentType":101}`
	f := newFixture("")
	request := httptest.NewRequest(http.MethodPost, "/callbackAfterGroupMsgReadCommand", http.NoBody)
	request.ContentLength = int64(len(text))
	b.ReportAllocs()
	for b.Loop() {
		f.sink.taken = readstate.Batch{}
		request.Body = readCloser{strings.NewReader(text)}
		w := silent{http.Header{}}
		f.engine.ServeHTTP(&w, request)
	}
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

// silent is a connection that costs nothing.
type silent struct{ header http.Header }

func (s *silent) Header() http.Header           { return s.header }
func (*silent) WriteHeader(int)                 {}
func (*silent) Write(p []byte) (int, error)     { return len(p), nil }
func (*silent) SetReadDeadline(time.Time) error { return nil }

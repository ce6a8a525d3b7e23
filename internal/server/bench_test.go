package server_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"readmark/internal/api"
	"readmark/internal/readstate"
	"readmark/internal/server"
)

// known stands for a database that answers at once.
type known struct{ api.Reader }

func (known) State(_ context.Context, pair readstate.Pair) (readstate.State, time.Time, error) {
	at := time.Date(2026, 11, 25, 8, 0, 0, 123456000, time.UTC)
	return readstate.State{
		Pair: pair, UnreadCount: 5, ContentType: 101, LastReadAt: at, Source: readstate.SourceReceipt, UpdatedAt: at,
	}, time.Time{}, nil
}

func (known) Badge(_ context.Context, userID string) (readstate.Badge, time.Time, error) {
	return readstate.Badge{
		UserID: userID, UnreadCount: 9, UnreadGroups: 2, Groups: 3, UpdatedAt: time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC),
	}, time.Time{}, nil
}

// void is a connection that costs nothing.
type void struct {
	header http.Header
	status int
	bytes  int
}

func (v *void) Header() http.Header    { return v.header }
func (v *void) WriteHeader(status int) { v.status = status }
func (v *void) Write(p []byte) (int, error) {
	v.bytes += len(p)
	return len(p), nil
}

// What the layers above the database cost a read, beside a Gin handler that answers a
// constant.
func BenchmarkRead(b *testing.B) {
	handler := server.New(server.Options{
		Sink: &sink{}, Registry: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
		API: api.Options{Reader: known{}, Now: time.Now, Logger: slog.New(slog.DiscardHandler)},
	}).Handler
	const pair, badge = "/v1/users/user123/groups/group789", "/v1/users/user123/unread"
	probe := httptest.NewRecorder()
	handler.ServeHTTP(probe, httptest.NewRequest(http.MethodGet, pair, nil))
	body := probe.Body.Bytes()
	constant := gin.New()
	constant.GET("/constant", func(c *gin.Context) { c.Data(http.StatusOK, "application/json", body) })
	for _, of := range []struct {
		name, path, etag string
		handler          http.Handler
		status           int
	}{
		{"constant", "/constant", "", constant, http.StatusOK},
		{"pair", pair, "", handler, http.StatusOK},
		{"304", pair, probe.Header().Get("ETag"), handler, http.StatusNotModified},
		{"badge", badge, "", handler, http.StatusOK},
	} {
		b.Run(of.name, func(b *testing.B) {
			request := httptest.NewRequest(http.MethodGet, of.path, nil)
			if of.etag != "" {
				request.Header.Set("If-None-Match", of.etag)
			}
			b.ReportAllocs()
			for b.Loop() {
				w := &void{header: http.Header{}}
				of.handler.ServeHTTP(w, request)
				if w.status != of.status && (of.status != http.StatusOK || w.bytes == 0) {
					b.Fatal(w.status)
				}
			}
		})
	}
}

package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
)

const maxHeaderBytes = 64 << 10

// Listener serves one handler on one address.
type Listener struct {
	name     string
	listener net.Listener
	server   *http.Server
	limits   Limits
	logger   *slog.Logger
	done     chan struct{} // closed when Serve has ended
	closing  *atomic.Bool
}

// Open opens an address for [NewListener]. Port 0 takes a free one. Whoever connects waits until it
// is served.
func Open(ctx context.Context, addr string) (net.Listener, error) {
	var config net.ListenConfig
	return config.Listen(ctx, "tcp", addr)
}

// NewListener returns a Listener on an address that [Open] has opened. Nothing is served before Serve.
func NewListener(name string, listener net.Listener, handler http.Handler, logger *slog.Logger, options ...ListenOption) *Listener {
	l := &Listener{
		name: name, listener: listener, limits: DefaultLimits(), logger: logger, done: make(chan struct{}), closing: new(atomic.Bool),
	}
	for _, option := range options {
		option(l)
	}
	l.server = &http.Server{
		Handler: closeWhen(l.closing, handler), ReadHeaderTimeout: l.limits.Header, ReadTimeout: l.limits.Body,
		WriteTimeout: l.limits.Write, IdleTimeout: l.limits.KeptIdle, MaxHeaderBytes: maxHeaderBytes,
		ConnContext: withConnection, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	return l
}

// closeWhen answers with Connection: close while closing is set, so that
// clients that keep connections open move elsewhere without losing a request.
func closeWhen(closing *atomic.Bool, handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if closing.Load() {
			w.Header().Set("Connection", "close")
		}
		handler.ServeHTTP(w, r)
	})
}

// CloseAfterAnswer goes on serving, one more request per connection.
func (l *Listener) CloseAfterAnswer() { l.closing.Store(true) }

// Addr is the address listened on, with the port that was free.
func (l *Listener) Addr() string { return l.listener.Addr().String() }

// Serve starts serving and returns at once. failed is called when serving
// ends by itself.
func (l *Listener) Serve(failed func(error)) {
	l.logger.Info("listening", "name", l.name, "addr", l.Addr())
	go func() {
		defer close(l.done)
		err := l.server.Serve(&connections{Listener: l.listener, idle: l.limits.Idle})
		if !errors.Is(err, http.ErrServerClosed) {
			failed(fmt.Errorf("serve %s: %w", l.name, err))
		}
	}()
}

// Shutdown stops accepting and waits for the requests under way, until the
// context ends; then it cuts them.
func (l *Listener) Shutdown(ctx context.Context) error {
	l.server.SetKeepAlivesEnabled(false)
	err := l.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("stop %s: %w", l.name, err), l.server.Close())
	}
	<-l.done // Serve has ended; what it returned was reported there
	return err
}

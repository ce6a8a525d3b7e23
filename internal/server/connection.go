package server

import (
	"context"
	"net"
	"sync/atomic"
	"time"
)

// Limits bounds what one connection may cost in time.
type Limits struct {
	// Header is how long a request's header may take, Body how long the whole
	// request may, both from its first byte. Those who read bodies set shorter times,
	// see package body.
	Header, Body time.Duration
	// Write is how long a request may take from its header to the end of its answer:
	// a client that does not read holds nothing for longer.
	Write time.Duration
	// Idle is how long a connection may rest between requests, longer than all of the
	// above. One that has carried a callback with success may for KeptIdle.
	Idle, KeptIdle time.Duration
}

// DefaultLimits is what Listen takes when it is given nothing else.
func DefaultLimits() Limits {
	return Limits{
		Header: 10 * time.Second, Body: 30 * time.Second, Write: time.Minute,
		// Longer than clients keep connections: they close first, and no request meets
		// a connection that is being closed.
		Idle: 5 * time.Minute,
		// OpenIM keeps its connections for ever, and a callback that meets a closing one
		// is lost.
		KeptIdle: 24 * time.Hour,
	}
}

// ListenOption changes what Listen does.
type ListenOption func(*Listener)

// WithLimits replaces the limits of a connection.
func WithLimits(limits Limits) ListenOption {
	return func(l *Listener) { l.limits = limits }
}

// connections hands out connections that rest no longer than idle, unless they are
// kept.
type connections struct {
	net.Listener

	idle time.Duration
}

// Accept implements net.Listener.
func (l *connections) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok {
		return &connection{TCPConn: tcp, idle: l.idle}, err
	}
	return conn, err
}

// connection is the whole TCPConn, so that net/http closes it as gently as it can.
type connection struct {
	*net.TCPConn

	idle time.Duration
	kept atomic.Bool
}

// SetReadDeadline shortens the time that net/http allows for resting, the only
// deadline that lies so far ahead.
func (c *connection) SetReadDeadline(deadline time.Time) error {
	if !c.kept.Load() {
		if bound := time.Now().Add(c.idle); deadline.After(bound) {
			deadline = bound
		}
	}
	return c.TCPConn.SetReadDeadline(deadline)
}

type connectionKey struct{}

func withConnection(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, conn)
}

// keepConnection allows the request's connection to rest for long.
func keepConnection(ctx context.Context) {
	if conn, ok := ctx.Value(connectionKey{}).(*connection); ok {
		conn.kept.Store(true)
	}
}

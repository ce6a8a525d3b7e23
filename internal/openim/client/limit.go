package client

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/time/rate"
)

type backgroundKey struct{}

// InBackground has calls wait until no other call waits for the rate limit.
func InBackground(ctx context.Context) context.Context {
	return context.WithValue(ctx, backgroundKey{}, true)
}

// IsBackground reports whether calls with a context are in the background.
func IsBackground(ctx context.Context) bool {
	background, _ := ctx.Value(backgroundKey{}).(bool)
	return background
}

// limiter bounds the rate of requests, and how many are under way. Requests in the
// background get what the others leave.
type limiter struct {
	rate  *rate.Limiter
	slots chan struct{}

	mu      sync.Mutex
	waiting int           // requests that are not in the background
	idle    chan struct{} // closed when none of these waits any more; nil when none does
}

func newLimiter(maxRPS float64) *limiter {
	return &limiter{rate: rate.NewLimiter(rate.Limit(maxRPS), max(1, int(maxRPS/10))), slots: make(chan struct{}, maxConcurrent)}
}

// wait blocks until a request may be sent, or the context ends. The request has to be
// released when it is answered, unless wait fails.
func (l *limiter) wait(ctx context.Context) error {
	if IsBackground(ctx) {
		if err := l.yield(ctx); err != nil {
			return err
		}
	} else {
		l.begin()
		defer l.end()
	}
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("wait for other requests: %w", ctx.Err())
	}
	// The rate limit comes after the slot. Otherwise requests that wait for slow answers
	// would pass the limit early, and then be sent all at once.
	if err := l.rate.Wait(ctx); err != nil {
		l.release()
		return fmt.Errorf("rate limit: %w", err)
	}
	return nil
}

// release ends a request.
func (l *limiter) release() { <-l.slots }

// yield blocks while a request that is not in the background waits.
func (l *limiter) yield(ctx context.Context) error {
	for {
		l.mu.Lock()
		idle := l.idle
		l.mu.Unlock()
		if idle == nil {
			return nil
		}
		select {
		case <-idle:
		case <-ctx.Done():
			return fmt.Errorf("wait for other requests: %w", ctx.Err())
		}
	}
}

func (l *limiter) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting++; l.waiting == 1 {
		l.idle = make(chan struct{})
	}
}

func (l *limiter) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting--; l.waiting == 0 {
		close(l.idle)
		l.idle = nil
	}
}

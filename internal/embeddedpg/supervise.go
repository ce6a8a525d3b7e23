package embeddedpg

import (
	"context"
	"time"
)

const (
	// restartFirst and restartMost are the bounds of the pause before a restart.
	restartFirst = 100 * time.Millisecond
	restartMost  = 10 * time.Second
	// restartCalm is how long a server must have run for the pause to begin anew.
	restartCalm = time.Minute
)

// supervise restarts the server on its port whenever it dies, until ctx ends.
func (s *Server) supervise(ctx context.Context) {
	defer close(s.supervised)
	delay, since := restartFirst, time.Now()
	for {
		watched := s.running()
		select {
		case <-ctx.Done():
			return
		case <-watched.exited:
		}
		if ctx.Err() != nil {
			return
		}
		if time.Since(since) > restartCalm {
			delay = restartFirst
		}
		s.opts.Logger.Error("embedded postgres died, restarting it", "pid", watched.pid, "state", watched.how, "in", delay)
		if !pause(ctx, delay) {
			return
		}
		delay, since = min(2*delay, restartMost), time.Now()
		if err := s.relaunch(ctx); err == nil {
			s.opts.Logger.Info("embedded postgres restarted", "port", s.port, "pid", s.PID())
		} else if ctx.Err() == nil { // processes of the dead server may hold its memory for a while
			s.opts.Logger.Warn("embedded postgres restart failed", "error", err)
		}
	}
}

// relaunch starts the server once more and waits until it is ready. The process
// becomes the current one at once, so that Stop ends it whatever comes of it.
func (s *Server) relaunch(ctx context.Context) error {
	started, err := s.spawn(s.port)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.current = started.postmaster
	s.mu.Unlock()
	return started.awaitReady(ctx)
}

// running returns the process that serves, or served last.
func (s *Server) running() *postmaster {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// pause waits and returns true, or false as soon as ctx ends.
func pause(ctx context.Context, delay time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(delay):
		return true
	}
}

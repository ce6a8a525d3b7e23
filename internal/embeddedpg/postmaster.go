package embeddedpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

const (
	// leftoverPoll is how often a server that is not our child is looked at.
	leftoverPoll = 20 * time.Millisecond
	// immediateWait bounds the wait after an immediate shutdown, and after the kill
	// that follows. The server itself kills its own children after 5 s.
	immediateWait = 8 * time.Second
	// forkedWait bounds the wait for what a server that is gone has forked.
	forkedWait = 2 * time.Second
)

// postmaster is a running server process. One goroutine watches it until it is gone.
type postmaster struct {
	pid     int
	process *os.Process
	// exited is closed when the process is gone, and how is set by then.
	exited chan struct{}
	how    string
	forget func() // ends the watching of a process that is not our child
}

// startChild starts a server process and watches it. It counts as gone when those
// that it forked are gone too, such as the log collector, which still writes then:
// all of them hold a pipe that nobody uses, so that it does them no harm when
// readmark dies, and that ends with the last of them.
func startChild(cmd *exec.Cmd) (*postmaster, error) {
	held, holder, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.ExtraFiles = []*os.File{holder}
	if err := errors.Join(cmd.Start(), holder.Close()); err != nil {
		return nil, errors.Join(err, held.Close())
	}
	p := &postmaster{pid: cmd.Process.Pid, process: cmd.Process, exited: make(chan struct{})}
	go func() {
		defer close(p.exited)
		_ = cmd.Wait() // the state says more than the error
		p.how = cmd.ProcessState.String()
		_ = held.SetReadDeadline(time.Now().Add(forkedWait))
		_, _ = io.Copy(io.Discard, held)
		_ = held.Close()
	}()
	return p, nil
}

// adopt returns the process as the server of a cluster, false when it is not one.
// The process handle is taken before the look at what the process is, so that
// (where the system has such handles) no signal can reach a later process with
// the same number.
func adopt(pid int, cluster string) (*postmaster, bool) {
	process, err := os.FindProcess(pid)
	if err != nil {
		return nil, false
	}
	if !serves(pid, cluster) {
		_ = process.Release() // fails only when it is released already
		return nil, false
	}
	watching, forget := context.WithCancel(context.Background())
	p := &postmaster{pid: pid, process: process, exited: make(chan struct{}), forget: forget}
	go func() {
		for pause(watching, leftoverPoll) {
			if !serves(pid, cluster) {
				close(p.exited)
				return
			}
		}
	}()
	return p, true
}

// signal sends a signal; a process that is gone is fine.
func (p *postmaster) signal(signal os.Signal) error {
	select {
	case <-p.exited:
		return nil
	default:
	}
	if err := p.process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal process %d: %w", p.pid, err)
	}
	return nil
}

// terminate ends the server: a fast shutdown, when ctx ends an immediate one, and
// when that takes too long a kill.
func (p *postmaster) terminate(ctx context.Context) error {
	for _, signal := range []os.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL} {
		if err := p.signal(signal); err != nil {
			return err
		}
		select {
		case <-p.exited:
			return nil
		case <-ctx.Done():
		}
		next, cancel := context.WithTimeout(context.WithoutCancel(ctx), immediateWait)
		defer cancel() //nolint:gocritic // three times at most
		ctx = next
	}
	return fmt.Errorf("process %d still runs although it was killed", p.pid)
}

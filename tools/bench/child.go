package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// startTimeout bounds the start of a server, which may migrate.
const startTimeout = time.Minute

// program is a command that is asked to end when ctx ends, and killed when it
// does not.
func program(ctx context.Context, name string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, name, args...)
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = stopTimeout
	return command
}

// child is a server that this program started.
type child struct {
	url    string
	log    *watch
	cancel context.CancelFunc
	exited chan struct{} // closed when the process is gone
	err    error         // of the process, once exited is closed
	pid    int
}

// start runs a server on a free port and waits until it tells its address.
func start(ctx context.Context, environment []string, name string, args ...string) (*child, error) {
	running, cancel := context.WithCancel(ctx)
	c := &child{log: newWatch(), cancel: cancel, exited: make(chan struct{})}
	command := program(running, name, args...)
	command.Stderr, command.Env = c.log, environment
	if err := command.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	c.pid = command.Process.Pid
	go func() {
		defer close(c.exited)
		c.err = command.Wait()
	}()
	var err error
	select {
	case c.url = <-c.log.address:
		return c, nil
	case <-c.exited:
		err = fmt.Errorf("%s ended: %w", name, c.err)
	case <-time.After(startTimeout):
		err = fmt.Errorf("%s does not listen", name)
	}
	return nil, errors.Join(err, errors.New(c.log.tail()), c.stop())
}

// stop asks the server to end and waits for it.
func (c *child) stop() error {
	c.cancel()
	<-c.exited
	if c.err != nil && !errors.Is(c.err, context.Canceled) && !errors.Is(c.err, exec.ErrWaitDelay) {
		return fmt.Errorf("process %d: %w", c.pid, c.err)
	}
	return nil
}

// peakMemory is the most memory that the process ever had, in MB; 0 when the
// system does not tell.
func (c *child) peakMemory() float64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(c.pid) + "/status")
	if err != nil {
		return 0
	}
	return parsePeak(string(text))
}

func parsePeak(status string) float64 {
	_, after, _ := strings.Cut(status, "VmHWM:")
	fields := strings.Fields(after)
	if len(fields) < 2 || fields[1] != "kB" {
		return 0
	}
	kilobytes, err := strconv.ParseFloat(fields[0], 64)
	if err != nil {
		return 0
	}
	return kilobytes / 1024
}

// watch reads a server's JSON log: its address, and what it warns of.
type watch struct {
	address chan string

	mu       sync.Mutex
	rest     []byte // a line that is not whole yet
	last     []byte
	warnings []string
}

func newWatch() *watch { return &watch{address: make(chan string, 1)} }

// Write takes a piece of the log.
func (w *watch) Write(piece []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, piece...)
	for {
		line, rest, whole := bytes.Cut(w.rest, []byte("\n"))
		if !whole {
			return len(piece), nil
		}
		w.line(line)
		w.rest = rest
	}
}

func (w *watch) line(text []byte) {
	w.last = append(append(w.last, text...), '\n')
	w.last = w.last[max(0, len(w.last)-4000):]
	var line struct{ Level, Msg, Name, Addr string }
	if json.Unmarshal(text, &line) != nil {
		return
	}
	if line.Msg == "listening" && line.Name == "public" {
		select {
		case w.address <- "http://" + line.Addr:
		default:
		}
	}
	if (line.Level == "WARN" || line.Level == "ERROR") && !slices.Contains(w.warnings, line.Msg) {
		w.warnings = append(w.warnings, line.Msg)
	}
}

func (w *watch) tail() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return tail(slices.Concat(w.last, w.rest))
}

// warned lists the messages of warnings and errors, each once.
func (w *watch) warned() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.warnings)
}

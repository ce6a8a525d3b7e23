package embeddedpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// leftoverWait is how long a left-over server may take for a fast shutdown.
const leftoverWait = 10 * time.Second

// errMalformed says that a postmaster.pid names no process.
var errMalformed = errors.New("postmaster.pid is malformed")

// pidFile is what a server writes about itself into its cluster.
type pidFile struct {
	pid, port int // the port is 0 until it is known
	ready     bool
	text      string // the whole file: it tells the servers that wrote it apart
}

// readPIDFile reads postmaster.pid of a cluster: fs.ErrNotExist without one,
// errMalformed when it holds something else.
func readPIDFile(cluster string) (pidFile, error) {
	text, err := readInside(cluster, "postmaster.pid")
	if err != nil {
		return pidFile{}, err
	}
	return parsePIDFile(string(text))
}

// parsePIDFile reads the lines pid, directory, start time, port, socket directory,
// listen address, shared memory, status. A starting server has not written the
// last ones yet.
func parsePIDFile(text string) (pidFile, error) {
	lines := append(strings.Split(text, "\n"), make([]string, 8)...)
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil || pid == 0 || pid == -1 {
		return pidFile{}, errMalformed
	}
	port, _ := strconv.Atoi(lines[3])
	// A single-user server writes its own number negated.
	return pidFile{pid: max(pid, -pid), port: port, ready: strings.TrimSpace(lines[7]) == "ready", text: text}, nil
}

// stopLeftover ends the server that a killed readmark left on the cluster. The
// caller holds the lock, so no living readmark uses it. No process is signalled
// that is not a server of this very cluster.
func (s *Server) stopLeftover(ctx context.Context) error {
	file, err := s.readLeftover()
	if err != nil || file.pid == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, leftoverWait)
	defer cancel()
	left, ok := adopt(file.pid, s.dir.cluster())
	if !ok {
		return nil
	}
	defer left.forget()
	s.opts.Logger.Info("stopping a leftover embedded postgres", "data_dir", string(s.dir), "pid", left.pid)
	if err := left.terminate(ctx); err != nil {
		return fmt.Errorf("stop leftover server: %w", err)
	}
	return nil
}

// readLeftover reads postmaster.pid of the cluster, the zero value when there is
// none. It removes one that would keep the next server from starting although
// none runs: that of a process number which somebody else has now, or a dead
// server that nobody has reaped, and one without a number. A dead process is no
// obstacle. Processes that a dead server left behind still keep the next one from
// starting, by the shared memory that is tied to the directory.
func (s *Server) readLeftover() (pidFile, error) {
	file, err := readPIDFile(s.dir.cluster())
	reason := "its process is not a server of this cluster"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return pidFile{}, nil
	case errors.Is(err, errMalformed): // a crash at the wrong moment
		reason = "malformed"
	case err != nil:
		return pidFile{}, fmt.Errorf("read postmaster.pid: %w", err)
	case serves(file.pid, s.dir.cluster()) || errors.Is(syscall.Kill(file.pid, 0), syscall.ESRCH):
		return file, nil
	}
	s.opts.Logger.Warn("removing a stale postmaster.pid", "data_dir", string(s.dir), "reason", reason)
	if err := os.Remove(filepath.Join(s.dir.cluster(), "postmaster.pid")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return pidFile{}, fmt.Errorf("remove postmaster.pid: %w", err)
	}
	return pidFile{}, nil
}

package embeddedpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// leftoverWait is how long a server that cannot be taken over may take for a fast
// shutdown.
const leftoverWait = 10 * time.Second

// takeOver deals with the server that a killed readmark may have left on the
// cluster: it becomes the current one when it can be used, otherwise it is
// stopped, and then none is current. No process is signalled that is not a server
// of this very cluster.
func (s *Server) takeOver(ctx context.Context) error {
	file, err := s.readLeftover()
	if err != nil || file.pid == 0 {
		return err
	}
	left, ok := adopt(file.pid, s.dir.cluster())
	if !ok {
		return nil
	}
	if s.password != "" && file.ready() && file.local() {
		s.current, s.port = left, file.port
		s.opts.Logger.Info("embedded postgres taken over",
			"data_dir", string(s.dir), "version", s.programs.Version, "port", s.port, "pid", left.pid)
		return nil
	}
	s.opts.Logger.Info("stopping a leftover embedded postgres", "pid", left.pid, "status", file.status)
	bounded, cancel := context.WithTimeout(ctx, leftoverWait)
	defer cancel()
	if err := left.terminate(bounded); err != nil {
		return fmt.Errorf("stop leftover server: %w", err)
	}
	return nil
}

// readLeftover reads postmaster.pid of the cluster, the zero value when there is
// none. It removes one that would keep the next server from starting although
// none runs: that of a process number which somebody else has now, or a dead
// server that nobody has reaped, and one without a number. A dead process is no
// obstacle.
func (s *Server) readLeftover() (pidFile, error) {
	file, err := readPIDFile(s.dir.cluster())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return pidFile{}, nil
	case errors.Is(err, errMalformed): // a crash at the wrong moment
		return pidFile{}, s.removePIDFile("malformed")
	case err != nil:
		return pidFile{}, fmt.Errorf("read postmaster.pid: %w", err)
	}
	if serves(file.pid, s.dir.cluster()) || errors.Is(syscall.Kill(file.pid, 0), syscall.ESRCH) {
		return file, nil
	}
	return pidFile{}, s.removePIDFile("its process is not a server of this cluster")
}

// removePIDFile removes a postmaster.pid of no running server. Processes that a
// dead server left behind still keep the next one from starting, by the shared
// memory that is tied to the directory.
func (s *Server) removePIDFile(reason string) error {
	s.opts.Logger.Warn("removing a stale postmaster.pid", "data_dir", string(s.dir), "reason", reason)
	if err := os.Remove(filepath.Join(s.dir.cluster(), "postmaster.pid")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove postmaster.pid: %w", err)
	}
	return nil
}

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
	file, err := readPIDFile(s.dir.cluster())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, errMalformed): // a crash at the wrong moment; the server would refuse to start
		return s.removePIDFile("malformed")
	case err != nil:
		return fmt.Errorf("read postmaster.pid: %w", err)
	}
	left, ok := adopt(file.pid, s.dir.cluster())
	if !ok {
		if err := syscall.Kill(file.pid, 0); errors.Is(err, syscall.ESRCH) {
			return nil // the next server sees that and replaces the file
		}
		return s.removePIDFile("another process has its number")
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

// removePIDFile removes a postmaster.pid of no running server, which would keep
// the next one from starting. Processes that the dead server may have left still
// keep it from starting, by the shared memory that is tied to the directory.
func (s *Server) removePIDFile(reason string) error {
	s.opts.Logger.Warn("removing a stale postmaster.pid", "data_dir", string(s.dir), "reason", reason)
	if err := os.Remove(filepath.Join(s.dir.cluster(), "postmaster.pid")); err != nil {
		return fmt.Errorf("remove postmaster.pid: %w", err)
	}
	return nil
}

package embeddedpg

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// loopback is the only address that servers listen on.
	loopback = "127.0.0.1"
	// readyPoll is how often a starting server is looked at.
	readyPoll = 20 * time.Millisecond
	// portAttempts is how many ports are tried when others are quicker to take them.
	portAttempts = 5
	// abortWait is how long a server that failed to start may take to shut down.
	abortWait = 2 * time.Second
	// orphansWait is how long a start waits for what a dead server has forked.
	orphansWait = 20 * time.Second
	// orphansPoll is how often it tries meanwhile.
	orphansPoll = 250 * time.Millisecond
)

// errPortTaken says that the server could not bind its port.
var errPortTaken = errors.New("the port is taken")

// errOrphans says that processes of a server that died still hold its memory.
var errOrphans = errors.New("processes of a dead server still use the cluster")

// attempt is one server that comes up.
type attempt struct {
	*postmaster
	log serverLog
	// stale is the postmaster.pid that lay there before.
	stale string
}

// freePort returns a port that nobody listened on a moment ago.
func freePort() (int, error) {
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	port := netip.MustParseAddrPort(listener.Addr().String()).Port()
	return int(port), listener.Close()
}

// settings returns the server's command line settings. The options override the
// first ones; the package relies on the last ones.
func (s *Server) settings(port int) []string {
	settings := map[string]string{
		"max_connections": "64", "cluster_name": role,
	}
	maps.Copy(settings, s.opts.Settings)
	maps.Copy(settings, map[string]string{
		"listen_addresses": loopback, "port": strconv.Itoa(port), "unix_socket_directories": "",
		"logging_collector": "on", "log_destination": "stderr", "log_directory": logDir, "log_filename": "postgresql-%a.log",
		"log_truncate_on_rotation": "on", "log_rotation_age": "1d", "log_rotation_size": "0",
	})
	var args []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	return args
}

// spawn starts a server process, which lives on when readmark dies.
func (s *Server) spawn(port int) (*attempt, error) {
	stale, err := s.readLeftover()
	if err != nil {
		return nil, fmt.Errorf("start server: %w", err)
	}
	started := &attempt{log: markLog(s.dir), stale: stale.text}
	output, err := openStartupLog(s.dir)
	if err != nil {
		return nil, fmt.Errorf("start server: %w", err)
	}
	defer func() { _ = output.Close() }()
	// Not bound to any context: the process is ended by signals in good order.
	cmd := s.run.command(context.Background(), s.programs.program("postgres"),
		append([]string{"-D", s.dir.cluster()}, s.settings(port)...)...)
	cmd.Stdout, cmd.Stderr = output, output
	if started.postmaster, err = startChild(cmd); err != nil {
		return nil, fmt.Errorf("start server: %w", s.run.explain(err))
	}
	return started, nil
}

// awaitReady blocks until the server takes connections. It fails when the process
// ends, with what it wrote, and when ctx ends; it leaves the process as it is.
// Only a postmaster.pid that this process wrote counts: in a container, a stale
// one often bears the very same process number.
func (l *attempt) awaitReady(ctx context.Context) error {
	ticker := time.NewTicker(readyPoll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the server: %w", ctx.Err())
		case <-l.exited:
			output := l.log.output()
			err := fmt.Errorf("server ended while starting (%s)%s", l.how, quote(output, ""))
			if strings.Contains(output, "could not bind") || strings.Contains(output, "could not create any TCP/IP sockets") {
				return fmt.Errorf("%w: %w", errPortTaken, err)
			}
			if strings.Contains(output, "pre-existing shared memory block") {
				return fmt.Errorf("%w: %w", errOrphans, err)
			}
			return err
		case <-ticker.C:
			file, err := readPIDFile(l.log.dir.cluster())
			if err == nil && file.pid == l.pid && file.text != l.stale && file.ready {
				return nil
			}
		}
	}
}

// launchFirst brings up the first server on a free port. Where readmark and its
// server were killed together, a connection that is busy outlives them; launchFirst
// waits for its end, up to orphansWait. No process is left behind when it fails.
func (s *Server) launchFirst(ctx context.Context) error {
	waitUntil, waiting := time.Now().Add(orphansWait), false
	for portsTaken := 1; ; {
		err := s.launch(ctx)
		switch {
		case errors.Is(err, errPortTaken) && portsTaken < portAttempts:
			portsTaken++
			s.opts.Logger.Warn("embedded postgres port is taken, trying another", "error", err)
		case errors.Is(err, errOrphans) && time.Now().Before(waitUntil):
			if !waiting {
				s.opts.Logger.Warn("waiting for processes of a dead embedded postgres", "data_dir", string(s.dir))
				waiting = true
			}
			if !pause(ctx, orphansPoll) {
				return fmt.Errorf("wait for processes of a dead server: %w", ctx.Err())
			}
		default:
			return err
		}
	}
}

// launch starts a server on a free port and waits until it is ready.
func (s *Server) launch(ctx context.Context) (err error) {
	if s.port, err = s.opts.freePort(); err != nil {
		return err
	}
	started, err := s.spawn(s.port)
	if err != nil {
		return err
	}
	s.current = started.postmaster
	if err := started.awaitReady(ctx); err != nil {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortWait)
		defer cancel()
		return errors.Join(err, started.terminate(bounded))
	}
	return nil
}
